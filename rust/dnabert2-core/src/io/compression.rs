//! The bytes of a file in decompressed blocks, a few of them read ahead.
//!
//! The compression of a file is detected from its first bytes, never from its name. The blocks of bgzip
//! are inflated on every core. gzip and zstd are one stream, which one core inflates: on a thread of its
//! own ([`ReadAhead`]), or on whichever thread is free ([`ReadAheadQueue`]).

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::num::NonZero;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use flate2::read::MultiGzDecoder;
use noodles_bgzf::io::MultithreadedReader;

use crate::parallel::{self, lock};
use crate::{Error, Result};

const BLOCK: usize = 1 << 19;

/// Maximum blocks read ahead.
const WAITING: usize = 8;

/// Bytes from which the compression of a file is detected.
const HEAD: usize = 16;

/// The empty block that every whole bgzip file ends with (SAM specification, 4.1.2).
const BGZIP_END: [u8; 28] = [
    0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, 6, 0, b'B', b'C', 2, 0, 0x1b, 0, 3, 0, 0, 0, 0, 0, 0, 0,
    0, 0,
];

/// How a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// As one or more gzip streams.
    Gzip,
    /// As gzip in blocks of 64 KiB, which can be inflated side by side.
    Bgzip,
    /// As zstd.
    Zstd,
}

impl Packing {
    /// How a file is packed, by its first bytes. One that begins like bgzip and lacks its last block
    /// may have been cut off; read as gzip, it is an error where it ends.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read.
    pub fn of_file(path: &Path) -> Result<Self> {
        let mut head = Vec::new();
        let mut file = File::open(path).map_err(Error::io(path))?;
        file.by_ref().take(HEAD as u64).read_to_end(&mut head).map_err(Error::io(path))?;
        let packing = Self::of(&head);
        if packing == Self::Bgzip {
            let mut last = [0; BGZIP_END.len()];
            let read = file.seek(SeekFrom::End(-28)).and_then(|_| file.read_exact(&mut last));
            if read.is_err() || last != BGZIP_END {
                return Ok(Self::Gzip);
            }
        }
        Ok(packing)
    }

    /// How something is packed that begins with these bytes.
    #[must_use]
    pub fn of(head: &[u8]) -> Self {
        match head {
            // A gzip header with one extra field, named BC.
            [0x1f, 0x8b, 8, 4, _, _, _, _, _, _, 6, 0, b'B', b'C', ..] => Self::Bgzip,
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }

    /// Its name in messages, empty when the file is not packed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Gzip => "gzip",
            Self::Bgzip => "bgzip",
            Self::Zstd => "zstd",
        }
    }
}

/// Some bytes in a row, in whatever holds them.
pub type Block = Box<dyn AsRef<[u8]> + Send + Sync>;

/// The blocks of a text in order, then `None`.
pub trait Source: Send {
    /// The next block.
    ///
    /// # Errors
    /// What reading or inflating says.
    fn next_block(&mut self) -> io::Result<Option<Block>>;
}

impl<R: Read + Send> Source for R {
    fn next_block(&mut self) -> io::Result<Option<Block>> {
        let mut block = Vec::with_capacity(BLOCK);
        match self.take(BLOCK as u64).read_to_end(&mut block) {
            // What came before an error is handed over first; the error comes again.
            Err(error) if block.is_empty() => return Err(error),
            _ => {}
        }
        Ok(if block.is_empty() { None } else { Some(Box::new(block)) })
    }
}

/// Open a file and inflate what it holds.
///
/// # Errors
/// [`Error::Io`] when it cannot be read.
pub fn open(path: &Path) -> Result<Box<dyn Source>> {
    let packing = Packing::of_file(path)?;
    let file = File::open(path).map_err(Error::io(path))?;
    inflate(packing, file).map_err(Error::io(path))
}

/// Inflate what is read.
///
/// # Errors
/// What the library says that inflates it.
pub fn inflate(packing: Packing, file: impl Read + Send + 'static) -> io::Result<Box<dyn Source>> {
    let packed = |file| BufReader::with_capacity(1 << 17, file);
    Ok(match packing {
        Packing::Plain => Box::new(file),
        Packing::Gzip => Box::new(MultiGzDecoder::new(packed(file))),
        Packing::Bgzip => {
            let workers = NonZero::new(parallel::count(0)).unwrap_or(NonZero::<usize>::MIN);
            Box::new(MultithreadedReader::with_worker_count(workers, packed(file)))
        }
        Packing::Zstd => Box::new(zstd::Decoder::with_buffer(packed(file))?),
    })
}

/// The blocks of a source, a few ahead. The thread ends with the text, or when this is dropped.
pub struct ReadAhead(Receiver<io::Result<Block>>);

impl ReadAhead {
    /// Start reading.
    #[must_use]
    pub fn new(mut source: Box<dyn Source>) -> Self {
        let (sender, blocks) = sync_channel(WAITING);
        std::thread::spawn(move || {
            while let Some(block) = source.next_block().transpose() {
                let failed = block.is_err();
                if sender.send(block).is_err() || failed {
                    return; // the receiver is dropped, or nothing can follow
                }
            }
        });
        Self(blocks)
    }
}

impl Source for ReadAhead {
    fn next_block(&mut self) -> io::Result<Option<Block>> {
        self.0.recv().ok().transpose()
    }
}

/// The blocks of a source, read ahead by any thread that is free; clones are the same queue.
#[derive(Clone, Default)]
pub struct ReadAheadQueue(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// `None` once it has ended; a thread that reads keeps it locked until its block waits.
    source: Mutex<Option<Box<dyn Source>>>,
    blocks: Mutex<Blocks>,
}

#[derive(Default)]
struct Blocks {
    waiting: VecDeque<io::Result<Block>>,
    more: bool,
}

impl ReadAheadQueue {
    /// Nothing of it read yet.
    #[must_use]
    pub fn new(source: Box<dyn Source>) -> Self {
        let blocks = Mutex::new(Blocks { waiting: VecDeque::new(), more: true });
        Self(Arc::new(Shared { source: Mutex::new(Some(source)), blocks }))
    }

    /// Whether a block may be read ahead.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let blocks = self.blocks();
        blocks.more && blocks.waiting.len() < WAITING
    }

    /// Whether a block, or the end, can be taken at once.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let blocks = self.blocks();
        !blocks.more || !blocks.waiting.is_empty()
    }

    /// Read a block, unless another thread does.
    pub fn read_ahead(&self) {
        match self.0.source.try_lock() {
            Ok(source) => self.read(source),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Poisoned(error)) => self.read(error.into_inner()),
        }
    }

    fn read(&self, mut source: MutexGuard<'_, Option<Box<dyn Source>>>) {
        let Some(reading) = &mut *source else { return };
        let next = reading.next_block().transpose();
        let more = matches!(next, Some(Ok(_))); // nothing follows an error
        if !more {
            *source = None;
        }
        let mut blocks = self.blocks();
        blocks.waiting.extend(next);
        blocks.more = more;
    }

    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        lock(&self.0.blocks)
    }
}

impl Source for ReadAheadQueue {
    fn next_block(&mut self) -> io::Result<Option<Block>> {
        loop {
            if let Some(block) = self.blocks().waiting.pop_front() {
                return block.map(Some);
            }
            // A thread that reads holds the lock until the block is there.
            let source = lock(&self.0.source);
            let blocks = self.blocks();
            if blocks.waiting.is_empty() {
                if !blocks.more {
                    return Ok(None);
                }
                drop(blocks);
                self.read(source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut blocks: impl Source) -> (Vec<u8>, Option<String>) {
        let mut text = Vec::new();
        loop {
            match blocks.next_block() {
                Ok(Some(block)) => text.extend_from_slice((*block).as_ref()),
                Ok(None) => return (text, None),
                Err(error) => return (text, Some(error.to_string())),
            }
        }
    }

    #[test]
    fn gives_the_same_bytes_and_the_error_where_it_was() {
        let text: Vec<u8> = (0..=250).cycle().take(3 * BLOCK + 5).collect();
        let whole = || Box::new(io::Cursor::new(text.clone()));
        let broken = || Box::new(io::Cursor::new(text.clone()).chain(Broken));
        let (sound, damaged) = ((text.clone(), None), (text.clone(), Some("broken".into())));
        assert!(all(ReadAhead::new(whole())) == sound && all(ReadAhead::new(broken())) == damaged);
        assert!(
            all(ReadAheadQueue::new(whole())) == sound
                && all(ReadAheadQueue::new(broken())) == damaged
        );
        assert!(all(ReadAheadQueue::default()) == (Vec::new(), None));
        drop(ReadAhead::new(Box::new(io::repeat(1)))); // must not wait for the end of it
    }

    /// Blocks come in order whichever thread reads them, and at most a few are read ahead.
    #[test]
    fn many_threads_read_ahead() {
        let text: Vec<u8> = (0..=250).cycle().take(20 * BLOCK + 5).collect();
        let queue = ReadAheadQueue::new(Box::new(io::Cursor::new(text.clone())));
        assert!(queue.has_room() && !queue.is_ready());
        while queue.has_room() {
            queue.read_ahead();
        }
        assert!(queue.is_ready() && queue.blocks().waiting.len() == WAITING);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while queue.blocks().more {
                        queue.read_ahead();
                    }
                });
            }
            assert!(all(queue.clone()) == (text, None));
        });
        assert!(queue.is_ready() && !queue.has_room());
    }

    struct Broken;

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("broken"))
        }
    }
}

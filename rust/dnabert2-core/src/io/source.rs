//! A text in blocks, a few of them read ahead: on a thread of its own ([`ReadAhead`]), or on whichever
//! thread is free ([`ReadAheadQueue`]).

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use crate::parallel::lock;

const BLOCK: usize = 1 << 19;

/// Maximum blocks read ahead.
const WAITING: usize = 8;

/// Some bytes in a row, in whatever holds them.
pub type Block = Box<dyn AsRef<[u8]> + Send + Sync>;

/// The blocks of a text in order, then `None`.
pub trait Source: Send {
    /// The next block.
    ///
    /// # Errors
    /// Any error of reading or decompressing. The kind `Interrupted` is the user's interrupt.
    fn next_block(&mut self) -> io::Result<Option<Block>>;
}

/// The blocks of a reader.
pub struct ReaderSource<R> {
    reader: R,
    /// The error after the last block: a reader may continue as if there had been none.
    failed: Option<io::Error>,
}

impl<R> ReaderSource<R> {
    /// Nothing of it read yet.
    pub fn new(reader: R) -> Self {
        Self { reader, failed: None }
    }

    /// The reader, where it is.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.reader
    }
}

impl<R: Read + Send> Source for ReaderSource<R> {
    fn next_block(&mut self) -> io::Result<Option<Block>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut block = Vec::with_capacity(BLOCK);
        if let Err(error) = self.reader.by_ref().take(BLOCK as u64).read_to_end(&mut block) {
            if block.is_empty() {
                return Err(error);
            }
            self.failed = Some(error); // what came before it is handed over first
        }
        Ok(if block.is_empty() { None } else { Some(Box::new(block)) })
    }
}

/// The blocks of a source, a few ahead. The thread ends with the text, or when this is dropped.
pub struct ReadAhead {
    blocks: Receiver<io::Result<Option<Block>>>,
    ended: bool,
}

impl ReadAhead {
    /// Start reading.
    #[must_use]
    pub fn new(mut source: Box<dyn Source>) -> Self {
        let (sender, blocks) = sync_channel(WAITING);
        std::thread::spawn(move || {
            loop {
                let block = source.next_block();
                let more = matches!(block, Ok(Some(_)));
                if sender.send(block).is_err() || !more {
                    return; // the receiver is dropped, or nothing can follow
                }
            }
        });
        Self { blocks, ended: false }
    }
}

impl Source for ReadAhead {
    fn next_block(&mut self) -> io::Result<Option<Block>> {
        if self.ended {
            return Ok(None);
        }
        // A thread that panicked sent neither the end nor an error: a text cut off there would look whole.
        let block = self.blocks.recv().map_err(|_| io::Error::other("its reading thread panicked"));
        let block = block.flatten();
        self.ended = !matches!(block, Ok(Some(_)));
        block
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
        let whole = || Box::new(ReaderSource::new(io::Cursor::new(text.clone())));
        let broken =
            || Box::new(ReaderSource::new(io::Cursor::new(text.clone()).chain(Broken(true))));
        let (sound, damaged) = ((text.clone(), None), (text.clone(), Some("broken".into())));
        assert!(all(ReadAhead::new(whole())) == sound && all(ReadAhead::new(broken())) == damaged);
        assert!(
            all(ReadAheadQueue::new(whole())) == sound
                && all(ReadAheadQueue::new(broken())) == damaged
        );
        assert!(all(ReadAheadQueue::default()) == (Vec::new(), None));
        assert!(
            all(ReadAhead::new(Box::new(Panics)))
                == (Vec::new(), Some("its reading thread panicked".into()))
        );
        drop(ReadAhead::new(Box::new(ReaderSource::new(io::repeat(1))))); // must not wait for the end of it
    }

    /// Blocks come in order whichever thread reads them, and at most a few are read ahead.
    #[test]
    fn many_threads_read_ahead() {
        let text: Vec<u8> = (0..=250).cycle().take(20 * BLOCK + 5).collect();
        let queue = ReadAheadQueue::new(Box::new(ReaderSource::new(io::Cursor::new(text.clone()))));
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

    struct Panics;

    impl Source for Panics {
        fn next_block(&mut self) -> io::Result<Option<Block>> {
            panic!("as a foreign library may")
        }
    }

    /// An error, then an end as if nothing had been.
    struct Broken(bool);

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            if std::mem::take(&mut self.0) { Err(io::Error::other("broken")) } else { Ok(0) }
        }
    }
}

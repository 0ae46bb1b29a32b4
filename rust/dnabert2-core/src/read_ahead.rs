//! Reading on a thread of its own, so that inflating a file overlaps with what is done with its text.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, sync_channel};

const BLOCK: usize = 1 << 20;

/// Blocks that may wait to be taken.
const WAITING: usize = 4;

/// The bytes of another reader, a few blocks ahead. The thread ends with the text, or when this is
/// dropped.
pub struct ReadAhead {
    blocks: Receiver<io::Result<Vec<u8>>>,
    block: Vec<u8>,
    taken: usize,
}

impl ReadAhead {
    /// Start reading.
    pub fn new(source: impl Read + Send + 'static) -> Self {
        let (sender, blocks) = sync_channel(WAITING);
        std::thread::spawn(move || {
            let mut source = source;
            loop {
                let mut block = Vec::with_capacity(BLOCK);
                let outcome = source.by_ref().take(BLOCK as u64).read_to_end(&mut block);
                // What came before an error is handed over first.
                let more = !block.is_empty() && sender.send(Ok(block)).is_ok();
                if let Err(error) = outcome {
                    let _ = sender.send(Err(error)); // nobody listens when the reader was dropped
                    return;
                }
                if !more {
                    return;
                }
            }
        });
        Self { blocks, block: Vec::new(), taken: 0 }
    }
}

impl Read for ReadAhead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.block.len() {
            match self.blocks.recv() {
                Ok(block) => (self.block, self.taken) = (block?, 0),
                Err(_) => return Ok(0), // the thread has come to the end
            }
        }
        let length = buffer.len().min(self.block.len() - self.taken);
        buffer[..length].copy_from_slice(&self.block[self.taken..self.taken + length]);
        self.taken += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_same_bytes_and_the_error_where_it_was() {
        let text: Vec<u8> = (0..=250).cycle().take(3 * BLOCK + 5).collect();
        let mut read = Vec::new();
        ReadAhead::new(io::Cursor::new(text.clone())).read_to_end(&mut read).expect("no error");
        assert!(read == text);
        let broken = io::Cursor::new(text.clone()).chain(Broken);
        let mut read = Vec::new();
        let error = ReadAhead::new(broken).read_to_end(&mut read).expect_err("it is broken");
        assert_eq!(error.to_string(), "broken");
        assert!(read == text);
        drop(ReadAhead::new(io::repeat(1))); // must not wait for the end of it
    }

    struct Broken;

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("broken"))
        }
    }
}

//! Training of byte-pair encoding, exactly as Hugging Face's `BpeTrainer` decides.
//!
//! The rule: count neighbouring pieces (in a run AAA, AA counts twice); merge the most frequent pair
//! everywhere, from left to right, ties going to the smaller (left, right) ranks; repeat. Windows
//! never join. Counts have 32 bits, as positions have: a text of 2^32 bases or more is refused.
//!
//! Training goes by generations (`generation.rs`): one scan counts all pairs and lists where the
//! frequent ones stand, then those are merged from their lists until rarer pairs could be next. The
//! text (`slots.rs`) is one byte a base at first; lists take at most 1.3 bytes a base.

mod generation;
mod slots;
mod table;

use crate::dna::{BASES, base_runs};
use crate::train::generation::{Generation, Pair};
use crate::train::slots::{Slot, compact, widen};
use crate::vocab::{Piece, Vocab};
use crate::{Error, Result, TokenId};

/// Bases kept together while the input comes in, so that nothing large is ever copied whole.
const CHUNK: usize = 1 << 22;

/// Collects windows of sequence, then makes the merges.
///
/// ```
/// let mut trainer = dnabert2_core::train::BpeTrainer::new(None);
/// trainer.add(b"ACACACGT")?;
/// let vocab = trainer.train(5 + 4 + 2, 1, 5, 1, |_| Ok(()))?;
/// assert_eq!(vocab.texts()[4..], [b"AC".to_vec(), b"ACAC".to_vec()]);
/// # Ok::<(), dnabert2_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct BpeTrainer {
    window_bp: Option<usize>,
    chunks: Vec<Vec<u8>>,
    slots: usize,
    bases: u64,
    skipped: u64,
}

impl BpeTrainer {
    /// Start empty; runs of bases are cut every `window_bp` bases, or never.
    #[must_use]
    pub fn new(window_bp: Option<usize>) -> Self {
        Self { window_bp, chunks: vec![vec![BORDER]], slots: 1, bases: 0, skipped: 0 }
    }

    /// Add one sequence: its runs of A, C, G, T in either case. Other letters end a run.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] beyond 2^32 bases in all, which this method cannot hold.
    pub fn add(&mut self, sequence: &[u8]) -> Result<()> {
        let before = self.bases;
        for (_, run) in base_runs(sequence) {
            for window in run.chunks(self.window_bp.unwrap_or(run.len())) {
                self.push(window);
            }
            self.bases += run.len() as u64;
        }
        self.skipped += sequence.len() as u64 - (self.bases - before);
        if u32::try_from(self.slots).is_err() {
            let message = "more than 2^32 bases; train on a sample of the sequences".into();
            return Err(Error::InvalidArgument { name: "sequences", message });
        }
        Ok(())
    }

    /// Bases that were added.
    #[must_use]
    pub fn bases(&self) -> u64 {
        self.bases
    }

    /// Letters other than A, C, G, T that were passed over.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Make merges until the vocabulary, `special` tokens included, has `vocab_size` entries or no
    /// pair occurs `min_frequency` times. The merges do not depend on `threads` (0: every core),
    /// which share the looks at the whole text. `report` hears the number of pieces after every merge
    /// and may stop the work.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when `vocab_size` has no room for the letters or no base was
    /// added; whatever `report` returns.
    pub fn train(
        mut self,
        vocab_size: usize,
        min_frequency: u64,
        special: TokenId,
        threads: usize,
        mut report: impl FnMut(usize) -> Result<()>,
    ) -> Result<Vocab> {
        let (least, most) = (usize::from(special) + BASES.len(), usize::from(TokenId::MAX) + 1);
        if !(least..=most).contains(&vocab_size) {
            let message = format!("{vocab_size} is not between {least} and {most}");
            return Err(Error::InvalidArgument { name: "vocab_size", message });
        }
        if self.bases == 0 {
            let message = "no A, C, G or T in the input: nothing to train on".into();
            return Err(Error::InvalidArgument { name: "sequences", message });
        }
        let least = u32::try_from(min_frequency.max(1)).unwrap_or(u32::MAX);
        let room = usize::try_from(self.bases).unwrap_or(usize::MAX) / 3;
        let mut work = Work {
            most: vocab_size - usize::from(special),
            least,
            room: room.max(1 << 16),
            threads,
            spans: vec![1; BASES.len()],
            merges: Vec::new(),
        };
        let mut narrow = Vec::with_capacity(self.slots);
        for chunk in self.chunks.drain(..) {
            narrow.extend_from_slice(&chunk);
        }
        if work.go(&mut narrow, &mut report)? {
            let mut wide: Vec<u16> = widen(&narrow);
            drop(narrow);
            if work.go(&mut wide, &mut report)? {
                let mut widest: Vec<u32> = widen(&wide);
                drop(wide);
                work.go(&mut widest, &mut report)?;
            }
        }
        let pieces = BASES.len() + work.merges.len();
        let ids = (special..=TokenId::MAX).take(pieces).collect();
        Vocab::new(&BASES, &work.merges, ids)
    }

    fn push(&mut self, window: &[u8]) {
        self.slots += window.len() + 1;
        let full = self.chunks.last().is_none_or(|chunk| chunk.len() + window.len() >= CHUNK);
        if full {
            self.chunks.push(Vec::with_capacity(CHUNK.max(window.len() + 1)));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.extend(window.iter().map(|&base| code(base)));
            chunk.push(BORDER);
        }
    }
}

/// Training under way.
struct Work {
    /// Pieces wanted, letters included.
    most: usize,
    /// Least count of a pair that is merged.
    least: u32,
    /// Positions that may be listed at a time.
    room: usize,
    threads: usize,
    /// Slots of every piece since the last gap was closed.
    spans: Vec<u32>,
    merges: Vec<Pair>,
}

impl Work {
    /// Make merges while pieces fit the slots; returns whether wider ones are needed to go on.
    fn go<T: Slot>(
        &mut self,
        slots: &mut Vec<T>,
        report: &mut impl FnMut(usize) -> Result<()>,
    ) -> Result<bool> {
        loop {
            let mut generation =
                Generation::new(slots, self.spans.len(), self.room, self.least, self.threads);
            let before = self.merges.len();
            while self.spans.len() < self.most {
                if Piece::try_from(self.spans.len()).is_ok_and(|piece| piece >= T::LIMIT) {
                    break;
                }
                let Some((pair, positions)) = generation.pop() else { break };
                let piece = Piece::try_from(self.spans.len()).unwrap_or(Piece::MAX);
                self.spans.push(self.spans[pair.0 as usize] + self.spans[pair.1 as usize]);
                self.merges.push(pair);
                generation.merge(slots, pair, piece, positions, &self.spans);
                report(self.spans.len())?;
            }
            drop(generation);
            compact(slots);
            self.spans.fill(1);
            let full = Piece::try_from(self.spans.len()).is_ok_and(|piece| piece >= T::LIMIT);
            if self.spans.len() == self.most || self.merges.len() == before {
                return Ok(false);
            }
            if full {
                return Ok(true);
            }
        }
    }
}

/// Border between two windows, and at both ends.
const BORDER: u8 = u8::MAX;

fn code(base: u8) -> u8 {
    // A, C, G, T are 0b00, 0b01, 0b11, 0b10 in bits 1 and 2 of their ASCII codes.
    [0, 1, 3, 2][usize::from(base >> 1 & 3)]
}

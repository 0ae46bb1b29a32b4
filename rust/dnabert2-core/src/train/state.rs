//! A training in progress: its limits, and the merges made so far.

use crate::dna::BASES;
use crate::train::pair::{Limits, Pair};
use crate::vocab::{Piece, Vocab};
use crate::{Result, TokenId};

/// Maximum number of merges predicted for one pass: more than the sample predicts correctly, so that
/// few correct merges are missed.
pub(super) const MAX_CANDIDATES: usize = 100;

/// A training in progress.
#[derive(Clone)]
pub(super) struct Work {
    /// Maximum number of pieces, letters included.
    pub max_pieces: usize,
    /// Minimum count of a pair that is merged.
    pub min_count: u64,
    /// Maximum letters of a piece.
    pub max_letters: usize,
    pub threads: usize,
    /// Letters of every piece.
    pub lengths: Vec<usize>,
    pub merges: Vec<Pair>,
}

impl Work {
    pub fn push(&mut self, pair: Pair) {
        self.lengths.push(self.lengths[pair.0 as usize] + self.lengths[pair.1 as usize]);
        self.merges.push(pair);
    }

    /// The same training with more merges.
    pub fn with(&self, merges: &[Pair]) -> Self {
        let mut with = self.clone();
        for &pair in merges {
            with.push(pair);
        }
        with
    }

    /// Letters and the merges made so far, each piece its own id.
    pub fn vocab(&self) -> Result<Vocab> {
        Vocab::new(&BASES, &self.merges, (0..=TokenId::MAX).take(self.lengths.len()).collect())
    }

    /// Number of the next piece.
    pub fn next_piece(&self) -> Piece {
        piece(self.lengths.len())
    }

    pub fn limits(&self, early: usize, late: usize) -> Limits<'_> {
        Limits {
            early,
            late,
            min_count: self.min_count,
            lengths: &self.lengths,
            max_letters: self.max_letters,
            threads: self.threads,
        }
    }
}

/// The piece of this number.
pub(super) fn piece(number: usize) -> Piece {
    Piece::try_from(number).expect("a training has at most 2^16 pieces")
}

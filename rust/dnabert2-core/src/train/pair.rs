//! A pair of pieces, and the limits of what is merged.

use crate::vocab::Piece;

/// Two neighbouring pieces, or the merge of them.
pub type Pair = (Piece, Piece);

/// The limits of every pass over the text.
#[derive(Clone, Copy)]
pub(super) struct Limits<'a> {
    /// Maximum number of positions listed at the start of a generation.
    pub early: usize,
    /// Maximum number of positions listed later, of pairs that arise in the generation.
    pub late: usize,
    /// Minimum count of a pair that is merged.
    pub min_count: u64,
    /// Letters of every piece.
    pub lengths: &'a [usize],
    /// Maximum letters of a piece.
    pub max_letters: usize,
    pub threads: usize,
}

impl Limits<'_> {
    /// Whether the merged pair is within the maximum length.
    pub fn allow(&self, pair: Pair) -> bool {
        self.lengths[pair.0 as usize] + self.lengths[pair.1 as usize] <= self.max_letters
    }
}

//! Longest token first, ties to the more frequent, as the DNABERT-2 paper describes it.
//!
//! **The idea.** The longest token that occurs in a text is taken first. Ties go to the token merged
//! earlier, which was more frequent in training, then to the leftmost position. The parts on both sides
//! are split in the same way. So the vocabulary alone defines the order in which tokens are tried. All
//! positions are sorted into that order, each with the longest token that begins there. A position whose
//! letters are partly taken by then is tried again with the longest shorter token that still fits.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::encode::trie::{NONE, Trie};
use crate::vocab::{Piece, Vocab};

/// A vocabulary prepared for encoding by longest token first, for any alphabet.
///
/// ```
/// use dnabert2_core::{encode::LongestFirst, vocab::Vocab};
/// // AC, GT, CGT: the longest, CGT, comes first and leaves A alone.
/// let vocab = Vocab::new(b"ACGT", &[(0, 1), (2, 3), (1, 5)], vec![0, 1, 2, 3, 4, 5, 6])?;
/// let (encoder, mut pieces) = (LongestFirst::new(&vocab), Vec::new());
/// encoder.encode(&[0, 1, 2, 3], &mut pieces);
/// assert_eq!(pieces, [0, 6]);
/// # Ok::<(), dnabert2_core::Error>(())
/// ```
#[derive(Debug)]
pub struct LongestFirst {
    trie: Trie,
    /// Pieces in the order in which they are tried.
    order: Vec<Piece>,
    /// Position of every piece in that order.
    rank: Vec<u32>,
}

impl LongestFirst {
    /// Sort the pieces of a vocabulary into their order.
    #[must_use]
    pub fn new(vocab: &Vocab) -> Self {
        let mut order: Vec<Piece> = (0..).take(vocab.len()).collect();
        order.sort_by_key(|&p| (Reverse(vocab.texts()[p as usize].len()), p));
        let mut rank = vec![0; order.len()];
        for (&piece, at) in order.iter().zip(0..) {
            rank[piece as usize] = at;
        }
        Self { trie: Trie::new(vocab), order, rank }
    }

    /// Append the pieces of `codes` (letter ranks) to `out`. Needs about 13 bytes per letter.
    ///
    /// # Panics
    /// When a code is not below the number of letters, or for 2^32 letters or more.
    pub fn encode(&self, codes: &[u8], out: &mut Vec<Piece>) {
        assert!(u32::try_from(codes.len()).is_ok(), "a run of 2^32 letters or more");
        // A candidate is a rank and a position, in one number that sorts by both.
        let try_at = |piece: Piece, at: u64| u64::from(self.rank[piece as usize]) << 32 | at;
        let mut first: Vec<u64> = (0..)
            .zip(0..codes.len())
            .map(|(at, i)| try_at(self.trie.longest(&codes[i..]), at))
            .collect();
        first.sort_unstable();
        let mut first = first.into_iter().peekable();
        let mut again = BinaryHeap::new();
        let mut taken = vec![false; codes.len()];
        let mut chosen = vec![NONE; codes.len()];
        loop {
            let sooner = again.peek().is_some_and(|Reverse(a)| first.peek().is_none_or(|f| a < f));
            let next = if sooner { again.pop().map(|Reverse(next)| next) } else { first.next() };
            let Some(next) = next else { break };
            let (mut piece, at) =
                (self.order[(next >> 32) as usize], (next & 0xffff_ffff) as usize);
            let span = &mut taken[at..at + self.trie.length(piece)];
            match span.iter().position(|&taken| taken) {
                None => {
                    span.fill(true);
                    chosen[at] = piece;
                }
                Some(0) => {}
                Some(room) => {
                    while self.trie.length(piece) > room {
                        piece = self.trie.shorter(piece);
                    }
                    again.push(Reverse(try_at(piece, next & 0xffff_ffff)));
                }
            }
        }
        out.extend(chosen.into_iter().filter(|&piece| piece != NONE));
    }
}

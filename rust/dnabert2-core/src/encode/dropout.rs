//! BPE with dropout (Provilkov, Emelianenko and Voita, 2020): several encodings of one text.
//!
//! Merges are made as BPE defines them, earliest first and leftmost first. Before each one, every
//! possible merge is dropped with a given probability; when none remains, the encoding is complete.
//! Probability 0 drops no merge; probability 1 leaves single letters.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand_xoshiro::rand_core::Rng;

use crate::vocab::{Piece, Vocab};

/// No neighbour.
const NONE: usize = usize::MAX;

/// Append a random encoding of `codes` (letter ranks) to `out`; each merge is dropped with the given
/// probability.
///
/// ```
/// use dnabert2_core::{encode::encode_with_dropout, vocab::Vocab};
/// use rand_xoshiro::{SplitMix64, rand_core::SeedableRng};
/// let vocab = Vocab::new(b"AC", &[(0, 1), (2, 2)], vec![0, 1, 2, 3])?;
/// let (mut draw, mut pieces) = (SplitMix64::seed_from_u64(7), Vec::new());
/// encode_with_dropout(&vocab, &[0, 1, 0, 1], 0.0, &mut draw, &mut pieces);
/// encode_with_dropout(&vocab, &[0, 1, 0, 1], 1.0, &mut draw, &mut pieces);
/// assert_eq!(pieces, [3, 0, 1, 0, 1]);
/// # Ok::<(), dnabert2_core::Error>(())
/// ```
pub fn encode_with_dropout(
    vocab: &Vocab,
    codes: &[u8],
    dropout: f64,
    draw: &mut impl Rng,
    out: &mut Vec<Piece>,
) {
    // A doubly linked list: `next` and `previous` of a position are the positions at which the
    // neighbouring pieces begin.
    let mut pieces: Vec<Option<Piece>> = codes.iter().map(|&code| Some(code.into())).collect();
    let mut next: Vec<usize> = (1..=codes.len()).collect();
    let mut previous: Vec<usize> = (0..codes.len()).map(|at| at.wrapping_sub(1)).collect();
    let possible = |pieces: &[Option<Piece>], left: usize, right: usize| {
        let (left, right) = (*pieces.get(left)?, *pieces.get(right)?);
        vocab.merge(left?, right?)
    };
    let mut waiting: BinaryHeap<Reverse<(Piece, usize)>> = (1..codes.len())
        .filter_map(|at| possible(&pieces, at - 1, at).map(|made| Reverse((made, at - 1))))
        .collect();
    let mut left_out = Vec::new();
    while let Some(Reverse((made, at))) = waiting.pop() {
        let right = next[at];
        if pieces[at].is_none() || possible(&pieces, at, right) != Some(made) {
            continue; // one of the two is part of another piece by now
        }
        if uniform(draw) < dropout {
            left_out.push(Reverse((made, at)));
            continue;
        }
        waiting.extend(left_out.drain(..));
        pieces[at] = Some(made);
        pieces[right] = None;
        next[at] = next[right];
        if let Some(after) = previous.get_mut(next[at]) {
            *after = at;
        }
        for (left, right) in [(previous[at], at), (at, next[at])] {
            if left != NONE
                && let Some(made) = possible(&pieces, left, right)
            {
                waiting.push(Reverse((made, left)));
            }
        }
    }
    out.extend(pieces.into_iter().flatten());
}

/// A uniform number in [0, 1) with 53 random bits.
pub(crate) fn uniform(draw: &mut impl Rng) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what a double holds")]
    let whole = (draw.next_u64() >> 11) as f64;
    whole * f64::EPSILON / 2.0
}

//! Merges without the text in memory: each look at it encodes it with the merges made so far, counts all
//! pairs, and decides as many further merges as those counts settle for certain.
//!
//! The most frequent pair is the next merge. The pair after it is the one after that, if (1) it shares
//! no piece with the merges of this look, so that its count still holds, (2) no pair that does share one
//! is at least as frequent, and (3) no pair with a new piece can be: a pair of the new piece XY and a
//! neighbour T was a pair of T and X, or of Y and T, before, and cannot be more frequent than that was;
//! where X and Y are the same, the pair XX itself is one of these.

use std::sync::Mutex;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::Result;
use crate::encode::Scratch;
use crate::threads::share_out;
use crate::train::Work;
use crate::train::generation::{Pair, lock};
use crate::train::part::{Part, PieceEncoder};

/// Bytes that training in memory takes for each piece of the text.
const BYTES_A_PIECE: u64 = 4;

/// Make merges by looks at the text until what is left of it fits `memory_limit` bytes. Returns whether
/// there are more merges to make.
pub(super) fn stream(
    work: &mut Work,
    parts: &mut [Part],
    memory_limit: u64,
    report: &mut impl FnMut(&[Pair]) -> Result<()>,
) -> Result<bool> {
    let slots: usize = parts.iter().map(Part::slots).sum();
    if work.merges.is_empty() && slots as u64 * BYTES_A_PIECE <= memory_limit {
        return Ok(true);
    }
    while work.lengths.len() < work.most {
        let (pieces, counts) = look(work, parts)?;
        if pieces * BYTES_A_PIECE <= memory_limit {
            return Ok(true);
        }
        let certain = certain_merges(work, &counts);
        if certain.is_empty() {
            return Ok(false);
        }
        for pair in certain.into_iter().take(work.most - work.lengths.len()) {
            work.push(pair);
            report(&work.merges)?;
        }
    }
    Ok(false)
}

/// Number of pieces in the text, and how often every pair occurs.
fn look(work: &Work, parts: &mut [Part]) -> Result<(u64, FxHashMap<Pair, u64>)> {
    let vocab = work.vocab()?;
    let encoder = PieceEncoder::new(&vocab);
    let parts: Vec<_> = parts.iter_mut().map(Mutex::new).collect();
    let counted = share_out(work.threads, &parts, Scratch::default, |scratch, part| {
        let mut part = lock(part);
        let (mut pieces, mut counts) = (0_u64, FxHashMap::<Pair, u64>::default());
        let weight = part.weight;
        part.read(|window| {
            let mut left = None;
            encoder.encode(window, scratch, |right| {
                pieces += 1;
                if let Some(left) = left.replace(right) {
                    *counts.entry((left, right)).or_default() += weight;
                }
            });
            Ok(())
        })?;
        Ok((pieces, counts))
    });
    let (mut pieces, mut counts) = (0, FxHashMap::<Pair, u64>::default());
    for part in counted {
        let (some, part) = part?;
        pieces += some;
        for (pair, count) in part {
            *counts.entry(pair).or_default() += count;
        }
    }
    Ok((pieces, counts))
}

fn certain_merges(work: &Work, counts: &FxHashMap<Pair, u64>) -> Vec<Pair> {
    let allow = |pair: &Pair| {
        work.lengths[pair.0 as usize] + work.lengths[pair.1 as usize] <= work.most_letters
    };
    let mut order: Vec<(Pair, u64)> =
        counts.iter().map(|(&pair, &count)| (pair, count)).filter(|(p, _)| allow(p)).collect();
    order.sort_unstable_by_key(|&(pair, count)| (std::cmp::Reverse(count), pair));
    let mut certain = Vec::new();
    let mut touched = FxHashSet::default();
    // No pair with a new piece is more frequent than this.
    let mut arising = 0;
    for (pair, count) in order {
        let free = !touched.contains(&pair.0) && !touched.contains(&pair.1);
        if count < work.least || !(certain.is_empty() || (free && count > arising)) {
            break;
        }
        certain.push(pair);
        touched.extend([pair.0, pair.1]);
        for (&(left, right), &neighbours) in counts {
            let itself = (left, right) == pair && left != right;
            if (right == pair.0 || left == pair.1) && !itself {
                arising = arising.max(neighbours);
            }
        }
    }
    certain
}

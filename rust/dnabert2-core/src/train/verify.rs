//! Which candidates are correct merges, from the counts of the text with all of them merged.
//!
//! **The idea.** The counts of every earlier stage follow from these counts. Before a piece is made,
//! each of its occurrences is its two parts, which are neighbours, and a neighbour of the piece is a
//! neighbour of one of the parts. So the counts are computed backwards to the stage before the first
//! candidate. The most frequent pair of that stage is certainly the next merge. If it is a candidate, the
//! counts of the next stage are known as well, and so on up to the first merge that is not a candidate.
//!
//! **Order.** A candidate may be correct at an earlier stage than predicted. The text is the same when
//! it moves before merges that never overlap with it.

use std::cmp::Reverse;

use rustc_hash::FxHashMap;

use crate::Result;
use crate::train::pair::Pair;
use crate::train::state::{MAX_CANDIDATES, Work, piece};
use crate::vocab::Piece;

/// Weighted counts of the text at some stage of the candidates.
pub(super) struct Counts {
    pub pairs: FxHashMap<Pair, u64>,
    /// By piece.
    pub pieces: Vec<u64>,
}

/// The outcome of the counts of one pass.
pub(super) struct Verified {
    /// Whether each candidate was made.
    pub made: Vec<bool>,
    /// Whether no pair is left to merge.
    pub all: bool,
    /// The pairs that were most frequent after the last one merged, in this order.
    pub frequent: Vec<Pair>,
}

/// Make the merges that the counts prove, at least one if any pair is frequent enough. `work` must
/// have merges left to make.
///
/// Pieces have the candidates' numbers here; `own` maps them to their final numbers once they are made.
pub(super) fn verify(
    work: &mut Work,
    candidates: &[Pair],
    mut counts: Counts,
    report: &mut impl FnMut(&[Pair]) -> Result<()>,
) -> Result<Verified> {
    let known = work.lengths.len();
    let mut own: Vec<Piece> = (0..known + candidates.len()).map(piece).collect();
    let mut waiting: Vec<(Piece, Pair)> =
        (known..).map(piece).zip(candidates.iter().copied()).collect();
    let (mut lengths, max_letters) = (work.lengths.clone(), work.max_letters);
    for pair in candidates {
        lengths.push(lengths[pair.0 as usize] + lengths[pair.1 as usize]);
    }
    let allowed = |pair: &Pair| lengths[pair.0 as usize] + lengths[pair.1 as usize] <= max_letters;
    // The highest count only falls from stage to stage, so it is never below that of the last.
    let pairs = counts.pairs.iter().filter(|(pair, _)| allowed(pair));
    let floor = pairs.map(|(_, &times)| times).max().unwrap_or(1);
    let mut all;
    'stages: loop {
        let mut undone = counts.take_back(&waiting);
        let pairs = counts.pairs.iter().filter(|(pair, times)| **times >= floor && allowed(pair));
        let mut ranked: Vec<Pair> = pairs.map(|(&pair, _)| pair).collect();
        loop {
            let rank = |pair: &Pair| {
                let times = counts.pairs.get(pair).copied().unwrap_or(0);
                (times, Reverse((own[pair.0 as usize], own[pair.1 as usize])))
            };
            let top = ranked.iter().copied().max_by_key(rank);
            let Some(top) = top.filter(|top| rank(top).0 >= work.min_count) else {
                all = true;
                break 'stages;
            };
            let made = work.next_piece();
            work.push((own[top.0 as usize], own[top.1 as usize]));
            report(&work.merges)?;
            all = work.lengths.len() == work.max_pieces;
            let position = waiting.iter().position(|(_, pair)| *pair == top);
            let comes_first = |&position: &usize| {
                waiting[..position].iter().all(|(_, pair)| !may_overlap(top, *pair))
            };
            let Some(position) = position.filter(comes_first).filter(|_| !all) else {
                break 'stages;
            };
            own[waiting.remove(position).0 as usize] = made;
            if position > 0 {
                undone.into_iter().rev().for_each(|step| counts.redo(step));
                continue 'stages; // the later stages have changed
            }
            if let Some(step) = undone.pop() {
                ranked.extend(step.gone.iter().map(|(pair, _)| *pair).filter(allowed));
                counts.redo(step);
            }
        }
    }
    let is_made = |piece| waiting.iter().all(|(other, _)| *other != piece);
    let made = (known..known + candidates.len()).map(|number| is_made(piece(number))).collect();
    let rank = |pair: &Pair| (counts.pairs[pair], Reverse(*pair));
    let mut frequent: Vec<Pair> = counts.pairs.keys().copied().filter(allowed).collect();
    frequent.sort_unstable_by_key(|pair| Reverse(rank(pair)));
    let name = |pair: Pair| (own[pair.0 as usize], own[pair.1 as usize]);
    let frequent = frequent.into_iter().map(name).filter(|pair| work.merges.last() != Some(pair));
    Ok(Verified { made, all, frequent: frequent.take(MAX_CANDIDATES).collect() })
}

/// Whether two merges can overlap on one piece of a text, so that their order matters.
fn may_overlap(one: Pair, other: Pair) -> bool {
    one.0 == other.1 || one.1 == other.0
}

/// Changes of the counts when a merge was undone.
struct Undone {
    piece: Piece,
    parts: Pair,
    times: u64,
    /// Pairs of the piece, with their counts.
    gone: Vec<(Pair, u64)>,
    /// The pairs that replace them.
    come: Vec<(Pair, u64)>,
}

impl Counts {
    /// Undo merges, the last first. Returns the changes needed to redo them, the first merge last.
    fn take_back(&mut self, merges: &[(Piece, Pair)]) -> Vec<Undone> {
        // A pair is undone with the later of its pieces.
        let mut stage = vec![0; self.pieces.len()];
        for (&(piece, _), number) in merges.iter().zip(1..) {
            stage[piece as usize] = number;
        }
        let stage = |pair: Pair| -> usize { stage[pair.0 as usize].max(stage[pair.1 as usize]) };
        let mut of_stage: Vec<Vec<Pair>> = vec![Vec::new(); merges.len() + 1];
        for &pair in self.pairs.keys().filter(|pair| stage(**pair) > 0) {
            of_stage[stage(pair)].push(pair);
        }
        let mut undone = Vec::new();
        for &(piece, parts) in merges.iter().rev() {
            let pairs = of_stage.pop().unwrap_or_default();
            let gone: Vec<(Pair, u64)> = pairs
                .into_iter()
                .filter_map(|pair| Some((pair, self.pairs.remove(&pair)?)))
                .collect();
            let last = |left: Piece| if left == piece { parts.1 } else { left };
            let first = |right: Piece| if right == piece { parts.0 } else { right };
            let apart = |&((left, right), times): &(Pair, u64)| ((last(left), first(right)), times);
            let times = std::mem::take(&mut self.pieces[piece as usize]);
            let come: Vec<_> = gone.iter().map(apart).chain([(parts, times)]).collect();
            self.pieces[parts.0 as usize] += times;
            self.pieces[parts.1 as usize] += times;
            for &(pair, times) in come.iter().filter(|(_, times)| *times > 0) {
                let count = self.pairs.entry(pair).or_default();
                if *count == 0 && stage(pair) > 0 {
                    of_stage[stage(pair)].push(pair);
                }
                *count += times;
            }
            undone.push(Undone { piece, parts, times, gone, come });
        }
        undone
    }

    fn redo(&mut self, step: Undone) {
        for (pair, times) in step.come {
            if let Some(count) = self.pairs.get_mut(&pair) {
                *count -= times;
            }
        }
        self.pairs.extend(step.gone);
        self.pieces[step.parts.0 as usize] -= step.times;
        self.pieces[step.parts.1 as usize] -= step.times;
        self.pieces[step.piece as usize] = step.times;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{may_overlap, verify};
    use crate::train::in_memory::train_in_memory;
    use crate::train::packed_text::PackedText;
    use crate::train::speculate::count;
    use crate::train::state::Work;

    fn texts(windows: &[Vec<u8>]) -> Vec<PackedText> {
        let mut texts: Vec<PackedText> = [1, 3].map(PackedText::new).into();
        for (number, window) in windows.iter().enumerate() {
            texts[number % 2].push(window).expect("in memory");
        }
        texts
    }

    fn letters_only(max_pieces: usize, min_count: u64, max_letters: usize) -> Work {
        Work {
            max_pieces,
            min_count,
            max_letters,
            threads: 1,
            lengths: vec![1; 4],
            merges: Vec::new(),
        }
    }

    #[test]
    fn merges_overlap_where_one_ends_as_the_other_begins() {
        assert!(may_overlap((1, 2), (2, 3)) && may_overlap((2, 3), (1, 2)));
        assert!(may_overlap((1, 2), (2, 1)) && may_overlap((4, 4), (4, 4)));
        assert!(!may_overlap((1, 2), (1, 3)) && !may_overlap((1, 3), (2, 3)));
        assert!(!may_overlap((1, 2), (3, 4)));
    }

    proptest! {
        /// Whatever text the candidates come from, the merges made are correct; all candidates that
        /// were predicted in order are made, and the one after.
        #[test]
        fn candidates_do_not_change_the_merges(
            windows in proptest::collection::vec("[ACGT]{1,150}|(AC|TTA|G){1,60}|A{1,90}", 2..6),
            others in proptest::collection::vec("[ACGT]{1,150}|(AC|TTA|G){1,60}|A{1,90}", 0..3),
            seen in 0..6_usize,
            known in 0..9_usize,
            merges in 9..50_usize,
            min_count in 1..4_u64,
            max_letters in prop_oneof![Just(usize::MAX), 2..9_usize],
        ) {
            let bytes = |texts: Vec<String>| texts.into_iter().map(String::into_bytes);
            let windows: Vec<Vec<u8>> = bytes(windows).collect();
            let sample: Vec<Vec<u8>> =
                windows.iter().take(seen).cloned().chain(bytes(others)).collect();
            let start = letters_only(4 + merges, min_count, max_letters);
            let mut right = start.clone();
            train_in_memory(&mut right, texts(&windows), &mut |_| Ok(())).expect("in memory");
            let mut work = start;
            right.merges.iter().take(known).for_each(|&pair| work.push(pair));
            let mut rehearsal = Work { min_count: 1, ..work.clone() };
            train_in_memory(&mut rehearsal, texts(&sample), &mut |_| Ok(())).expect("in memory");
            let candidates = rehearsal.merges.split_off(work.merges.len());
            let (counts, _) = count(&work, &candidates, &mut texts(&windows)).expect("in memory");
            let verified = verify(&mut work, &candidates, counts, &mut |_| Ok(())).expect("no stop");
            let number = work.merges.len();
            prop_assert_eq!(&work.merges[..], &right.merges[..number]);
            let same = rehearsal.merges.iter().chain(&candidates).zip(&right.merges);
            let same = same.take_while(|(one, other)| one == other).count();
            prop_assert!(number >= right.merges.len().min(same + 1));
            prop_assert!(!verified.all || number == right.merges.len());
        }
    }
}

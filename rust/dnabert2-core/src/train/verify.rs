//! Which guessed merges are right, from how often everything occurs when all of them are merged.
//!
//! From these counts those of every earlier stage follow. As long as a piece is not made, each of it
//! stands for its two parts, which are neighbours; and what neighbours the piece neighbours one of them.
//! So the counts are taken back to the stage before the first guess, where the most frequent pair is the
//! next merge for certain. If it was guessed, the counts of the next stage are known as well, and so on
//! up to the first merge that nobody guessed.
//!
//! A merge may have been guessed for a later stage: the text is the same if it comes before merges that
//! never want the same piece of it.

use std::cmp::Reverse;

use rustc_hash::FxHashMap;

use crate::Result;
use crate::train::Work;
use crate::train::pair_index::Pair;
use crate::train::speculate::GUESSES;
use crate::vocab::Piece;

/// How often everything occurs in the text, weighted, at some stage of the guesses.
pub(super) struct Counts {
    pub pairs: FxHashMap<Pair, u64>,
    /// By piece.
    pub pieces: Vec<u64>,
}

/// What the counts of a look settled.
pub(super) struct Confirmed {
    /// Whether each guess was made.
    pub made: Vec<bool>,
    /// Whether there is nothing more to merge.
    pub all: bool,
    /// The pairs that were most frequent beside the last one merged, in this order.
    pub frequent: Vec<Pair>,
}

/// Make the merges that the counts settle, at least one if any pair is frequent enough; there must be
/// some to make.
///
/// Pieces have the guesses' numbers here, `own` their numbers once they are made.
pub(super) fn confirm(
    work: &mut Work,
    guesses: &[Pair],
    mut counts: Counts,
    report: &mut impl FnMut(&[Pair]) -> Result<()>,
) -> Result<Confirmed> {
    let known = work.lengths.len();
    let piece = |number: usize| Piece::try_from(number).unwrap_or(Piece::MAX);
    let mut own: Vec<Piece> = (0..known + guesses.len()).map(piece).collect();
    let mut waiting: Vec<(Piece, Pair)> =
        (known..).map(piece).zip(guesses.iter().copied()).collect();
    let (mut lengths, most_letters) = (work.lengths.clone(), work.most_letters);
    for pair in guesses {
        lengths.push(lengths[pair.0 as usize] + lengths[pair.1 as usize]);
    }
    let allowed = |pair: &Pair| lengths[pair.0 as usize] + lengths[pair.1 as usize] <= most_letters;
    // The highest count only falls from stage to stage, so it is never below that of the last.
    let pairs = counts.pairs.iter().filter(|(pair, _)| allowed(pair));
    let floor = pairs.map(|(_, &times)| times).max().unwrap_or(1);
    let mut all;
    'order: loop {
        let mut undone = counts.take_back(&waiting);
        let pairs = counts.pairs.iter().filter(|(pair, times)| **times >= floor && allowed(pair));
        let mut candidates: Vec<Pair> = pairs.map(|(&pair, _)| pair).collect();
        loop {
            let rank = |pair: &Pair| {
                let times = counts.pairs.get(pair).copied().unwrap_or(0);
                (times, Reverse((own[pair.0 as usize], own[pair.1 as usize])))
            };
            let top = candidates.iter().copied().max_by_key(rank);
            let Some(top) = top.filter(|top| rank(top).0 >= work.least) else {
                all = true;
                break 'order;
            };
            let made = piece(work.lengths.len());
            work.push((own[top.0 as usize], own[top.1 as usize]));
            report(&work.merges)?;
            all = work.lengths.len() == work.most;
            let place = waiting.iter().position(|(_, pair)| *pair == top);
            let comes_first =
                |&place: &usize| waiting[..place].iter().all(|(_, pair)| !may_overlap(top, *pair));
            let Some(place) = place.filter(comes_first).filter(|_| !all) else { break 'order };
            own[waiting.remove(place).0 as usize] = made;
            if place > 0 {
                undone.into_iter().rev().for_each(|step| counts.redo(step));
                continue 'order; // the stages from here on are others
            }
            if let Some(step) = undone.pop() {
                candidates.extend(step.gone.iter().map(|(pair, _)| *pair).filter(allowed));
                counts.redo(step);
            }
        }
    }
    let is_made = |piece| waiting.iter().all(|(other, _)| *other != piece);
    let made = (known..known + guesses.len()).map(|number| is_made(piece(number))).collect();
    let rank = |pair: &Pair| (counts.pairs[pair], Reverse(*pair));
    let mut frequent: Vec<Pair> = counts.pairs.keys().copied().filter(allowed).collect();
    frequent.sort_unstable_by_key(|pair| Reverse(rank(pair)));
    let name = |pair: Pair| (own[pair.0 as usize], own[pair.1 as usize]);
    let frequent = frequent.into_iter().map(name).filter(|pair| work.merges.last() != Some(pair));
    Ok(Confirmed { made, all, frequent: frequent.take(GUESSES).collect() })
}

/// Whether two merges can want the same piece of a text, so that their order matters.
fn may_overlap(one: Pair, other: Pair) -> bool {
    one.0 == other.1 || one.1 == other.0
}

/// How the counts changed when a merge was taken back.
struct Undone {
    piece: Piece,
    parts: Pair,
    times: u64,
    /// Pairs of the piece, with their counts.
    gone: Vec<(Pair, u64)>,
    /// What became of them.
    come: Vec<(Pair, u64)>,
}

impl Counts {
    /// Take back merges, the last first. Returns what is needed to redo them, the first merge last.
    fn take_back(&mut self, merges: &[(Piece, Pair)]) -> Vec<Undone> {
        // A pair goes with the later of its pieces.
        let mut turn = vec![0; self.pieces.len()];
        for (&(piece, _), number) in merges.iter().zip(1..) {
            turn[piece as usize] = number;
        }
        let turn = |pair: Pair| -> usize { turn[pair.0 as usize].max(turn[pair.1 as usize]) };
        let mut of_turn: Vec<Vec<Pair>> = vec![Vec::new(); merges.len() + 1];
        for &pair in self.pairs.keys().filter(|pair| turn(**pair) > 0) {
            of_turn[turn(pair)].push(pair);
        }
        let mut undone = Vec::new();
        for &(piece, parts) in merges.iter().rev() {
            let pairs = of_turn.pop().unwrap_or_default();
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
                if *count == 0 && turn(pair) > 0 {
                    of_turn[turn(pair)].push(pair);
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

    use super::confirm;
    use crate::train::Work;
    use crate::train::packed_text::Part;
    use crate::train::speculate::count;

    fn parts(windows: &[Vec<u8>]) -> Vec<Part> {
        let mut parts: Vec<Part> = [1, 3].map(Part::new).into();
        for (number, window) in windows.iter().enumerate() {
            parts[number % 2].push(window).expect("in memory");
        }
        parts
    }

    fn letters_only(most: usize, least: u64, most_letters: usize) -> Work {
        Work { most, least, most_letters, threads: 1, lengths: vec![1; 4], merges: Vec::new() }
    }

    proptest! {
        /// Whatever another text made guess, the merges made are the right ones; and all of them that
        /// were guessed in order, with the one after.
        #[test]
        fn guesses_do_not_change_the_merges(
            windows in proptest::collection::vec("[ACGT]{1,150}|(AC|TTA|G){1,60}|A{1,90}", 2..6),
            others in proptest::collection::vec("[ACGT]{1,150}|(AC|TTA|G){1,60}|A{1,90}", 0..3),
            seen in 0..6_usize,
            known in 0..9_usize,
            merges in 9..50_usize,
            least in 1..4_u64,
            most_letters in prop_oneof![Just(usize::MAX), 2..9_usize],
        ) {
            let bytes = |texts: Vec<String>| texts.into_iter().map(String::into_bytes);
            let windows: Vec<Vec<u8>> = bytes(windows).collect();
            let sample: Vec<Vec<u8>> =
                windows.iter().take(seen).cloned().chain(bytes(others)).collect();
            let start = letters_only(4 + merges, least, most_letters);
            let mut right = start.clone();
            right.in_memory(parts(&windows), &mut |_| Ok(())).expect("in memory");
            let mut work = start;
            right.merges.iter().take(known).for_each(|&pair| work.push(pair));
            let mut rehearsal = Work { least: 1, ..work.clone() };
            rehearsal.in_memory(parts(&sample), &mut |_| Ok(())).expect("in memory");
            let guesses = rehearsal.merges.split_off(work.merges.len());
            let (counts, _) = count(&work, &guesses, &mut parts(&windows)).expect("in memory");
            let confirmed = confirm(&mut work, &guesses, counts, &mut |_| Ok(())).expect("no stop");
            let number = work.merges.len();
            prop_assert_eq!(&work.merges[..], &right.merges[..number]);
            let same = rehearsal.merges.iter().chain(&guesses).zip(&right.merges);
            let same = same.take_while(|(one, other)| one == other).count();
            prop_assert!(number >= right.merges.len().min(same + 1));
            prop_assert!(!confirmed.all || number == right.merges.len());
        }
    }
}

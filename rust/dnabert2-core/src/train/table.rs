//! One look at the whole text: how often every pair occurs, and where the frequent ones stand.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use rustc_hash::FxHashMap;

use crate::threads::{count, share_out};
use crate::train::generation::{Pair, Watched};
use crate::train::slots::Slot;
use crate::vocab::Piece;

/// Entries of a table; with more pairs than entries several share one.
const ENTRIES: usize = 1 << 22;

/// Each thread counts into a table of its own; more than these would cost too much memory.
const MOST_THREADS: usize = 8;

/// Most pairs watched from the start of a generation.
const MOST_PAIRS: usize = 1 << 16;

/// A generation reaches down to this part of its highest count.
const REACH: u32 = 8;

/// Counts of pairs; exact when every pair has an entry of its own, else too high for some.
pub(super) struct Table {
    counts: Vec<u32>,
    pieces: usize,
    exact: bool,
    /// Stretches of slots with the counts of the pairs that begin in them.
    parts: Vec<(Range<usize>, Vec<u32>)>,
}

impl Table {
    pub fn count<T: Slot>(slots: &[T], pieces: usize, threads: usize) -> Self {
        let entries = pieces.saturating_mul(pieces).min(ENTRIES);
        let exact = pieces.saturating_mul(pieces) <= ENTRIES;
        let threads = count(threads).min(MOST_THREADS);
        let size = (slots.len() / threads).max(1 << 16);
        let stretches: Vec<Range<usize>> =
            (0..slots.len()).step_by(size).map(|a| a..slots.len().min(a + size)).collect();
        let counted = share_out(
            threads,
            &stretches,
            || (),
            |(), stretch| {
                let mut counts = vec![0_u32; entries];
                for (_, pair) in pairs(slots, stretch) {
                    counts[entry(pair, pieces)] += 1;
                }
                counts
            },
        );
        let parts: Vec<_> = stretches.into_iter().zip(counted).collect();
        let mut counts = vec![0; entries];
        for (_, part) in &parts {
            for (sum, count) in counts.iter_mut().zip(part) {
                *sum += count;
            }
        }
        Self { counts, pieces, exact, parts }
    }

    /// The pairs to watch, which take at most `room` positions and occur at least `least` times,
    /// and the count from which on all pairs are among them.
    pub fn watch<T: Slot>(
        self,
        slots: &[T],
        room: usize,
        least: u32,
        threads: usize,
    ) -> (u32, FxHashMap<Pair, Watched>) {
        let mut threshold = self.threshold(room).max(least);
        if self.exact {
            return (threshold, self.list(slots, threshold, threads));
        }
        // The highest entry may stand for several rare pairs; then none reaches so high.
        let mut watched = self.list_shared(slots, threshold);
        while watched.is_empty() && threshold > least {
            threshold = (threshold / 2).max(least);
            watched = self.list_shared(slots, threshold);
        }
        (threshold, watched)
    }

    /// The pairs that occur at least `threshold` times, with their positions, from an exact table.
    fn list<T: Slot>(
        mut self,
        slots: &[T],
        threshold: u32,
        threads: usize,
    ) -> FxHashMap<Pair, Watched> {
        let piece = |number: usize| Piece::try_from(number).unwrap_or(Piece::MAX);
        let mut watched = Vec::new();
        // From here on an entry of `counts` holds the number of its list; 0 is for pairs not watched.
        for (entry, count) in self.counts.iter_mut().enumerate() {
            if *count < threshold {
                *count = 0;
                continue;
            }
            let pair = (piece(entry / self.pieces), piece(entry % self.pieces));
            let positions = vec![0; *count as usize];
            watched.push((entry, pair, Watched { count: *count, positions }));
            *count = piece(watched.len());
        }
        // Every stretch fills its own part of every list. List 0 takes what nobody watches, always in
        // the same place: half of all pairs go there, and a branch would be guessed wrong as often.
        let mut nobody = vec![[0]; self.parts.len()];
        let mut places: Vec<Vec<&mut [u32]>> =
            nobody.iter_mut().map(|list| vec![&mut list[..]]).collect();
        for (entry, _, watched) in &mut watched {
            let mut rest = &mut watched.positions[..];
            for ((_, counts), lists) in self.parts.iter().zip(&mut places) {
                let (here, there) = rest.split_at_mut(counts[*entry] as usize);
                lists.push(here);
                rest = there;
            }
        }
        let work: Vec<_> = self
            .parts
            .iter()
            .map(|(stretch, _)| stretch)
            .zip(places.into_iter().map(Mutex::new))
            .collect();
        share_out(
            threads,
            &work,
            || (),
            |(), (stretch, lists)| {
                let mut lists = lists.lock().unwrap_or_else(PoisonError::into_inner);
                let mut filled = vec![0; lists.len()];
                for (at, pair) in pairs(slots, stretch) {
                    let number = self.counts[entry(pair, self.pieces)] as usize;
                    lists[number][filled[number]] = at;
                    filled[number] += usize::from(number > 0);
                }
            },
        );
        drop(work);
        watched.into_iter().map(|(_, pair, watched)| (pair, watched)).collect()
    }

    /// The same from a table in which pairs share entries.
    fn list_shared<T: Slot>(&self, slots: &[T], threshold: u32) -> FxHashMap<Pair, Watched> {
        let mut watched = FxHashMap::<Pair, Watched>::default();
        for (at, pair) in pairs(slots, &(0..slots.len())) {
            if self.counts[entry(pair, self.pieces)] >= threshold {
                let nothing = Watched { count: 0, positions: Vec::new() };
                let place = watched.entry(pair).or_insert(nothing);
                place.count += 1;
                place.positions.push(at);
            }
        }
        watched.retain(|_, pair| pair.count >= threshold);
        watched
    }

    /// Lowest count, in steps of an eighth of a power of two, from which on all pairs together have
    /// at most `room` positions and are not too many; but never above the highest count.
    fn threshold(&self, room: usize) -> u32 {
        let step = |count: u32| {
            let shift = (u32::BITS - count.leading_zeros()).saturating_sub(4);
            (shift * 8 + (count >> shift)) as usize
        };
        let mut bins = vec![(u32::MAX, 0_usize, 0_usize); step(u32::MAX) + 1];
        let mut top = 0;
        for &count in self.counts.iter().filter(|&&count| count > 0) {
            let (lowest, positions, pairs) = &mut bins[step(count)];
            *lowest = count.min(*lowest);
            *positions += count as usize;
            *pairs += 1;
            top = top.max(count);
        }
        let (mut threshold, mut positions, mut pairs) = (top, 0, 0);
        for &(lowest, more, number) in bins.iter().rev().filter(|(_, _, number)| *number > 0) {
            positions += more;
            pairs += number;
            if positions > room || pairs > MOST_PAIRS || lowest < top / REACH {
                break;
            }
            threshold = lowest;
        }
        threshold.max(1)
    }
}

fn entry((left, right): Pair, pieces: usize) -> usize {
    (left as usize * pieces + right as usize) % ENTRIES
}

/// The pairs whose first slot lies in a stretch, with that slot.
fn pairs<'a, T: Slot>(
    slots: &'a [T],
    stretch: &Range<usize>,
) -> impl Iterator<Item = (u32, Pair)> + use<'a, T> {
    let end = slots.len().min(stretch.end + 1);
    let first = u32::try_from(stretch.start).unwrap_or(u32::MAX);
    slots[stretch.start..end].windows(2).zip(first..).filter_map(|(two, at)| {
        let (left, right) = (two[0].get(), two[1].get());
        (left != T::BORDER && right != T::BORDER).then_some((at, (left, right)))
    })
}

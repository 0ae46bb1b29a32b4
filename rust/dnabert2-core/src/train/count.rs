//! One look at the whole text: how often every pair occurs, and where the frequent ones stand.

use std::sync::Mutex;

use rustc_hash::FxHashMap;

use crate::parallel::share_out;
use crate::train::pair_index::{Limits, Pair, Watched, lock, positions};
use crate::train::partition::Region;
use crate::train::slots::Slot;
use crate::vocab::Piece;

/// Most entries of a table; with more pairs than entries several share one.
const MOST_ENTRIES: usize = 1 << 22;

/// Slots for each entry of all regions' tables, so that they stay small beside the text.
const SLOTS_AN_ENTRY: usize = 4;

/// Most pairs watched from the start of a generation.
const MOST_PAIRS: usize = 1 << 16;

/// A generation reaches down to this part of its highest count.
const REACH: u64 = 16;

/// Let every region list the pairs to watch: those from a count on that gives at most
/// [`Limits::early`] positions. Returns that count, and the pairs.
pub(super) fn watch<T: Slot>(
    regions: &[Mutex<Region<T>>],
    pieces: usize,
    limits: Limits<'_>,
) -> (u64, FxHashMap<Pair, Watched>) {
    let slots: usize = regions.iter().map(|region| lock(region).len()).sum();
    let entries = (slots / SLOTS_AN_ENTRY / regions.len()).clamp(1 << 16, MOST_ENTRIES);
    let entries = 1 << entries.ilog2();
    let all = pieces.saturating_mul(pieces);
    let shape = Shape { pieces, entries: entries.min(all.next_power_of_two()) };
    share_out(limits.threads, regions, || (), |(), region| shape.count(&mut lock(region)));
    let held: Vec<_> = regions.iter().map(lock).collect();
    let least_weight = held.iter().map(|region| region.weight).min().unwrap_or(1);
    let total = |entry: usize| -> u64 {
        held.iter().map(|region| u64::from(region.counts[entry]) * region.weight).sum()
    };
    let watched = |count| Watched { count, late: 0 };
    let mut threshold = shape.threshold(total, least_weight, limits).max(limits.least);
    if shape.exact() {
        let pairs: Vec<(Pair, u64)> = (0..all)
            .map(|entry| (shape.pair(entry), total(entry)))
            .filter(|&(pair, count)| count >= threshold && limits.allow(pair))
            .collect();
        drop(held);
        let most = limits.early / regions.len() + 1;
        let listed: Vec<Pair> = pairs.iter().map(|(pair, _)| *pair).collect();
        share_out(
            limits.threads,
            regions,
            || (),
            |(), region| shape.list(&mut lock(region), &listed, most),
        );
        return (threshold, pairs.into_iter().map(|(pair, n)| (pair, watched(n))).collect());
    }
    drop(held);
    // The highest entry may stand for several rare pairs; then none reaches so high.
    loop {
        let pairs = list_shared(shape, regions, threshold, limits);
        if !pairs.is_empty() || threshold <= limits.least {
            return (threshold, pairs.into_iter().map(|(pair, n)| (pair, watched(n))).collect());
        }
        threshold = (threshold / 2).max(limits.least);
    }
}

/// Where a pair is counted.
#[derive(Clone, Copy)]
struct Shape {
    pieces: usize,
    /// A power of two.
    entries: usize,
}

impl Shape {
    fn entry(self, (left, right): Pair) -> usize {
        (left as usize * self.pieces + right as usize) & (self.entries - 1)
    }

    /// The pair of an entry, where every pair has one of its own.
    fn pair(self, entry: usize) -> Pair {
        let piece = |number: usize| Piece::try_from(number).unwrap_or(Piece::MAX);
        (piece(entry / self.pieces), piece(entry % self.pieces))
    }

    /// Whether every pair has an entry of its own.
    fn exact(self) -> bool {
        self.pieces.saturating_mul(self.pieces) <= self.entries
    }

    fn count<T: Slot>(self, region: &mut Region<T>) {
        let mut counts = std::mem::take(&mut region.counts);
        counts.clear();
        counts.resize(self.entries, 0);
        for (_, pair) in region.pairs() {
            counts[self.entry(pair)] += 1;
        }
        region.counts = counts;
    }

    /// List pairs in a region that was counted exactly.
    fn list<T: Slot>(self, region: &mut Region<T>, pairs: &[Pair], most: usize) {
        let counts = &mut region.counts;
        let sizes: Vec<usize> =
            pairs.iter().map(|&pair| counts[self.entry(pair)] as usize).collect();
        // From here on an entry holds the number of its list.
        counts.fill(0);
        for (&pair, number) in pairs.iter().zip(1..) {
            counts[self.entry(pair)] = number;
        }
        region.list(pairs, &sizes, most, |numbers, pair| numbers[self.entry(pair)] as usize);
    }

    /// Lowest count, in steps of an eighth of a power of two, from which on all pairs together have
    /// at most `room` positions and are not too many; but never above the highest count.
    fn threshold(self, total: impl Fn(usize) -> u64, least_weight: u64, limits: Limits<'_>) -> u64 {
        let step = |count: u64| {
            let shift = (u64::BITS - count.leading_zeros()).saturating_sub(4);
            (shift * 8) as usize + usize::try_from(count >> shift).unwrap_or(0)
        };
        let mut bins = vec![(u64::MAX, 0_usize, 0_usize); step(u64::MAX) + 1];
        let mut top = 0;
        for entry in 0..self.entries {
            let count = total(entry);
            if count == 0 || (self.exact() && !limits.allow(self.pair(entry))) {
                continue;
            }
            let (lowest, listed, pairs) = &mut bins[step(count)];
            *lowest = count.min(*lowest);
            *listed = listed.saturating_add(positions(count, least_weight));
            *pairs += 1;
            top = top.max(count);
        }
        let (mut threshold, mut listed, mut pairs) = (top, 0_usize, 0);
        for &(lowest, more, number) in bins.iter().rev().filter(|(_, _, number)| *number > 0) {
            listed = listed.saturating_add(more);
            pairs += number;
            if listed > limits.early || pairs > MOST_PAIRS || lowest < top / REACH {
                break;
            }
            threshold = lowest;
        }
        threshold.max(1)
    }
}

/// List the pairs that occur at least `threshold` times, from a table in which pairs share entries.
/// Returns them with their counts.
fn list_shared<T: Slot>(
    shape: Shape,
    regions: &[Mutex<Region<T>>],
    threshold: u64,
    limits: Limits<'_>,
) -> Vec<(Pair, u64)> {
    // One look counts the pairs whose entry is high enough, another lists those that are so themselves.
    let frequent: Vec<bool> = {
        let held: Vec<_> = regions.iter().map(lock).collect();
        let total = |entry: usize| -> u64 {
            held.iter().map(|region| u64::from(region.counts[entry]) * region.weight).sum()
        };
        (0..shape.entries).map(|entry| total(entry) >= threshold).collect()
    };
    let frequent = |pair: &Pair| frequent[shape.entry(*pair)];
    let count = |(): &mut (), region: &Mutex<Region<T>>| {
        let region = lock(region);
        let mut counts = FxHashMap::<Pair, usize>::default();
        for (_, pair) in region.pairs().filter(|(_, pair)| frequent(pair)) {
            *counts.entry(pair).or_default() += 1;
        }
        (region.weight, counts)
    };
    let counted = share_out(limits.threads, regions, || (), count);
    let mut totals = FxHashMap::<Pair, u64>::default();
    for (weight, counts) in &counted {
        for (pair, count) in counts {
            *totals.entry(*pair).or_default() += *count as u64 * weight;
        }
    }
    totals.retain(|pair, count| *count >= threshold && limits.allow(*pair));
    let pairs: Vec<Pair> = totals.keys().copied().collect();
    let number: FxHashMap<Pair, usize> = pairs.iter().copied().zip(1..).collect();
    let most = limits.early / regions.len() + 1;
    let work: Vec<_> = regions.iter().zip(counted).collect();
    share_out(
        limits.threads,
        &work,
        || (),
        |(), (region, (_, counts))| {
            let sizes: Vec<usize> =
                pairs.iter().map(|pair| counts.get(pair).copied().unwrap_or(0)).collect();
            lock(region).list(&pairs, &sizes, most, |_, pair| {
                if frequent(&pair) { number.get(&pair).copied().unwrap_or(0) } else { 0 }
            });
        },
    );
    totals.into_iter().collect()
}

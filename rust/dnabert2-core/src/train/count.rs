//! One pass over the whole text: the count of every pair, and the positions of the frequent ones.
//!
//! Every partition counts pairs in a table. While there are few pieces, each pair has its own entry.
//! Later, pairs share entries, and the count of an entry is only an upper bound. A second pass then
//! counts the pairs of frequent entries in a hash table.

use std::sync::Mutex;

use rustc_hash::FxHashMap;

use crate::parallel::{lock, parallel_map};
use crate::train::pair::{Limits, Pair};
use crate::train::partition::Partition;
use crate::train::slots::Slot;
use crate::train::state::piece;

/// Maximum entries of a table; with more pairs than entries, several share one.
const MAX_ENTRIES: usize = 1 << 22;

/// Slots per entry of all partitions' tables, so that the tables stay small compared with the text.
const SLOTS_PER_ENTRY: usize = 4;

/// Maximum pairs indexed from the start of a generation.
const MAX_PAIRS: usize = 1 << 16;

/// A generation reaches down to this fraction of its highest count.
const REACH: u64 = 16;

/// What the index stores of a pair.
#[derive(Clone, Copy)]
pub(super) struct Indexed {
    pub count: u64,
    /// Maximum positions in its lists if it first occurred in this generation; freed with the pair.
    pub late: usize,
}

/// Maximum number of positions of a pair with this count.
pub(super) fn positions(count: u64, min_weight: u64) -> usize {
    usize::try_from(count / min_weight).expect("a count fits the address space")
}

/// Let every partition list the pairs to index: those with at least a threshold count, chosen so that
/// they have at most [`Limits::early`] positions. Returns the threshold, and the pairs.
pub(super) fn index_pairs<T: Slot>(
    partitions: &[Mutex<Partition<T>>],
    pieces: usize,
    limits: Limits<'_>,
) -> (u64, FxHashMap<Pair, Indexed>) {
    let slots: usize = partitions.iter().map(|partition| lock(partition).len()).sum();
    let entries = (slots / SLOTS_PER_ENTRY / partitions.len()).clamp(1 << 16, MAX_ENTRIES);
    let entries = 1 << entries.ilog2();
    let all = pieces.saturating_mul(pieces);
    let shape = Shape { pieces, entries: entries.min(all.next_power_of_two()) };
    parallel_map(
        limits.threads,
        partitions,
        || (),
        |(), partition| shape.count(&mut lock(partition)),
    );
    let held: Vec<_> = partitions.iter().map(lock).collect();
    let min_weight = held.iter().map(|partition| partition.weight).min().unwrap_or(1);
    let total = |entry: usize| -> u64 {
        held.iter().map(|partition| u64::from(partition.counts[entry]) * partition.weight).sum()
    };
    let indexed = |count| Indexed { count, late: 0 };
    let mut threshold = shape.threshold(total, min_weight, limits).max(limits.min_count);
    if shape.exact() {
        let pairs: Vec<(Pair, u64)> = (0..all)
            .map(|entry| (shape.pair(entry), total(entry)))
            .filter(|&(pair, count)| count >= threshold && limits.allow(pair))
            .collect();
        drop(held);
        let max_positions = limits.early / partitions.len() + 1;
        let listed: Vec<Pair> = pairs.iter().map(|(pair, _)| *pair).collect();
        parallel_map(
            limits.threads,
            partitions,
            || (),
            |(), partition| shape.list(&mut lock(partition), &listed, max_positions),
        );
        return (threshold, pairs.into_iter().map(|(pair, n)| (pair, indexed(n))).collect());
    }
    drop(held);
    // Several rare pairs may share the highest entry; then no pair reaches its count.
    loop {
        let pairs = list_shared(shape, partitions, threshold, limits);
        if !pairs.is_empty() || threshold <= limits.min_count {
            return (threshold, pairs.into_iter().map(|(pair, n)| (pair, indexed(n))).collect());
        }
        threshold = (threshold / 2).max(limits.min_count);
    }
}

/// Which entry of a table counts a pair.
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

    /// The pair of an entry, when every pair has its own.
    fn pair(self, entry: usize) -> Pair {
        (piece(entry / self.pieces), piece(entry % self.pieces))
    }

    /// Whether every pair has its own entry.
    fn exact(self) -> bool {
        self.pieces.saturating_mul(self.pieces) <= self.entries
    }

    fn count<T: Slot>(self, partition: &mut Partition<T>) {
        let mut counts = std::mem::take(&mut partition.counts);
        counts.clear();
        counts.resize(self.entries, 0);
        for (_, pair) in partition.pairs() {
            counts[self.entry(pair)] += 1;
        }
        partition.counts = counts;
    }

    /// List pairs in a partition that was counted exactly.
    fn list<T: Slot>(self, partition: &mut Partition<T>, pairs: &[Pair], max_positions: usize) {
        let counts = &mut partition.counts;
        let sizes: Vec<usize> =
            pairs.iter().map(|&pair| counts[self.entry(pair)] as usize).collect();
        // From here on, an entry contains the number of its list.
        counts.fill(0);
        for (&pair, number) in pairs.iter().zip(1..) {
            counts[self.entry(pair)] = number;
        }
        partition
            .list(pairs, &sizes, max_positions, |numbers, pair| numbers[self.entry(pair)] as usize);
    }

    /// Lowest count, in steps of an eighth of a power of two, at which all pairs together have at most
    /// [`Limits::early`] positions and are not too many; never above the highest count.
    fn threshold(self, total: impl Fn(usize) -> u64, min_weight: u64, limits: Limits<'_>) -> u64 {
        let step = |count: u64| {
            let shift = (u64::BITS - count.leading_zeros()).saturating_sub(4);
            (shift * 8) as usize + usize::try_from(count >> shift).expect("four bits")
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
            *listed = listed.saturating_add(positions(count, min_weight));
            *pairs += 1;
            top = top.max(count);
        }
        let (mut threshold, mut listed, mut pairs) = (top, 0_usize, 0);
        for &(lowest, more, number) in bins.iter().rev().filter(|(_, _, number)| *number > 0) {
            listed = listed.saturating_add(more);
            pairs += number;
            if listed > limits.early || pairs > MAX_PAIRS || lowest < top / REACH {
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
    partitions: &[Mutex<Partition<T>>],
    threshold: u64,
    limits: Limits<'_>,
) -> Vec<(Pair, u64)> {
    // One pass counts the pairs whose entry is high enough, another lists those whose own count is.
    let frequent: Vec<bool> = {
        let held: Vec<_> = partitions.iter().map(lock).collect();
        let total = |entry: usize| -> u64 {
            held.iter().map(|partition| u64::from(partition.counts[entry]) * partition.weight).sum()
        };
        (0..shape.entries).map(|entry| total(entry) >= threshold).collect()
    };
    let frequent = |pair: &Pair| frequent[shape.entry(*pair)];
    let count = |(): &mut (), partition: &Mutex<Partition<T>>| {
        let partition = lock(partition);
        let mut counts = FxHashMap::<Pair, usize>::default();
        for (_, pair) in partition.pairs().filter(|(_, pair)| frequent(pair)) {
            *counts.entry(pair).or_default() += 1;
        }
        (partition.weight, counts)
    };
    let counted = parallel_map(limits.threads, partitions, || (), count);
    let mut totals = FxHashMap::<Pair, u64>::default();
    for (weight, counts) in &counted {
        for (pair, count) in counts {
            *totals.entry(*pair).or_default() += *count as u64 * weight;
        }
    }
    totals.retain(|pair, count| *count >= threshold && limits.allow(*pair));
    let pairs: Vec<Pair> = totals.keys().copied().collect();
    let number: FxHashMap<Pair, usize> = pairs.iter().copied().zip(1..).collect();
    let max_positions = limits.early / partitions.len() + 1;
    let work: Vec<_> = partitions.iter().zip(counted).collect();
    parallel_map(
        limits.threads,
        &work,
        || (),
        |(), (partition, (_, counts))| {
            let sizes: Vec<usize> =
                pairs.iter().map(|pair| counts.get(pair).copied().unwrap_or(0)).collect();
            lock(partition).list(&pairs, &sizes, max_positions, |_, pair| {
                if frequent(&pair) { number.get(&pair).copied().unwrap_or(0) } else { 0 }
            });
        },
    );
    totals.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use rand_xoshiro::Xoshiro256PlusPlus;
    use rand_xoshiro::rand_core::{Rng, SeedableRng};

    use super::index_pairs;
    use crate::train::pair::{Limits, Pair};
    use crate::train::partition::Partition;
    use crate::train::slots::Slot;

    /// Random pieces, the lower ones more frequent, in windows of 99.
    fn slots(number: usize, pieces: u64, seed: u64) -> Vec<u16> {
        let mut draws = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut draw = || u32::try_from(draws.next_u64() % pieces).expect("few");
        let slot =
            |at: usize| if at.is_multiple_of(100) { u16::BORDER } else { draw().min(draw() + 1) };
        (0..=number).map(slot).map(<u16 as Slot>::new).collect()
    }

    /// Pairs that share entries of the table, and pairs with one each, against plain counts.
    #[test]
    fn frequent_pairs_are_those_of_plain_counts() {
        for (pieces, number, early, min_count, max_letters) in [
            (20, 20_000, 1_000_000, 1, 2),
            (20, 20_000, 9_000, 1, 2),
            (20, 20_000, 9_000, 700, 2),
            (300, 20_000, 30_000, 2, 2),
            (2_000, 300_000, 150_000, 1, 2),
            (2_000, 300_000, 150_000, 3, 2),
            (20, 20_000, 1_000_000, 1, 1),
        ] {
            let texts = [(1, slots(number, pieces, 1)), (3, slots(number, pieces, 2))];
            let pieces = usize::try_from(pieces).expect("few");
            // The first ten pieces are as long as a piece may be when `max_letters` is 1.
            let lengths: Vec<_> = (0..pieces).map(|piece| usize::from(piece < 10)).collect();
            let limits =
                Limits { early, late: 0, min_count, lengths: &lengths, max_letters, threads: 2 };
            let mut counts = BTreeMap::<Pair, u64>::new();
            for (weight, slots) in &texts {
                for two in slots.windows(2).filter(|two| !two.contains(&u16::MAX)) {
                    *counts.entry((two[0].into(), two[1].into())).or_default() += weight;
                }
            }
            counts.retain(|&pair, _| limits.allow(pair));
            let partitions =
                texts.map(|(weight, slots)| Mutex::new(Partition::new(weight, slots, pieces)));
            let (threshold, indexed) = index_pairs(&partitions, pieces, limits);
            let found: BTreeMap<Pair, u64> =
                indexed.iter().map(|(&pair, indexed)| (pair, indexed.count)).collect();
            let from = |least: u64| counts.iter().filter(move |(_, count)| **count >= least);
            let want: BTreeMap<Pair, u64> = from(threshold).map(|(&p, &n)| (p, n)).collect();
            assert!(found == want && !found.is_empty() && threshold >= min_count, "{threshold}");
            let listed = |least: u64| {
                from(least).map(|(_, &count)| usize::try_from(count).expect("small")).sum::<usize>()
            };
            assert!(listed(threshold) <= early, "{threshold}");
            // As many as there is room for, in steps of an eighth, down to a sixteenth of the highest.
            let top = counts.values().max().copied().unwrap_or(0);
            if pieces == 20 && threshold > min_count {
                let lower = threshold - threshold / 5 - 1;
                assert!(
                    listed(lower) > early || lower < top / 16 || from(0).count() == found.len()
                );
            }
        }
    }
}

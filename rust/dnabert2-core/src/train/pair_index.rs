//! The index of frequent pairs, which serves one generation of merges.
//!
//! **The idea.** One pass over the text counts all pairs. Those that occur at least `threshold` times
//! are indexed: each with its count, and with its positions in every partition. They are then merged in
//! order from their lists, without reading the text again.
//!
//! **The proof.** The count of a pair is highest when the later of its two pieces is made, and only
//! falls after that. So a pair that is not indexed cannot reach the threshold before the next
//! generation counts again. New pairs that reach it are indexed when they first occur.
//!
//! **The end.** The generation ends when the most frequent indexed pair is below the threshold.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Mutex;

use rustc_hash::FxHashMap;

use crate::parallel::lock;
use crate::train::count::{Indexed, index_pairs, positions};
use crate::train::pair::{Limits, Pair};
use crate::train::partition::{Counts, Partition, Step};
use crate::train::slots::Slot;
use crate::vocab::Piece;

/// The indexed pairs, and the queue that ranks them.
pub(super) struct PairIndex {
    threshold: u64,
    indexed: FxHashMap<Pair, Indexed>,
    queue: BinaryHeap<(u64, Reverse<Pair>)>,
    /// Number of positions that may still be listed, to limit memory.
    room: usize,
    min_weight: u64,
    forgotten: Vec<Pair>,
    before: Counts<u64>,
    after: Counts<u64>,
}

impl PairIndex {
    /// Count all pairs of partitions without gaps, and index the frequent ones.
    pub fn new<T: Slot>(
        partitions: &[Mutex<Partition<T>>],
        pieces: usize,
        limits: Limits<'_>,
    ) -> Self {
        let min_weight =
            partitions.iter().map(|partition| lock(partition).weight).min().unwrap_or(1);
        let (threshold, indexed) = index_pairs(partitions, pieces, limits);
        let queue = indexed.iter().map(|(&pair, w)| (w.count, Reverse(pair))).collect();
        Self {
            threshold,
            indexed,
            queue,
            room: limits.late,
            min_weight,
            forgotten: Vec::new(),
            before: Counts::default(),
            after: Counts::default(),
        }
    }

    /// Remove and return the most frequent pair, ties to the smaller one; `None` when it is below the
    /// threshold.
    pub fn pop(&mut self) -> Option<Pair> {
        while let Some((count, Reverse(pair))) = self.queue.pop() {
            if count < self.threshold {
                return None;
            }
            let Some(&indexed) = self.indexed.get(&pair) else { continue };
            if indexed.count != count && indexed.count >= self.threshold {
                self.queue.push((indexed.count, Reverse(pair)));
                continue;
            }
            self.indexed.remove(&pair);
            self.room += indexed.late;
            if indexed.count == count {
                return Some(pair);
            }
            self.forgotten.push(pair);
        }
        None
    }

    /// Pairs that were dropped since the last call.
    pub fn forgotten(&mut self) -> Vec<Pair> {
        std::mem::take(&mut self.forgotten)
    }

    /// Update the counts by the changes that the partitions found around `pair` when it became `piece`.
    /// Returns the pairs to index from now on.
    pub fn update<T>(
        &mut self,
        partitions: &[Mutex<Partition<T>>],
        pair: Pair,
        piece: Piece,
        limits: Limits<'_>,
    ) -> Vec<Pair> {
        let pieces = piece as usize + 1;
        self.before.clear(pieces);
        self.after.clear(pieces);
        for partition in partitions {
            let partition = lock(partition);
            for (sum, counts) in [
                (&mut self.before, &partition.near.before),
                (&mut self.after, &partition.near.after),
            ] {
                for &near in &counts.touched {
                    sum.add(near, u64::from(counts.of[near as usize]) * partition.weight);
                }
            }
        }
        // The pairs that the merge broke off.
        for &left in &self.before.touched {
            if let Some(indexed) = self.indexed.get_mut(&(left, pair.0)) {
                indexed.count -= self.before.of[left as usize];
            }
        }
        for &right in &self.after.touched {
            if let Some(indexed) = self.indexed.get_mut(&(pair.1, right)) {
                indexed.count -= self.after.of[right as usize];
            }
        }
        // In a run like ABAB the second A was a neighbour of the first AB only until it was merged
        // itself; the second AB then counted the first one as its neighbour.
        let chained = self.before.of[piece as usize];
        if chained > 0 {
            self.after.of[pair.0 as usize] -= chained;
        }
        let (before, after) = (&self.before, &self.after);
        let lefts = before.touched.iter().map(|&left| ((left, piece), before.of[left as usize]));
        let rights = after.touched.iter().map(|&right| ((piece, right), after.of[right as usize]));
        let mut fresh = Vec::new();
        for (pair, count) in lefts.chain(rights) {
            if count < self.threshold || !limits.allow(pair) {
                continue;
            }
            let late = positions(count, self.min_weight);
            if late > self.room {
                self.threshold = count + 1; // too little memory to index it: the generation ends above it
                continue;
            }
            self.room -= late;
            self.indexed.insert(pair, Indexed { count, late });
            self.queue.push((count, Reverse(pair)));
            fresh.push(pair);
        }
        fresh
    }

    /// The next step of the partitions.
    pub fn step(&mut self, index: Vec<Pair>, merge: Option<(Pair, Piece)>) -> Step {
        Step { index, forget: self.forgotten(), merge }
    }
}

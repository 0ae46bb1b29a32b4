//! A generation: the frequent pairs are listed once, then merged in order from their lists.
//!
//! Only pairs that occur at least `threshold` times are watched, each with its count, and with its
//! positions in every region. That is enough: the count of a pair is highest when the later of its two
//! pieces is made and only falls after that, so a pair that is not watched can never reach the
//! threshold again before the next generation counts anew. New pairs that reach it get a list when they
//! arise. The generation ends when the most frequent watched pair is below the threshold.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Mutex, PoisonError};

use rustc_hash::FxHashMap;

use crate::train::count;
use crate::train::partition::{Counts, Region, Step};
use crate::train::slots::Slot;
use crate::vocab::Piece;

/// Two pieces that stand together, or a merge of them.
pub type Pair = (Piece, Piece);

/// What all looks at the text need to know.
#[derive(Clone, Copy)]
pub(super) struct Limits<'a> {
    /// Positions that may be listed at the start of a generation.
    pub early: usize,
    /// Positions that may be listed besides, of pairs that arise in it.
    pub late: usize,
    /// Least count of a pair that is merged.
    pub least: u64,
    /// Letters of every piece, and most of them in one.
    pub lengths: &'a [usize],
    pub most_letters: usize,
    pub threads: usize,
}

impl Limits<'_> {
    /// Whether a pair does not become too long a piece.
    pub fn allow(&self, pair: Pair) -> bool {
        self.lengths[pair.0 as usize] + self.lengths[pair.1 as usize] <= self.most_letters
    }
}

/// The watched pairs and what ranks them.
pub(super) struct Generation {
    threshold: u64,
    watched: FxHashMap<Pair, Watched>,
    queue: BinaryHeap<(u64, Reverse<Pair>)>,
    /// Positions that may still be listed; memory's limit.
    room: usize,
    least_weight: u64,
    forgotten: Vec<Pair>,
    before: Counts<u64>,
    after: Counts<u64>,
}

#[derive(Clone, Copy)]
pub(super) struct Watched {
    pub count: u64,
    /// Most positions that its lists hold, if it arose in this generation: room that comes back.
    pub late: usize,
}

impl Generation {
    /// Count all pairs of gapless regions and list those to be watched.
    pub fn new<T: Slot>(regions: &[Mutex<Region<T>>], pieces: usize, limits: Limits<'_>) -> Self {
        let least_weight = regions.iter().map(|region| lock(region).weight).min().unwrap_or(1);
        let (threshold, watched) = count::watch(regions, pieces, limits);
        let queue = watched.iter().map(|(&pair, w)| (w.count, Reverse(pair))).collect();
        Self {
            threshold,
            watched,
            queue,
            room: limits.late,
            least_weight,
            forgotten: Vec::new(),
            before: Counts::default(),
            after: Counts::default(),
        }
    }

    /// The most frequent pair, ties to the smaller one; `None` when it is below the threshold. The pair
    /// is not watched any more.
    pub fn pop(&mut self) -> Option<Pair> {
        while let Some((count, Reverse(pair))) = self.queue.pop() {
            if count < self.threshold {
                return None;
            }
            let Some(&watched) = self.watched.get(&pair) else { continue };
            if watched.count != count && watched.count >= self.threshold {
                self.queue.push((watched.count, Reverse(pair)));
                continue;
            }
            self.watched.remove(&pair);
            self.room += watched.late;
            if watched.count == count {
                return Some(pair);
            }
            self.forgotten.push(pair);
        }
        None
    }

    /// Pairs that were dropped since this was last asked.
    pub fn forgotten(&mut self) -> Vec<Pair> {
        std::mem::take(&mut self.forgotten)
    }

    /// Take in what the regions found around `pair` when it became `piece`; returns the pairs to watch
    /// from now on.
    pub fn settle<T>(
        &mut self,
        regions: &[Mutex<Region<T>>],
        pair: Pair,
        piece: Piece,
        limits: Limits<'_>,
    ) -> Vec<Pair> {
        let pieces = piece as usize + 1;
        self.before.clear(pieces);
        self.after.clear(pieces);
        for region in regions {
            let region = lock(region);
            for (sum, part) in
                [(&mut self.before, &region.near.before), (&mut self.after, &region.near.after)]
            {
                for &near in &part.touched {
                    sum.add(near, u64::from(part.of[near as usize]) * region.weight);
                }
            }
        }
        // The pairs that the merge broke off.
        for &left in &self.before.touched {
            if let Some(watched) = self.watched.get_mut(&(left, pair.0)) {
                watched.count -= self.before.of[left as usize];
            }
        }
        for &right in &self.after.touched {
            if let Some(watched) = self.watched.get_mut(&(pair.1, right)) {
                watched.count -= self.after.of[right as usize];
            }
        }
        // In a run like ABAB the first AB had the second A for a neighbour, but only for a moment:
        // that A is a part of a piece now, which saw the first one before it.
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
            let late = positions(count, self.least_weight);
            if late > self.room {
                self.threshold = count + 1; // no room to watch it: the generation ends above it
                continue;
            }
            self.room -= late;
            self.watched.insert(pair, Watched { count, late });
            self.queue.push((count, Reverse(pair)));
            fresh.push(pair);
        }
        fresh
    }

    /// What the regions do next.
    pub fn step(&mut self, watch: Vec<Pair>, merge: Option<(Pair, Piece)>) -> Step {
        Step { watch, forget: self.forgotten(), merge }
    }
}

/// Most positions behind a count.
pub(super) fn positions(count: u64, least_weight: u64) -> usize {
    usize::try_from(count / least_weight).unwrap_or(usize::MAX)
}

pub(super) fn lock<T>(region: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    region.lock().unwrap_or_else(PoisonError::into_inner)
}

//! A generation: the frequent pairs are listed once, then merged in order from their lists.
//!
//! Only pairs that occur at least `threshold` times are watched, each with its count and positions.
//! That is enough: the count of a pair is highest when the later of its two pieces is made and only
//! falls after that, so a pair that is not watched can never reach the threshold again before the
//! next generation counts anew. New pairs that reach it get a list when they arise. The generation
//! ends when the most frequent watched pair is below the threshold.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::FxHashMap;

use crate::train::slots::{Slot, neighbours};
use crate::train::table::Table;
use crate::vocab::Piece;

pub(super) type Pair = (Piece, Piece);

/// Positions looked at together in a merge.
const AHEAD: usize = 64;

pub(super) struct Watched {
    pub count: u32,
    /// Where the pair stood when it was listed, ascending; some are gone since.
    pub positions: Vec<u32>,
}

/// The watched pairs and what ranks them.
pub(super) struct Generation {
    pub threshold: u32,
    watched: FxHashMap<Pair, Watched>,
    queue: BinaryHeap<(u32, Reverse<Pair>)>,
    /// Positions that may still be listed; memory's limit.
    room: usize,
    near: Near,
}

/// Counts of one merge's neighbours, kept to be reused.
#[derive(Default)]
struct Near {
    before: Counts,
    after: Counts,
}

/// A count for every piece, and which are not zero.
#[derive(Default)]
struct Counts {
    of: Vec<u32>,
    touched: Vec<Piece>,
}

impl Counts {
    fn add(&mut self, piece: Piece) {
        let count = &mut self.of[piece as usize];
        if *count == 0 {
            self.touched.push(piece);
        }
        *count += 1;
    }

    fn clear(&mut self, pieces: usize) {
        for &piece in &self.touched {
            self.of[piece as usize] = 0;
        }
        self.touched.clear();
        self.of.resize(pieces, 0);
    }
}

impl Generation {
    /// Count all pairs of gapless `slots` and list those to be watched: at most `room` positions,
    /// none of a pair below `least`.
    pub fn new<T: Slot>(
        slots: &[T],
        pieces: usize,
        room: usize,
        least: u32,
        threads: usize,
    ) -> Self {
        let table = Table::count(slots, pieces, threads);
        let (threshold, watched) = table.watch(slots, room, least, threads);
        let listed = watched.values().map(|watched| watched.positions.len()).sum();
        let queue = watched.iter().map(|(&pair, w)| (w.count, Reverse(pair))).collect();
        let room = room.saturating_sub(listed);
        Self { threshold, watched, queue, room, near: Near::default() }
    }

    /// The most frequent pair, ties to the smaller one, with its positions; `None` when it is below
    /// the threshold. The pair is not watched any more.
    pub fn pop(&mut self) -> Option<(Pair, Vec<u32>)> {
        while let Some((count, Reverse(pair))) = self.queue.pop() {
            if count < self.threshold {
                return None;
            }
            let Some(watched) = self.watched.get(&pair) else { continue };
            if watched.count == count {
                let watched = self.watched.remove(&pair)?;
                return Some((pair, watched.positions));
            }
            if watched.count >= self.threshold {
                let again = (watched.count, Reverse(pair));
                self.queue.push(again);
            } else if let Some(gone) = self.watched.remove(&pair) {
                self.room += gone.positions.len();
            }
        }
        None
    }

    /// Make `piece` of every `pair` at `positions`, from left to right; `spans` are the slots of
    /// every piece, `piece` included.
    pub fn merge<T: Slot>(
        &mut self,
        slots: &mut [T],
        pair: Pair,
        piece: Piece,
        mut positions: Vec<u32>,
        spans: &[u32],
    ) {
        let Near { before, after } = &mut self.near;
        before.clear(spans.len());
        after.clear(spans.len());
        let (first, second) = (T::new(pair.0), T::new(pair.1));
        let inner = spans[pair.0 as usize] as usize;
        let span = spans[piece as usize];
        self.room += positions.len();
        #[expect(
            clippy::needless_bitwise_bool,
            reason = "a branch would be guessed wrong too often"
        )]
        let stands = |slots: &[T], position: u32| {
            (slots[position as usize] == first) & (slots[position as usize + inner] == second)
        };
        let (mut kept, mut from) = (0, 0);
        while from < positions.len() {
            // Looking at many positions before working on any lets their cache misses overlap.
            let to = positions.len().min(from + AHEAD);
            let mut likely = from;
            for at in from..to {
                let position = positions[at];
                positions[likely] = position;
                likely += usize::from(stands(slots, position));
            }
            for at in from..likely {
                let position = positions[at];
                if !stands(slots, position) {
                    continue; // its left neighbour took a part of it just now, as in AAA
                }
                let (left, right) = neighbours(slots, position, span, spans);
                if let Some((left, _)) = left {
                    before.add(left);
                }
                if let Some(right) = right {
                    after.add(right);
                }
                let at = position as usize;
                slots[at + inner] = T::new(T::MARK); // no piece begins here any more
                slots[at + span as usize - 1] = T::new(piece | T::MARK);
                slots[at] = T::new(piece);
                positions[kept] = position;
                kept += 1;
            }
            from = to;
        }
        positions.truncate(kept);
        self.settle(pair, piece);
        self.list(slots, piece, &positions, span, spans);
    }

    /// Take the pairs that the merge broke off their counts.
    fn settle(&mut self, pair: Pair, piece: Piece) {
        let Near { before, after } = &mut self.near;
        for &left in &before.touched {
            if let Some(watched) = self.watched.get_mut(&(left, pair.0)) {
                watched.count -= before.of[left as usize];
            }
        }
        for &right in &after.touched {
            if let Some(watched) = self.watched.get_mut(&(pair.1, right)) {
                watched.count -= after.of[right as usize];
            }
        }
        // In a run like ABAB the first AB had the second A for a neighbour, but only for a moment:
        // that A is a part of a piece now, which saw the first one before it.
        let chained = before.of[piece as usize];
        if chained > 0 {
            after.of[pair.0 as usize] -= chained;
        }
    }

    /// Watch the new pairs that reach the threshold.
    fn list<T: Slot>(
        &mut self,
        slots: &[T],
        piece: Piece,
        positions: &[u32],
        span: u32,
        spans: &[u32],
    ) {
        let Near { before, after } = &self.near;
        let mut fresh = FxHashMap::<Pair, Watched>::default();
        let lefts = before.touched.iter().map(|&left| ((left, piece), before.of[left as usize]));
        let rights = after.touched.iter().map(|&right| ((piece, right), after.of[right as usize]));
        for (pair, count) in lefts.chain(rights) {
            if count < self.threshold {
                continue;
            }
            if count as usize > self.room {
                self.threshold = count + 1; // no room to watch it: the generation ends above it
                continue;
            }
            self.room -= count as usize;
            let positions = Vec::with_capacity(count as usize);
            fresh.insert(pair, Watched { count, positions });
        }
        if fresh.is_empty() {
            return;
        }
        for &position in positions {
            let (left, right) = neighbours(slots, position, span, spans);
            if let Some((left, start)) = left
                && let Some(watched) = fresh.get_mut(&(left, piece))
            {
                watched.positions.push(start);
            }
            if let Some(right) = right.filter(|&right| right != piece)
                && let Some(watched) = fresh.get_mut(&(piece, right))
            {
                watched.positions.push(position);
            }
        }
        self.queue.extend(fresh.iter().map(|(&pair, w)| (w.count, Reverse(pair))));
        self.watched.extend(fresh);
    }
}

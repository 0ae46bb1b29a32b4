//! A partition of the text, with the positions of the indexed pairs in it.
//!
//! Every window is in one partition, so partitions never read each other. The index sums their counts.

use std::ops::Range;

use rustc_hash::FxHashMap;

use crate::train::pair::Pair;
use crate::train::slots::{Slot, compact, neighbours, widen};
use crate::train::state::piece;
use crate::vocab::Piece;

/// Number of positions checked together in a merge.
const BATCH: usize = 64;

/// One step of a generation, the task of all threads.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// Pairs of the piece made last that are indexed from now on.
    pub index: Vec<Pair>,
    /// Pairs that are no longer indexed.
    pub forget: Vec<Pair>,
    /// The pair to merge next, and the piece that it becomes.
    pub merge: Option<(Pair, Piece)>,
}

/// A partition of the text.
pub(super) struct Partition<T> {
    /// How often every window of this partition counts.
    pub weight: u64,
    slots: Vec<T>,
    /// Slots of every piece since the last gap was closed.
    spans: Vec<u32>,
    /// Positions of indexed pairs when they were listed, ascending; some of the pairs are merged since.
    lists: FxHashMap<Pair, List>,
    /// The lists made at the start of a generation, one after the other. Kept like `counts`, because
    /// fresh memory costs more than filling it.
    arena: Vec<u32>,
    /// Buffer for counts of pairs.
    pub counts: Vec<u32>,
    /// Positions of the piece made last.
    made: List,
    pub near: Near,
}

/// Positions, ascending.
enum List {
    /// A span of the arena.
    Early(Range<usize>),
    /// Positions of a pair that first occurred in this generation.
    Late(Vec<u32>),
}

impl Default for List {
    fn default() -> Self {
        Self::Late(Vec::new())
    }
}

/// Counts of the pieces before and after those merged last.
#[derive(Default)]
pub(super) struct Near {
    pub before: Counts<u32>,
    pub after: Counts<u32>,
}

/// A number for every piece, and the list of those that are not zero.
#[derive(Default)]
pub(super) struct Counts<N> {
    pub of: Vec<N>,
    pub touched: Vec<Piece>,
}

impl<N: Copy + Default + PartialEq + std::ops::AddAssign> Counts<N> {
    pub fn add(&mut self, piece: Piece, number: N) {
        let count = &mut self.of[piece as usize];
        if *count == N::default() {
            self.touched.push(piece);
        }
        *count += number;
    }

    pub fn clear(&mut self, pieces: usize) {
        for &piece in &self.touched {
            self.of[piece as usize] = N::default();
        }
        self.touched.clear();
        self.of.resize(pieces, N::default());
    }
}

impl<T: Slot> Partition<T> {
    /// Start from slots without gaps, with a border at both ends.
    pub fn new(weight: u64, slots: Vec<T>, pieces: usize) -> Self {
        let spans = vec![1; pieces];
        let (lists, made, near) = (FxHashMap::default(), List::default(), Near::default());
        let (arena, counts) = (Vec::new(), Vec::new());
        Self { weight, slots, spans, lists, arena, counts, made, near }
    }

    /// Number of slots.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// The same text in wider slots; there must be no gaps.
    pub fn widened<U: Slot>(mut self) -> Partition<U> {
        self.slots.shrink_to_fit(); // gaps were the larger part
        let wide = Partition::new(self.weight, widen(&self.slots), self.spans.len());
        Partition { arena: self.arena, counts: self.counts, ..wide }
    }

    /// Every pair with its first slot; there must be no gaps.
    pub fn pairs(&self) -> impl Iterator<Item = (u32, Pair)> + use<'_, T> {
        self.slots.windows(2).zip(0..).filter_map(|(two, at)| {
            let (left, right) = (two[0].get(), two[1].get());
            (left != T::BORDER && right != T::BORDER).then_some((at, (left, right)))
        })
    }

    /// List the positions of `pairs`, which occur `sizes` times, usually `max_positions` times together.
    /// `number` maps the table of counts to 1 for the first of `pairs`, and so on, and to 0 for a pair
    /// that is not indexed.
    pub fn list(
        &mut self,
        pairs: &[Pair],
        sizes: &[usize],
        max_positions: usize,
        number: impl Fn(&[u32], Pair) -> usize,
    ) {
        // Entry 0 receives all pairs that are not indexed, at one position: they are half of all pairs,
        // and a branch would be mispredicted as often.
        let mut next = vec![0];
        let mut total = 1;
        for size in sizes {
            next.push(total);
            total += size;
        }
        if self.arena.len() < total {
            // Allocated once at its maximum: pages that are not written cost nothing.
            self.arena = vec![0; total.max(max_positions)];
        }
        let mut arena = std::mem::take(&mut self.arena);
        for (at, pair) in self.pairs() {
            let number = number(&self.counts, pair);
            arena[next[number]] = at;
            next[number] += usize::from(number > 0);
        }
        self.arena = arena;
        let early = sizes.iter().zip(&next[1..]).map(|(size, &end)| List::Early(end - size..end));
        self.lists = pairs.iter().copied().zip(early).collect();
    }

    /// Drop all lists and close all gaps.
    pub fn close(&mut self) {
        self.lists.clear();
        self.made = List::default();
        compact(&mut self.slots);
        self.spans.fill(1);
    }

    pub fn step(&mut self, step: &Step) {
        if !step.index.is_empty() {
            self.index(&step.index);
        }
        for pair in &step.forget {
            self.lists.remove(pair);
        }
        if let Some((pair, piece)) = step.merge {
            self.merge(pair, piece);
        }
    }

    /// Replace every `pair` by `piece`, from left to right.
    fn merge(&mut self, pair: Pair, piece: Piece) {
        let mut list = self.lists.remove(&pair).unwrap_or_default();
        let positions = match &mut list {
            List::Early(range) => &mut self.arena[range.clone()],
            List::Late(positions) => &mut positions[..],
        };
        self.spans.push(self.spans[pair.0 as usize] + self.spans[pair.1 as usize]);
        let (slots, spans) = (&mut self.slots[..], &self.spans[..]);
        let Near { before, after } = &mut self.near;
        before.clear(spans.len());
        after.clear(spans.len());
        let (first, second) = (T::new(pair.0), T::new(pair.1));
        let inner = spans[pair.0 as usize] as usize;
        let span = spans[piece as usize];
        #[expect(
            clippy::needless_bitwise_bool,
            reason = "a branch would be mispredicted too often"
        )]
        let stands = |slots: &[T], position: u32| {
            (slots[position as usize] == first) & (slots[position as usize + inner] == second)
        };
        let (mut kept, mut from) = (0, 0);
        while from < positions.len() {
            // Checking many positions before changing any lets their cache misses overlap.
            let to = positions.len().min(from + BATCH);
            let mut likely = from;
            for at in from..to {
                let position = positions[at];
                positions[likely] = position;
                likely += usize::from(stands(slots, position));
            }
            for at in from..likely {
                let position = positions[at];
                if !stands(slots, position) {
                    continue; // the merge to the left just took a part of it, as in AAA
                }
                let (left, right) = neighbours(slots, position, span, spans);
                if let Some((left, _)) = left {
                    before.add(left, 1);
                }
                if let Some(right) = right {
                    after.add(right, 1);
                }
                let at = position as usize;
                slots[at + inner] = T::new(T::MARK); // no piece begins here now
                slots[at + span as usize - 1] = T::new(piece | T::MARK);
                slots[at] = T::new(piece);
                positions[kept] = position;
                kept += 1;
            }
            from = to;
        }
        match &mut list {
            List::Early(range) => range.end = range.start + kept,
            List::Late(positions) => positions.truncate(kept),
        }
        self.made = list;
    }

    /// List new pairs, all with the piece made last.
    fn index(&mut self, pairs: &[Pair]) {
        let piece = piece(self.spans.len() - 1);
        let span = self.spans[piece as usize];
        let Near { before, after } = &self.near;
        let mut fresh: FxHashMap<Pair, Vec<u32>> = FxHashMap::default();
        for &(left, right) in pairs {
            let max =
                if right == piece { before.of[left as usize] } else { after.of[right as usize] };
            fresh.insert((left, right), Vec::with_capacity(max as usize));
        }
        let made = match &self.made {
            List::Early(range) => &self.arena[range.clone()],
            List::Late(positions) => &positions[..],
        };
        for &position in made {
            let (left, right) = neighbours(&self.slots, position, span, &self.spans);
            if let Some((left, start)) = left
                && let Some(list) = fresh.get_mut(&(left, piece))
            {
                list.push(start);
            }
            if let Some(right) = right.filter(|&right| right != piece)
                && let Some(list) = fresh.get_mut(&(piece, right))
            {
                list.push(position);
            }
        }
        self.lists.extend(fresh.into_iter().map(|(pair, list)| (pair, List::Late(list))));
    }
}

//! Encoding a run of any length in pieces, exactly.
//!
//! **The idea.** The state of a suffix hardly depends on letters far to the right, and a border between
//! pieces hardly on letters far to the left. So a run is cut into *blocks*, each encoded separately: the
//! left walk starts [`LEAD`] letters to the right of the block, as if the run ended there, and the right
//! walk starts `LEAD` letters to the left of it, as if a piece began there. Both starts are estimates.
//!
//! **The proof.** Every estimate is then compared with the result of the neighbour: states from the right
//! end, whose state is known, and borders from the left end. A block with a wrong estimate is encoded
//! again from the true state and border. That happens only in long repeats.
//!
//! **Inside a block** the lanes do the same with *pieces*. All their states are in memory, and a wrong
//! estimate is repaired by walking until the new states equal the old. The SIMD walk (`simd_walk.rs`)
//! does the same; a block with a wrong estimate there is encoded by the lanes.

use std::ops::Range;

use crate::TokenId;
use crate::encode::dfa::pack::pack;
use crate::encode::dfa::table::{Machine, State};
use crate::encode::dfa::walk::{LEFT, Leftward, Rightward, walk_left, walk_right};
use crate::encode::scratch::Scratch;
use crate::parallel::parallel_map;

/// Slots (of two letters) of a piece.
const PIECE: usize = 8288;

/// Slots of a block: one piece per lane. A block's buffers fit the second-level cache.
const BLOCK: usize = PIECE * LEFT;

/// Letters read for an estimate; the maximum needed by 200,000 starts in the human X chromosome was 73.
pub(super) const LEAD: usize = 128;

/// Minimum letters of a run for which cutting is faster.
pub const LONG: usize = 4 * PIECE;

/// A block, encoded from the known or estimated state and border of its neighbours.
pub struct Block<S> {
    /// State assumed at the block's right end.
    pub right: S,
    /// State found at its left end.
    pub left: S,
    /// Position, in letters, of the first border in the block.
    pub begin: usize,
    /// Position of the first border past it.
    pub end: usize,
    pub ids: Vec<TokenId>,
}

/// A run and its automaton; slot `s` contains the letters `2 * s - odd` and `2 * s + 1 - odd`.
struct Run<'a, S: State> {
    machine: &'a Machine<S>,
    text: &'a [u8],
    odd: usize,
    slots: usize,
}

/// Encode one run of bases on `threads` threads; `emit` receives the ids piece by piece. `by_simd` may
/// encode a span of letters faster, from estimates.
///
/// Every byte must be a base in either case; others give meaningless ids.
pub fn encode_long<S: State>(
    machine: &Machine<S>,
    text: &[u8],
    threads: usize,
    by_simd: impl Fn(Range<usize>, &mut Scratch) -> Option<Block<S>> + Sync,
    mut emit: impl FnMut(&[TokenId]),
) {
    let slots = text.len().div_ceil(2);
    let run = Run { machine, text, odd: text.len() % 2, slots };
    let starts: Vec<usize> = (0..slots).step_by(BLOCK).collect();
    let mut blocks = parallel_map(threads, &starts, Scratch::default, |scratch, &from| {
        let letter = |slot: usize| (2 * slot).saturating_sub(run.odd);
        match by_simd(letter(from)..letter(slots.min(from + BLOCK)), scratch) {
            Some(Block { right, left, begin, end, ids }) => {
                Block { right, left, begin: begin + run.odd, end: end + run.odd, ids }
            }
            None => run.block(from, None, None, scratch),
        }
    });
    let scratch = &mut Scratch::default();
    for index in (1..blocks.len()).rev() {
        let truth = blocks[index].left;
        if blocks[index - 1].right != truth {
            blocks[index - 1] = run.block(starts[index - 1], Some(truth), None, scratch);
        }
    }
    let mut at = run.odd;
    for (mut block, from) in blocks.into_iter().zip(starts) {
        if block.begin != at {
            block = run.block(from, Some(block.right), Some(at), scratch);
        }
        emit(&block.ids);
        at = block.end;
    }
}

impl<S: State> Run<'_, S> {
    /// Encode the block that begins at slot `from`. `right` is the state at its right end and
    /// `begin` its first border, if they are known.
    fn block(
        &self,
        from: usize,
        right: Option<S>,
        begin: Option<usize>,
        scratch: &mut Scratch,
    ) -> Block<S> {
        let to = self.slots.min(from + BLOCK);
        // Slots in memory: from `low`, LEAD letters to the left, to `to`.
        let low = from.saturating_sub(LEAD / 2);
        let right = right.unwrap_or_else(|| self.estimate(to));
        let Scratch { pairs, states, ids: buffer, .. } = scratch;
        let states = S::room(states);
        pairs.resize(to - low, 0);
        self.pack(low, pairs);
        // The last piece of a block may extend past it; lanes that have ended stay there.
        states.resize(2 * (to - low) + self.machine.longest(), self.machine.start());
        states[2 * (to - low)] = right;
        let pieces: Vec<(usize, usize)> =
            (from..to).step_by(PIECE).map(|a| (a, to.min(a + PIECE))).collect();

        // The leftmost piece includes the letters to the left of the block.
        let lowest = |a: usize| if a == from { low } else { a };
        let estimates: Vec<S> = pieces
            .iter()
            .map(|&(_, b)| {
                let lead = &pairs[b - low..(b + LEAD / 2).min(to) - low];
                let start = if b + LEAD / 2 >= to { right } else { self.machine.start() };
                lead.iter().rev().fold(start, |state, &pair| self.machine.pair(state, pair))
            })
            .collect();
        let work = pieces.iter().zip(&estimates).map(|(&(a, b), &state)| Leftward {
            slot: b - low,
            steps: b - lowest(a),
            state,
        });
        walk_left(self.machine, pairs, states, work);
        for (&(a, b), &estimate) in pieces.iter().zip(&estimates).rev() {
            if states[2 * (b - low)] != estimate {
                self.repair(pairs, states, lowest(a) - low, b - low);
            }
        }

        // From here on positions count letters from `low`.
        let first_letter = if low == 0 { self.odd } else { 0 };
        let begin_of = |a: usize| {
            let goal = (2 * (a - low)).max(first_letter);
            let mut at = goal.saturating_sub(LEAD).max(first_letter);
            while at < goal {
                at += self.machine.first(states[at]).0;
            }
            at
        };
        let mut work: Vec<Rightward> = pieces
            .iter()
            .enumerate()
            .map(|(i, &(a, b))| Rightward {
                at: begin_of(a),
                end: 2 * (b - low),
                out: i * (2 * PIECE + 1),
            })
            .collect();
        if let Some(begin) = begin {
            work[0].at = begin - 2 * low;
        }
        buffer.resize(pieces.len() * (2 * PIECE + 1), 0);
        let mut ends = work.clone();
        walk_right(self.machine, states, buffer, &work, |i, done| ends[i] = done);

        let mut ids = Vec::with_capacity((to - from) / 2);
        let mut at = work[0].at;
        for (begun, ended) in work.iter().zip(&ends) {
            if begun.at == at {
                ids.extend_from_slice(&buffer[begun.out..ended.out]);
                at = ended.at;
            }
            while at < begun.end {
                let (length, id) = self.machine.first(states[at]);
                ids.push(id);
                at += length;
            }
        }
        let left = states[2 * (from - low)];
        Block { right, left, begin: work[0].at + 2 * low, end: at + 2 * low, ids }
    }

    /// State at a slot, as if the run ended [`LEAD`] letters to its right; exact at its end.
    fn estimate(&self, slot: usize) -> S {
        let mut lead = vec![0; (slot + LEAD / 2).min(self.slots) - slot];
        self.pack(slot, &mut lead);
        let start = self.machine.start();
        lead.iter().rev().fold(start, |state, &pair| self.machine.pair(state, pair))
    }

    /// Walk left again over slots `a..b`, until the states equal the stored ones.
    fn repair(&self, pairs: &[u8], states: &mut [S], a: usize, b: usize) {
        let mut state = states[2 * b];
        for slot in (a..b).rev() {
            states[2 * slot + 1] = self.machine.step(state, pairs[slot] >> 2);
            state = self.machine.pair(state, pairs[slot]);
            if states[2 * slot] == state {
                break;
            }
            states[2 * slot] = state;
        }
    }

    fn pack(&self, from: usize, pairs: &mut [u8]) {
        let letter = |slot: usize| (2 * slot).saturating_sub(self.odd);
        pack(&self.text[letter(from)..letter(from + pairs.len())], pairs);
    }
}

//! Running the automaton over text: right to left for the states, left to right for the ids.
//!
//! Each step of either walk waits for a table look-up. So several pieces of text are walked alternately
//! on one core (*lanes*): while one lane waits, the others continue. Many short runs fill the lanes;
//! a long one is cut into pieces first (`long.rs`).

use std::cell::Cell;

use crate::TokenId;
use crate::encode::dfa::pack::pack;
use crate::encode::dfa::table::{Machine, State};
use crate::encode::scratch::{Scratch, grow};

/// Lanes of the left walk: with 8, a lane still waits for its table; with more than 12, the compiler
/// adds checks to the loop.
pub(super) const LEFT: usize = 12;

/// Lanes of the right walk, which needs more registers per lane.
const RIGHT: usize = 6;

/// One lane's work in the left walk: the `steps` slots before `slot`; `state` is that of `slot`.
#[derive(Clone, Copy)]
pub(super) struct Leftward<S> {
    pub slot: usize,
    pub steps: usize,
    pub state: S,
}

/// One lane's work in the right walk: pieces from position `at` until one reaches `end`; `out`
/// receives their ids.
#[derive(Clone, Copy)]
pub(super) struct Rightward {
    pub at: usize,
    pub end: usize,
    pub out: usize,
}

/// Encode runs of bases; `emit` receives the ids of each run, in order.
///
/// In the buffers a slot is two letters of a run (one byte of `pairs`), and every run ends with a
/// full slot: a run of odd length begins with the right letter of its first slot. Positions count
/// letters. `states[p]` belongs to the suffix that begins at position `p`. One slot between two runs
/// is for the state of the empty suffix.
///
/// Every byte must be a base in either case; others give meaningless ids.
pub fn encode_runs<S: State>(
    machine: &Machine<S>,
    runs: &[&[u8]],
    scratch: &mut Scratch,
    mut emit: impl FnMut(&[TokenId]),
) {
    let slots = |run: &[u8]| run.len().div_ceil(2);
    let total: usize = runs.iter().map(|run| slots(run) + 1).sum();
    let Scratch { pairs, states, ids, .. } = scratch;
    let states = S::room(states);
    grow(pairs, total);
    grow(states, 2 * total);
    grow(ids, 2 * total);
    let mut slot = 0;
    let mut leftward = Vec::with_capacity(runs.len());
    let mut rightward = Vec::with_capacity(runs.len());
    for run in runs {
        let steps = slots(run);
        let end = slot + steps;
        pack(run, &mut pairs[slot..end]);
        states[2 * end] = machine.start();
        leftward.push(Leftward { slot: end, steps, state: machine.start() });
        let at = 2 * end - run.len();
        rightward.push(Rightward { at, end: 2 * end, out: at });
        slot = end + 1;
    }
    walk_left(machine, pairs, states, leftward.iter().copied());
    let mut ends = vec![0; runs.len()];
    walk_right(machine, states, ids, &rightward, |piece, done| ends[piece] = done.out);
    for (work, end) in rightward.iter().zip(ends) {
        emit(&ids[work.out..end]);
    }
}

/// Find the state at every letter, from right to left.
pub(super) fn walk_left<S: State>(
    machine: &Machine<S>,
    pairs: &[u8],
    states: &mut [S],
    mut work: impl Iterator<Item = Leftward<S>>,
) {
    let table = machine.doubles();
    // Cells, because lanes without work follow another lane and write what it writes.
    let states = Cell::from_mut(states.as_chunks_mut::<2>().0).as_slice_of_cells();
    let mut lanes = [Leftward { slot: 0, steps: 0, state: machine.start() }; LEFT];
    loop {
        for lane in lanes.iter_mut().filter(|lane| lane.steps == 0) {
            *lane = work.find(|next| next.steps > 0).unwrap_or(*lane);
        }
        let Some(&shortest) = lanes.iter().filter(|l| l.steps > 0).min_by_key(|l| l.steps) else {
            return;
        };
        let current = lanes.map(|lane| if lane.steps > 0 { lane } else { shortest });
        let steps = shortest.steps;
        let read = current.map(|lane| &pairs[lane.slot - steps..lane.slot]);
        let write = current.map(|lane| &states[lane.slot - steps..lane.slot]);
        let mut now = current.map(|lane| lane.state);
        for at in (0..steps).rev() {
            for lane in 0..LEFT {
                let two = now[lane].double(table, read[lane][at]);
                write[lane][at].set(two);
                now[lane] = two[0];
            }
        }
        for (lane, now) in lanes.iter_mut().zip(now).filter(|(lane, _)| lane.steps > 0) {
            *lane = Leftward { slot: lane.slot - steps, steps: lane.steps - steps, state: now };
        }
    }
}

/// Read the pieces off, from left to right; `done` receives the end of each piece of work.
pub(super) fn walk_right<S: State>(
    machine: &Machine<S>,
    states: &[S],
    ids: &mut [TokenId],
    work: &[Rightward],
    mut done: impl FnMut(usize, Rightward),
) {
    let ids = Cell::from_mut(ids).as_slice_of_cells();
    let mut waiting = work.iter().copied().enumerate();
    let mut lanes = [(usize::MAX, Rightward { at: 0, end: 0, out: 0 }); RIGHT];
    loop {
        for lane in &mut lanes {
            while lane.1.at >= lane.1.end {
                if lane.0 != usize::MAX {
                    done(lane.0, lane.1);
                    lane.0 = usize::MAX;
                }
                let Some(next) = waiting.next() else { break };
                *lane = next;
            }
        }
        let active = lanes.iter().filter(|(_, lane)| lane.at < lane.end);
        let Some(&(_, nearest)) = active.min_by_key(|(_, lane)| lane.end - lane.at) else {
            return;
        };
        // A piece has about five letters, so most lanes stay busy for this number of steps; lanes at
        // their end do not move. Measured on pieces of 100 and of 1,000 letters.
        let steps = (nearest.end - nearest.at) / 5 + 4;
        let mut current = lanes.map(|(_, lane)| if lane.at < lane.end { lane } else { nearest });
        for _ in 0..steps {
            for lane in &mut current {
                let (length, id) = machine.first(states[lane.at]);
                let live = lane.at < lane.end;
                ids[lane.out].set(id);
                lane.out += usize::from(live);
                lane.at += if live { length } else { 0 };
            }
        }
        for ((_, lane), current) in lanes.iter_mut().zip(current).filter(|((_, l), _)| l.at < l.end)
        {
            *lane = current;
        }
    }
}

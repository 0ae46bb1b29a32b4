//! The tables of an automaton that reads text from right to left and finds the first piece of every
//! suffix.
//!
//! Two ways of splitting text into pieces are automata of this kind: exact BPE (`build.rs`) and
//! leftmost longest match (`longest.rs`). The walks (`walk.rs`, `long.rs`) are the same for both.

use std::fmt::Debug;

use crate::TokenId;
use crate::encode::scratch::States;

/// Number of a state: 16 bits where possible, so that the tables stay in the second-level cache.
pub trait State: Copy + Default + PartialEq + Debug + Send + Sync + 'static {
    /// Maximum number of states of an automaton.
    const CAP: usize;
    /// Steps of two letters, for the maximum number of states.
    type Doubles: AsMut<[[Self; 2]]> + Debug + Send + Sync;
    /// One entry per state.
    type Firsts: AsMut<[u32]> + Debug + Send + Sync;

    /// The state of this number, which is below [`CAP`](Self::CAP).
    fn new(number: usize) -> Self;
    /// A table of zeros. Pages that are never written cost nothing.
    #[expect(clippy::unnecessary_box_returns, reason = "megabytes")]
    fn doubles() -> Box<Self::Doubles>;
    /// A table of zeros.
    #[expect(clippy::unnecessary_box_returns, reason = "megabytes")]
    fn firsts() -> Box<Self::Firsts>;
    /// Look up without a check: the table has entries for every number of this width.
    fn double(self, table: &Self::Doubles, pair: u8) -> [Self; 2];
    /// Look up without a check.
    fn first(self, table: &Self::Firsts) -> u32;
    /// The buffer for states of this width that is kept from call to call.
    fn room(states: &mut States) -> &mut Vec<Self>;
}

macro_rules! state {
    ($type:ty, $cap:expr, $room:ident) => {
        impl State for $type {
            const CAP: usize = $cap;
            type Doubles = [[Self; 2]; 16 * $cap];
            type Firsts = [u32; $cap];

            fn new(number: usize) -> Self {
                Self::try_from(number).expect("states are capped")
            }

            fn doubles() -> Box<Self::Doubles> {
                zeros()
            }

            fn firsts() -> Box<Self::Firsts> {
                zeros()
            }

            fn double(self, table: &Self::Doubles, pair: u8) -> [Self; 2] {
                table[(self as usize % $cap) << 4 | usize::from(pair & 15)]
            }

            fn first(self, table: &Self::Firsts) -> u32 {
                table[self as usize % $cap]
            }

            fn room(states: &mut States) -> &mut Vec<Self> {
                &mut states.$room
            }
        }
    };
}

state!(u16, 1 << 16, narrow);
state!(u32, 1 << 17, wide);

/// An automaton over A, C, G, T; letters are coded as in [`code`](crate::encode::code).
#[derive(Debug)]
pub struct Machine<S: State> {
    /// States after two more letters and after one, at `state * 16 + pair`. The pair is
    /// `left + 4 * right` in reading order, so `right` is consumed first.
    doubles: Box<S::Doubles>,
    /// First piece of the suffix: its length in the upper half, its id in the lower.
    firsts: Box<S::Firsts>,
    longest: usize,
    states: usize,
}

impl<S: State> Machine<S> {
    /// Lay out an automaton. State 0 must be that of the empty suffix, `step[state * 4 + letter]` the
    /// state after one more letter, and `first` the length and id of every state's first piece.
    ///
    /// # Panics
    /// When there are more states than [`State::CAP`].
    pub fn new(step: &[usize], first: impl Iterator<Item = (usize, TokenId)>) -> Self {
        assert!(step.len() <= 4 * S::CAP, "states are capped");
        let states = step.len() / 4;
        let (doubles, firsts) = (S::doubles(), S::firsts());
        let mut machine = Self { doubles, firsts, longest: 0, states };
        let entries = (*machine.doubles).as_mut()[..step.len() * 4].iter_mut().enumerate();
        for (index, entry) in entries {
            let (state, pair) = (index / 16, index % 16);
            let mid = step[state * 4 + pair / 4];
            *entry = [S::new(step[mid * 4 + pair % 4]), S::new(mid)];
        }
        for (entry, (length, id)) in (*machine.firsts).as_mut().iter_mut().zip(first) {
            *entry = u32::try_from(length).expect("a piece is short") << 16 | u32::from(id);
            machine.longest = machine.longest.max(length);
        }
        machine
    }

    /// Number of states.
    #[must_use]
    pub fn states(&self) -> usize {
        self.states
    }

    /// State of the empty suffix.
    #[must_use]
    pub fn start(&self) -> S {
        S::default()
    }

    /// State of the suffix that is one letter longer, with the letter coded as in
    /// [`code`](crate::encode::code).
    #[must_use]
    pub fn step(&self, state: S, letter: u8) -> S {
        state.double(&self.doubles, (letter & 3) << 2)[1]
    }

    /// State of the suffix that is two letters longer, `left + 4 * right`.
    #[must_use]
    pub(crate) fn pair(&self, state: S, pair: u8) -> S {
        state.double(&self.doubles, pair)[0]
    }

    /// The table behind [`pair`](Self::pair).
    pub(crate) fn doubles(&self) -> &S::Doubles {
        &self.doubles
    }

    /// The table behind [`first`](Self::first).
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn firsts(&self) -> &S::Firsts {
        &self.firsts
    }

    /// Letters of the longest piece.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// Length and id of the first piece of a suffix; 0 and 0 for the empty one.
    #[must_use]
    pub fn first(&self, state: S) -> (usize, TokenId) {
        let entry = state.first(&self.firsts);
        ((entry >> 16) as usize, (entry & 0xffff) as TokenId)
    }
}

#[expect(clippy::unnecessary_box_returns, reason = "megabytes that must not pass over the stack")]
fn zeros<T: Copy + Default, const N: usize>() -> Box<[T; N]> {
    vec![T::default(); N].into_boxed_slice().try_into().unwrap_or_else(|_| unreachable!())
}

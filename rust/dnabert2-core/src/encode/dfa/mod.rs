//! A compiled vocabulary, with states of 16 or 32 bits.

mod build;
mod long;
mod longest;
mod pack;
pub(super) mod pair_table;
mod simd_walk;
mod table;
mod walk;

use std::ops::Range;

use crate::TokenId;
use crate::dna::BASES;
use crate::encode::dfa::build::compile;
use crate::encode::dfa::long::encode_long;
use crate::encode::dfa::longest::compile_longest;
use crate::encode::scratch::Scratch;
use crate::vocab::Vocab;

pub use long::LONG;
pub use pack::{code, is_all_bases};
pub use simd_walk::TOGETHER;
pub use table::Machine;

/// Maximum pieces for which 16-bit states are tried: 8,187 pieces gave 32 thousand states, 16,379 gave
/// 79 thousand (two vocabularies trained on four genomes).
const NARROW_PIECES: usize = 12_000;

/// Maximum pieces of a vocabulary that is compiled: about 110 thousand states, within seconds.
const MAX_PIECES: usize = 24_000;

/// An automaton that splits runs of A, C, G, T into the pieces of a vocabulary.
#[derive(Debug)]
pub enum Automaton {
    /// States of 16 bits.
    Narrow(Machine<u16>),
    /// States of 32 bits, for about ten thousand pieces and more.
    Wide(Machine<u32>),
}

impl Automaton {
    /// Compile exact BPE; `None` when the vocabulary lacks one of A, C, G, T or is too large. Its other
    /// letters and the pieces that contain them cannot occur in runs of these four.
    ///
    /// ```
    /// use dnabert2_core::{encode::{Automaton, Scratch}, vocab::Vocab};
    /// let vocab = Vocab::new(b"ACGT", &[(0, 1), (0, 0)], vec![5, 6, 7, 8, 9, 10])?;
    /// let automaton = Automaton::bpe(&vocab).expect("four letters");
    /// automaton.encode_runs(&[b"AAC"], &mut Scratch::default(), |ids| assert_eq!(ids, [5, 9]));
    /// # Ok::<(), dnabert2_core::Error>(())
    /// ```
    #[must_use]
    pub fn bpe(vocab: &Vocab) -> Option<Self> {
        let vocab = vocab.restricted_to(&BASES).filter(|vocab| vocab.len() <= MAX_PIECES)?;
        let narrow = if vocab.len() <= NARROW_PIECES { compile(&vocab) } else { None };
        narrow.map(Self::Narrow).or_else(|| compile(&vocab).map(Self::Wide))
    }

    /// Compile leftmost longest match; `None` as in [`bpe`](Self::bpe).
    #[must_use]
    pub fn longest(vocab: &Vocab) -> Option<Self> {
        let vocab = vocab.restricted_to(&BASES)?;
        let narrow = compile_longest(&vocab).map(Self::Narrow);
        narrow.or_else(|| compile_longest(&vocab).map(Self::Wide))
    }

    /// Number of states.
    #[must_use]
    pub fn states(&self) -> usize {
        match self {
            Self::Narrow(machine) => machine.states(),
            Self::Wide(machine) => machine.states(),
        }
    }

    /// Encode runs of bases; `emit` gets the ids of each run, in order.
    ///
    /// Every byte must be a base in either case; others give meaningless ids.
    pub fn encode_runs(&self, runs: &[&[u8]], scratch: &mut Scratch, emit: impl FnMut(&[TokenId])) {
        match self {
            Self::Narrow(machine) => simd_walk::encode_runs(machine, runs, scratch, emit),
            Self::Wide(machine) => walk::encode_runs(machine, runs, scratch, emit),
        }
    }

    /// Encode one run of bases, a long one in pieces and on `threads` threads; `emit` gets the ids, in
    /// one piece or several.
    pub fn encode_run(
        &self,
        run: &[u8],
        threads: usize,
        scratch: &mut Scratch,
        emit: impl FnMut(&[TokenId]),
    ) {
        match self {
            _ if run.len() < LONG => self.encode_runs(&[run], scratch, emit),
            Self::Narrow(machine) => {
                let by_simd = |span: Range<usize>, scratch: &mut Scratch| {
                    simd_walk::encode_span(machine, run, span, scratch)
                };
                encode_long(machine, run, threads, by_simd, emit);
            }
            Self::Wide(machine) => encode_long(machine, run, threads, |_, _| None, emit),
        }
    }
}

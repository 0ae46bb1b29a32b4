//! Runs of letters to ids: by the automaton where there is one, else in the general way.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::TokenId;
use crate::dna::BASES;
use crate::encode::{Automaton, GeneralEncoder, LONG, Scratch, encode_long, encode_runs};
use crate::tokenizer::Tokenizer;
use crate::vocab::Vocab;

/// Letters after which compiling the automaton (a tenth of a second) has paid for itself.
const WORTH_COMPILING: usize = 100_000;

/// The encoders of one vocabulary.
#[derive(Debug)]
pub(super) struct RunEncoder {
    general: GeneralEncoder,
    /// Compiled when it is first worth it; `None` inside for vocabularies that have no machine.
    automaton: OnceLock<Option<Automaton>>,
    takes_bases: bool,
    seen: AtomicUsize,
}

impl RunEncoder {
    pub fn new(vocab: &Vocab) -> Self {
        let mut letters = vocab.letters().to_vec();
        letters.sort_unstable();
        Self {
            general: GeneralEncoder::new(vocab),
            automaton: OnceLock::new(),
            takes_bases: letters == BASES,
            seen: AtomicUsize::new(0),
        }
    }

    /// Whether the letters are A, C, G and T, no more and no less.
    pub fn takes_bases(&self) -> bool {
        self.takes_bases
    }

    /// The automaton, if there is one and it is compiled or worth compiling for `letters` more.
    pub fn automaton(&self, vocab: &Vocab, letters: usize) -> Option<&Automaton> {
        if !self.takes_bases {
            return None;
        }
        if let Some(compiled) = self.automaton.get() {
            return compiled.as_ref();
        }
        let seen = self.seen.fetch_add(letters, Ordering::Relaxed) + letters;
        if seen < WORTH_COMPILING {
            return None;
        }
        self.automaton.get_or_init(|| Automaton::compile(vocab)).as_ref()
    }
}

impl Tokenizer {
    /// Encode one run of letters, a long one on several threads; `emit` gets the ids, in one piece
    /// or several.
    pub(super) fn encode_run(
        &self,
        run: &[u8],
        threads: usize,
        scratch: &mut Scratch,
        mut emit: impl FnMut(&[TokenId]),
    ) {
        match self.runs.automaton(&self.file.vocab, run.len()) {
            Some(automaton) if run.len() < LONG => encode_runs(automaton, &[run], scratch, emit),
            Some(automaton) => encode_long(automaton, run, threads, emit),
            None => {
                let codes: Vec<u8> = run.iter().map(|&b| self.code[usize::from(b)]).collect();
                let mut pieces = Vec::new();
                self.runs.general.encode(&self.file.vocab, &codes, &mut pieces);
                let ids: Vec<TokenId> = pieces.iter().map(|&p| self.file.vocab.id(p)).collect();
                emit(&ids);
            }
        }
    }
}

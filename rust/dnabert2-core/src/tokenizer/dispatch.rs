//! Runs of letters to ids: by the automaton where there is one, else by a general encoder.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand_xoshiro::Xoshiro256PlusPlus;

use crate::TokenId;
use crate::encode::{Automaton, GeneralEncoder, LongestFirst, Scratch, Trie, encode_with_dropout};
use crate::tokenizer::definition::{Matching, Pieces};
use crate::vocab::Piece;

/// The encoders of one vocabulary.
#[derive(Debug)]
pub(super) struct RunEncoder {
    plain: Plain,
    /// Compiled once that is faster; `None` inside for vocabularies without an automaton.
    automaton: OnceLock<Option<Automaton>>,
    /// Bases from which on compiling is faster.
    min_bases: usize,
    seen: AtomicUsize,
}

/// Encoders for any alphabet, which need no compiling.
#[derive(Debug)]
enum Plain {
    Bpe(GeneralEncoder),
    Longest(Trie),
    LongestFirst(LongestFirst),
}

impl RunEncoder {
    pub fn new(pieces: &Pieces) -> Self {
        let vocab = &pieces.vocab;
        let plain = match pieces.matching {
            Matching::Bpe => Plain::Bpe(GeneralEncoder::new(vocab)),
            Matching::Longest => Plain::Longest(Trie::new(vocab)),
            Matching::LongestFirst => Plain::LongestFirst(LongestFirst::new(vocab)),
        };
        // Compiling takes a twentieth of a second for 4,096 pieces.
        let min_bases = vocab.len().pow(3) / 700_000;
        Self { plain, automaton: OnceLock::new(), min_bases, seen: AtomicUsize::new(0) }
    }

    /// The automaton, if it is compiled already, or if compiling it is faster for `bases` more.
    pub fn automaton(&self, pieces: &Pieces, bases: usize) -> Option<&Automaton> {
        if let Some(compiled) = self.automaton.get() {
            return compiled.as_ref();
        }
        let seen = self.seen.fetch_add(bases, Ordering::Relaxed) + bases;
        if seen < self.min_bases {
            return None;
        }
        let compile = || match pieces.matching {
            Matching::Bpe => Automaton::bpe(&pieces.vocab),
            Matching::Longest => Automaton::longest(&pieces.vocab),
            Matching::LongestFirst => None,
        };
        self.automaton.get_or_init(compile).as_ref()
    }

    /// Encode one run of letters, a long one on several threads. `code` maps letters to ranks; `emit`
    /// receives the ids, in one or more pieces.
    pub fn encode(
        &self,
        pieces: &Pieces,
        code: &[u8; 256],
        run: Run<'_>,
        threads: usize,
        scratch: &mut Scratch,
        mut emit: impl FnMut(&[TokenId]),
    ) {
        let automaton = if run.bases { self.automaton(pieces, run.letters.len()) } else { None };
        if let Some(automaton) = automaton {
            return automaton.encode_run(run.letters, threads, scratch, emit);
        }
        let codes = codes(code, run);
        let mut found = Vec::new();
        match &self.plain {
            Plain::Bpe(general) => general.encode(&pieces.vocab, &codes, &mut found),
            Plain::Longest(trie) => trie.encode_longest(&codes, &mut found),
            Plain::LongestFirst(first) => first.encode(&codes, &mut found),
        }
        emit(&ids(pieces, &found));
    }
}

/// A run of letters that is encoded as one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run<'a> {
    pub letters: &'a [u8],
    /// Whether they are A, C, G, T only (in either case when it is folded).
    pub bases: bool,
}

/// Encode one run with merges dropped at random.
pub(super) fn with_dropout(
    pieces: &Pieces,
    code: &[u8; 256],
    run: Run<'_>,
    (rate, draw): &mut (f64, Xoshiro256PlusPlus),
) -> Vec<TokenId> {
    let mut found = Vec::new();
    encode_with_dropout(&pieces.vocab, &codes(code, run), *rate, draw, &mut found);
    ids(pieces, &found)
}

fn codes(code: &[u8; 256], run: Run<'_>) -> Vec<u8> {
    run.letters.iter().map(|&letter| code[usize::from(letter)]).collect()
}

fn ids(pieces: &Pieces, found: &[Piece]) -> Vec<TokenId> {
    found.iter().map(|&piece| pieces.vocab.id(piece)).collect()
}

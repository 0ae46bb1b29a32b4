//! The steps before matching: text becomes runs of letters and single tokens.

use std::sync::Arc;

use crate::encode::is_all_bases;
use crate::error::Origin;
use crate::kmer::Kmers;
use crate::policy::{Policy, Unknown};
use crate::tokenizer::definition::{Added, Gap, Pieces};
use crate::tokenizer::dispatch::{Run, RunEncoder};
use crate::{Error, Result, TokenId};

const NO_LETTER: u8 = u8::MAX;

/// A part of a text.
pub(super) enum Part<'a> {
    /// Letters of the vocabulary, for the encoder.
    Run(Run<'a>),
    /// One token: an added one, a k-mer, a gap, or the unknown one of a k-mer vocabulary.
    Token {
        id: TokenId,
        /// Characters that it covers.
        letters: usize,
        /// Lower-case ones among them that are read as upper-case ones.
        folded: usize,
    },
    /// The unknown token for each of some characters.
    Unknown { id: TokenId, letters: usize },
}

/// How letters become tokens.
#[derive(Debug, Clone)]
pub(super) enum Rule {
    Pieces(Arc<Reader>),
    Kmers(Kmers),
}

/// Properties of every byte, and the encoders.
#[derive(Debug)]
pub(super) struct Reader {
    pub pieces: Pieces,
    /// Rank of the letter that a byte is read as.
    pub code: [u8; 256],
    /// Number of the group of letters that pieces join. Letters of two groups never occur in one piece,
    /// so a run may be cut between them.
    island: [u8; 256],
    /// Bytes with which an added token begins.
    begins_added: [bool; 256],
    /// Lower-case letters that are read as upper-case ones.
    folded: [bool; 256],
    /// ASCII characters that are unknown at every position.
    always_unknown: [bool; 256],
    /// Whether the vocabulary has A, C, G, T, and whether a, c, g, t are read as them.
    bases: Option<bool>,
    pub runs: RunEncoder,
}

impl Reader {
    pub fn new(pieces: Pieces, policy: Policy) -> Self {
        let letters = pieces.vocab.letters();
        let mut code = [NO_LETTER; 256];
        for (&letter, rank) in letters.iter().zip(0..NO_LETTER) {
            code[usize::from(letter)] = rank;
        }
        let mut read_as: [u8; 256] = std::array::from_fn(|byte| byte.to_le_bytes()[0]);
        let mut islands: Vec<u8> = (0..NO_LETTER).take(letters.len()).collect();
        for text in pieces.vocab.texts() {
            let island = |byte: &u8| islands[usize::from(code[usize::from(*byte)])];
            let (one, other) = (island(&text[0]), island(&text[text.len() - 1]));
            // A piece is a chain of merges, so it is enough to compare the ends of every piece.
            for island in islands.iter_mut().filter(|island| **island == other) {
                *island = one;
            }
        }
        let own = code;
        for &(from, to) in &pieces.replaced {
            // Every byte that is read as the first letter by now is read as the second from here on.
            for byte in 0..=u8::MAX {
                let slot = &mut read_as[usize::from(byte)];
                if *slot == from {
                    *slot = to;
                }
            }
        }
        let mut code = read_as.map(|byte| own[usize::from(byte)]);
        let folded: [bool; 256] = std::array::from_fn(|byte| {
            policy.fold_case
                && byte.to_le_bytes()[0].is_ascii_lowercase()
                && code[byte] == NO_LETTER
        });
        for lower in (b'a'..=b'z').filter(|&lower| folded[usize::from(lower)]) {
            code[usize::from(lower)] = code[usize::from(lower.to_ascii_uppercase())];
        }
        let island = code.map(|rank| islands.get(usize::from(rank)).copied().unwrap_or(NO_LETTER));
        let mut begins_added = [false; 256];
        for Added { content, special, .. } in &pieces.added {
            let first = content.as_bytes()[0];
            begins_added[usize::from(first)] = true;
            let lower = usize::from(first.to_ascii_lowercase());
            begins_added[lower] |= folded[lower] && !special;
        }
        let mut always_unknown = [false; 256];
        for byte in 0..128_u8 {
            let index = usize::from(byte);
            always_unknown[index] = code[index] == NO_LETTER
                && !begins_added[index]
                && !char::from(byte).is_whitespace();
        }
        let of = |byte: u8| code[usize::from(byte)];
        let bases = b"ACGT"
            .iter()
            .all(|&base| of(base) != NO_LETTER && of(base) == own[usize::from(base)])
            .then(|| b"ACGT".iter().all(|&base| of(base) == of(base.to_ascii_lowercase())));
        let runs = RunEncoder::new(&pieces);
        Self { pieces, code, island, begins_added, folded, always_unknown, bases, runs }
    }

    /// Number of letters at the start of `rest` that are encoded as one run.
    fn run_length(&self, rest: &[u8]) -> usize {
        let (word, island) = (is_word(rest[0]), self.island[usize::from(rest[0])]);
        let in_run = |&byte: &u8| {
            self.island[usize::from(byte)] == island
                && (!self.pieces.splits_words || is_word(byte) == word)
        };
        if island == NO_LETTER {
            return 0;
        }
        let Some(gap) = self.pieces.gap else {
            return rest.iter().position(|byte| !in_run(byte)).unwrap_or(rest.len());
        };
        // No letter behind the next gap is read: a text with many gaps takes linear time.
        let mut at = 0;
        while at < rest.len() && in_run(&rest[at]) {
            let length = self.gap_length(gap, &rest[at..]);
            if length >= gap.min_length {
                break;
            }
            at += length.max(1);
        }
        at
    }

    fn gap_length(&self, gap: Gap, rest: &[u8]) -> usize {
        rest.iter().position(|&byte| !self.is_gap(gap, byte)).unwrap_or(rest.len())
    }

    fn is_gap(&self, gap: Gap, byte: u8) -> bool {
        self.code[usize::from(byte)] == self.code[usize::from(gap.letter)]
    }

    /// The added token with which `rest` begins. Letters are folded but in special tokens.
    fn added_at(&self, rest: &[u8]) -> Option<&Added> {
        if !self.begins_added[usize::from(rest[0])] {
            return None;
        }
        let is_read_as = |special: bool, byte: u8, letter: u8| {
            let folds = !special && self.folded[usize::from(byte)];
            byte == letter || folds && byte.to_ascii_uppercase() == letter
        };
        self.pieces.added.iter().find(|Added { content, special, .. }| {
            let bytes = content.as_bytes();
            rest.len() >= bytes.len()
                && rest.iter().zip(bytes).all(|(&byte, &letter)| is_read_as(*special, byte, letter))
        })
    }

    /// Start and end, without the white space that is stripped, of the text between added tokens that
    /// begins at `at`.
    fn stripped(&self, text: &[u8], at: usize) -> (usize, usize) {
        if self.pieces.strips == (false, false) {
            return (at, text.len());
        }
        let end = (at..text.len()).find(|&i| self.added_at(&text[i..]).is_some());
        let between = &text[at..end.unwrap_or(text.len())];
        let (left, right) = match std::str::from_utf8(between) {
            Ok(between) => (between.trim_start().len(), between.trim_end().len()),
            Err(_) => (between.trim_ascii_start().len(), between.trim_ascii_end().len()),
        };
        let from = if self.pieces.strips.0 { at + between.len() - left } else { at };
        (from, if self.pieces.strips.1 { at + right } else { at + between.len() })
    }
}

impl Rule {
    /// Call `emit(part, position)` for every part of a text, positions in characters; `unknown` is the id
    /// of the unknown token.
    pub(super) fn split<'a>(
        &self,
        text: &'a [u8],
        policy: Policy,
        unknown: TokenId,
        mut emit: impl FnMut(Part<'a>, usize),
    ) -> Result<()> {
        let reader = match self {
            Rule::Pieces(reader) => reader,
            Rule::Kmers(kmers) => {
                return kmers.encode_spans(text, policy, unknown, |id, start, end| {
                    emit(Part::Token { id, letters: end - start, folded: 0 }, start);
                });
            }
        };
        let pieces = &reader.pieces;
        if reader.bases.is_some_and(|fold| is_all_bases(text, fold)) {
            if !text.is_empty() {
                emit(Part::Run(Run { letters: text, bases: true }), 0);
            }
            return Ok(());
        }
        let (mut at, mut position) = (0, 0);
        let mut between = reader.stripped(text, 0);
        while at < text.len() {
            let rest = &text[at..];
            let strange = |&byte: &u8| reader.always_unknown[usize::from(byte)];
            if strange(&rest[0]) {
                let letters = rest.iter().position(|byte| !strange(byte)).unwrap_or(rest.len());
                match policy.unknown {
                    Unknown::Unk => emit(Part::Unknown { id: unknown, letters }, position),
                    Unknown::Split => {}
                    Unknown::Error => {
                        let letter = char::from(rest[0]);
                        let origin = Origin::Sequence(0);
                        return Err(Error::UnknownLetter { origin, letter, position });
                    }
                }
                at += letters;
                position += letters;
                continue;
            }
            let run = reader.run_length(rest);
            if run > 0 {
                let letters = &rest[..run];
                let bases = reader.bases.is_some_and(|fold| is_all_bases(letters, fold));
                emit(Part::Run(Run { letters, bases }), position);
                at += run;
                position += run;
                continue;
            }
            if let Some(gap) = pieces.gap.filter(|gap| reader.is_gap(*gap, rest[0])) {
                let letters = reader.gap_length(gap, rest);
                let lower = |byte: &&u8| byte.is_ascii_lowercase() && **byte != gap.letter;
                let folded = rest[..letters].iter().filter(lower).count();
                emit(Part::Token { id: gap.id, letters, folded }, position);
                at += letters;
                position += letters;
                continue;
            }
            if let Some(Added { content, id, .. }) = reader.added_at(rest) {
                let letters = content.chars().count();
                let folded = rest.iter().zip(content.bytes()).filter(|(byte, own)| *byte != own);
                let folded = folded.count();
                emit(Part::Token { id: *id, letters, folded }, position);
                at += content.len();
                position += letters;
                between = reader.stripped(text, at);
                continue;
            }
            let (letter, length) = character(rest);
            let vanishes = letter.is_whitespace()
                && (pieces.splits_words || at < between.0 || at >= between.1);
            if !vanishes {
                match policy.unknown {
                    Unknown::Unk => emit(Part::Unknown { id: unknown, letters: 1 }, position),
                    Unknown::Split => {}
                    Unknown::Error => {
                        let origin = Origin::Sequence(0);
                        return Err(Error::UnknownLetter { origin, letter, position });
                    }
                }
            }
            at += length;
            position += 1;
        }
        Ok(())
    }
}

/// The first character of `rest` and its bytes; a byte that is not UTF-8 is one character.
fn character(rest: &[u8]) -> (char, usize) {
    let head = &rest[..rest.len().min(4)];
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default(),
    };
    valid.chars().next().map_or((char::REPLACEMENT_CHARACTER, 1), |c| (c, c.len_utf8()))
}

/// Whether an ASCII letter of a vocabulary belongs to words and not to punctuation.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

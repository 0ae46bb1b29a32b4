//! The steps before BPE: text becomes runs of letters and single tokens.

use crate::encode::is_all_bases;
use crate::tokenizer::{NO_LETTER, Tokenizer, Unknown};
use crate::{Error, Result, TokenId};

/// A stretch of text.
pub(super) enum Part<'a> {
    /// Letters of the vocabulary, for the encoder.
    Run(&'a [u8]),
    /// One token: an added one, or the unknown one for a character outside the vocabulary.
    Token {
        id: TokenId,
        /// Characters that it stands for.
        letters: usize,
    },
}

impl Tokenizer {
    /// Call `emit(part, position)` for every part of a text, positions in characters.
    pub(super) fn split<'a>(
        &self,
        text: &'a [u8],
        mut emit: impl FnMut(Part<'a>, usize),
    ) -> Result<()> {
        if self.runs.takes_bases() && is_all_bases(text, self.policy.fold_case) {
            if !text.is_empty() {
                emit(Part::Run(text), 0);
            }
            return Ok(());
        }
        let (mut at, mut position) = (0, 0);
        while at < text.len() {
            let rest = &text[at..];
            let run = self.run_length(rest);
            if run > 0 {
                emit(Part::Run(&rest[..run]), position);
                at += run;
                position += run;
            } else if let Some((content, id)) = self.added_at(rest) {
                let letters = content.chars().count();
                emit(Part::Token { id: *id, letters }, position);
                at += content.len();
                position += letters;
            } else {
                let (letter, length) = character(rest);
                if !(self.file.splits_words && letter.is_whitespace()) {
                    let id = self.file.unknown;
                    match self.policy.unknown {
                        Unknown::Unk => emit(Part::Token { id, letters: 1 }, position),
                        Unknown::Split => {}
                        Unknown::Error => {
                            return Err(Error::UnknownLetter { sequence: 0, letter, position });
                        }
                    }
                }
                at += length;
                position += 1;
            }
        }
        Ok(())
    }

    /// Letters of the vocabulary that `rest` begins with and that stand in one word.
    fn run_length(&self, rest: &[u8]) -> usize {
        let word = is_word(rest[0]);
        let in_run = |&byte: &u8| {
            self.code[usize::from(byte)] != NO_LETTER
                && (!self.file.splits_words || is_word(byte) == word)
        };
        rest.iter().position(|byte| !in_run(byte)).unwrap_or(rest.len())
    }

    fn added_at(&self, rest: &[u8]) -> Option<&(String, TokenId)> {
        if !self.begins_added[usize::from(rest[0])] {
            return None;
        }
        self.file.added.iter().find(|(content, _)| rest.starts_with(content.as_bytes()))
    }
}

/// The character that `rest` begins with and its bytes; a byte that is not UTF-8 stands for itself.
fn character(rest: &[u8]) -> (char, usize) {
    let head = &rest[..rest.len().min(4)];
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default(),
    };
    valid.chars().next().map_or((char::REPLACEMENT_CHARACTER, 1), |c| (c, c.len_utf8()))
}

/// Whether an ASCII letter of a vocabulary belongs to words rather than to punctuation.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

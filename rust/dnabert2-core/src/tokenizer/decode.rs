//! From ids back to text and coordinates, and counts of the letters that have no token.

use crate::policy::{ReplacedCounts, Unknown};
use crate::tokenizer::encoding::Tokenizer;
use crate::tokenizer::pretokenize::{Part, Rule};
use crate::{Error, Result, TokenId};

impl Tokenizer {
    /// Return the text of `ids`. `unknown` replaces each unknown token and each gap, other special tokens
    /// are dropped, and `separator` is put between tokens. Without a separator, overlapping k-mers become
    /// the letters they cover.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an id outside the vocabulary.
    pub fn decode(&self, ids: &[TokenId], unknown: &str, separator: &str) -> Result<String> {
        let mut text = String::new();
        let gap = self.gap_id();
        if let (Some(k), "") = (self.overlap(), separator) {
            return self.decode_overlapping(ids, k, unknown);
        }
        for &id in ids {
            let token = self.token(id)?;
            let token = match self.bases_of(id) {
                _ if Some(id) == self.unknown || Some(id) == gap => unknown,
                0 => continue,
                _ => token,
            };
            if !text.is_empty() && !token.is_empty() {
                text.push_str(separator);
            }
            text.push_str(token);
        }
        Ok(text)
    }

    /// Write the letters covered by overlapping k-mers.
    fn decode_overlapping(&self, ids: &[TokenId], k: usize, unknown: &str) -> Result<String> {
        let mut letters: Vec<Option<char>> = Vec::with_capacity(ids.len() + k);
        let mut at = 0;
        for &id in ids {
            let token = self.token(id)?;
            if self.bases_of(id) == 0 {
                continue;
            }
            letters.resize(at + k, None);
            if Some(id) != self.unknown {
                for (letter, known) in letters[at..].iter_mut().zip(token.chars()) {
                    *letter = Some(known);
                }
            }
            at += 1;
        }
        let mut text = String::with_capacity(letters.len());
        for letter in letters {
            match letter {
                Some(letter) => text.push(letter),
                None => text.push_str(unknown),
            }
        }
        Ok(text)
    }

    /// Start and end of every token of one encoded sequence, in letters, computed from the ids; (0, 0) for
    /// special tokens. The unknown token counts as one letter, or as one of overlapping k-mers.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the number of letters of a token is not fixed.
    pub fn offsets(&self, ids: &[TokenId]) -> Result<Vec<(usize, usize)>> {
        let (gap, overlap) = (self.gap_id(), self.overlap());
        let mut at = 0;
        let span = |&id: &TokenId| {
            if Some(id) == gap {
                let token = self.token(id)?;
                let message =
                    format!("the length of token {token:?} is not fixed; use encode_detailed");
                return Err(Error::InvalidArgument { name: "ids", message });
            }
            let length = self.bases_of(id);
            if length == 0 {
                return Ok((0, 0));
            }
            let start = at;
            at += if overlap.is_some() { 1 } else { length };
            Ok((start, start + overlap.unwrap_or(length)))
        };
        ids.iter().map(span).collect()
    }

    /// Count the letters that [`Policy`](crate::policy::Policy) changes in texts.
    #[must_use]
    pub fn replaced<T: AsRef<[u8]>>(&self, texts: &[T]) -> ReplacedCounts {
        let mut counts = ReplacedCounts::default();
        for text in texts.iter().map(AsRef::as_ref) {
            match &self.rule {
                Rule::Pieces(_) => self.replaced_letters(text, &mut counts),
                Rule::Kmers(kmers) => kmers.replaced(text, self.policy, &mut counts),
            }
        }
        counts
    }

    fn replaced_letters(&self, text: &[u8], counts: &mut ReplacedCounts) {
        let Rule::Pieces(reader) = &self.rule else { return };
        let letters = reader.pieces.vocab.letters();
        // Positions of parts are in characters; every letter in a run is one character.
        let mut strange = Vec::new();
        let done = self.split(text, Unknown::Unk, |part, position| match part {
            Part::Run(run) => {
                let lower = run.letters.iter().filter(|byte| byte.is_ascii_lowercase());
                counts.folded += lower.filter(|byte| !letters.contains(byte)).count() as u64;
            }
            Part::Unknown { letters, .. } => strange.extend(position..position + letters),
            Part::Token { id, .. } if Some(id) == self.unknown => strange.push(position),
            Part::Token { folded, .. } => counts.folded += folded as u64,
        });
        debug_assert!(done.is_ok(), "only Unknown::Error fails");
        if strange.is_empty() {
            return;
        }
        // A byte that is not UTF-8 counts as one character there.
        let characters = text.utf8_chunks().flat_map(|chunk| {
            let invalid = chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER);
            chunk.valid().chars().chain(invalid)
        });
        let mut strange = strange.into_iter().peekable();
        for (position, letter) in characters.enumerate() {
            if strange.next_if_eq(&position).is_some() {
                *counts.unknown.entry(letter).or_default() += 1;
            }
        }
    }

    /// Letters of a token, where tokens overlap.
    fn overlap(&self) -> Option<usize> {
        match &self.rule {
            Rule::Kmers(kmers) if kmers.overlap() => Some(kmers.k()),
            _ => None,
        }
    }

    fn gap_id(&self) -> Option<TokenId> {
        match &self.rule {
            Rule::Pieces(reader) => reader.pieces.gap.map(|gap| gap.id),
            Rule::Kmers(_) => None,
        }
    }
}

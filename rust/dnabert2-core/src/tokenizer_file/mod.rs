//! The file behind a tokenizer: a `tokenizer.json` of Hugging Face `tokenizers`, or a list of k-mers.
//!
//! Only what this crate reproduces id for id is accepted; everything else is refused with the place
//! in the file (a JSON pointer, or a line).

mod json;
mod model;
mod pipeline;
mod pointer;
mod strict_json;
mod vocab_txt;
mod write;

use std::path::Path;

use crate::kmer::Kmers;
use crate::vocab::Vocab;
use crate::{Error, Result, TokenId};

pub use write::from_trained;

/// One place of a template, such as the `[CLS]` of `[CLS] A [SEP]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// A special token and its type id.
    Special(TokenId, u32),
    /// The first (or only) sequence and its type id.
    First(u32),
    /// The second sequence of a pair and its type id.
    Second(u32),
}

/// How a text is split into the pieces of a vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matching {
    /// Merges in the order in which they were trained: byte-pair encoding.
    Bpe,
    /// From left to right, the longest piece at each place.
    Longest,
    /// The longest piece anywhere first, ties to the one merged earlier, then to the left.
    LongestFirst,
}

impl Matching {
    /// What `/model/type` says in the file. Hugging Face `tokenizers` reads the first only, and
    /// refuses the others.
    const TYPES: [(&str, Self); 3] =
        [("BPE", Self::Bpe), ("LongestMatch", Self::Longest), ("LongestFirst", Self::LongestFirst)];

    fn model_type(self) -> &'static str {
        Self::TYPES.into_iter().find(|(_, matching)| *matching == self).map_or("", |(name, _)| name)
    }
}

/// A run of one letter that becomes one token, such as ten or more N.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The letter.
    pub letter: u8,
    /// Fewest of them.
    pub least: usize,
    /// The token that stands for all of them.
    pub id: TokenId,
}

/// A vocabulary of pieces, and the steps before they are matched.
#[derive(Debug, Clone)]
pub struct Pieces {
    /// Letters and merges.
    pub vocab: Vocab,
    /// How pieces are matched.
    pub matching: Matching,
    /// Tokens that are found in the text before anything else, longest first.
    pub added: Vec<(String, TokenId)>,
    /// Whether white space vanishes and words are kept from punctuation (`Whitespace`).
    pub splits_words: bool,
    /// Whether white space vanishes at the start and at the end of the text between added tokens.
    pub strips: (bool, bool),
    /// Runs of a letter that are one token.
    pub gap: Option<Gap>,
}

/// How letters become tokens.
#[derive(Debug, Clone)]
pub enum Model {
    /// By pieces of unequal length.
    Pieces(Box<Pieces>),
    /// By k letters at a time.
    Kmers(Kmers),
}

/// What a tokenizer file says.
#[derive(Debug, Clone)]
pub struct TokenizerFile {
    /// The file as it stands; saving writes this.
    pub text: String,
    /// Every token by id.
    pub tokens: Vec<String>,
    /// Id of the unknown token.
    pub unknown: TokenId,
    /// Template of one sequence.
    pub single: Vec<Slot>,
    /// Template of a pair; empty when there is none.
    pub pair: Vec<Slot>,
    /// How letters become tokens.
    pub model: Model,
}

impl TokenizerFile {
    /// Read a file.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::TokenizerFile`] with the place of whatever is
    /// wrong or cannot be reproduced exactly.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let text = String::from_utf8(bytes).map_err(|_| Error::TokenizerFile {
            path: path.to_owned(),
            place: "/".into(),
            message: "the file is not UTF-8 text".into(),
        })?;
        Self::parse(path, text)
    }

    /// Read the text of a file; `path` only serves messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn parse(path: &Path, text: String) -> Result<Self> {
        if vocab_txt::is_one(&text) {
            vocab_txt::parse(path, text)
        } else {
            json::parse(path, text)
        }
    }

    /// Letters and merges, where there are any.
    #[must_use]
    pub fn vocab(&self) -> Option<&Vocab> {
        match &self.model {
            Model::Pieces(pieces) => Some(&pieces.vocab),
            Model::Kmers(_) => None,
        }
    }
}

//! The contents of a tokenizer file: tokens, templates, and how letters become tokens.

use crate::TokenId;
use crate::kmer::Kmers;
use crate::vocab::Vocab;

/// One entry of a template, such as the `[CLS]` of `[CLS] A [SEP]`.
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
    /// From left to right, the longest piece at each position.
    Longest,
    /// The longest piece anywhere first, ties to the one merged earlier, then to the left.
    LongestFirst,
}

/// A run of one letter that becomes one token, such as ten or more N.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The letter.
    pub letter: u8,
    /// Minimum length of the run.
    pub min_length: usize,
    /// The token of the whole run.
    pub id: TokenId,
}

/// A token that is found in the text itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// Its text.
    pub content: String,
    /// Its id.
    pub id: TokenId,
    /// Whether decoding leaves it out.
    pub special: bool,
}

/// A vocabulary of pieces, and the steps before pieces are matched.
#[derive(Debug, Clone)]
pub struct Pieces {
    /// Letters and merges.
    pub vocab: Vocab,
    /// How pieces are matched.
    pub matching: Matching,
    /// Tokens that are found in the text before anything else, longest first.
    pub added: Vec<Added>,
    /// Letters that are read as others, in order.
    pub replaced: Vec<(u8, u8)>,
    /// Whether white space is removed and separates words, and punctuation is split off (`Whitespace`).
    pub splits_words: bool,
    /// Whether white space is removed at the start and at the end of the text between added tokens.
    pub strips: (bool, bool),
    /// Runs of a letter that are one token.
    pub gap: Option<Gap>,
}

/// How letters become tokens.
#[derive(Debug, Clone)]
pub enum Model {
    /// By pieces of unequal length.
    Pieces(Box<Pieces>),
    /// By k-mers of k letters.
    Kmers(Kmers),
}

/// The contents of a tokenizer file.
#[derive(Debug, Clone)]
pub struct Definition {
    /// Text of the file; saving writes it.
    pub text: String,
    /// Every token by id.
    pub tokens: Vec<String>,
    /// Id of the unknown token; without one, unknown characters are an error by default.
    pub unknown: Option<TokenId>,
    /// Template of one sequence.
    pub single: Vec<Slot>,
    /// Template of a pair; empty when there is none.
    pub pair: Vec<Slot>,
    /// How letters become tokens.
    pub model: Model,
}

impl Definition {
    /// The vocabulary of pieces, if there is one.
    #[must_use]
    pub fn vocab(&self) -> Option<&Vocab> {
        match &self.model {
            Model::Pieces(pieces) => Some(&pieces.vocab),
            Model::Kmers(_) => None,
        }
    }
}

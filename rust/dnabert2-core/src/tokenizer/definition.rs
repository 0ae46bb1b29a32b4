//! What a tokenizer file defines: tokens, templates, and how letters become tokens.

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

/// What a tokenizer file defines.
#[derive(Debug, Clone)]
pub struct Definition {
    /// Text of the file; saving writes it.
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

impl Definition {
    /// Letters and merges, where there are any.
    #[must_use]
    pub fn vocab(&self) -> Option<&Vocab> {
        match &self.model {
            Model::Pieces(pieces) => Some(&pieces.vocab),
            Model::Kmers(_) => None,
        }
    }
}

//! How text is read before it is encoded, and counts of the letters that this changes.

use std::collections::BTreeMap;

/// What happens to letters that the vocabulary does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// Each becomes the unknown token.
    Unk,
    /// They end the run of letters before them, and become no token.
    Split,
    /// The first one is an [`Error::UnknownLetter`](crate::Error::UnknownLetter).
    Error,
}

/// How text is read before it is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Read lower-case letters as upper-case ones (soft-masked genomes) where the vocabulary has no
    /// lower case; otherwise they are unknown, as in Hugging Face `tokenizers`.
    pub fold_case: bool,
    /// What happens to letters outside the vocabulary.
    pub unknown: Unknown,
}

impl Default for Policy {
    fn default() -> Self {
        Self { fold_case: true, unknown: Unknown::Unk }
    }
}

/// Counts of letters that are read as others, or that the vocabulary cannot spell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplacedCounts {
    /// Lower-case letters read as upper-case ones.
    pub folded: u64,
    /// Letters outside the vocabulary with their counts.
    pub unknown: BTreeMap<char, u64>,
}

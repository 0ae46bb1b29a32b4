//! The options of one call, and the number of tokens that they leave to a sequence.

use crate::tokenizer::definition::Slot;
use crate::{Error, Result};

/// Which sequence of a pair is shortened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truncation {
    /// The longer one first, then both evenly.
    LongestFirst,
    /// Only the first.
    OnlyFirst,
    /// Only the second.
    OnlySecond,
}

/// Options of one call.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Add the template's special tokens around the sequence.
    pub special_tokens: bool,
    /// Maximum tokens of the result, special ones included.
    pub max_length: Option<usize>,
    /// Which sequence of a pair is shortened.
    pub truncation: Truncation,
    /// Drop tokens at the start instead of at the end.
    pub from_left: bool,
    /// Drop merges at random (see [`encode_with_dropout`](crate::encode::encode_with_dropout)).
    pub dropout: Option<Dropout>,
    /// Index of the first sequence in errors and draws, where a batch comes in several calls.
    pub first: usize,
}

/// How merges are dropped. The random numbers depend only on the seed and the sequence's index in the batch.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    /// Probability of dropping a merge, 0 to 1.
    pub rate: f64,
    /// Seed of the random numbers.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        let truncation = Truncation::LongestFirst;
        let (special_tokens, max_length, from_left) = (true, None, false);
        Self { special_tokens, max_length, truncation, from_left, dropout: None, first: 0 }
    }
}

/// Maximum tokens of the sequences of a template, if there is a limit.
pub(super) fn room(template: &[Slot], options: &Options) -> Result<Option<usize>> {
    let special = template.iter().filter(|slot| matches!(slot, Slot::Special(..))).count();
    let special = if options.special_tokens { special } else { 0 };
    let Some(limit) = options.max_length else { return Ok(None) };
    limit.checked_sub(special).map(Some).ok_or_else(|| Error::InvalidArgument {
        name: "max_length",
        message: format!("must be at least {special}, the special tokens (got {limit})"),
    })
}

/// Tokens that are kept of each sequence of a pair, by the algorithm of Hugging Face `tokenizers`.
pub(super) fn kept_lengths(
    first: usize,
    second: usize,
    is_pair: bool,
    room: usize,
    options: &Options,
) -> Result<(usize, usize)> {
    let excess = (first + second).saturating_sub(room);
    if excess == 0 {
        return Ok((first, second));
    }
    if room == 0 {
        return Ok((0, 0));
    }
    if !is_pair && options.truncation != Truncation::OnlySecond {
        return Ok((first - excess, 0));
    }
    let give = |length: usize| {
        length.checked_sub(excess).filter(|&left| left > 0).ok_or_else(|| Error::InvalidArgument {
            name: "truncation",
            message: format!("cannot remove {excess} tokens from a sequence of {length}"),
        })
    };
    match options.truncation {
        Truncation::OnlyFirst => Ok((give(first)?, second)),
        Truncation::OnlySecond => Ok((first, give(second)?)),
        Truncation::LongestFirst => {
            let short = first.min(second);
            // Both are cut only when the shorter one alone takes more than half.
            let short = if 2 * short > room { room / 2 } else { short };
            let long = room - short;
            Ok(if first <= second { (short, long) } else { (long, short) })
        }
    }
}

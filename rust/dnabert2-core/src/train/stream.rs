//! Merges without the text in memory: looks at it (`speculate.rs`) settle merges until what is left of the
//! text fits.

use crate::train::Work;
use crate::train::packed_text::Part;
use crate::train::pair_index::Pair;
use crate::train::speculate::{EVERY, FIRST, Settled, guess, look_ahead};
use crate::{Error, Result};

/// Bytes that training in memory takes for each piece of the text.
const BYTES_A_PIECE: u64 = 4;

/// Part of the limit that a sample may take.
const SAMPLE: u64 = 4;

/// Make merges by looks at the text until what is left of it fits `memory_limit` bytes. Returns whether
/// there are more merges to make.
pub(super) fn stream(
    work: &mut Work,
    parts: &mut [Part],
    memory_limit: u64,
    report: &mut impl FnMut(&[Pair]) -> Result<()>,
) -> Result<bool> {
    let slots = parts.iter().map(Part::slots).sum::<usize>() as u64;
    if work.merges.is_empty() && slots.saturating_mul(BYTES_A_PIECE) <= memory_limit {
        return Ok(true);
    }
    let every = slots * BYTES_A_PIECE * SAMPLE / memory_limit.max(1);
    let every = usize::try_from(every).unwrap_or(usize::MAX).max(EVERY);
    let mut guesses = Vec::new();
    while work.lengths.len() < work.most {
        if work.merges.len() < FIRST {
            guesses = guess(work, parts, every)?;
        }
        match look_ahead(work, parts, &guesses, report)? {
            Settled::More { pieces, .. } if pieces * BYTES_A_PIECE <= memory_limit => {
                return Ok(true);
            }
            // Later on the next merges are pairs that are frequent now.
            Settled::More { frequent, .. } => guesses = possible(work, frequent)?,
            Settled::All => return Ok(false),
        }
    }
    Ok(false)
}

/// Guesses without those that cannot be merges beside the others: equal texts, for one, that other
/// neighbours have cut in two ways.
fn possible(work: &Work, mut guesses: Vec<Pair>) -> Result<Vec<Pair>> {
    let vocab = work.vocab()?;
    let text = |&(left, right): &Pair| -> Vec<u8> {
        [left, right].map(|piece| &vocab.texts()[piece as usize][..]).concat()
    };
    loop {
        let Err(Error::Vocab { token, message }) = work.with(&guesses).vocab() else {
            return Ok(guesses);
        };
        let Some(at) = guesses.iter().rposition(|pair| text(pair) == token.as_bytes()) else {
            return Err(Error::Vocab { token, message });
        };
        guesses.remove(at);
    }
}

//! Merges without the text in memory: passes over it (`speculate.rs`) make merges until the rest of the
//! text fits.

use crate::train::packed_text::PackedText;
use crate::train::pair::Pair;
use crate::train::speculate::{FIRST_MERGES, Outcome, SAMPLE_STRIDE, candidates, pass};
use crate::train::state::Work;
use crate::{Error, Result};

/// Bytes that training in memory takes for each piece of the text.
const BYTES_PER_PIECE: u64 = 4;

/// The sample gets one in this number of bytes of the limit.
const SAMPLE_SHARE: u64 = 4;

/// Make merges by passes over the text until the rest of it fits `memory_limit` bytes. Returns whether
/// there are more merges to make.
pub(super) fn stream(
    work: &mut Work,
    texts: &mut [PackedText],
    memory_limit: u64,
    report: &mut impl FnMut(&[Pair]) -> Result<()>,
) -> Result<bool> {
    let slots = texts.iter().map(PackedText::slots).sum::<usize>() as u64;
    if work.merges.is_empty() && slots * BYTES_PER_PIECE <= memory_limit {
        return Ok(true);
    }
    let stride = slots * BYTES_PER_PIECE * SAMPLE_SHARE / memory_limit.max(1);
    let stride = usize::try_from(stride).expect("not above the slots").max(SAMPLE_STRIDE);
    let mut next = Vec::new();
    while work.lengths.len() < work.max_pieces {
        if work.merges.len() < FIRST_MERGES {
            next = candidates(work, texts, stride)?;
        }
        match pass(work, texts, &next, report)? {
            Outcome::More { pieces, .. } if pieces * BYTES_PER_PIECE <= memory_limit => {
                return Ok(true);
            }
            // Later, the most frequent pairs of a pass are the next candidates.
            Outcome::More { frequent, .. } => next = possible(work, frequent)?,
            Outcome::Complete => return Ok(false),
        }
    }
    Ok(false)
}

/// The candidates without those that cannot be merges together with the others. An example is two of
/// equal text, which different neighbours cut in two ways.
fn possible(work: &Work, mut candidates: Vec<Pair>) -> Result<Vec<Pair>> {
    let vocab = work.vocab()?;
    let text = |&(left, right): &Pair| -> Vec<u8> {
        [left, right].map(|piece| &vocab.texts()[piece as usize][..]).concat()
    };
    loop {
        let Err(Error::Vocab { token, message }) = work.with(&candidates).vocab() else {
            return Ok(candidates);
        };
        let Some(at) = candidates.iter().rposition(|pair| text(pair) == token.as_bytes()) else {
            return Err(Error::Vocab { token, message });
        };
        candidates.remove(at);
    }
}

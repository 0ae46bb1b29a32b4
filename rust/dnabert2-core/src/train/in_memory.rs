//! Merges with all text in memory, one generation after the other.
//!
//! Slots start as narrow as the number of pieces allows, and are widened when more pieces are made.

use std::sync::{Mutex, PoisonError};

use crate::parallel::{lock, parallel_map};
use crate::train::packed_text::{PackedText, PieceEncoder};
use crate::train::pair::Pair;
use crate::train::pair_index::PairIndex;
use crate::train::partition::Partition;
use crate::train::slots::Slot;
use crate::train::state::Work;
use crate::train::worker_pool::with_pool;
use crate::vocab::Vocab;
use crate::{Error, Result};

/// Continue from the merges made so far with all text in memory.
pub(super) fn train_in_memory(
    work: &mut Work,
    texts: Vec<PackedText>,
    report: &mut impl FnMut(&[Pair]) -> Result<()>,
) -> Result<()> {
    let pieces = work.lengths.len();
    let wide = if pieces < slot_limit::<u8>() {
        let narrow = partitions::<u8>(texts, &work.vocab()?, work.threads)?;
        let Some(narrow) = merge(work, narrow, report)? else { return Ok(()) };
        widened(narrow)
    } else if pieces < slot_limit::<u16>() {
        partitions::<u16>(texts, &work.vocab()?, work.threads)?
    } else {
        let widest = partitions::<u32>(texts, &work.vocab()?, work.threads)?;
        return merge(work, widest, report).map(drop);
    };
    if let Some(wide) = merge(work, wide, report)? {
        merge(work, widened::<u16, u32>(wide), report)?;
    }
    Ok(())
}

/// Make merges while pieces fit the slots. Returns the partitions when wider slots are needed.
fn merge<T: Slot>(
    work: &mut Work,
    partitions: Vec<Mutex<Partition<T>>>,
    report: &mut impl FnMut(&[Pair]) -> Result<()>,
) -> Result<Option<Vec<Mutex<Partition<T>>>>> {
    let limit = slot_limit::<T>();
    let slots: usize = partitions.iter().map(|partition| lock(partition).len()).sum();
    let (early, late) = ((slots / 2).max(1 << 16), (slots / 32).max(1 << 16));
    loop {
        let before = work.merges.len();
        let index = PairIndex::new(&partitions, work.lengths.len(), work.limits(early, late));
        let step = |partition: &mut Partition<T>, step: &_| partition.step(step);
        with_pool(&partitions, work.threads, step, |pool| {
            let mut index = index;
            let mut fresh = Vec::new();
            while work.lengths.len() < work.max_pieces.min(limit) {
                let Some(pair) = index.pop() else { break };
                let piece = work.next_piece();
                work.push(pair);
                pool.run(index.step(fresh, Some((pair, piece))));
                fresh = index.update(&partitions, pair, piece, work.limits(early, late));
                report(&work.merges)?;
            }
            Ok::<_, Error>(())
        })?;
        parallel_map(work.threads, &partitions, || (), |(), partition| lock(partition).close());
        if work.lengths.len() == work.max_pieces || work.merges.len() == before {
            return Ok(None);
        }
        if work.lengths.len() >= limit {
            return Ok(Some(partitions));
        }
    }
}

/// Maximum number of pieces for slots of a width.
fn slot_limit<T: Slot>() -> usize {
    usize::try_from(T::LIMIT).expect("32 bits fit")
}

/// The text as pieces of a vocabulary.
fn partitions<T: Slot>(
    texts: Vec<PackedText>,
    vocab: &Vocab,
    threads: usize,
) -> Result<Vec<Mutex<Partition<T>>>> {
    let encoder = PieceEncoder::new(vocab);
    let work: Vec<Mutex<Option<PackedText>>> =
        texts.into_iter().map(|text| Mutex::new(Some(text))).collect();
    let made = parallel_map(
        threads,
        &work,
        || (),
        |(), text| {
            let text = lock(text).take();
            text.map_or_else(
                || Ok(Partition::new(1, Vec::new(), 0)),
                |text| text.partition(&encoder),
            )
        },
    );
    made.into_iter().map(|partition| partition.map(Mutex::new)).collect()
}

/// The partitions in wider slots, one after the other, so that only one is in memory twice.
fn widened<T: Slot, U: Slot>(partitions: Vec<Mutex<Partition<T>>>) -> Vec<Mutex<Partition<U>>> {
    let inner = |partition: Mutex<Partition<T>>| {
        partition.into_inner().unwrap_or_else(PoisonError::into_inner)
    };
    partitions.into_iter().map(|partition| Mutex::new(inner(partition).widened())).collect()
}

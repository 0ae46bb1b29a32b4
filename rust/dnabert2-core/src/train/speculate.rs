//! The first merges, many of them settled by one pass over the text.
//!
//! **The idea.** A sample of the text gives candidates for the next merges. The whole text is encoded as
//! if all of them were made, and its pieces and pairs are counted once. Which candidates were correct
//! follows from these counts (`verify.rs`).
//!
//! **Cost.** A pass encodes every base once and settles dozens of merges. A generation of the index
//! would make few of the first merges and read nearly every base each time.

use std::sync::Mutex;

use rustc_hash::FxHashMap;

use crate::encode::Scratch;
use crate::parallel::{lock, parallel_map};
use crate::train::in_memory::train_in_memory;
use crate::train::packed_text::{PackedText, PieceEncoder};
use crate::train::pair::Pair;
use crate::train::state::{MAX_CANDIDATES, Work, piece};
use crate::train::verify::{Counts, verify};
use crate::{Result, TokenId};

/// The sample is one span in this number, where memory allows.
pub(super) const SAMPLE_STRIDE: usize = 16;

/// Merges made by passes before the first generation.
pub(super) const FIRST_MERGES: usize = 64;

/// Minimum merges per pass for which another pass is faster than a generation.
const MIN_MERGES_PER_PASS: usize = 8;

/// Minimum slots of a text for which passes are faster than generations.
const MIN_SLOTS: usize = 1 << 20;

/// Maximum entries of a table with one per pair; more pairs than that are hashed.
const MAX_ENTRIES: usize = 1 << 17;

/// The outcome of a pass.
pub(super) enum Outcome {
    /// There may be more to merge. The text has this number of pieces, and these pairs were the most
    /// frequent of those not merged.
    More { pieces: u64, frequent: Vec<Pair> },
    /// No pair is frequent enough, or enough merges are made.
    Complete,
}

/// Make the first merges. Returns whether there are more to make.
pub(super) fn first_merges(
    work: &mut Work,
    texts: &mut [PackedText],
    report: &mut impl FnMut(&[Pair]) -> Result<()>,
) -> Result<bool> {
    let slots: usize = texts.iter().map(PackedText::slots).sum();
    if slots < MIN_SLOTS || work.lengths.len() == work.max_pieces {
        return Ok(true);
    }
    while work.merges.len() < FIRST_MERGES {
        let before = work.merges.len();
        let candidates = candidates(work, texts, SAMPLE_STRIDE)?;
        if matches!(pass(work, texts, &candidates, report)?, Outcome::Complete) {
            return Ok(false);
        }
        if work.merges.len() < before + MIN_MERGES_PER_PASS {
            break;
        }
    }
    Ok(true)
}

/// Settle at least one merge by a pass over the text.
pub(super) fn pass(
    work: &mut Work,
    texts: &mut [PackedText],
    candidates: &[Pair],
    report: &mut impl FnMut(&[Pair]) -> Result<()>,
) -> Result<Outcome> {
    let (counts, slots) = count(work, candidates, texts)?;
    let verified = verify(work, candidates, counts, report)?;
    if verified.all {
        return Ok(Outcome::Complete);
    }
    // A wrong candidate still counts as its two parts.
    let mut lengths = vec![1; slots.len() - candidates.len()];
    for (&(left, right), made) in candidates.iter().zip(verified.made) {
        let both = lengths[left as usize] + lengths[right as usize];
        lengths.push(if made { 1 } else { both });
    }
    let pieces = slots.iter().zip(lengths).map(|(times, pieces)| times * pieces).sum();
    Ok(Outcome::More { pieces, frequent: verified.frequent })
}

/// The next merges of a sample of the text, one span in `stride`.
pub(super) fn candidates(
    work: &Work,
    texts: &mut [PackedText],
    stride: usize,
) -> Result<Vec<Pair>> {
    let texts: Vec<_> = texts.iter_mut().map(Mutex::new).collect();
    let sample = |(): &mut (), text: &Mutex<&mut PackedText>| lock(text).sample(stride);
    let samples = parallel_map(work.threads, &texts, || (), sample);
    let samples: Vec<PackedText> = samples.into_iter().collect::<Result<_>>()?;
    let max_pieces = work.max_pieces.min(work.lengths.len() + MAX_CANDIDATES);
    let mut rehearsal = Work { max_pieces, min_count: 1, ..work.clone() };
    train_in_memory(&mut rehearsal, samples, &mut |_| Ok(()))?;
    Ok(rehearsal.merges.split_off(work.merges.len()))
}

/// Count with all candidates merged. Returns weighted counts, and those of pieces without weights.
pub(super) fn count(
    work: &Work,
    candidates: &[Pair],
    texts: &mut [PackedText],
) -> Result<(Counts, Vec<u64>)> {
    let with_candidates = work.with(candidates);
    let number = with_candidates.lengths.len();
    let vocab = with_candidates.vocab()?;
    let encoder = PieceEncoder::new(&vocab);
    let texts: Vec<_> = texts.iter_mut().map(Mutex::new).collect();
    let counted = parallel_map(work.threads, &texts, Scratch::default, |scratch, text| {
        let mut text = lock(text);
        let mut counts = TextCounts::new(number);
        text.read(|windows| {
            encoder.encode(windows, scratch, |pieces, ends| counts.add(pieces, ends));
            Ok(())
        })?;
        Ok((text.weight, counts))
    });
    let mut counts = Counts { pairs: FxHashMap::default(), pieces: vec![0; number] };
    let mut slots = vec![0; number];
    for text in counted {
        let (weight, counted) = text?;
        for (piece, times) in counted.pieces.iter().enumerate() {
            counts.pieces[piece] += times * weight;
            slots[piece] += times;
        }
        for (pair, times) in counted.pairs() {
            *counts.pairs.entry(pair).or_default() += times * weight;
        }
    }
    Ok((counts, slots))
}

/// Counts of one text.
struct TextCounts {
    pieces: Vec<u64>,
    /// An entry for every pair, those of a left piece together; empty when there would be too many.
    table: Vec<u64>,
    hashed: FxHashMap<Pair, u64>,
    left: Option<TokenId>,
}

impl TextCounts {
    fn new(pieces: usize) -> Self {
        let entries = pieces * pieces;
        let table = vec![0; if entries <= MAX_ENTRIES { entries } else { 0 }];
        Self { pieces: vec![0; pieces], table, hashed: FxHashMap::default(), left: None }
    }

    /// Count pieces; whether a window ends behind them.
    fn add(&mut self, pieces: &[TokenId], ends: bool) {
        for &piece in pieces {
            self.pieces[usize::from(piece)] += 1;
            let Some(left) = self.left.replace(piece) else { continue };
            if self.table.is_empty() {
                *self.hashed.entry((left.into(), piece.into())).or_default() += 1;
            } else {
                self.table[usize::from(left) * self.pieces.len() + usize::from(piece)] += 1;
            }
        }
        if ends {
            self.left = None;
        }
    }

    fn pairs(&self) -> impl Iterator<Item = (Pair, u64)> {
        let pieces = self.pieces.len();
        let table = self.table.iter().enumerate().filter(|(_, times)| **times > 0);
        let table =
            table.map(move |(at, &times)| ((piece(at / pieces), piece(at % pieces)), times));
        table.chain(self.hashed.iter().map(|(&pair, &times)| (pair, times)))
    }
}

#[cfg(test)]
mod tests {
    use rand_xoshiro::Xoshiro256PlusPlus;
    use rand_xoshiro::rand_core::{Rng, SeedableRng};

    use super::{MIN_SLOTS, first_merges};
    use crate::dna::BASES;
    use crate::train::in_memory::train_in_memory;
    use crate::train::packed_text::PackedText;
    use crate::train::state::Work;

    /// Random bases, some more frequent than others, with repeats among them, in windows of many
    /// lengths, one longer than what is read together.
    fn texts(number: u64, folder: Option<&std::path::Path>) -> Vec<PackedText> {
        let mut draws = Xoshiro256PlusPlus::seed_from_u64(7);
        let mut draw = |below: u64| usize::try_from(draws.next_u64() % below).expect("64 bits");
        let mut text: Vec<u8> =
            (0..MIN_SLOTS + (1 << 17)).map(|_| BASES[draw(4).min(draw(4))]).collect();
        for _ in 0..2_000 {
            let (from, to, length) = (draw(9_000), draw(1 << 20), draw(200));
            text.copy_within(from..from + length, to);
        }
        text[50_000..50_300].fill(b'A');
        let mut texts: Vec<PackedText> = (0..number).map(|_| PackedText::new(1)).collect();
        if let Some(folder) = folder {
            for text in &mut texts {
                text.spill_to(folder).expect("a file");
            }
        }
        let (long, mut rest) = text.split_at(1 << 17);
        texts[0].push(long).expect("room");
        for text in (0..texts.len()).cycle() {
            let (window, later) = rest.split_at(rest.len().min(1 + draw(3_000)));
            if window.is_empty() {
                break;
            }
            texts[text].push(window).expect("room");
            rest = later;
        }
        texts
    }

    #[test]
    fn passes_make_the_merges_that_generations_make() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let work = |threads| Work {
            max_pieces: 4 + 150,
            min_count: 1,
            max_letters: usize::MAX,
            threads,
            lengths: vec![1; 4],
            merges: Vec::new(),
        };
        let mut right = work(1);
        train_in_memory(&mut right, texts(1, None), &mut |_| Ok(())).expect("in memory");
        for (threads, folder) in [(1, None), (3, None), (2, Some(folder.path()))] {
            let mut texts = texts(threads as u64, folder);
            let mut work = work(threads);
            assert!(first_merges(&mut work, &mut texts, &mut |_| Ok(())).expect("readable"));
            let first = work.merges.len();
            assert!(first > 4, "a pass settled {first} merges");
            assert_eq!(work.merges, right.merges[..first]);
            train_in_memory(&mut work, texts, &mut |_| Ok(())).expect("readable");
            assert_eq!(work.merges, right.merges);
        }
    }
}

//! Merges before the text is in memory as pieces, many of them settled by one look at it.
//!
//! A sample tells what the next merges probably are. The whole text is encoded as if they were made, and
//! its pieces and pairs are counted once; which of the guesses were right follows from these counts
//! (`verify.rs`). The first merges of every text are made in this way, because a generation makes few
//! of them and looks at nearly every base each time.

use std::sync::Mutex;

use rustc_hash::FxHashMap;

use crate::encode::Scratch;
use crate::parallel::share_out;
use crate::train::Work;
use crate::train::packed_text::{Part, PieceEncoder};
use crate::train::pair_index::{Pair, lock};
use crate::train::verify::{Counts, confirm};
use crate::vocab::Piece;
use crate::{Result, TokenId};

/// Of so many stretches of the text one is the sample, where memory allows.
pub(super) const EVERY: usize = 16;

/// Merges guessed for one look: more than a sample foretells, so that few are right but left out.
pub(super) const GUESSES: usize = 100;

/// Merges made by looks before the first generation, and the fewest that a look has to settle for
/// another one to pay.
pub(super) const FIRST: usize = 64;
const WORTH_A_LOOK: usize = 8;

/// Slots from which on a text has looks.
const MANY: usize = 1 << 20;

/// Most entries of a table with one for every pair; with more pairs than that they are hashed.
const MOST_ENTRIES: usize = 1 << 17;

/// What a look found out.
pub(super) enum Settled {
    /// There may be more to merge. The text has this many pieces, and these pairs were the most
    /// frequent beside those merged.
    More { pieces: u64, frequent: Vec<Pair> },
    /// No pair is frequent enough, or there are merges enough.
    All,
}

/// Make the first merges. Returns whether there are more to make.
pub(super) fn begin(
    work: &mut Work,
    parts: &mut [Part],
    report: &mut impl FnMut(&[Pair]) -> Result<()>,
) -> Result<bool> {
    let slots: usize = parts.iter().map(Part::slots).sum();
    if slots < MANY || work.lengths.len() == work.most {
        return Ok(true);
    }
    while work.merges.len() < FIRST {
        let before = work.merges.len();
        let guesses = guess(work, parts, EVERY)?;
        if matches!(look_ahead(work, parts, &guesses, report)?, Settled::All) {
            return Ok(false);
        }
        if work.merges.len() < before + WORTH_A_LOOK {
            break;
        }
    }
    Ok(true)
}

/// Settle at least one merge by a look at the text.
pub(super) fn look_ahead(
    work: &mut Work,
    parts: &mut [Part],
    guesses: &[Pair],
    report: &mut impl FnMut(&[Pair]) -> Result<()>,
) -> Result<Settled> {
    let (counts, slots) = count(work, guesses, parts)?;
    let confirmed = confirm(work, guesses, counts, report)?;
    if confirmed.all {
        return Ok(Settled::All);
    }
    // A guess that was wrong still stands for its parts.
    let mut stands_for = vec![1; slots.len() - guesses.len()];
    for (&(left, right), made) in guesses.iter().zip(confirmed.made) {
        let both = stands_for[left as usize] + stands_for[right as usize];
        stands_for.push(if made { 1 } else { both });
    }
    let pieces = slots.iter().zip(stands_for).map(|(times, pieces)| times * pieces).sum();
    Ok(Settled::More { pieces, frequent: confirmed.frequent })
}

/// The merges that a sample of the text, one stretch in `every`, would have next.
pub(super) fn guess(work: &Work, parts: &mut [Part], every: usize) -> Result<Vec<Pair>> {
    let parts: Vec<_> = parts.iter_mut().map(Mutex::new).collect();
    let sample = |(): &mut (), part: &Mutex<&mut Part>| lock(part).sample(every);
    let samples = share_out(work.threads, &parts, || (), sample);
    let samples: Vec<Part> = samples.into_iter().collect::<Result<_>>()?;
    let most = work.most.min(work.lengths.len() + GUESSES);
    let mut rehearsal = Work { most, least: 1, ..work.clone() };
    rehearsal.in_memory(samples, &mut |_| Ok(()))?;
    Ok(rehearsal.merges.split_off(work.merges.len()))
}

/// Count with all guesses merged: weighted, and pieces alone without weights.
pub(super) fn count(
    work: &Work,
    guesses: &[Pair],
    parts: &mut [Part],
) -> Result<(Counts, Vec<u64>)> {
    let ahead = work.with(guesses);
    let number = ahead.lengths.len();
    let vocab = ahead.vocab()?;
    let encoder = PieceEncoder::new(&vocab);
    let parts: Vec<_> = parts.iter_mut().map(Mutex::new).collect();
    let counted = share_out(work.threads, &parts, Scratch::default, |scratch, part| {
        let mut part = lock(part);
        let mut tally = Tally::new(number);
        part.read(|windows| {
            encoder.encode(windows, scratch, |pieces, ends| tally.add(pieces, ends));
            Ok(())
        })?;
        Ok((part.weight, tally))
    });
    let mut counts = Counts { pairs: FxHashMap::default(), pieces: vec![0; number] };
    let mut slots = vec![0; number];
    for part in counted {
        let (weight, tally) = part?;
        for (piece, times) in tally.pieces.iter().enumerate() {
            counts.pieces[piece] += times * weight;
            slots[piece] += times;
        }
        for (pair, times) in tally.pairs() {
            *counts.pairs.entry(pair).or_default() += times * weight;
        }
    }
    Ok((counts, slots))
}

/// Counts of one part.
struct Tally {
    pieces: Vec<u64>,
    /// An entry for every pair, the left piece's together; none where there would be too many.
    table: Vec<u64>,
    hashed: FxHashMap<Pair, u64>,
    left: Option<TokenId>,
}

impl Tally {
    fn new(pieces: usize) -> Self {
        let entries = pieces * pieces;
        let table = vec![0; if entries <= MOST_ENTRIES { entries } else { 0 }];
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
        let piece = |number: usize| Piece::try_from(number).unwrap_or(Piece::MAX);
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

    use super::{MANY, begin};
    use crate::dna::BASES;
    use crate::train::Work;
    use crate::train::packed_text::Part;

    /// Random bases, some more frequent than others, with repeats among them, in windows of many lengths, one longer than what is read
    /// together.
    fn parts(number: u64, folder: Option<&std::path::Path>) -> Vec<Part> {
        let mut draws = Xoshiro256PlusPlus::seed_from_u64(7);
        let mut draw = |below: u64| usize::try_from(draws.next_u64() % below).expect("64 bits");
        let mut text: Vec<u8> =
            (0..MANY + (1 << 17)).map(|_| BASES[draw(4).min(draw(4))]).collect();
        for _ in 0..2_000 {
            let (from, to, length) = (draw(9_000), draw(1 << 20), draw(200));
            text.copy_within(from..from + length, to);
        }
        text[50_000..50_300].fill(b'A');
        let mut parts: Vec<Part> = (0..number).map(|_| Part::new(1)).collect();
        if let Some(folder) = folder {
            for part in &mut parts {
                part.spill_to(folder).expect("a file");
            }
        }
        let (long, mut rest) = text.split_at(1 << 17);
        parts[0].push(long).expect("room");
        for part in (0..parts.len()).cycle() {
            let (window, later) = rest.split_at(rest.len().min(1 + draw(3_000)));
            if window.is_empty() {
                break;
            }
            parts[part].push(window).expect("room");
            rest = later;
        }
        parts
    }

    #[test]
    fn looks_make_the_merges_that_generations_make() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let work = |threads| Work {
            most: 4 + 150,
            least: 1,
            most_letters: usize::MAX,
            threads,
            lengths: vec![1; 4],
            merges: Vec::new(),
        };
        let mut right = work(1);
        right.in_memory(parts(1, None), &mut |_| Ok(())).expect("in memory");
        for (threads, folder) in [(1, None), (3, None), (2, Some(folder.path()))] {
            let mut parts = parts(threads as u64, folder);
            let mut work = work(threads);
            assert!(begin(&mut work, &mut parts, &mut |_| Ok(())).expect("readable"));
            let first = work.merges.len();
            assert!(first > 4, "a look settled {first} merges");
            assert_eq!(work.merges, right.merges[..first]);
            work.in_memory(parts, &mut |_| Ok(())).expect("readable");
            assert_eq!(work.merges, right.merges);
        }
    }
}

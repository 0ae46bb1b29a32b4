//! Training of byte-pair encoding, exactly as Hugging Face's `BpeTrainer` decides.
//!
//! The rule: count neighbouring pieces (in a run AAA, AA counts twice); merge the most frequent pair
//! everywhere, from left to right, ties going to the smaller (left, right) ranks; repeat. Windows
//! never join. Counts have 64 bits.
//!
//! The first merges are guessed from a sample and confirmed by one look at the text for dozens of them
//! (`speculate.rs`, `verify.rs`). Then training goes by generations (`pair_index.rs`): a look counts all
//! pairs and lists where the frequent ones stand, and those are merged from their lists until rarer pairs
//! could be next. The text lies in regions (`partition.rs`), each worked on by one thread (`worker_pool.rs`), in
//! slots of one byte at first (`slots.rs`). Where memory is too short for that, looks go on until what is
//! left of the text fits (`stream.rs`).

mod count;
mod packed_text;
mod pair_index;
mod partition;
mod slots;
mod speculate;
mod stream;
mod verify;
mod worker_pool;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

use crate::dna::{BASES, base_runs, reverse_complement};
use crate::encode::uniform;
use crate::parallel::{count, share_out};
use crate::train::packed_text::{Part, PieceEncoder};
use crate::train::pair_index::{Generation, Limits, lock};
use crate::train::partition::Region;
use crate::train::slots::Slot;
use crate::train::speculate::begin;
use crate::train::stream::stream;
use crate::train::worker_pool::with_crew;
use crate::vocab::{MOST_LETTERS, Piece, Vocab};
use crate::{Error, Result, TokenId};

/// Most slots of a region, whose positions have 32 bits.
const MOST_SLOTS: usize = u32::MAX as usize - 2;

pub use crate::train::pair_index::Pair;

/// What to make, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Entries of the vocabulary, special tokens included.
    pub vocab_size: usize,
    /// Special tokens before the letters.
    pub special: TokenId,
    /// A pair that occurs fewer times is not merged.
    pub min_frequency: u64,
    /// A pair that would become a longer piece is not merged, nor one that no file may hold
    /// ([`MOST_LETTERS`]).
    pub max_token_bp: Option<usize>,
    /// Bytes that the training may take beyond what the windows being read do; `None`: as many as it
    /// needs, 2.2 to 2.8 a base.
    pub memory_limit: Option<u64>,
    /// Threads; 0 takes every core. The merges do not depend on it.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        let (max_token_bp, memory_limit) = (None, None);
        Self {
            vocab_size: 4096,
            special: 5,
            min_frequency: 1,
            max_token_bp,
            memory_limit,
            threads: 0,
        }
    }
}

/// How sequences are taken in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Intake {
    /// Runs of bases are cut every so many bases.
    pub window_bp: Option<usize>,
    /// Lower-case bases are bases; otherwise they end a run as other letters do.
    pub fold_case: bool,
    /// Take in the reverse complement of every window too.
    pub both_strands: bool,
    /// Share of windows taken in, drawn with `seed`.
    pub sample: f64,
    /// Start of the draws.
    pub seed: u64,
    /// Threads that the text is laid out for; 0 takes every core.
    pub threads: usize,
}

impl Default for Intake {
    fn default() -> Self {
        let (window_bp, fold_case, both_strands, sample) = (None, true, false, 1.0);
        Self { window_bp, fold_case, both_strands, sample, seed: 0, threads: 0 }
    }
}

/// What became of the letters of some sequences.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Bases trained on, both strands counted once.
    pub used: u64,
    /// Bases of windows that the sample left out.
    pub left_out: u64,
    /// Other letters, and how many of each.
    pub others: BTreeMap<u8, u64>,
}

/// Collects windows of sequence, then makes the merges.
///
/// ```
/// use dnabert2_core::train::{BpeTrainer, Intake, Options, Tally};
/// let mut trainer = BpeTrainer::new(Intake::default());
/// trainer.add(b"ACACACGT", 1, &mut Tally::default())?;
/// let options = Options { vocab_size: 5 + 4 + 2, ..Options::default() };
/// let vocab = trainer.train(&options, &[], |_| Ok(()))?;
/// assert_eq!(vocab.texts()[4..], [b"AC".to_vec(), b"ACAC".to_vec()]);
/// # Ok::<(), dnabert2_core::Error>(())
/// ```
#[derive(Debug)]
pub struct BpeTrainer {
    intake: Intake,
    parts: Vec<Part>,
    draws: Xoshiro256PlusPlus,
    /// Folder in which the text is kept, if not in memory.
    spill: Option<PathBuf>,
    digest: Sha256,
}

impl BpeTrainer {
    /// Start empty.
    #[must_use]
    pub fn new(intake: Intake) -> Self {
        let parts = (0..count(intake.threads)).map(|_| Part::new(1)).collect();
        let draws = Xoshiro256PlusPlus::seed_from_u64(intake.seed);
        Self { intake, parts, draws, spill: None, digest: Sha256::new() }
    }

    /// Keep the text in a file without a name in `folder`, which vanishes with the process, instead of
    /// in memory. Must come before the first sequence.
    ///
    /// # Errors
    /// [`Error::Io`] when no file can be made there.
    pub fn spill_to(&mut self, folder: &Path) -> Result<()> {
        for part in &mut self.parts {
            part.spill_to(folder)?;
        }
        self.spill = Some(folder.to_owned());
        Ok(())
    }

    /// SHA-256 of all windows so far, in hexadecimal: tells whether two trainers saw the same.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.digest.clone().finalize().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Add one sequence, counted `times` times: its runs of A, C, G, T, which other letters end.
    /// `tally` counts its letters.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a single window of 2^32 bases or more.
    pub fn add(&mut self, sequence: &[u8], times: u64, tally: &mut Tally) -> Result<()> {
        let Intake { window_bp, fold_case, both_strands, sample, .. } = self.intake;
        let mut others = [0_u64; 256];
        let mut at = 0;
        for (start, run) in base_runs(sequence, fold_case) {
            sequence[at..start].iter().for_each(|&letter| others[usize::from(letter)] += 1);
            at = start + run.len();
            for window in run.chunks(window_bp.unwrap_or(run.len())) {
                if sample < 1.0 && uniform(&mut self.draws) >= sample {
                    tally.left_out += window.len() as u64;
                    continue;
                }
                self.part(times, window.len())?.push(window)?;
                if both_strands {
                    self.part(times, window.len())?.push(&reverse_complement(window))?;
                }
                self.digest.update(window);
                self.digest.update(b"/");
                tally.used += window.len() as u64;
            }
        }
        sequence[at..].iter().for_each(|&letter| others[usize::from(letter)] += 1);
        for (letter, number) in (0..=u8::MAX).zip(others).filter(|(_, number)| *number > 0) {
            *tally.others.entry(letter).or_default() += number;
        }
        Ok(())
    }

    /// Make merges until the vocabulary has `vocab_size` entries or no pair occurs `min_frequency`
    /// times. `known` are the first merges where they are known (from a training that was stopped);
    /// `report` hears all merges after each new one and may stop the work.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when `vocab_size` has no room for the letters or no base was
    /// added; [`Error::Vocab`] when `known` merges cannot have come from a training; whatever `report`
    /// returns; [`Error::Io`] about a spill file.
    pub fn train(
        self,
        options: &Options,
        known: &[Pair],
        mut report: impl FnMut(&[Pair]) -> Result<()>,
    ) -> Result<Vocab> {
        let special = options.special;
        let (least, most) = (usize::from(special) + BASES.len(), usize::from(TokenId::MAX) + 1);
        if !(least..=most).contains(&options.vocab_size) {
            let message = format!("{} is not between {least} and {most}", options.vocab_size);
            return Err(Error::InvalidArgument { name: "vocab_size", message });
        }
        let mut parts: Vec<Part> = self.parts.into_iter().filter(|part| !part.is_empty()).collect();
        if parts.is_empty() {
            let message = "no A, C, G or T in the input: nothing to train on".into();
            return Err(Error::InvalidArgument { name: "sequences", message });
        }
        let mut work = Work {
            most: options.vocab_size - usize::from(special),
            least: options.min_frequency.max(1),
            most_letters: options.max_token_bp.unwrap_or(MOST_LETTERS).min(MOST_LETTERS),
            threads: count(options.threads),
            lengths: vec![1; BASES.len()],
            merges: Vec::new(),
        };
        let known = &known[..known.len().min(work.most - BASES.len())];
        Vocab::new(&BASES, known, vec![0; BASES.len() + known.len()])?; // their order is sound
        for &pair in known {
            work.push(pair);
        }
        let limit = options.memory_limit.unwrap_or(u64::MAX);
        if stream(&mut work, &mut parts, limit, &mut report)?
            && begin(&mut work, &mut parts, &mut report)?
        {
            work.in_memory(parts, &mut report)?;
        }
        let pieces = BASES.len() + work.merges.len();
        let ids = (special..=TokenId::MAX).take(pieces).collect();
        Vocab::new(&BASES, &work.merges, ids)
    }

    /// The shortest part of this weight, or a new one when none has room for so many bases.
    fn part(&mut self, weight: u64, bases: usize) -> Result<&mut Part> {
        if bases >= MOST_SLOTS {
            let message = "a run of 2^32 bases or more; set window_bp".into();
            return Err(Error::InvalidArgument { name: "sequences", message });
        }
        let fits = |part: &Part| part.weight == weight && part.slots() + bases < MOST_SLOTS;
        let parts = self.parts.iter().enumerate().filter(|(_, part)| fits(part));
        let index = parts.min_by_key(|(_, part)| part.slots()).map(|(index, _)| index);
        let index = index.unwrap_or_else(|| {
            self.parts.push(Part::new(weight));
            self.parts.len() - 1
        });
        if let Some(folder) = self.spill.clone() {
            self.parts[index].spill_to(&folder)?;
        }
        Ok(&mut self.parts[index])
    }
}

/// The regions in wider slots, one after the other, so that only one is there twice.
fn widened<T: Slot, U: Slot>(regions: Vec<Mutex<Region<T>>>) -> Vec<Mutex<Region<U>>> {
    let inner =
        |region: Mutex<Region<T>>| region.into_inner().unwrap_or_else(PoisonError::into_inner);
    regions.into_iter().map(|region| Mutex::new(inner(region).widened())).collect()
}

/// Training under way.
#[derive(Clone)]
struct Work {
    /// Pieces wanted, letters included.
    most: usize,
    /// Least count of a pair that is merged.
    least: u64,
    /// Most letters of a piece.
    most_letters: usize,
    threads: usize,
    /// Letters of every piece.
    lengths: Vec<usize>,
    merges: Vec<Pair>,
}

impl Work {
    fn push(&mut self, pair: Pair) {
        self.lengths.push(self.lengths[pair.0 as usize] + self.lengths[pair.1 as usize]);
        self.merges.push(pair);
    }

    /// The same with more merges.
    fn with(&self, merges: &[Pair]) -> Self {
        let mut with = self.clone();
        for &pair in merges {
            with.push(pair);
        }
        with
    }

    /// Letters and the merges made so far, each piece its own id.
    fn vocab(&self) -> Result<Vocab> {
        Vocab::new(&BASES, &self.merges, (0..=TokenId::MAX).take(self.lengths.len()).collect())
    }

    /// Go on from the merges made so far with all text in memory.
    fn in_memory(
        &mut self,
        parts: Vec<Part>,
        report: &mut impl FnMut(&[Pair]) -> Result<()>,
    ) -> Result<()> {
        let pieces = self.lengths.len();
        let wide = if pieces < slot_limit::<u8>() {
            let narrow = regions::<u8>(parts, &self.vocab()?, self.threads)?;
            let Some(narrow) = self.go(narrow, report)? else { return Ok(()) };
            widened(narrow)
        } else if pieces < slot_limit::<u16>() {
            regions::<u16>(parts, &self.vocab()?, self.threads)?
        } else {
            let widest = regions::<u32>(parts, &self.vocab()?, self.threads)?;
            return self.go(widest, report).map(drop);
        };
        if let Some(wide) = self.go(wide, report)? {
            self.go(widened::<u16, u32>(wide), report)?;
        }
        Ok(())
    }

    /// Make merges while pieces fit the slots; returns the regions when wider ones are needed to go on.
    fn go<T: Slot>(
        &mut self,
        regions: Vec<Mutex<Region<T>>>,
        report: &mut impl FnMut(&[Pair]) -> Result<()>,
    ) -> Result<Option<Vec<Mutex<Region<T>>>>> {
        let limit = slot_limit::<T>();
        let slots: usize = regions.iter().map(|region| lock(region).len()).sum();
        let (early, late) = ((slots / 2).max(1 << 16), (slots / 32).max(1 << 16));
        loop {
            let before = self.merges.len();
            let generation =
                Generation::new(&regions, self.lengths.len(), self.limits(early, late));
            let step = |region: &mut Region<T>, step: &_| region.step(step);
            with_crew(&regions, self.threads, step, |crew| {
                let mut generation = generation;
                let mut watch = Vec::new();
                while self.lengths.len() < self.most.min(limit) {
                    let Some(pair) = generation.pop() else { break };
                    let piece = Piece::try_from(self.lengths.len()).unwrap_or(Piece::MAX);
                    self.push(pair);
                    crew.all(generation.step(watch, Some((pair, piece))));
                    watch = generation.settle(&regions, pair, piece, self.limits(early, late));
                    report(&self.merges)?;
                }
                Ok::<_, Error>(())
            })?;
            share_out(self.threads, &regions, || (), |(), region| lock(region).close());
            if self.lengths.len() == self.most || self.merges.len() == before {
                return Ok(None);
            }
            if self.lengths.len() >= limit {
                return Ok(Some(regions));
            }
        }
    }

    fn limits(&self, early: usize, late: usize) -> Limits<'_> {
        Limits {
            early,
            late,
            least: self.least,
            lengths: &self.lengths,
            most_letters: self.most_letters,
            threads: self.threads,
        }
    }
}

/// Pieces that slots have numbers for.
fn slot_limit<T: Slot>() -> usize {
    usize::try_from(T::LIMIT).unwrap_or(usize::MAX)
}

/// The text as pieces of a vocabulary.
fn regions<T: Slot>(
    parts: Vec<Part>,
    vocab: &Vocab,
    threads: usize,
) -> Result<Vec<Mutex<Region<T>>>> {
    let encoder = PieceEncoder::new(vocab);
    let work: Vec<Mutex<Option<Part>>> =
        parts.into_iter().map(|part| Mutex::new(Some(part))).collect();
    let made = share_out(
        threads,
        &work,
        || (),
        |(), part| {
            let part = lock(part).take();
            part.map_or_else(|| Ok(Region::new(1, Vec::new(), 0)), |part| part.region(&encoder))
        },
    );
    made.into_iter().map(|region| region.map(Mutex::new)).collect()
}

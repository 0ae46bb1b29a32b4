//! Training of byte-pair encoding, exactly as Hugging Face's `BpeTrainer` decides.
//!
//! **The definition.** Count neighbouring pieces (in a run AAA, AA counts twice). Merge the most frequent
//! pair everywhere, from left to right, ties to the smaller (left, right) ranks. Repeat. Windows are
//! never joined. Counts have 64 bits.
//!
//! **The stages.** The first merges are predicted from a sample, and one pass over the text verifies dozens
//! of them (`speculate.rs`, `verify.rs`). Later merges are made in generations (`in_memory.rs`,
//! `pair_index.rs`): one pass counts all pairs and lists the positions of the frequent ones (`count.rs`).
//! Those are merged from their lists until a pair without a list could be next.
//!
//! **The text** is in partitions (`partition.rs`), each processed by one thread (`worker_pool.rs`), in
//! slots of one byte at first (`slots.rs`). When memory is too short for that, passes continue until the
//! rest of the text fits (`stream.rs`).

mod count;
mod in_memory;
mod packed_text;
mod pair;
mod pair_index;
mod partition;
mod repeats;
mod slots;
mod speculate;
mod state;
mod stream;
mod verify;
mod worker_pool;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

use crate::dna::{BASES, base_runs, reverse_complement};
use crate::encode::uniform;
use crate::parallel::count;
use crate::train::in_memory::train_in_memory;
use crate::train::packed_text::PackedText;
use crate::train::repeats::Repeats;
use crate::train::speculate::first_merges;
use crate::train::state::Work;
use crate::train::stream::stream;
use crate::vocab::{MAX_LETTERS, Vocab};
use crate::{Error, Result, TokenId};

pub use crate::train::pair::Pair;

/// Maximum slots of a partition, whose positions have 32 bits.
const MAX_SLOTS: usize = u32::MAX as usize - 2;

/// Bytes from which on a window is hashed alone.
const HASHED: usize = 1 << 12;

/// Slots from which on a text is worth a thread of its own.
const LONG_TEXT: usize = 1 << 20;

/// Size and limits of the vocabulary, and resources of the training.
#[derive(Debug, Clone)]
pub struct Options {
    /// Entries of the vocabulary, special tokens included.
    pub vocab_size: usize,
    /// Special tokens before the letters.
    pub special: TokenId,
    /// A pair that occurs fewer times is not merged.
    pub min_frequency: u64,
    /// A pair that would become a longer piece is not merged, nor one longer than any file may contain
    /// ([`MAX_LETTERS`]).
    pub max_token_bp: Option<usize>,
    /// Maximum bytes of the training in addition to the windows being read. `None`: no limit; 2.2 to
    /// 2.8 bytes per base are used.
    pub memory_limit: Option<u64>,
    /// Number of threads; 0 uses every core. The merges do not depend on it.
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

/// How sequences are read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InputConfig {
    /// Length in bases of the windows that runs of bases are cut into; `None` keeps runs whole.
    pub window_bp: Option<usize>,
    /// Whether lower-case bases are bases; otherwise they end a run like other letters.
    pub fold_case: bool,
    /// Add the reverse complement of every window too.
    pub both_strands: bool,
    /// Fraction of windows used, drawn at random with `seed`.
    pub sample: f64,
    /// Seed of the sample.
    pub seed: u64,
    /// Number of threads that the text is partitioned for; 0 uses every core.
    pub threads: usize,
}

impl Default for InputConfig {
    fn default() -> Self {
        let (window_bp, fold_case, both_strands, sample) = (None, true, false, 1.0);
        Self { window_bp, fold_case, both_strands, sample, seed: 0, threads: 0 }
    }
}

/// Counts of the letters of some sequences.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InputStats {
    /// Bases trained on, both strands counted once.
    pub used: u64,
    /// Bases of windows outside the sample.
    pub left_out: u64,
    /// Counts of each other letter.
    pub others: BTreeMap<u8, u64>,
}

/// Collects windows of sequence, then makes the merges.
///
/// ```
/// use dnabert2_core::train::{BpeTrainer, InputConfig, Options, InputStats};
/// let mut trainer = BpeTrainer::new(InputConfig::default());
/// trainer.add(b"ACACACGT", 1, &mut InputStats::default())?;
/// let options = Options { vocab_size: 5 + 4 + 2, ..Options::default() };
/// let vocab = trainer.train(&options, &[], |_| Ok(()))?;
/// assert_eq!(vocab.texts()[4..], [b"AC".to_vec(), b"ACAC".to_vec()]);
/// # Ok::<(), dnabert2_core::Error>(())
/// ```
#[derive(Debug)]
pub struct BpeTrainer {
    config: InputConfig,
    texts: Vec<PackedText>,
    repeats: Repeats,
    draws: Xoshiro256PlusPlus,
    /// Folder in which the text is stored, if not in memory.
    spill: Option<PathBuf>,
    digest: Sha256,
    /// Bytes that the digest has not received.
    unhashed: Vec<u8>,
}

impl BpeTrainer {
    /// Start empty.
    #[must_use]
    pub fn new(config: InputConfig) -> Self {
        let texts = (0..count(config.threads)).map(|_| PackedText::new(1)).collect();
        let draws = Xoshiro256PlusPlus::seed_from_u64(config.seed);
        let repeats = Repeats::default();
        Self {
            config,
            texts,
            repeats,
            draws,
            spill: None,
            digest: Sha256::new(),
            unhashed: Vec::new(),
        }
    }

    /// Store the text in an unnamed file in `folder`, which disappears with the process, instead of in
    /// memory. Call this before the first sequence.
    ///
    /// # Errors
    /// [`Error::Io`] when no file can be created there.
    pub fn spill_to(&mut self, folder: &Path) -> Result<()> {
        for text in &mut self.texts {
            text.spill_to(folder)?;
        }
        self.spill = Some(folder.to_owned());
        Ok(())
    }

    /// SHA-256 of all windows so far, in hexadecimal, to compare the inputs of two trainers.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let digest = self.digest.clone().chain_update(&self.unhashed);
        digest.finalize().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Add one sequence, counted `times` times: its runs of A, C, G, T, which other letters end.
    /// `stats` receives the counts of its letters.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a single window of 2^32 bases or more.
    pub fn add(&mut self, sequence: &[u8], times: u64, stats: &mut InputStats) -> Result<()> {
        let InputConfig { window_bp, fold_case, sample, .. } = self.config;
        // Most sequences have no other letters, and short ones are many.
        let mut others: Option<[u64; 256]> = None;
        let mut count_others = |letters: &[u8]| {
            if !letters.is_empty() {
                let others = others.get_or_insert([0; 256]);
                for &letter in letters {
                    others[usize::from(letter)] += 1;
                }
            }
        };
        let mut at = 0;
        for (start, run) in base_runs(sequence, fold_case) {
            count_others(&sequence[at..start]);
            at = start + run.len();
            for window in run.chunks(window_bp.unwrap_or(run.len())) {
                if sample < 1.0 && uniform(&mut self.draws) >= sample {
                    stats.left_out += window.len() as u64;
                    continue;
                }
                if !self.repeats.takes(window) {
                    self.store(window, times)?;
                } else if self.repeats.add(window, times) {
                    self.store_repeats()?;
                }
                self.hash(window);
                stats.used += window.len() as u64;
            }
        }
        count_others(&sequence[at..]);
        let others = others.iter().flat_map(|others| (0..=u8::MAX).zip(others));
        for (letter, number) in others.filter(|(_, number)| **number > 0) {
            *stats.others.entry(letter).or_default() += number;
        }
        Ok(())
    }

    /// Add a window and its end to the fingerprint; short ones together.
    fn hash(&mut self, window: &[u8]) {
        if self.unhashed.len() + window.len() >= HASHED {
            self.digest.update(&self.unhashed);
            self.unhashed.clear();
        }
        if window.len() < HASHED {
            self.unhashed.extend_from_slice(window);
        } else {
            self.digest.update(window);
        }
        self.unhashed.push(b'/');
    }

    /// Make merges until the vocabulary has `vocab_size` entries or no pair occurs `min_frequency`
    /// times. `known` are the first merges of a training that was stopped, if any. `report` receives all
    /// merges after each new one and may stop the work.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when `vocab_size` is too small for the letters or no base was added;
    /// [`Error::Vocab`] when the `known` merges cannot come from a training; any error of `report`;
    /// [`Error::Io`] about a spill file.
    pub fn train(
        mut self,
        options: &Options,
        known: &[Pair],
        mut report: impl FnMut(&[Pair]) -> Result<()>,
    ) -> Result<Vocab> {
        let special = options.special;
        let (min, max) = (usize::from(special) + BASES.len(), usize::from(TokenId::MAX) + 1);
        if !(min..=max).contains(&options.vocab_size) {
            let message = format!("must be between {min} and {max} (got {})", options.vocab_size);
            return Err(Error::InvalidArgument { name: "vocab_size", message });
        }
        self.store_repeats()?;
        let mut texts: Vec<PackedText> =
            self.texts.into_iter().filter(|text| !text.is_empty()).collect();
        if texts.is_empty() {
            let message = "contain no A, C, G or T; train on DNA sequences".into();
            return Err(Error::InvalidArgument { name: "sequences", message });
        }
        let mut work = Work {
            max_pieces: options.vocab_size - usize::from(special),
            min_count: options.min_frequency.max(1),
            max_letters: options.max_token_bp.unwrap_or(MAX_LETTERS).min(MAX_LETTERS),
            threads: count(options.threads),
            lengths: vec![1; BASES.len()],
            merges: Vec::new(),
        };
        let known = &known[..known.len().min(work.max_pieces - BASES.len())];
        Vocab::new(&BASES, known, vec![0; BASES.len() + known.len()])?; // checks their order
        for &pair in known {
            work.push(pair);
        }
        let limit = options.memory_limit.unwrap_or(u64::MAX);
        if stream(&mut work, &mut texts, limit, &mut report)?
            && first_merges(&mut work, &mut texts, &mut report)?
        {
            train_in_memory(&mut work, texts, &mut report)?;
        }
        let pieces = BASES.len() + work.merges.len();
        let ids = (special..=TokenId::MAX).take(pieces).collect();
        Vocab::new(&BASES, &work.merges, ids)
    }

    /// Store the windows that have been counted.
    fn store_repeats(&mut self) -> Result<()> {
        for (window, weights) in self.repeats.take() {
            for weight in weights {
                self.store(&window, weight)?;
            }
        }
        Ok(())
    }

    fn store(&mut self, window: &[u8], weight: u64) -> Result<()> {
        self.text(weight, window.len())?.push(window)?;
        if self.config.both_strands {
            self.text(weight, window.len())?.push(&reverse_complement(window))?;
        }
        Ok(())
    }

    /// The shortest text of this weight. A new one when none has space for `bases` more, or when all are
    /// long and there are fewer than threads.
    fn text(&mut self, weight: u64, bases: usize) -> Result<&mut PackedText> {
        if bases >= MAX_SLOTS {
            let message = "a run has 2^32 bases or more; set window_bp".into();
            return Err(Error::InvalidArgument { name: "sequences", message });
        }
        let fits = |text: &PackedText| text.weight == weight && text.slots() + bases < MAX_SLOTS;
        let fitting = || self.texts.iter().enumerate().filter(|(_, text)| fits(text));
        let shortest = fitting().min_by_key(|(_, text)| text.slots());
        let index = shortest.filter(|(_, text)| {
            text.slots() < LONG_TEXT || fitting().count() >= count(self.config.threads)
        });
        let index = index.map(|(index, _)| index);
        let index = index.unwrap_or_else(|| {
            self.texts.push(PackedText::new(weight));
            self.texts.len() - 1
        });
        if let Some(folder) = self.spill.clone() {
            self.texts[index].spill_to(&folder)?;
        }
        Ok(&mut self.texts[index])
    }
}

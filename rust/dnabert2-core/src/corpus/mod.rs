//! From sequence files to token files: windows are cut, chosen, encoded and written in input order.
//!
//! `windows` takes windows out of the letters as they are read, `select` says which of them stay and in
//! which split, `shard_writer` collects them into shards, `pipeline` keeps every core busy with these steps and
//! with encoding. What is written depends on the input and the settings, never on the number of threads.
//!
//! A corpus is built in units, some files each, which share nothing: each can be built anywhere, and
//! one that was stopped goes on behind its last whole shard.

mod build;
mod pipeline;
mod select;
mod shard_writer;
mod windows;

use std::path::PathBuf;

use crate::{Result, shard};

pub use build::CorpusBuilder;

/// What is done about letters other than A, C, G, T.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherLetters {
    /// They end a run of bases, and windows are cut from runs.
    Split,
    /// Windows are cut from whole records, and those with such letters are dropped.
    Drop,
    /// Windows are cut from whole records, and keep such letters.
    Keep,
}

/// How windows are cut out of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowRule {
    /// Length of a window, the greatest one if lengths are drawn; `None` takes each run whole.
    pub window_bp: Option<usize>,
    /// Least length of a window if lengths are drawn, evenly.
    pub shortest_bp: Option<usize>,
    /// From one window's start to the next; drawn windows lie side by side.
    pub stride_bp: usize,
    /// Windows with fewer bases are dropped.
    pub min_bp: usize,
    /// Follow each window with its reverse complement.
    pub both_strands: bool,
    /// What is done about letters other than bases.
    pub other_letters: OtherLetters,
    /// Whether lower-case letters count as bases.
    pub fold_case: bool,
    /// Start of the draws of lengths.
    pub seed: u64,
}

/// Which part of the corpus a window belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// For training.
    Train,
    /// Held out for evaluation.
    Valid,
}

impl Split {
    /// Name in file names and in `corpus.json`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Valid => "valid",
        }
    }
}

/// Settings of a build.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How windows are cut.
    pub rule: WindowRule,
    /// Share of blocks of windows that is held out, 0 to 1.
    pub valid_fraction: f64,
    /// Drop windows whose letters an earlier window has had.
    pub drop_repeats: bool,
    /// A shard is written when it holds this many tokens.
    pub shard_tokens: usize,
    /// Threads; 0 is one for every core.
    pub threads: usize,
    /// JSON text for the shards' metadata.
    pub about: String,
}

/// Some files whose windows go into shards of their own.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Its number in the corpus, from 0.
    pub number: u64,
    /// An existing folder for its shards.
    pub folder: PathBuf,
    /// Its files, in order.
    pub files: Vec<PathBuf>,
    /// Share of the windows that is kept, evenly spread.
    pub keep: f64,
    /// Windows of each split that are in shards already, reverse complements included.
    pub done: [u64; 2],
    /// Shards that are there already.
    pub shards: usize,
}

/// Where windows came from, one entry a window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance {
    /// Names of records.
    pub names: Vec<String>,
    /// Position of the file in [`Unit::files`].
    pub file: Vec<u32>,
    /// Position of the record in `names`.
    pub record: Vec<u32>,
    /// First base, 0-based, on the forward strand.
    pub start: Vec<u64>,
    /// One past the last base.
    pub end: Vec<u64>,
    /// 1 forward, -1 reverse complement.
    pub strand: Vec<i8>,
}

/// What one input file gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileReport {
    /// Its records.
    pub records: u64,
    /// Bases in the file.
    pub bases: u64,
    /// Other letters.
    pub other_letters: u64,
    /// Windows in the corpus, reverse complements not counted.
    pub windows: u64,
    /// Windows dropped because they had too few bases or, under [`OtherLetters::Drop`], other letters.
    pub unfit: u64,
    /// Windows left out because only a share is kept.
    pub left_out: u64,
    /// Windows dropped because an earlier one is the same.
    pub repeats: u64,
}

/// Hears of the shards of a unit.
pub trait Ledger: Send {
    /// Keep where the windows of a shard came from, by the shard's number in the unit.
    ///
    /// # Errors
    /// Whatever ends the build.
    fn keep(&mut self, shard: usize, origin: Provenance) -> Result<()>;

    /// The next shard is on disk, and its origins are kept.
    ///
    /// # Errors
    /// Whatever ends the build.
    fn note(&mut self, shard: ShardReport) -> Result<()>;
}

/// A shard on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardReport {
    /// Name in the unit's folder.
    pub name: String,
    /// Part of the corpus it belongs to.
    pub split: Split,
    /// Windows.
    pub sequences: u64,
    /// Tokens.
    pub tokens: u64,
    /// Length and checksum.
    pub written: shard::Written,
}

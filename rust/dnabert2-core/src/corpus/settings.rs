//! What is built: how windows are cut and selected, and the units of a corpus.

use std::path::PathBuf;

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
    /// Length of a window, the maximum if lengths are drawn; `None` takes each run whole.
    pub window_bp: Option<usize>,
    /// Minimum length of a window if lengths are drawn, evenly.
    pub min_window_bp: Option<usize>,
    /// From one window's start to the next; windows of drawn lengths follow each other without gaps.
    pub stride_bp: usize,
    /// Windows with fewer bases are dropped.
    pub min_bp: usize,
    /// Follow each window with its reverse complement.
    pub both_strands: bool,
    /// What is done about letters other than bases.
    pub other_letters: OtherLetters,
    /// Whether lower-case letters count as bases.
    pub fold_case: bool,
    /// Whether U is read as T.
    pub rna: bool,
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
    /// Drop windows with the letters of an earlier window.
    pub deduplicate: bool,
    /// A shard is written when it holds this many tokens.
    pub shard_tokens: usize,
    /// Threads; 0 is one for every core.
    pub threads: usize,
    /// JSON text for the shards' metadata.
    pub about: String,
}

/// Files whose windows go into shards of their own.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Its number in the corpus, from 0.
    pub number: u64,
    /// An existing folder for its shards.
    pub folder: PathBuf,
    /// Its files, in order.
    pub files: Vec<PathBuf>,
    /// Share of the windows that is kept, evenly spaced.
    pub keep: f64,
    /// Windows of each split in shards that exist, reverse complements included.
    pub done: [u64; 2],
    /// Shards that exist.
    pub shards: usize,
}

//! What came of a build: counts of every file, shards, and the origins of their windows.

use std::collections::BTreeMap;

use crate::corpus::settings::Split;
use crate::{Result, shard};

/// Origins of windows, one entry per window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance {
    /// Names of records.
    pub names: Vec<String>,
    /// Position of the file in [`Unit::files`](crate::corpus::Unit::files).
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

/// Counts of one input file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileReport {
    /// Its records.
    pub records: u64,
    /// Bases in the file.
    pub bases: u64,
    /// Other letters, by letter.
    pub other_letters: BTreeMap<u8, u64>,
    /// Windows in the corpus, reverse complements not counted.
    pub windows: u64,
    /// Windows dropped because they have too few bases.
    pub too_short: u64,
    /// Windows dropped because they have other letters, under
    /// [`OtherLetters::Drop`](crate::corpus::OtherLetters::Drop).
    pub with_other_letters: u64,
    /// Windows left out because only a share is kept.
    pub left_out: u64,
    /// Windows dropped because an earlier one has the same letters.
    pub duplicates: u64,
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

/// Receives the shards of a unit.
pub trait Ledger: Send {
    /// Keep the origins of the windows of a shard, by the shard's number in the unit.
    ///
    /// # Errors
    /// Whatever ends the build.
    fn keep(&mut self, shard: usize, origin: Provenance) -> Result<()>;

    /// Note the next shard, which is on disk, and whose origins are kept.
    ///
    /// # Errors
    /// Whatever ends the build.
    fn note(&mut self, shard: ShardReport) -> Result<()>;
}

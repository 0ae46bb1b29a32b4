//! From sequence files to token files: windows are cut, encoded and written in input order.
//!
//! A thread reads and inflates the next record while this one is encoded. Windows hold bases only:
//! any other letter ends a run of bases, and windows are cut from runs. What is written depends on
//! the input and the settings, never on the number of threads.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use crate::dna::{base_runs, reverse_complement};
use crate::fasta::FastaReader;
use crate::tokenizer::Options;
use crate::{Error, Ragged, Result, Tokenizer, shard};

/// Windows that stay together when the corpus is split, so that a held-out stretch of genome is
/// longer than what overlapping windows or both strands share.
const BLOCK_WINDOWS: u64 = 64;

/// Bases encoded at a time.
const CHUNK_BP: usize = 1 << 23;

/// How windows are cut out of runs of bases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowRule {
    /// Length of a window; `None` takes each run whole.
    pub window_bp: Option<usize>,
    /// From one window's start to the next.
    pub stride_bp: usize,
    /// Shorter pieces are dropped.
    pub min_bp: usize,
    /// Follow each window with its reverse complement.
    pub both_strands: bool,
}

impl WindowRule {
    /// Start and end of every window in a run of `length` bases.
    ///
    /// The last window ends with the run; no window lies wholly inside another.
    ///
    /// ```
    /// use dnabert2_core::corpus::WindowRule;
    /// let (window_bp, both_strands) = (Some(4), false);
    /// let rule = WindowRule { window_bp, stride_bp: 2, min_bp: 1, both_strands };
    /// assert_eq!(rule.windows(7).collect::<Vec<_>>(), [(0, 4), (2, 6), (4, 7)]);
    /// ```
    pub fn windows(&self, length: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let window = self.window_bp.unwrap_or(length).max(1);
        let overlap = window.saturating_sub(self.stride_bp);
        let min = self.min_bp.max(1);
        // A start nearer to the end than the overlap adds no base that the window before lacks.
        (0..length)
            .step_by(self.stride_bp.max(1))
            .take_while(move |&start| start == 0 || start + overlap < length)
            .map(move |start| (start, length.min(start + window)))
            .filter(move |(start, end)| end - start >= min)
            .take(if self.window_bp.is_none() { 1 } else { usize::MAX })
    }
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
    /// A shard is written when it holds this many tokens.
    pub shard_tokens: usize,
    /// Threads that encode; 0 takes every core.
    pub threads: usize,
    /// JSON text for the shards' metadata.
    pub about: String,
}

/// Where windows came from, one entry a window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance {
    /// Position of the record in [`FileReport::records`].
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
    /// Names of its records, in order.
    pub records: Vec<String>,
    /// Bases in the file.
    pub bases: u64,
    /// Other letters, which end runs.
    pub other_letters: u64,
    /// Provenance of the training windows, then of the held-out ones.
    pub windows: [Provenance; 2],
}

/// A shard on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardReport {
    /// Name in the folder.
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

struct Row {
    record: u32,
    start: u64,
    end: u64,
    strand: i8,
    split: Split,
}

#[derive(Default)]
struct Chunk {
    text: Vec<u8>,
    ends: Vec<usize>,
    rows: Vec<Row>,
}

impl Chunk {
    fn push(&mut self, window: &[u8], row: Row) {
        self.text.extend_from_slice(window);
        self.ends.push(self.text.len());
        self.rows.push(row);
    }

    fn windows(&self) -> Vec<&[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.text[start..end]).collect()
    }
}

/// Builds the shards of one corpus folder; feed it the files in order, then [`finish`].
///
/// [`finish`]: Self::finish
pub struct CorpusBuilder {
    folder: PathBuf,
    tokenizer: Arc<Tokenizer>,
    settings: Settings,
    forward_windows: u64,
    open: [Ragged; 2],
    shards: Vec<ShardReport>,
}

impl CorpusBuilder {
    /// Start in an existing, empty folder.
    #[must_use]
    pub fn new(folder: &Path, tokenizer: Arc<Tokenizer>, settings: Settings) -> Self {
        Self {
            folder: folder.to_owned(),
            tokenizer,
            settings,
            forward_windows: 0,
            open: [Ragged::default(), Ragged::default()],
            shards: Vec::new(),
        }
    }

    /// Add every record of a file; `report` hears how many more letters were worked through.
    ///
    /// # Errors
    /// Those of [`FastaReader`], of encoding and of writing, and whatever `report` returns.
    pub fn add_file(
        &mut self,
        path: &Path,
        mut report: impl FnMut(u64) -> Result<()>,
    ) -> Result<FileReport> {
        let mut file = FileReport::default();
        let mut reader = FastaReader::open(path)?;
        std::thread::scope(|scope| {
            // No buffer in between: at most one record is read ahead, so memory stays bounded.
            let (sender, records) = sync_channel(0);
            scope.spawn(move || reader.try_for_each(|record| sender.send(record)));
            let mut chunk = Chunk::default();
            for record in records {
                let record = record?;
                let number = u32::try_from(file.records.len()).map_err(|_| Error::Fasta {
                    path: path.to_owned(),
                    record: record.name.clone(),
                    line: 0,
                    message: "more than 2^32 records; split the file".into(),
                })?;
                let mut bases = 0;
                for (run_start, run) in base_runs(&record.sequence, true) {
                    bases += run.len() as u64;
                    for (start, end) in self.settings.rule.windows(run.len()) {
                        self.cut(&mut chunk, number, run_start, &run[start..end], start);
                        if chunk.text.len() >= CHUNK_BP {
                            self.flush(&mut chunk, &mut file)?;
                            report(0)?; // lets the caller look for Ctrl-C
                        }
                    }
                }
                file.records.push(record.name);
                file.bases += bases;
                file.other_letters += record.sequence.len() as u64 - bases;
                report(record.sequence.len() as u64)?;
            }
            self.flush(&mut chunk, &mut file)
        })?;
        Ok(file)
    }

    /// Write what is still in memory; returns all shards in the order in which they were written.
    ///
    /// # Errors
    /// [`Error::Io`] when a shard cannot be written.
    pub fn finish(mut self) -> Result<Vec<ShardReport>> {
        self.write_shard(Split::Train)?;
        self.write_shard(Split::Valid)?;
        Ok(self.shards)
    }

    fn cut(&mut self, chunk: &mut Chunk, record: u32, run_start: usize, window: &[u8], at: usize) {
        let split = self.split_of(self.forward_windows / BLOCK_WINDOWS);
        self.forward_windows += 1;
        let start = (run_start + at) as u64;
        let row = |strand| Row { record, start, end: start + window.len() as u64, strand, split };
        chunk.push(window, row(1));
        if self.settings.rule.both_strands {
            chunk.push(&reverse_complement(window), row(-1));
        }
    }

    /// Spread held-out blocks as evenly as their share allows, the first in mid-stride.
    fn split_of(&self, block: u64) -> Split {
        #[expect(clippy::cast_precision_loss, reason = "blocks stay far below 2^53")]
        let held_out = |blocks: u64| (blocks as f64 * self.settings.valid_fraction + 0.5).floor();
        if held_out(block + 1) > held_out(block) { Split::Valid } else { Split::Train }
    }

    fn flush(&mut self, chunk: &mut Chunk, file: &mut FileReport) -> Result<()> {
        let windows = chunk.windows();
        let batch =
            self.tokenizer.encode_batch(&windows, &Options::default(), self.settings.threads)?;
        for (i, row) in chunk.rows.iter().enumerate() {
            let split = row.split as usize;
            self.open[split].push(batch.get(i));
            let origin = &mut file.windows[split];
            origin.record.push(row.record);
            origin.start.push(row.start);
            origin.end.push(row.end);
            origin.strand.push(row.strand);
            if self.open[split].values.len() >= self.settings.shard_tokens {
                self.write_shard(row.split)?;
            }
        }
        *chunk = Chunk::default();
        Ok(())
    }

    fn write_shard(&mut self, split: Split) -> Result<()> {
        let batch = std::mem::take(&mut self.open[split as usize]);
        if batch.is_empty() {
            return Ok(());
        }
        let name = format!("shard-{:05}.safetensors", self.shards.len());
        let written = shard::write(&self.folder.join(&name), &batch, &self.settings.about)?;
        self.shards.push(ShardReport {
            name,
            split,
            sequences: batch.len() as u64,
            tokens: batch.values.len() as u64,
            written,
        });
        Ok(())
    }
}

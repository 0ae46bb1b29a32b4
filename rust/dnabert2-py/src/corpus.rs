//! The builder of corpora as a Python class.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use dnabert2_core::Error;
use dnabert2_core::corpus::{
    self, FileReport, Ledger, OtherLetters, Provenance, Settings, ShardReport, Unit, WindowRule,
};
use dnabert2_core::io::notices::Notices;
use dnabert2_core::parallel::lock;
use numpy::PyArray1;
use pyo3::prelude::*;

use crate::error::{Result, call_report};
use crate::fasta::{open, warn, with_line};
use crate::tokenizer::{Tokenizer, choose};

/// Counts of one input file.
#[pyclass(frozen, get_all, module = "dnabert2_fast._native")]
pub struct FileCounts {
    records: u64,
    bases: u64,
    other_letters: BTreeMap<char, u64>,
    windows: u64,
    too_short: u64,
    with_other_letters: u64,
    left_out: u64,
    duplicates: u64,
}

/// Origins of the windows of one shard, an entry per window.
#[pyclass(frozen, get_all, module = "dnabert2_fast._native")]
pub struct Origins {
    /// Names of records.
    names: Vec<String>,
    file: Py<PyArray1<u32>>,
    /// Position of the record in `names`.
    record: Py<PyArray1<u32>>,
    start: Py<PyArray1<u64>>,
    end: Py<PyArray1<u64>>,
    strand: Py<PyArray1<i8>>,
}

/// A shard on disk.
#[pyclass(frozen, get_all, module = "dnabert2_fast._native")]
pub struct Shard {
    name: String,
    split: &'static str,
    sequences: u64,
    tokens: u64,
    bytes: u64,
    xxh3: String,
}

/// Builds the units of one corpus.
#[pyclass(frozen, module = "dnabert2_fast._native")]
pub struct CorpusBuilder(Mutex<corpus::CorpusBuilder>);

#[pymethods]
impl CorpusBuilder {
    #[new]
    #[pyo3(signature = (
        tokenizer,
        *,
        window_bp,
        min_window_bp,
        stride_bp,
        min_bp,
        both_strands,
        other_letters,
        fold_case,
        rna,
        seed,
        valid_fraction,
        deduplicate,
        shard_tokens,
        threads,
        about,
    ))]
    #[expect(
        clippy::too_many_arguments,
        clippy::fn_params_excessive_bools,
        reason = "keyword arguments"
    )]
    fn new(
        tokenizer: &Tokenizer,
        window_bp: Option<usize>,
        min_window_bp: Option<usize>,
        stride_bp: usize,
        min_bp: usize,
        both_strands: bool,
        other_letters: &str,
        fold_case: bool,
        rna: bool,
        seed: u64,
        valid_fraction: f64,
        deduplicate: bool,
        shard_tokens: usize,
        threads: usize,
        about: String,
    ) -> Result<Self> {
        let ways = [
            ("split", OtherLetters::Split),
            ("drop", OtherLetters::Drop),
            ("keep", OtherLetters::Keep),
        ];
        let rule = WindowRule {
            window_bp,
            min_window_bp,
            stride_bp,
            min_bp,
            both_strands,
            other_letters: choose("other_letters", other_letters, &ways)?,
            fold_case,
            rna,
            seed,
        };
        let settings = Settings { rule, valid_fraction, deduplicate, shard_tokens, threads, about };
        let builder = corpus::CorpusBuilder::new(tokenizer.inner.clone(), settings);
        Ok(Self(Mutex::new(builder)))
    }

    /// Build the missing shards of a unit. `report` receives the number of letters processed since its
    /// last call, `keep_origins` a shard's number and the origins of its windows, then `note_shard` the
    /// shard.
    #[pyo3(signature = (
        *,
        number,
        folder,
        files,
        keep,
        done,
        shards,
        report,
        keep_origins,
        note_shard,
    ))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of one call")]
    fn build(
        &self,
        py: Python<'_>,
        number: u64,
        folder: PathBuf,
        files: Vec<PathBuf>,
        keep: f64,
        done: [u64; 2],
        shards: usize,
        report: Py<PyAny>,
        keep_origins: Py<PyAny>,
        note_shard: Py<PyAny>,
    ) -> Result<Vec<FileCounts>> {
        let unit = Unit { number, folder, files, keep, done, shards };
        let mut raised = None;
        let opened = Mutex::new(Vec::new());
        let mut ledger = PyLedger { keep_origins, note_shard, raised: None };
        let outcome = py.detach(|| {
            let mut builder = lock(&self.0);
            let report = |letters| {
                warn_of(&opened, &mut raised)?;
                call_report(&report, letters, &mut raised)
            };
            let open = |path: &Path| {
                let input = open(path)?;
                lock(&opened).push(input.notices.clone());
                Ok(input)
            };
            builder.build(&unit, open, report, &mut ledger)
        });
        let _ = warn_of(&opened, &mut raised);
        match (outcome, raised.or(ledger.raised)) {
            (Err(Error::Interrupted) | Ok(_), Some(error)) => Err(error.into()),
            (outcome, _) => Ok(outcome.map_err(with_line)?.into_iter().map(counts).collect()),
        }
    }
}

/// Calls Python. An exception raised there is stored, and stops the core.
struct PyLedger {
    keep_origins: Py<PyAny>,
    note_shard: Py<PyAny>,
    raised: Option<PyErr>,
}

impl PyLedger {
    fn stop(&mut self, called: PyResult<Py<PyAny>>) -> dnabert2_core::Result<()> {
        called.map(drop).map_err(|error| {
            self.raised = Some(error);
            Error::Interrupted
        })
    }
}

impl Ledger for PyLedger {
    fn keep(&mut self, shard: usize, origin: Provenance) -> dnabert2_core::Result<()> {
        Python::attach(|py| {
            let origins = Origins {
                names: origin.names,
                file: PyArray1::from_vec(py, origin.file).unbind(),
                record: PyArray1::from_vec(py, origin.record).unbind(),
                start: PyArray1::from_vec(py, origin.start).unbind(),
                end: PyArray1::from_vec(py, origin.end).unbind(),
                strand: PyArray1::from_vec(py, origin.strand).unbind(),
            };
            let kept = self.keep_origins.call1(py, (shard, origins));
            self.stop(kept)
        })
    }

    fn note(&mut self, shard: ShardReport) -> dnabert2_core::Result<()> {
        Python::attach(|py| {
            let ShardReport { name, split, sequences, tokens, written } = shard;
            let shard = Shard {
                name,
                split: split.name(),
                sequences,
                tokens,
                bytes: written.bytes,
                xxh3: written.xxh3,
            };
            let noted = self.note_shard.call1(py, (shard,));
            self.stop(noted)
        })
    }
}

/// Give Python's warnings those of the files that were opened; the last one may have more later.
fn warn_of(opened: &Mutex<Vec<Notices>>, raised: &mut Option<PyErr>) -> dnabert2_core::Result<()> {
    let mut files = lock(opened);
    let warned = Python::attach(|py| files.iter().try_for_each(|notices| warn(py, notices)));
    let last = files.pop();
    *files = last.into_iter().collect();
    warned.map_err(|error| {
        *raised = Some(error);
        Error::Interrupted
    })
}

fn counts(file: FileReport) -> FileCounts {
    let others = file.other_letters.into_iter();
    FileCounts {
        records: file.records,
        bases: file.bases,
        other_letters: others.map(|(letter, count)| (char::from(letter), count)).collect(),
        windows: file.windows,
        too_short: file.too_short,
        with_other_letters: file.with_other_letters,
        left_out: file.left_out,
        duplicates: file.duplicates,
    }
}

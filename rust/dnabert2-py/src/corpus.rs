//! Building corpora, as Python sees it.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use dnabert2_core::Error;
use dnabert2_core::corpus::{
    self, FileReport, Ledger, OtherLetters, Provenance, Settings, ShardReport, Unit, WindowRule,
};
use numpy::PyArray1;
use pyo3::prelude::*;

use crate::error::{Result, tell};
use crate::fasta::open;
use crate::tokenizer::{Tokenizer, choose};

/// Settings of a build, a dictionary with these keys.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Build {
    window_bp: Option<usize>,
    shortest_bp: Option<usize>,
    stride_bp: usize,
    min_bp: usize,
    both_strands: bool,
    other_letters: String,
    case: String,
    seed: u64,
    valid_fraction: f64,
    drop_repeats: bool,
    shard_tokens: usize,
}

/// Records, bases, other letters, windows, windows unfit, left out and repeated.
type Report = (u64, u64, u64, u64, u64, u64, u64);

/// Builds the units of one corpus.
#[pyclass(frozen, module = "dnabert2_fast._native")]
pub struct CorpusBuilder(Mutex<corpus::CorpusBuilder>);

#[pymethods]
impl CorpusBuilder {
    #[new]
    fn new(tokenizer: &Tokenizer, settings: Build, about: String, threads: usize) -> Result<Self> {
        let ways = [
            ("split", OtherLetters::Split),
            ("drop", OtherLetters::Drop),
            ("keep", OtherLetters::Keep),
        ];
        let other_letters = choose("other_letters", &settings.other_letters, &ways)?;
        let rule = WindowRule {
            window_bp: settings.window_bp,
            min_window_bp: settings.shortest_bp,
            stride_bp: settings.stride_bp,
            min_bp: settings.min_bp,
            both_strands: settings.both_strands,
            other_letters,
            fold_case: settings.case == "upper",
            seed: settings.seed,
        };
        let settings = Settings {
            rule,
            valid_fraction: settings.valid_fraction,
            deduplicate: settings.drop_repeats,
            shard_tokens: settings.shard_tokens,
            threads,
            about,
        };
        let builder = corpus::CorpusBuilder::new(tokenizer.inner.clone(), settings);
        Ok(Self(Mutex::new(builder)))
    }

    /// Build what a unit lacks; `report` is called with the letters worked through since,
    /// `keep_origins` with a shard's number and where its windows came from, then `note_shard` with the
    /// shard.
    #[expect(clippy::too_many_arguments, reason = "the parts of a unit, flat for Python")]
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
    ) -> Result<Vec<Report>> {
        let unit = Unit { number, folder, files, keep, done, shards };
        let mut raised = None;
        let mut ledger = PyLedger { keep_origins, note_shard, raised: None };
        let outcome = py.detach(|| {
            let mut builder = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let report = |letters| tell(&report, letters, &mut raised);
            builder.build(&unit, open, report, &mut ledger)
        });
        match (outcome, raised.or(ledger.raised)) {
            (Err(Error::Interrupted), Some(error)) => Err(error.into()),
            (outcome, _) => Ok(outcome?.iter().map(listed).collect()),
        }
    }
}

/// Hands on to Python; what is raised there is kept, and the core is asked to stop.
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
            let columns = (
                origin.names,
                PyArray1::from_vec(py, origin.file),
                PyArray1::from_vec(py, origin.record),
                PyArray1::from_vec(py, origin.start),
                PyArray1::from_vec(py, origin.end),
                PyArray1::from_vec(py, origin.strand),
            );
            let kept = self.keep_origins.call1(py, (shard, columns));
            self.stop(kept)
        })
    }

    fn note(&mut self, shard: ShardReport) -> dnabert2_core::Result<()> {
        Python::attach(|py| {
            let ShardReport { name, split, sequences, tokens, written } = shard;
            let told = (name, split.name(), sequences, tokens, written.bytes, written.xxh3);
            let noted = self.note_shard.call1(py, told);
            self.stop(noted)
        })
    }
}

fn listed(file: &FileReport) -> Report {
    let FileReport { records, bases, other_letters, windows, unfit, left_out, duplicates } = *file;
    (records, bases, other_letters, windows, unfit, left_out, duplicates)
}

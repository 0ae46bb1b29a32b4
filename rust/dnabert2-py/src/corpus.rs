//! Building corpora, as Python sees it.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use dnabert2_core::Error;
use dnabert2_core::corpus::{self, FileReport, Provenance, Settings, ShardReport, WindowRule};
use numpy::PyArray1;
use pyo3::prelude::*;

use crate::error::{Result, tell};
use crate::tokenizer::Tokenizer;

/// Record number, start, end and strand of every window of one split.
type Columns<'py> = (
    Bound<'py, PyArray1<u32>>,
    Bound<'py, PyArray1<u64>>,
    Bound<'py, PyArray1<u64>>,
    Bound<'py, PyArray1<i8>>,
);

/// Record names, bases, other letters, and the columns of the training and held-out windows.
type Report<'py> = (Vec<String>, u64, u64, [Columns<'py>; 2]);

/// Name, split, sequences, tokens, bytes and SHA-256 of a shard.
type Shard = (String, &'static str, u64, u64, u64, String);

/// Writes the shards of one corpus; `None` inside once it is finished.
#[pyclass(frozen, module = "dnabert2_fast._native")]
pub struct CorpusBuilder(Mutex<Option<corpus::CorpusBuilder>>);

#[pymethods]
impl CorpusBuilder {
    #[new]
    #[expect(clippy::too_many_arguments, reason = "the settings of one build, flat for Python")]
    fn new(
        folder: PathBuf,
        tokenizer: &Tokenizer,
        window_bp: Option<usize>,
        stride_bp: usize,
        min_bp: usize,
        both_strands: bool,
        valid_fraction: f64,
        shard_tokens: usize,
        threads: usize,
        about: String,
    ) -> Self {
        let rule = WindowRule { window_bp, stride_bp, min_bp, both_strands };
        let settings = Settings { rule, valid_fraction, shard_tokens, threads, about };
        let builder = corpus::CorpusBuilder::new(&folder, tokenizer.inner.clone(), settings);
        Self(Mutex::new(Some(builder)))
    }

    /// Add every record of a file; `report` is called with the letters worked through since.
    fn add_file<'py>(
        &self,
        py: Python<'py>,
        path: PathBuf,
        report: Py<PyAny>,
    ) -> Result<Report<'py>> {
        let mut raised = None;
        let outcome = py.detach(|| {
            let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            open(guard.as_mut())?.add_file(&path, |letters| tell(&report, letters, &mut raised))
        });
        if let Some(error) = raised {
            return Err(error.into());
        }
        let FileReport { records, bases, other_letters, windows } = outcome?;
        Ok((records, bases, other_letters, windows.map(|origin| columns(py, origin))))
    }

    /// Write the last shards and list them all.
    fn finish(&self, py: Python<'_>) -> Result<Vec<Shard>> {
        let shards = py.detach(|| {
            let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            open(guard.take())?.finish()
        })?;
        Ok(shards.into_iter().map(listed).collect())
    }
}

fn open<T>(builder: Option<T>) -> dnabert2_core::Result<T> {
    builder.ok_or_else(|| Error::InvalidArgument {
        name: "CorpusBuilder",
        message: "it is finished; make another one".into(),
    })
}

fn columns(py: Python<'_>, origin: Provenance) -> Columns<'_> {
    (
        PyArray1::from_vec(py, origin.record),
        PyArray1::from_vec(py, origin.start),
        PyArray1::from_vec(py, origin.end),
        PyArray1::from_vec(py, origin.strand),
    )
}

fn listed(shard: ShardReport) -> Shard {
    let ShardReport { name, split, sequences, tokens, written } = shard;
    (name, split.name(), sequences, tokens, written.bytes, written.sha256)
}

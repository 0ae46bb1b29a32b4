//! Records of a sequence file, as Python iterates them.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;

use crate::error::Result;

/// Iterator over `(name, sequence)`.
#[pyclass(frozen, module = "dnabert2_fast._native")]
pub struct FastaReader {
    inner: Mutex<dnabert2_core::fasta::FastaReader>,
}

#[pymethods]
impl FastaReader {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> Result<Self> {
        let inner = Mutex::new(py.detach(|| dnabert2_core::fasta::FastaReader::open(&path))?);
        Ok(Self { inner })
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> Result<Option<(String, String)>> {
        let read = || {
            let mut reader = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            reader.next().transpose()
        };
        let Some(record) = py.detach(read)? else { return Ok(None) };
        // Letters are ASCII; anything else is shown as a replacement character, one a byte.
        let sequence = match String::from_utf8(record.sequence) {
            Ok(sequence) => sequence,
            Err(error) => error.into_bytes().into_iter().map(ascii).collect(),
        };
        Ok(Some((record.name, sequence)))
    }
}

fn ascii(byte: u8) -> char {
    if byte.is_ascii() { char::from(byte) } else { char::REPLACEMENT_CHARACTER }
}

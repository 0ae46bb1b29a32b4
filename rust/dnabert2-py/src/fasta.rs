//! The reader of sequence files as a Python class; gzip is inflated by the package `isal` if it is
//! installed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use dnabert2_core::dna::count_bases;
use dnabert2_core::io::compression::{self, Block, Packing, ReadAhead, Source};
use dnabert2_core::io::fasta;
use dnabert2_core::parallel::lock;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyString};

use crate::error::{Result, call_report};

/// Bytes per read from `isal`.
const BLOCK: usize = 1 << 19;

/// Minimum letters of a record for which memory may run out.
const HUGE: usize = 1 << 26;

/// Letters between two reports.
pub const REPORT_BP: usize = 1 << 22;

/// Open a file, and inflate what it holds. ISA-L inflates twice as fast as the core's own library.
pub fn open(path: &Path) -> dnabert2_core::Result<Box<dyn Source>> {
    if Packing::of_file(path)? == Packing::Gzip {
        let opened = Python::attach(|py| {
            let file = py.import("isal.igzip")?.call_method1("open", (path, "rb"))?;
            Ok::<_, PyErr>(file.unbind())
        });
        if let Ok(file) = opened {
            return Ok(Box::new(Isal(file)));
        }
    }
    compression::open(path)
}

/// Read a sequence file, inflated on a thread of its own.
pub fn read(path: &Path) -> dnabert2_core::Result<fasta::FastaReader> {
    let source = ReadAhead::new(open(path)?);
    fasta::FastaReader::new(path, Packing::of_file(path)?, Box::new(source))
}

struct Isal(Py<PyAny>);

impl Source for Isal {
    fn next_block(&mut self) -> io::Result<Option<Block>> {
        let read = Python::attach(|py| {
            let read = self.0.call_method1(py, "read", (BLOCK,))?;
            Ok::<_, PyErr>(read.extract::<PyBackedBytes>(py)?)
        });
        let block = read.map_err(|error| io::Error::other(error.to_string()))?;
        Ok(if block.is_empty() { None } else { Some(Box::new(block)) })
    }
}

/// Iterator over `(name, sequence)`.
#[pyclass(frozen, module = "dnabert2_fast._native")]
pub struct FastaReader {
    inner: Mutex<fasta::FastaReader>,
}

#[pymethods]
impl FastaReader {
    #[new]
    fn new(py: Python<'_>, path: PathBuf, max_letters: usize) -> Result<Self> {
        let mut reader = py.detach(|| read(&path))?;
        reader.limit_records(max_letters);
        Ok(Self { inner: Mutex::new(reader) })
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> Result<Option<(String, Bound<'py, PyAny>)>> {
        let read = || {
            let mut reader = lock(&self.inner);
            reader.next().transpose()
        };
        let Some(record) = py.detach(read)? else { return Ok(None) };
        // Letters are ASCII; anything else is shown as a replacement character, one a byte.
        let (letters, codec) = match String::from_utf8(record.sequence) {
            Ok(text) if text.len() < HUGE => {
                return Ok(Some((record.name, PyString::new(py, &text).into_any())));
            }
            Ok(text) => (text.into_bytes(), "utf-8"),
            Err(error) => (error.into_bytes(), "ascii"),
        };
        // Where memory runs out, these raise an error of Python's and do not panic.
        let copy = PyBytes::new_with(py, letters.len(), |bytes| {
            bytes.copy_from_slice(&letters);
            Ok(())
        })?;
        drop(letters);
        Ok(Some((record.name, copy.call_method1("decode", (codec, "replace"))?)))
    }
}

/// Count the bases of a sequence file; `report` is called with the letters processed since.
#[pyfunction]
#[pyo3(name = "count_bases")]
pub fn count_file(
    py: Python<'_>,
    path: PathBuf,
    fold_case: bool,
    report: Py<PyAny>,
) -> Result<u64> {
    let mut raised = None;
    let outcome = py.detach(|| {
        let mut reader = read(&path)?;
        let (mut bases, mut letters, mut text) = (0_u64, 0, Vec::new());
        while reader.next_record()?.is_some() {
            while reader.read_letters(&mut text, BLOCK)? > 0 {
                bases += count_bases(&text, fold_case) as u64;
                letters += text.len();
                text.clear();
                if letters >= REPORT_BP {
                    call_report(&report, std::mem::take(&mut letters), &mut raised)?;
                }
            }
        }
        call_report(&report, letters, &mut raised)?;
        Ok::<_, dnabert2_core::Error>(bases)
    });
    if let Some(error) = raised {
        return Err(error.into());
    }
    Ok(outcome?)
}

//! Random access to the windows of mapped shards, and writing one shard.

use std::path::PathBuf;

use dnabert2_core::{Error, Ragged, TokenId, shard};
use numpy::{PyArray1, PyArrayMethods, PyReadonlyArray1, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::error::{Failure, Result};
use crate::tokenizer::{RaggedArrays, signed};

/// A mapped shard: its file, the length in bytes, and its ids and offsets.
#[pyclass(frozen, module = "dnabert2_fast._native")]
pub struct MappedShard {
    path: PathBuf,
    bytes: u64,
    ids: Py<PyArray1<TokenId>>,
    offsets: Py<PyArray1<i64>>,
    windows: usize,
}

#[pymethods]
impl MappedShard {
    #[new]
    #[pyo3(signature = (*, path, bytes, ids, offsets))]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        bytes: u64,
        ids: Py<PyArray1<TokenId>>,
        offsets: Py<PyArray1<i64>>,
    ) -> Result<Self> {
        let Some(windows) = offsets.bind(py).readonly().len().checked_sub(1) else {
            let message = "damaged: it has no offsets; build the corpus again".into();
            return Err(Error::Shard { path, message }.into());
        };
        Ok(Self { path, bytes, ids, offsets, windows })
    }
}

/// The windows of several shards, numbered consecutively; the arrays are mapped files.
#[pyclass(frozen, module = "dnabert2_fast._native")]
pub struct Shards {
    shards: Vec<Py<MappedShard>>,
    /// Number of the first window of each shard, and of all windows.
    first: Vec<usize>,
}

#[pymethods]
impl Shards {
    #[new]
    fn new(shards: Vec<Py<MappedShard>>) -> Self {
        let mut first = vec![0];
        for shard in &shards {
            first.push(first[first.len() - 1] + shard.get().windows);
        }
        Self { shards, first }
    }

    /// Tokens of the given windows.
    fn lengths<'py>(
        &self,
        py: Python<'py>,
        windows: PyReadonlyArray1<'py, i64>,
    ) -> Result<Bound<'py, PyArray1<i64>>> {
        let mut lengths = Vec::with_capacity(windows.len());
        self.each(py, &windows, |ids| lengths.push(signed(ids.len() as u64)))?;
        Ok(PyArray1::from_vec(py, lengths))
    }

    /// Ids of the given windows, one after the other, and offsets.
    fn gather<'py>(
        &self,
        py: Python<'py>,
        windows: PyReadonlyArray1<'py, i64>,
    ) -> Result<RaggedArrays<'py>> {
        let (mut values, mut ends) = (Vec::new(), Vec::with_capacity(windows.len() + 1));
        ends.push(0);
        self.each(py, &windows, |ids| {
            values.extend_from_slice(ids);
            ends.push(signed(values.len() as u64));
        })?;
        Ok((PyArray1::from_vec(py, values), PyArray1::from_vec(py, ends)))
    }
}

impl Shards {
    /// Call `take` with the ids of each window.
    ///
    /// A file that was truncated after it was mapped would end the process when it is read (SIGBUS).
    /// So the length of every file is checked before it is read.
    fn each(
        &self,
        py: Python<'_>,
        windows: &PyReadonlyArray1<'_, i64>,
        mut take: impl FnMut(&[TokenId]),
    ) -> Result<()> {
        let malformed = || Error::InvalidArgument {
            name: "windows",
            message: "must be a contiguous array of indices of existing windows".into(),
        };
        // A shard's arrays are borrowed when one of its windows is first read.
        let mut borrowed: Vec<Option<_>> = self.shards.iter().map(|_| None).collect();
        for &window in windows.as_slice().map_err(|_| Failure::from(malformed()))? {
            let window = usize::try_from(window).map_err(|_| malformed())?;
            let number = self.first.partition_point(|&first| first <= window) - 1;
            let shard = self.shards.get(number).ok_or_else(malformed)?;
            let MappedShard { path, bytes, ids, offsets, .. } = shard.get();
            if borrowed[number].is_none() {
                let found = std::fs::metadata(path).map_err(Error::io(path))?.len();
                if found != *bytes {
                    let message = format!(
                        "has {found} bytes, it had {bytes} when it was opened; open the corpus again"
                    );
                    return Err(Error::Shard { path: path.clone(), message }.into());
                }
                borrowed[number] = Some((ids.bind(py).readonly(), offsets.bind(py).readonly()));
            }
            let (ids, offsets) = borrowed[number].as_ref().ok_or_else(malformed)?;
            let ids = ids.as_slice().map_err(|_| malformed())?;
            let offsets = offsets.as_slice().map_err(|_| malformed())?;
            let row = window - self.first[number];
            take(row_of(ids, offsets, row).ok_or_else(|| Error::Shard {
                path: path.clone(),
                message: format!(
                    "damaged: the offsets of window {row} do not lie in its ids; build the corpus again"
                ),
            })?);
        }
        Ok(())
    }
}

/// Ids of one row; None where its offsets make no sense.
fn row_of<'a>(ids: &'a [TokenId], offsets: &[i64], row: usize) -> Option<&'a [TokenId]> {
    let from = usize::try_from(*offsets.get(row)?).ok()?;
    let to = usize::try_from(*offsets.get(row + 1)?).ok()?;
    ids.get(from..to)
}

/// Checksum of a file (XXH3 of 128 bits).
#[pyfunction]
pub fn checksum(py: Python<'_>, path: PathBuf) -> Result<String> {
    Ok(py.detach(|| shard::checksum(&path))?)
}

/// Write ids and offsets as one shard. Returns its bytes and checksum.
#[pyfunction]
pub fn write_shard(
    py: Python<'_>,
    path: PathBuf,
    values: PyReadonlyArray1<'_, TokenId>,
    offsets: PyReadonlyArray1<'_, u64>,
    about: String,
) -> Result<(u64, String)> {
    let (values, offsets) = (values.as_array().to_vec(), offsets.as_array().to_vec());
    let written = py.detach(|| shard::write(&path, &Ragged { values, offsets }, &about))?;
    Ok((written.bytes, written.xxh3))
}

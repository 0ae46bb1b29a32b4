//! Random access to the windows of mapped shards, and writing one shard.

use std::path::PathBuf;

use dnabert2_core::{Error, Ragged, TokenId, shard};
use numpy::{PyArray1, PyArrayMethods, PyReadonlyArray1, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::error::{Failure, Result};

/// Ids and offsets of one shard.
type Arrays = (Py<PyArray1<TokenId>>, Py<PyArray1<i64>>);

/// The windows of several shards, numbered through; the arrays are mapped files as a rule.
#[pyclass(frozen, module = "dnabert2_fast._native")]
pub struct Shards {
    arrays: Vec<Arrays>,
    /// Number of the first window of each shard, and of all windows.
    first: Vec<usize>,
}

#[pymethods]
impl Shards {
    #[new]
    fn new(py: Python<'_>, arrays: Vec<Arrays>) -> Self {
        let mut first = vec![0];
        for (_, offsets) in &arrays {
            let windows = offsets.bind(py).readonly().len().saturating_sub(1);
            first.push(first[first.len() - 1] + windows);
        }
        Self { arrays, first }
    }

    /// Tokens of the given windows.
    fn lengths<'py>(
        &self,
        py: Python<'py>,
        windows: PyReadonlyArray1<'py, i64>,
    ) -> Result<Bound<'py, PyArray1<i64>>> {
        let mut lengths = Vec::with_capacity(windows.len());
        self.each(py, &windows, |_, offsets, row| {
            lengths.push(offsets[row + 1] - offsets[row]);
            Some(())
        })?;
        Ok(PyArray1::from_vec(py, lengths))
    }

    /// Ids of the given windows, one after the other, and offsets.
    #[expect(clippy::type_complexity, reason = "what Python calls a ragged batch")]
    fn gather<'py>(
        &self,
        py: Python<'py>,
        windows: PyReadonlyArray1<'py, i64>,
    ) -> Result<(Bound<'py, PyArray1<TokenId>>, Bound<'py, PyArray1<i64>>)> {
        let (mut values, mut ends) = (Vec::new(), Vec::with_capacity(windows.len() + 1));
        ends.push(0);
        self.each(py, &windows, |ids, offsets, row| {
            let from = usize::try_from(offsets[row]).ok()?;
            let to = usize::try_from(offsets[row + 1]).ok()?;
            values.extend_from_slice(ids.get(from..to)?);
            ends.push(i64::try_from(values.len()).ok()?);
            Some(())
        })?;
        Ok((PyArray1::from_vec(py, values), PyArray1::from_vec(py, ends)))
    }
}

impl Shards {
    /// Call `take` with the ids and offsets of each window's shard, and its row there.
    fn each(
        &self,
        py: Python<'_>,
        windows: &PyReadonlyArray1<'_, i64>,
        mut take: impl FnMut(&[TokenId], &[i64], usize) -> Option<()>,
    ) -> Result<()> {
        let malformed = || Error::InvalidArgument {
            name: "windows",
            message: "an array without gaps, of windows that there are, is expected".into(),
        };
        // A shard's arrays are borrowed when one of its windows is first asked for.
        let mut borrowed: Vec<Option<_>> = self.arrays.iter().map(|_| None).collect();
        for &window in windows.as_slice().map_err(|_| Failure::from(malformed()))? {
            let window = usize::try_from(window).map_err(|_| malformed())?;
            let shard = self.first.partition_point(|&first| first <= window) - 1;
            let arrays = self.arrays.get(shard).ok_or_else(malformed)?;
            let (ids, offsets) = borrowed[shard].get_or_insert_with(|| {
                (arrays.0.bind(py).readonly(), arrays.1.bind(py).readonly())
            });
            let ids = ids.as_slice().map_err(|_| malformed())?;
            let offsets = offsets.as_slice().map_err(|_| malformed())?;
            take(ids, offsets, window - self.first[shard]).ok_or_else(malformed)?;
        }
        Ok(())
    }
}

/// Checksum of a file (XXH3 of 128 bits).
#[pyfunction]
pub fn checksum(py: Python<'_>, path: PathBuf) -> Result<String> {
    Ok(py.detach(|| shard::checksum(&path))?)
}

/// Write ids and offsets as one shard; its bytes and checksum.
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

//! The extension module `dnabert2_fast._native`: conversions between Python and the core, no logic.

#![allow(clippy::needless_pass_by_value)] // PyO3 passes arguments by value

mod corpus;
mod error;
mod fasta;
mod shards;
mod tokenizer;
mod train;

/// Native half of `dnabert2_fast`; use the Python classes in front of it.
#[pyo3::pymodule(gil_used = false)]
mod _native {
    use numpy::{PyArray1, PyArrayMethods};
    use pyo3::exceptions::PyImportError;
    use pyo3::prelude::*;

    /// The numpy crate panics where an interrupt reaches its first use of numpy. Other threads receive no
    /// signals, so that use is here.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        py.import("numpy")?;
        let first_use =
            || Python::attach(|py| drop(PyArray1::<u8>::zeros(py, 1, false).readonly()));
        py.detach(|| std::thread::spawn(first_use).join())
            .map_err(|_| PyImportError::new_err("numpy has no C interface that is known here"))
    }

    #[pymodule_export]
    use crate::corpus::{CorpusBuilder, FileCounts, Origins, Shard};
    #[pymodule_export]
    use crate::fasta::{FastaReader, Input, count_file, unknown_letter};
    #[pymodule_export]
    use crate::shards::{MappedShard, Shards, checksum, write_shard};
    #[pymodule_export]
    use crate::tokenizer::{DetailedBatch, EncodeOptions, Tokenizer};
    #[pymodule_export]
    use crate::train::{BpeTrainer, InputCounts};

    /// Cargo's profile of this build: `release` in wheels, `editable` or `debug` in development.
    #[pymodule_export]
    const BUILD_PROFILE: &str = env!("BUILD_PROFILE");
}

/// Keeps the pages of large batches from call to call; the system's allocator returns them and faults
/// them in again, which costs a tenth of the encoder's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

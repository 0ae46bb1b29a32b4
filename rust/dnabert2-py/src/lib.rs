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

//! Token files: a safetensors file with `input_ids` (U16) and `offsets` (U64), a [`Ragged`] on disk.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use bytemuck::cast_slice;
use xxhash_rust::xxh3::Xxh3;

use crate::{Error, Ragged, Result};

#[cfg(target_endian = "big")]
compile_error!("shards are written as they lie in memory, and are little-endian");

/// Bytes of a file that are hashed at once.
const PIECE: usize = 1 << 17;

/// Length and checksum of a file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Length in bytes.
    pub bytes: u64,
    /// XXH3 of 128 bits, as `xxhsum -H2` prints it: finds damage five times as fast as SHA-256.
    pub xxh3: String,
}

/// Write a batch as one shard; `about` (JSON text) goes into the file's metadata.
///
/// The same batch and text give the same bytes. They are written without a copy; the safetensors crate
/// would build the whole file in memory first.
///
/// # Errors
/// [`Error::Io`] when the file cannot be written.
pub fn write(path: &Path, batch: &Ragged, about: &str) -> Result<Written> {
    let (offsets, values) = (cast_slice(&batch.offsets), cast_slice(&batch.values));
    let header = header(batch, about);
    let length = (header.len() as u64).to_le_bytes();
    let mut file = File::create(path).map_err(Error::io(path))?;
    let parts = [&length, header.as_bytes(), offsets, values];
    let mut hasher = Xxh3::new();
    for part in parts {
        hasher.update(part);
        file.write_all(part).map_err(Error::io(path))?;
    }
    let xxh3 = hexadecimal(hasher.digest128());
    Ok(Written { bytes: parts.iter().map(|part| part.len() as u64).sum(), xxh3 })
}

/// Header of a safetensors file, padded so that the tensors behind it are aligned.
fn header(batch: &Ragged, about: &str) -> String {
    let (offsets, ids) = (batch.offsets.len(), batch.values.len());
    let (middle, end) = (8 * offsets, 8 * offsets + 2 * ids);
    let header = serde_json::json!({
        "__metadata__": { "dnabert2_fast": about },
        "offsets": { "dtype": "U64", "shape": [offsets], "data_offsets": [0, middle] },
        "input_ids": { "dtype": "U16", "shape": [ids], "data_offsets": [middle, end] },
    });
    let text = header.to_string();
    format!("{text:width$}", width = text.len().next_multiple_of(8))
}

/// Checksum of a file, as [`Written`] has it.
///
/// # Errors
/// [`Error::Io`] when it cannot be read.
pub fn checksum(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let (mut hasher, mut piece) = (Xxh3::new(), vec![0; PIECE]);
    loop {
        match file.read(&mut piece).map_err(Error::io(path))? {
            0 => return Ok(hexadecimal(hasher.digest128())),
            bytes => hasher.update(&piece[..bytes]),
        }
    }
}

fn hexadecimal(digest: u128) -> String {
    format!("{digest:032x}")
}

//! Token files: a safetensors file with `input_ids` (U16) and `offsets` (U64), a [`Ragged`] on disk.

use std::collections::HashMap;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use sha2::{Digest, Sha256};

use crate::{Error, Ragged, Result};

/// What is known of a file once it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

/// Write a batch as one shard; `about` (JSON text) goes into the file's metadata.
///
/// The same batch and text give the same bytes.
///
/// # Errors
/// [`Error::Io`] when the file cannot be written, [`Error::Shard`] when the batch is malformed.
pub fn write(path: &Path, batch: &Ragged, about: &str) -> Result<Written> {
    let values: Vec<u8> = batch.values.iter().flat_map(|id| id.to_le_bytes()).collect();
    let offsets: Vec<u8> = batch.offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect();
    let refused = |error: safetensors::SafeTensorError| Error::Shard {
        path: path.to_owned(),
        message: error.to_string(),
    };
    let tensors = [
        ("input_ids", TensorView::new(Dtype::U16, vec![batch.values.len()], &values)),
        ("offsets", TensorView::new(Dtype::U64, vec![batch.offsets.len()], &offsets)),
    ];
    let tensors = tensors
        .into_iter()
        .map(|(name, view)| Ok((name, view.map_err(refused)?)))
        .collect::<Result<Vec<_>>>()?;
    // One metadata entry only: a map of several has no fixed order, hence no fixed bytes.
    let metadata = HashMap::from([("dnabert2_fast".to_owned(), about.to_owned())]);
    let file = safetensors::serialize(tensors, Some(metadata)).map_err(refused)?;
    std::fs::write(path, &file).map_err(Error::io(path))?;
    Ok(Written { bytes: file.len() as u64, sha256: hexadecimal(&Sha256::digest(&file)) })
}

fn hexadecimal(digest: &[u8]) -> String {
    use std::fmt::Write;
    digest.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

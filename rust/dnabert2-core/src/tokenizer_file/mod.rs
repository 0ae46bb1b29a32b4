//! The file of a tokenizer: a `tokenizer.json` of Hugging Face `tokenizers`, or a list of k-mers.
//!
//! Only what this crate reproduces id for id is accepted. Everything else is an error with its position
//! in the file (a JSON pointer, or a line).

mod json;
mod model;
mod pipeline;
mod pointer;
mod strict_json;
mod vocab_txt;
mod write;

use std::path::Path;

use crate::tokenizer::Definition;
use crate::{Error, Result};

pub use write::{from_trained, with_matching};

/// Read a tokenizer file.
///
/// # Errors
/// [`Error::Io`] when it cannot be read, [`Error::TokenizerFile`] with the position of whatever is wrong
/// or cannot be reproduced exactly.
pub fn open(path: &Path) -> Result<Definition> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let text = String::from_utf8(bytes).map_err(|_| Error::TokenizerFile {
        path: path.to_owned(),
        pointer: String::new(),
        message: "the file is not UTF-8 text".into(),
    })?;
    parse(path, text)
}

/// Read the text of a tokenizer file; `path` only serves messages.
///
/// # Errors
/// As [`open`].
pub fn parse(path: &Path, text: String) -> Result<Definition> {
    if vocab_txt::is_one(&text) { vocab_txt::parse(path, text) } else { json::parse(path, text) }
}

//! One error type for the whole core; every variant carries what is needed to act on it.

use std::path::{Path, PathBuf};

/// Everything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read or write a file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// A sequence file is not readable FASTA or FASTQ.
    #[error("{}: {message}{}", path.display(), position(record, *line))]
    Fasta {
        /// The file.
        path: PathBuf,
        /// Name of the record, empty when the first one was not reached.
        record: String,
        /// Line in the decompressed file, counted from 1; 0 when it is not known.
        line: u64,
        /// What is wrong, and the remedy.
        message: String,
    },
    /// A vocabulary breaks a rule of BPE.
    #[error("vocabulary: token {token:?}: {message}")]
    Vocab {
        /// The token.
        token: String,
        /// Which rule it breaks.
        message: String,
    },
    /// A tokenizer file holds something that this encoder cannot reproduce exactly.
    #[error("{}: at {pointer}: {message}", path.display())]
    TokenizerFile {
        /// The file.
        path: PathBuf,
        /// JSON pointer, or a line.
        pointer: String,
        /// What is wrong or not supported.
        message: String,
    },
    /// A sequence holds a letter that the vocabulary cannot spell, and the policy is `error`.
    #[error(
        "sequence {sequence}: {letter:?} at {position} (0-based) is not in the vocabulary; \
         clean the input or choose unknown=\"unk\" or \"split\""
    )]
    UnknownLetter {
        /// Index of the sequence in the batch.
        sequence: usize,
        /// The letter.
        letter: char,
        /// 0-based position, in characters.
        position: usize,
    },
    /// A shard file is damaged or not one of ours.
    #[error("{}: {message}", path.display())]
    Shard {
        /// The file.
        path: PathBuf,
        /// What is wrong: expected and found.
        message: String,
    },
    /// An argument lies outside what is allowed.
    #[error("{name}: {message}")]
    InvalidArgument {
        /// Name of the argument.
        name: &'static str,
        /// Its value, and what is allowed.
        message: String,
    },
    /// The caller asked to stop (Ctrl-C).
    #[error("interrupted")]
    Interrupted,
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An [`Error::Io`] about `path`, for `map_err`.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

fn position(record: &str, line: u64) -> String {
    match (record.is_empty(), line) {
        (true, 0) => String::new(),
        (true, line) => format!(" (line {line})"),
        (false, 0) => format!(" (record {record:?})"),
        (false, line) => format!(" (record {record:?}, line {line})"),
    }
}

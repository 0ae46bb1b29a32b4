//! One error type for the whole core; every variant names what is wrong and where.

use std::fmt;
use std::path::{Path, PathBuf};

/// Everything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system could not read or write a file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// A sequence file is not readable FASTA or FASTQ.
    #[error("{}{}: {message}", path.display(), position(record, *line))]
    Fasta {
        /// The file.
        path: PathBuf,
        /// Name of the record, empty before the first one.
        record: String,
        /// Line in the decompressed file, counted from 1; 0 when it is unknown.
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
    /// A tokenizer file contains something that this encoder cannot reproduce exactly.
    #[error("{}{}: {message}", path.display(), within(pointer))]
    TokenizerFile {
        /// The file.
        path: PathBuf,
        /// JSON pointer, or the number of a line, or empty for the whole file.
        pointer: String,
        /// What is wrong or not supported.
        message: String,
    },
    /// A sequence contains a letter that is not in the vocabulary, and the policy is `error`.
    #[error(
        "{origin}: {letter:?} at {position} (0-based) is not in the vocabulary; \
         clean the input or choose unknown=\"unk\" or \"split\""
    )]
    UnknownLetter {
        /// The sequence.
        origin: Origin,
        /// The letter.
        letter: char,
        /// 0-based position, in characters.
        position: usize,
    },
    /// A shard file is damaged or is not a shard.
    #[error("{}: {message}", path.display())]
    Shard {
        /// The file.
        path: PathBuf,
        /// What is wrong: expected and found.
        message: String,
    },
    /// An argument is out of its range.
    #[error("{name}: {message}")]
    InvalidArgument {
        /// Name of the argument.
        name: &'static str,
        /// The expected values, and the value received.
        message: String,
    },
    /// The user interrupted the call (Ctrl-C).
    #[error("interrupted")]
    Interrupted,
}

/// Where a sequence comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Index in a batch.
    Sequence(usize),
    /// The second of a pair, by the index of the pair in a batch.
    Pair(usize),
    /// A record of a file.
    Record {
        /// The file.
        path: PathBuf,
        /// Line of the position that the error is about, counted from 1, if known.
        line: Option<u64>,
        /// The record.
        name: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sequence(index) => write!(f, "sequence {index}"),
            Self::Pair(index) => write!(f, "pair of sequence {index}"),
            Self::Record { path, line: None, name } => {
                write!(f, "{}: record {name:?}", path.display())
            }
            Self::Record { path, line: Some(line), name } => {
                write!(f, "{}:{line}: record {name:?}", path.display())
            }
        }
    }
}

/// Result with the error of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An [`Error::Io`] about `path`, for `map_err`.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    /// Whether the user stopped the call, so that nothing is wrong with its input.
    #[must_use]
    pub fn is_interrupt(&self) -> bool {
        match self {
            Self::Interrupted => true,
            Self::Io { source, .. } => source.kind() == std::io::ErrorKind::Interrupted,
            _ => false,
        }
    }
}

fn within(pointer: &str) -> String {
    match pointer.bytes().next() {
        None => String::new(),
        Some(b'/') => format!(": at {pointer}"),
        Some(_) => format!(":{pointer}"),
    }
}

fn position(record: &str, line: u64) -> String {
    match (record.is_empty(), line) {
        (true, 0) => String::new(),
        (true, line) => format!(":{line}"),
        (false, 0) => format!(": record {record:?}"),
        (false, line) => format!(":{line}: record {record:?}"),
    }
}

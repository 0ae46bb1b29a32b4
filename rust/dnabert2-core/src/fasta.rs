//! Sequence files: FASTA and FASTQ, plain or gzip, bgzip, zstd, one record at a time.
//!
//! The format is taken from the first bytes, never from the file's name. Parsing is needletail's;
//! this module adds inflation, on a thread of its own, and errors that name file, record and line.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use needletail::errors::{ParseError, ParseErrorKind};
use needletail::{FastxReader, parse_fastx_reader};

use crate::read_ahead::ReadAhead;
use crate::{Error, Result};

/// One entry of a sequence file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The header up to the first white space, without `>` or `@`.
    pub name: String,
    /// The sequence without line breaks, letters as they stand in the file.
    pub sequence: Vec<u8>,
}

/// How a file is packed, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd] => Self::Zstd,
            _ => Self::Plain,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// The records of one file, in order.
///
/// ```no_run
/// for record in dnabert2_core::fasta::FastaReader::open("genome.fa.gz".as_ref())? {
///     println!("{}", record?.name);
/// }
/// # Ok::<(), dnabert2_core::Error>(())
/// ```
pub struct FastaReader {
    path: PathBuf,
    packing: Packing,
    records: Box<dyn FastxReader>,
    last: String,
    done: bool,
}

impl FastaReader {
    /// Open a file.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Fasta`] when it is empty or begins like
    /// neither FASTA nor FASTQ.
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(Error::io(path))?;
        let mut head = Vec::new();
        file.by_ref().take(4).read_to_end(&mut head).map_err(Error::io(path))?;
        let packing = Packing::of(&head);
        let whole = BufReader::with_capacity(1 << 17, std::io::Cursor::new(head).chain(file));
        let mut text: Box<dyn Read + Send> = match packing {
            Packing::Plain => Box::new(whole),
            Packing::Gzip => Box::new(ReadAhead::new(MultiGzDecoder::new(whole))),
            Packing::Zstd => {
                let inflated = zstd::Decoder::with_buffer(whole).map_err(Error::io(path))?;
                Box::new(ReadAhead::new(inflated))
            }
        };
        let fail = |message: String| Error::Fasta {
            path: path.to_owned(),
            record: String::new(),
            line: 0,
            message,
        };
        let mut first = Vec::new();
        text.by_ref()
            .take(2)
            .read_to_end(&mut first)
            .map_err(|error| fail(damaged(packing, &error.to_string())))?;
        match first.as_slice() {
            [] => return Err(fail("the file is empty".into())),
            [b'>' | b'@', _] => {}
            other => {
                let seen = String::from_utf8_lossy(other);
                let message =
                    format!("begins with {seen:?}: FASTA begins with '>', FASTQ with '@'");
                return Err(fail(message));
            }
        }
        let records = parse_fastx_reader(std::io::Cursor::new(first).chain(text))
            .map_err(|error| fail(error.to_string()))?;
        Ok(Self { path: path.to_owned(), packing, records, last: String::new(), done: false })
    }

    fn explain(&self, error: &ParseError) -> Error {
        let message = match error.kind {
            ParseErrorKind::Io => damaged(self.packing, &error.msg),
            ParseErrorKind::UnexpectedEnd => {
                "the file ends in the middle of a record; copy or download it again".into()
            }
            ParseErrorKind::InvalidStart => "a record does not begin with '>' or '@'".into(),
            ParseErrorKind::InvalidSeparator => "a FASTQ record lacks its '+' line".into(),
            ParseErrorKind::UnequalLengths => {
                format!("{}: the FASTQ record is damaged", error.msg.trim_end_matches('.'))
            }
            _ => error.msg.clone(),
        };
        let named = error.position.id.clone().unwrap_or_default();
        let record = if named.is_empty() {
            if self.last.is_empty() { String::new() } else { format!("after {}", self.last) }
        } else {
            named
        };
        Error::Fasta { path: self.path.clone(), record, line: error.position.line, message }
    }
}

impl Iterator for FastaReader {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let outcome = self.records.next().map(|parsed| {
            parsed.map(|record| {
                let header = String::from_utf8_lossy(record.id());
                let name = header.split_whitespace().next().unwrap_or_default().to_owned();
                Record { name, sequence: record.seq().into_owned() }
            })
        });
        match outcome {
            Some(Ok(record)) => {
                self.last.clone_from(&record.name);
                Some(Ok(record))
            }
            Some(Err(error)) => {
                self.done = true;
                Some(Err(self.explain(&error)))
            }
            None => None,
        }
    }
}

fn damaged(packing: Packing, cause: &str) -> String {
    match packing {
        Packing::Plain => format!("cannot be read: {cause}"),
        packed => format!(
            "the {} stream is damaged or ends early ({cause}); copy or download the file again",
            packed.name()
        ),
    }
}

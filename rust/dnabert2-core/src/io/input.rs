//! The one way in which a file is opened: once, by reading alone, so that pipes can be read too.
//!
//! Compression, a byte-order mark and line ends are detected from the first bytes, and removed or made
//! alike. What is another kind of file is refused with the remedy.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use crate::io::compression::{self, Decompressor, Packing, Remark, inflate};
use crate::io::notices::Notices;
use crate::io::source::{Block, ReaderSource, Source};
use crate::{Error, Result};

/// Bytes from which the compression of a file is detected.
const HEAD: u64 = 64;

/// Bytes of the content that are known before it is read.
const KNOWN: usize = 1 << 14;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What is read of a packed file at once.
const BUFFER: usize = 1 << 17;

/// Files that are known and not read, by how they begin (the offset, then the bytes).
const REFUSED: &[(usize, &[u8], &str)] = &[
    (0, b"PK\x03\x04", "is a zip archive; extract it: unzip"),
    (0, b"PK\x05\x06", "is an empty zip archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive; extract it: 7z x"),
    (0, b"Rar!\x1a\x07", "is a RAR archive; extract it: unrar x"),
    (0, b"\x04\x22\x4d\x18", "is packed as lz4, which is not read here; use `lz4 -dc`"),
    (0, b"LZIP", "is packed as lzip, which is not read here; use `lzip -dc`"),
    (0, b"\x1f\x9d", "is packed by compress, which is not read here; use `gunzip -c`"),
    (0, b"\x43\x27\x41\x1a", "is a 2bit file; make it FASTA: twoBitToFa"),
    (0, b"\x1a\x41\x27\x43", "is a 2bit file; make it FASTA: twoBitToFa"),
    (0, b"CRAM", "is CRAM; make it FASTA: samtools fasta (for variants VCF is needed)"),
    (0, b"BAM\x01", "is BAM; make it FASTA: samtools fasta (for variants VCF is needed)"),
    (0, b"BCF\x02", "is BCF; make it VCF: bcftools view"),
    (0, b"NCBI.sra", "is an SRA archive; make it FASTQ: fasterq-dump"),
    (0, b"\x89HDF\r\n\x1a\n", "is HDF5, which is not read here (FAST5 is basecalled first)"),
    (0, b"\x8bPOD\r\n\x1a\n", "is POD5, which is basecalled first"),
    (0, b"PAR1", "is a Parquet file; write its sequences as CSV or FASTA"),
    (0, b"version https://git-lfs", "is a pointer of git-lfs; get the file: git lfs pull"),
    (0, b"%PDF", "is a PDF document"),
    (0, b"<!DOCTYPE", "is a web page, as a failed download leaves; download it again"),
    (0, b"<!doctype", "is a web page, as a failed download leaves; download it again"),
    (0, b"<html", "is a web page, as a failed download leaves; download it again"),
    (257, b"ustar", "is a tar archive; extract it: tar -xf"),
];

/// A file that is open, decompressed.
pub struct Input {
    /// Its name in messages.
    pub path: PathBuf,
    /// How it is packed.
    pub packing: Packing,
    /// The first bytes of its content, as far as they are known.
    pub head: Vec<u8>,
    /// Its content, from the first byte on.
    pub source: Box<dyn Source>,
    /// Warnings about it; some arrive only at its end.
    pub notices: Notices,
}

impl Input {
    /// Open a file; `-` is standard input.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Fasta`] when it is another kind of file.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, compression::of_the_core)
    }

    /// Open a file, with decompressors from outside the core.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: &Path, decompressor: Decompressor) -> Result<Self> {
        if path.as_os_str() == "-" {
            return Self::read(path, io::stdin(), decompressor);
        }
        match File::open(path) {
            Ok(file) => Self::read(path, file, decompressor),
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_url(path) => {
                let remedy = "download it first, or pipe it in: curl -L URL | dnabert2-fast ... -";
                Err(refused(path, &format!("is a URL, and files are read from disks; {remedy}")))
            }
            Err(error) => Err(Error::io(path)(error)),
        }
    }

    /// Read what a reader gives; `path` is for messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn read(
        path: &Path,
        mut reader: impl Read + Send + 'static,
        decompressor: Decompressor,
    ) -> Result<Self> {
        let mut head = Vec::new();
        reader.by_ref().take(HEAD).read_to_end(&mut head).map_err(Error::io(path))?;
        let packing = Packing::of(&head);
        let raw = Cursor::new(head).chain(reader);
        let notices = Notices::of(path);
        let source: Box<dyn Source> = if packing == Packing::Plain {
            Box::new(ReaderSource::new(raw))
        } else {
            let raw = Box::new(BufReader::with_capacity(BUFFER, raw));
            match inflate(packing, raw, decompressor, &notices) {
                Ok(source) => source,
                Err(error) => return Err(unreadable(path, explained(packing, error))),
            }
        };
        let mut content = Content { packing, source, first: None, one_break: false };
        content.first = content.source.next_block().transpose();
        let mut known = Vec::new();
        if let Some(Ok(block)) = &content.first {
            let head = (**block).as_ref();
            if let Some(message) = refusal(head) {
                return Err(refused(path, message));
            }
            content.one_break = head.contains(&b'\r') && !head.contains(&b'\n');
            let text = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head);
            known.extend_from_slice(&text[..text.len().min(KNOWN)]);
            if content.one_break {
                replace_breaks(&mut known);
            }
            if text.len() < head.len() {
                content.first = Some(Ok(Box::new(text.to_vec())));
            }
        }
        let source = Box::new(content);
        Ok(Self { path: path.to_owned(), packing, head: known, source, notices })
    }

    /// A source of one's own; `path` is for messages.
    #[must_use]
    pub fn of(path: &Path, source: Box<dyn Source>) -> Self {
        let (path, notices) = (path.to_owned(), Notices::of(path));
        Self { path, packing: Packing::Plain, head: Vec::new(), source, notices }
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Fasta`] when they cannot be read or decompressed.
    pub fn next_block(&mut self) -> Result<Option<Block>> {
        self.source.next_block().map_err(|error| unreadable(&self.path, error))
    }
}

/// The error of a file whose blocks end in `error`, which may be an interrupt.
fn unreadable(path: &Path, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::Interrupted {
        return Error::io(path)(error);
    }
    refused(path, &error.to_string())
}

fn refused(path: &Path, message: &str) -> Error {
    let (path, message) = (path.to_owned(), message.to_owned());
    Error::Fasta { path, record: String::new(), line: 0, message }
}

fn refusal(head: &[u8]) -> Option<&'static str> {
    let begins = |&&(offset, bytes, _): &&(usize, &[u8], &str)| {
        head.get(offset..).is_some_and(|rest| rest.starts_with(bytes))
    };
    REFUSED.iter().find(begins).map(|&(_, _, message)| message)
}

/// Whether a path looks like `https://...`; normalised paths keep only one of its slashes.
fn is_url(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.split_once(":/").is_some_and(|(scheme, _)| {
        scheme.len() > 1 && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// Line ends of old Macs as those of everything else.
fn replace_breaks(text: &mut [u8]) {
    for byte in text.iter_mut().filter(|byte| **byte == b'\r') {
        *byte = b'\n';
    }
}

/// What is in a file, from its first byte on.
struct Content {
    packing: Packing,
    source: Box<dyn Source>,
    first: Option<io::Result<Block>>,
    /// Whether lines end with a '\r' alone.
    one_break: bool,
}

impl Source for Content {
    fn next_block(&mut self) -> io::Result<Option<Block>> {
        let next = match self.first.take() {
            Some(first) => first.map(Some),
            None => self.source.next_block(),
        };
        match next {
            Ok(Some(block)) if self.one_break => {
                let mut lines = (*block).as_ref().to_vec();
                replace_breaks(&mut lines);
                Ok(Some(Box::new(lines)))
            }
            Ok(block) => Ok(block),
            Err(error) => Err(explained(self.packing, error)),
        }
    }
}

/// An error with the words around it that its reader needs.
fn explained(packing: Packing, error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::Interrupted {
        return error;
    }
    if error.get_ref().and_then(|inner| inner.downcast_ref::<Remark>()).is_some() {
        return io::Error::other(Remark(error.to_string()));
    }
    io::Error::other(Remark(match packing {
        Packing::Plain => format!("cannot be read: {error}"),
        packed => format!(
            "the {} stream is damaged or ends early ({error}); copy or download the file again",
            packed.name()
        ),
    }))
}

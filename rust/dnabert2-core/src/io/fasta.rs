//! FASTA and FASTQ files, whose letters are read in blocks, so that a record may be of any length.
//!
//! A FASTQ record has four lines. Errors name file, record and line. Files are opened and inflated by
//! [`compression`](crate::io::compression).

use std::io;
use std::path::{Path, PathBuf};

use memchr::memchr;

use crate::io::compression::{self, Block, Packing, ReadAhead, Source};
use crate::{Error, Result};

/// A longer name is taken for a sign that the file is something else.
const MAX_NAME: usize = 1 << 16;

/// Maximum letters of a record read whole, unless [`FastaReader::limit_records`] sets another limit: a
/// small compressed file can hold any number of them.
const MAX_LETTERS: usize = 1 << 32;

/// Bytes that are copied at once: lines have 60, 70 or 80 letters as a rule.
const COPIED: usize = 80;

const NUL: &str =
    "there is a NUL byte, as a copy leaves them that was broken off; copy or download it again";

const CUT_OFF: &str = "the file ends in the middle of a record; copy or download it again";

/// One entry of a sequence file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The header up to the first white space, without `>` or `@`.
    pub name: String,
    /// The sequence without line breaks, letters as they stand in the file.
    pub sequence: Vec<u8>,
}

/// The records of one file, in order: each whole, as an iterator, or some letters at a time.
///
/// ```no_run
/// for record in dnabert2_core::io::fasta::FastaReader::open("genome.fa.gz".as_ref())? {
///     println!("{}", record?.name);
/// }
/// # Ok::<(), dnabert2_core::Error>(())
/// ```
pub struct FastaReader {
    path: PathBuf,
    packing: Packing,
    blocks: Box<dyn Source>,
    block: Block,
    at: usize,
    /// Line breaks so far.
    breaks: u64,
    fastq: bool,
    name: String,
    /// Letters of the record so far.
    letters: usize,
    /// Whether the next bytes go on with a line of letters.
    in_line: bool,
    /// Letters of the last whole line of a FASTA record; most lines of a file are of one width.
    width: usize,
    done: bool,
    /// Of a record read whole.
    max_letters: usize,
}

impl FastaReader {
    /// Open a file.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Fasta`] when it is empty or begins like
    /// neither FASTA nor FASTQ.
    pub fn open(path: &Path) -> Result<Self> {
        let source = ReadAhead::new(compression::open(path)?);
        Self::new(path, Packing::of_file(path)?, Box::new(source))
    }

    /// Read from a source of one's own; `path` and `packing` are for messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn new(path: &Path, packing: Packing, source: Box<dyn Source>) -> Result<Self> {
        let mut reader = Self {
            path: path.to_owned(),
            packing,
            blocks: source,
            block: Box::new([]),
            at: 0,
            breaks: 0,
            fastq: false,
            name: String::new(),
            letters: 0,
            in_line: false,
            width: 0,
            done: false,
            max_letters: MAX_LETTERS,
        };
        match reader.peek()? {
            None => return Err(reader.fail(0, "the file is empty")),
            Some(b'>') => {}
            Some(b'@') => reader.fastq = true,
            Some(_) => {
                let head = reader.rest();
                let seen = match head {
                    [0xef, 0xbb, 0xbf, ..] => "a byte-order mark (save it without one)".to_owned(),
                    [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "UTF-16 (save it as UTF-8)".to_owned(),
                    _ => format!("{:?}", String::from_utf8_lossy(&head[..head.len().min(2)])),
                };
                let expected = "FASTA begins with '>', FASTQ with '@'";
                return Err(reader.fail(0, &format!("begins with {seen}: {expected}")));
            }
        }
        Ok(reader)
    }

    /// Let the iterator refuse records of more letters than these, instead of 2^32.
    pub fn limit_records(&mut self, max_letters: usize) {
        self.max_letters = max_letters;
    }

    /// Go on to the next record, past what is left of this one; its name, `None` at the end.
    ///
    /// # Errors
    /// [`Error::Fasta`] when the file is damaged; nothing comes after it.
    pub fn next_record(&mut self) -> Result<Option<&str>> {
        let mut passed = Vec::new();
        while self.read_letters(&mut passed, MAX_NAME)? > 0 {
            passed.clear();
        }
        // In FASTQ empty lines may stand between records; in FASTA they were passed as letters.
        while self.fastq && matches!(self.peek()?, Some(b'\r' | b'\n')) {
            self.piece()?;
        }
        let Some(first) = self.peek()? else {
            self.done = true;
            return Ok(None);
        };
        if self.fastq && first != b'@' {
            return Err(self.fail(1, "a record does not begin with '@'"));
        }
        self.at += 1;
        let name = self.header()?;
        String::from_utf8_lossy(&name).as_ref().clone_into(&mut self.name);
        (self.letters, self.in_line) = (0, self.fastq);
        Ok(Some(&self.name))
    }

    /// Whether the next letters wait for another block.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.done && matches!(self.rest(), [] | [b'\r'])
    }

    /// Append the record's next letters, at most `max`. Returns their number, 0 at the end of the record.
    /// Letters of one block are returned before the next block is read.
    ///
    /// # Errors
    /// [`Error::Fasta`] when the file is damaged; nothing comes after it.
    pub fn read_letters(&mut self, text: &mut Vec<u8>, max: usize) -> Result<usize> {
        let mut count = 0;
        while count < max {
            let begins = !self.in_line;
            if begins {
                count += self.read_even_lines(text, max - count);
                if count == max || count > 0 && self.rest().is_empty() {
                    break;
                }
                if self.fastq || matches!(self.peek()?, None | Some(b'>')) {
                    break;
                }
                self.in_line = true;
            }
            let rest = &(*self.block).as_ref()[self.at..];
            let line = memchr(b'\n', rest);
            // Without a line break, a '\r' at the end waits for the next block.
            let whole = &rest[..line.unwrap_or(rest.len())];
            let letters = whole.strip_suffix(b"\r").unwrap_or(whole);
            let even = begins && line == Some(letters.len()) && !self.fastq;
            let some = letters.len().min(max - count);
            if memchr(0, &letters[..some]).is_some() {
                return Err(self.fail(1, NUL));
            }
            if text.try_reserve(some).is_err() {
                let message =
                    format!("no memory for more than {count} letters at once; cut it into pieces");
                return Err(self.fail(1, &message));
            }
            text.extend_from_slice(&letters[..some]);
            count += some;
            self.letters += some;
            if some < letters.len() {
                self.at += some;
                break;
            }
            if let Some(length) = line {
                self.at += length + 1;
                self.breaks += 1;
                self.in_line = false;
                self.width = if even { length } else { 0 };
                if self.fastq {
                    self.pass_qualities()?;
                    break;
                }
            } else {
                self.at += some;
                if count > 0 {
                    break;
                }
                if !self.refill()? {
                    self.in_line = false;
                    if self.fastq {
                        return Err(self.fail(1, CUT_OFF));
                    }
                }
            }
        }
        Ok(count)
    }

    /// Append whole lines as wide as the last one, of the block at hand, without looking for their ends;
    /// that they were lines is seen once for all of them. Returns how many letters; any that this does
    /// not take, [`read_letters`](Self::read_letters) does.
    fn read_even_lines(&mut self, text: &mut Vec<u8>, max: usize) -> usize {
        let (from, width) = (text.len(), self.width);
        let rest = (*self.block).as_ref().get(self.at..).unwrap_or_default();
        let lines = (rest.len() / (width + 1)).min(max / width.max(1));
        if width == 0 || text.try_reserve(lines * width + COPIED).is_err() {
            return 0;
        }
        for (number, line) in rest.chunks_exact(width + 1).take(lines).enumerate() {
            if line[0] == b'>' || line[width] != b'\n' {
                break;
            }
            // Some bytes too many are copied and cut off, as their number is then known beforehand.
            match rest[number * (width + 1)..].first_chunk::<COPIED>() {
                Some(more) if width <= COPIED => {
                    let end = text.len() + width;
                    text.extend_from_slice(more);
                    text.truncate(end);
                }
                _ => text.extend_from_slice(&line[..width]),
            }
        }
        // No line break, of either kind, and no NUL among the letters.
        if text[from..].iter().fold(u8::MAX, |min, &byte| min.min(byte)) <= b'\r' {
            text.truncate(from);
        }
        let count = text.len() - from;
        let lines = count / width;
        self.at += count + lines;
        self.breaks += lines as u64;
        self.letters += count;
        count
    }

    /// The rest of a header up to the first white space.
    fn header(&mut self) -> Result<Vec<u8>> {
        let mut header = Vec::new();
        loop {
            let Some((from, to, ends)) = self.piece()? else {
                return Err(self.fail(1, "the file ends in the middle of a header"));
            };
            if header.len() <= MAX_NAME {
                header.extend_from_slice(&(*self.block).as_ref()[from..to]);
            }
            if ends {
                if memchr(0, &header).is_some() {
                    return Err(self.fail(0, NUL));
                }
                let line = header.trim_ascii_start();
                let name = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
                if name.len() > MAX_NAME {
                    let message = format!("a record's name has more than {MAX_NAME} bytes");
                    return Err(self.fail(0, &message));
                }
                return Ok(name.to_vec());
            }
        }
    }

    /// The `+` line of a FASTQ record, and one quality for each letter.
    fn pass_qualities(&mut self) -> Result<()> {
        if self.peek()?.is_some_and(|first| first != b'+') {
            return Err(self.fail(1, "a FASTQ record lacks its '+' line"));
        }
        loop {
            match self.piece()? {
                Some((_, _, true)) => break,
                Some(_) => {}
                None => return Err(self.fail(1, CUT_OFF)),
            }
        }
        let (mut qualities, mut whole) = (0, false);
        while !whole && let Some((from, to, ends)) = self.piece()? {
            qualities += to - from;
            whole = ends;
        }
        if qualities == self.letters {
            return Ok(());
        }
        if qualities < self.letters && !whole {
            return Err(self.fail(1, CUT_OFF));
        }
        let (letters, damaged) = (self.letters, "the FASTQ record is damaged");
        Err(self.fail(0, &format!("{letters} letters and {qualities} qualities: {damaged}")))
    }

    /// Where the next bytes of the current line lie in the block, and whether the line ends with
    /// them; `None` at the end of the file.
    fn piece(&mut self) -> Result<Option<(usize, usize, bool)>> {
        loop {
            let (from, rest) = (self.at, self.rest());
            let line = memchr(b'\n', rest);
            let bytes = &rest[..line.unwrap_or(rest.len())];
            let length = bytes.strip_suffix(b"\r").unwrap_or(bytes).len();
            if let Some(whole) = line {
                self.at += whole + 1;
                self.breaks += 1;
                return Ok(Some((from, from + length, true)));
            }
            if length > 0 {
                self.at += length;
                return Ok(Some((from, from + length, false)));
            }
            if !self.refill()? {
                return Ok(None);
            }
        }
    }

    fn rest(&self) -> &[u8] {
        &(*self.block).as_ref()[self.at..]
    }

    /// The next byte; `None` at the end of the file.
    fn peek(&mut self) -> Result<Option<u8>> {
        while self.rest().is_empty() {
            if self.done || !self.refill()? {
                return Ok(None);
            }
        }
        Ok(self.rest().first().copied())
    }

    /// Append the next block to the rest of this one, at most a '\r'; at the end of the file that is
    /// dropped.
    fn refill(&mut self) -> Result<bool> {
        let next = match self.blocks.next_block() {
            Ok(next) => next,
            Err(error) => return Err(self.fail(1, &damaged(self.packing, &error))),
        };
        let left = self.rest();
        let more = next.is_some();
        self.block = match next {
            Some(next) if left.is_empty() => next,
            Some(next) => Box::new([left, (*next).as_ref()].concat()),
            None => Box::new([]),
        };
        self.at = 0;
        Ok(more)
    }

    /// The error `after` this many lines behind the last whole one; nothing is read after it.
    fn fail(&mut self, after: u64, message: &str) -> Error {
        let line = self.breaks + after;
        (self.done, self.in_line, self.block, self.at) = (true, false, Box::new([]), 0);
        let (path, record) = (self.path.clone(), self.name.clone());
        Error::Fasta { path, record, line, message: message.to_owned() }
    }
}

impl Iterator for FastaReader {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        let name = match self.next_record() {
            Ok(name) => name?.to_owned(),
            Err(error) => return Some(Err(error)),
        };
        let mut sequence = Vec::new();
        loop {
            match self.read_letters(&mut sequence, self.max_letters.saturating_add(1)) {
                Ok(0) => return Some(Ok(Record { name, sequence })),
                Ok(_) if sequence.len() <= self.max_letters => {}
                Ok(_) => {
                    let message = format!(
                        "has more than {} letters, which are not read into memory at once; cut it \
                         into pieces",
                        grouped(self.max_letters)
                    );
                    return Some(Err(self.fail(1, &message)));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// A number with commas between thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

fn damaged(packing: Packing, cause: &io::Error) -> String {
    match packing {
        Packing::Plain => format!("cannot be read: {cause}"),
        packed => format!(
            "the {} stream is damaged or ends early ({cause}); copy or download the file again",
            packed.name()
        ),
    }
}

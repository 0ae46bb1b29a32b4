//! FASTA and FASTQ files, whose letters are read in blocks, so that a record may be of any length.
//!
//! Lines of both may be wrapped. White space in lines of letters is dropped; digits and NUL bytes are
//! errors. Errors name file, record and line. Files are opened by [`input`](crate::io::input).

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use memchr::memchr;

use crate::io::input::Input;
use crate::io::notices::Notices;
use crate::io::source::{Block, ReadAhead, Source};
use crate::{Error, Result};

/// A longer name is taken for a sign that the file is something else.
const MAX_NAME: usize = 1 << 16;

/// Maximum letters of a record read whole, unless [`FastaReader::limit_records`] sets another limit: a
/// small compressed file can hold any number of them.
const MAX_LETTERS: usize = 1 << 32;

/// Bytes that are copied at once: lines usually have 60, 70 or 80 letters.
const COPIED: usize = 80;

/// Lines that are copied before their letters are looked at.
const TOGETHER: usize = 64;

/// Bytes that are searched for U without T.
const SEARCHED: usize = 1 << 16;

const NUL: &str =
    "there is a NUL byte, as a copy leaves them that was broken off; copy or download it again";

const CUT_OFF: &str = "the file ends in the middle of a record; copy or download it again";

const RNA: &str =
    "has U and no T, as RNA has it, and U has no token. Read U as T with --rna (rna=True).";

/// Text files of other kinds, by how they begin.
const OTHERS: &[(&str, &str)] = &[
    ("@HD\t", "SAM; make it FASTA: samtools fasta"),
    ("@SQ\t", "SAM; make it FASTA: samtools fasta"),
    ("##fileformat=VCF", "VCF, and sequences are needed here"),
    ("##gff-version", "GFF, and sequences are needed here"),
    ("LOCUS ", "GenBank; make it FASTA: any2fasta, or Biopython's SeqIO.convert"),
    ("ID   ", "EMBL; make it FASTA: any2fasta, or Biopython's SeqIO.convert"),
    ("CLUSTAL", "a Clustal alignment; make it FASTA: Biopython's AlignIO.convert"),
    ("# STOCKHOLM", "a Stockholm alignment; make it FASTA: Biopython's AlignIO.convert"),
    ("\u{fffd}\u{fffd}", "UTF-16 or binary (save text as UTF-8)"),
];

/// One entry of a sequence file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FastaRecord {
    /// The header up to the first white space, without `>` or `@`.
    pub name: String,
    /// The letters as in the file, without white space.
    pub sequence: Vec<u8>,
}

/// What comes next in a file.
#[derive(PartialEq)]
enum Next {
    /// A line of the record, if there is one more.
    Line,
    /// The rest of a line of letters.
    RestOfLine,
    /// Another record.
    Record,
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
    notices: Notices,
    blocks: Box<dyn Source>,
    block: Block,
    at: usize,
    /// Line breaks so far.
    breaks: u64,
    fastq: bool,
    /// Whether U is read as T.
    rna: bool,
    name: String,
    /// The current header line.
    header: Vec<u8>,
    /// Letters of the record so far.
    letters: usize,
    next: Next,
    /// Letters of the last whole line of a FASTA record; most lines of a file are of one width.
    width: usize,
    done: bool,
    /// Of a record read whole.
    max_letters: usize,
}

impl FastaReader {
    /// Open a file; `-` is standard input.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Fasta`] when it is empty or begins like
    /// neither FASTA nor FASTQ.
    pub fn open(path: &Path) -> Result<Self> {
        let mut input = Input::open(path)?;
        input.source = Box::new(ReadAhead::new(input.source));
        Self::new(input, false)
    }

    /// Read an open file; `rna` reads U as T.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn new(input: Input, rna: bool) -> Result<Self> {
        let mut reader = Self {
            path: input.path,
            notices: input.notices,
            blocks: input.source,
            block: Box::new([]),
            at: 0,
            breaks: 0,
            fastq: false,
            rna,
            name: String::new(),
            header: Vec::new(),
            letters: 0,
            next: Next::Record,
            width: 0,
            done: false,
            max_letters: MAX_LETTERS,
        };
        reader.skip_blank()?;
        let first = reader.peek()?;
        let head = reader.rest();
        let head = String::from_utf8_lossy(&head[..head.len().min(20)]);
        let other = OTHERS.iter().find(|(begin, _)| head.starts_with(begin));
        if let Some((_, kind)) = other {
            return Err(reader.fail(1, &format!("is {kind}")));
        }
        match first {
            None => return Err(reader.fail(0, "the file is empty")),
            Some(b'>') => {}
            Some(b'@') => reader.fastq = true,
            Some(_) => {
                let seen = head.chars().take(2).collect::<String>();
                let message = format!(
                    "begins with {seen:?}: FASTA begins with '>', FASTQ with '@'; a header line \
                     such as >name makes sequences FASTA"
                );
                return Err(reader.fail(0, &message));
            }
        }
        if !rna && is_rna(reader.rest(), reader.fastq) {
            reader.notices.add(RNA);
        }
        Ok(reader)
    }

    /// Warnings about the file; some arrive only at its end.
    #[must_use]
    pub fn notices(&self) -> &Notices {
        &self.notices
    }

    /// Let the iterator refuse records of more letters than these, instead of 2^32.
    pub fn limit_records(&mut self, max_letters: usize) {
        self.max_letters = max_letters;
    }

    /// Skip the rest of this record and return the name of the next, `None` at the end.
    ///
    /// # Errors
    /// [`Error::Fasta`] when the file is damaged; nothing comes after it.
    pub fn next_record(&mut self) -> Result<Option<&str>> {
        if self.next != Next::Record {
            let mut passed = Vec::new();
            while self.read_letters(&mut passed, MAX_NAME)? > 0 {
                passed.clear();
            }
        }
        // FASTQ may have empty lines between records; FASTA skips them while it reads letters.
        self.skip_blank()?;
        let Some(first) = self.peek()? else {
            self.done = true;
            return Ok(None);
        };
        if self.fastq && first != b'@' {
            return Err(self.fail(1, "a record does not begin with '@'"));
        }
        self.at += 1;
        self.read_header()?;
        (self.letters, self.next) = (0, Next::Line);
        Ok(Some(&self.name))
    }

    /// Whether the next letters wait for another block.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.done && self.rest().is_empty()
    }

    /// Append the record's next letters, at most `max`. Returns their number, 0 at the end of the record.
    /// Letters of one block are returned before the next block is read.
    ///
    /// # Errors
    /// [`Error::Fasta`] when the file is damaged; nothing comes after it.
    pub fn read_letters(&mut self, text: &mut Vec<u8>, max: usize) -> Result<usize> {
        let mut count = 0;
        while count < max && self.next != Next::Record {
            let begins = self.next == Next::Line;
            if begins {
                count += self.read_even_lines(text, max - count);
                if count == max || count > 0 && self.rest().is_empty() {
                    break;
                }
                self.next =
                    if self.is_line_of_letters()? { Next::RestOfLine } else { Next::Record };
                if self.next == Next::Record {
                    break;
                }
            }
            let rest = &(*self.block).as_ref()[self.at..];
            let line = memchr(b'\n', rest);
            let whole = &rest[..line.unwrap_or(rest.len())];
            let letters = whole.strip_suffix(b"\r").unwrap_or(whole);
            let even = begins && line == Some(letters.len()) && !self.fastq;
            let some = letters.len().min(max - count);
            if text.try_reserve(some).is_err() {
                let message =
                    format!("no memory for more than {count} letters at once; cut it into pieces");
                return Err(self.fail(1, &message));
            }
            let from = text.len();
            text.extend_from_slice(&letters[..some]);
            let Ok(kept) = clean(text, from, self.rna) else {
                let message = self.not_letters(&text[from..]);
                return Err(self.fail(1, &message));
            };
            count += kept;
            self.letters += kept;
            if some < letters.len() {
                self.at += some;
            } else if let Some(length) = line {
                self.at += length + 1;
                self.breaks += 1;
                self.next = Next::Line;
                self.width = if even { length } else { 0 };
            } else {
                self.at += whole.len();
                if count > 0 {
                    break;
                }
                if !self.refill()? {
                    self.next = Next::Line;
                }
            }
        }
        Ok(count)
    }

    /// Read the whole next record, its letters into `sequence`, which is cleared before; its name,
    /// `None` at the end.
    ///
    /// # Errors
    /// [`Error::Fasta`] when the file is damaged or the record too long; nothing comes after it.
    pub fn read_record(&mut self, sequence: &mut Vec<u8>) -> Result<Option<&str>> {
        sequence.clear();
        if self.next_record()?.is_none() {
            return Ok(None);
        }
        while self.read_letters(sequence, self.max_letters.saturating_add(1))? > 0 {
            if sequence.len() > self.max_letters {
                let message = format!(
                    "has more than {} letters, which are not read into memory at once; cut it \
                     into pieces",
                    grouped(self.max_letters)
                );
                return Err(self.fail(1, &message));
            }
        }
        Ok(Some(&self.name))
    }

    /// Line of a letter: that in the 0-based `position` of the first record of this name that has it
    /// there. Reads the file up to it; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Fasta`] when the file is damaged before it.
    pub fn find_line(mut self, record: &str, letter: char, position: usize) -> Result<Option<u64>> {
        let mut letters = Vec::new();
        while let Some(name) = self.next_record()? {
            if name != record {
                continue;
            }
            let mut left = position.saturating_add(1);
            while left > 0 {
                letters.clear();
                match self.read_letters(&mut letters, left.min(MAX_NAME))? {
                    0 => break,
                    count => left -= count,
                }
            }
            let found = letters.last().map(|&byte| char::from(byte));
            if left == 0
                && found
                    .is_some_and(|found| !letter.is_ascii() || found.eq_ignore_ascii_case(&letter))
            {
                return Ok(Some(self.breaks + u64::from(self.next == Next::RestOfLine)));
            }
        }
        Ok(None)
    }

    /// Whether a line of letters begins here; passes the qualities of a record that has ended.
    fn is_line_of_letters(&mut self) -> Result<bool> {
        match (self.peek()?, self.fastq) {
            (Some(b'>') | None, false) => Ok(false),
            (Some(b'+'), true) => self.pass_qualities().map(|()| false),
            (Some(b'@'), true) => Err(self.fail(1, "a FASTQ record lacks its '+' line")),
            (None, true) => Err(self.fail(1, CUT_OFF)),
            _ => Ok(true),
        }
    }

    /// Append whole lines of the current block that are as wide as the last one, without a search for
    /// their ends; one check covers several lines. Returns the number of letters appended.
    /// [`read_letters`](Self::read_letters) reads the others.
    fn read_even_lines(&mut self, text: &mut Vec<u8>, max: usize) -> usize {
        let width = self.width;
        if width == 0 {
            return 0;
        }
        let rest = (*self.block).as_ref().get(self.at..).unwrap_or_default();
        let (mut at, mut letters) = (0, 0);
        for some in rest.chunks(TOGETHER * (width + 1)) {
            // Up to the next record, so that a short one takes little memory.
            let end = memchr(b'>', some).unwrap_or(some.len());
            let lines = (end / (width + 1)).min((max - letters) / width);
            if lines == 0 || text.try_reserve(lines * width + COPIED).is_err() {
                break;
            }
            let from = text.len();
            for (number, line) in some.chunks_exact(width + 1).take(lines).enumerate() {
                if line[width] != b'\n' {
                    break;
                }
                // Some bytes too many are copied and cut off, as their number is then known beforehand.
                match rest[at + number * (width + 1)..].first_chunk::<COPIED>() {
                    Some(more) if width <= COPIED => {
                        let end = text.len() + width;
                        text.extend_from_slice(more);
                        text.truncate(end);
                    }
                    _ => text.extend_from_slice(&line[..width]),
                }
            }
            let copied = (text.len() - from) / width;
            // An error here is a line break within what was taken for a line, or found again as one.
            let Ok(kept) = clean(text, from, self.rna) else {
                text.truncate(from);
                break;
            };
            letters += kept;
            at += copied * (width + 1);
            self.breaks += copied as u64;
            if copied < TOGETHER {
                break;
            }
        }
        self.at += at;
        self.letters += letters;
        letters
    }

    /// What is wrong with letters among which is a digit or a NUL byte.
    fn not_letters(&self, letters: &[u8]) -> String {
        let Some(&digit) = letters.iter().find(|&byte| byte.is_ascii_digit()) else {
            return NUL.to_owned();
        };
        if letters.contains(&0) {
            return NUL.to_owned();
        }
        let digit = char::from(digit);
        let remedy = if self.fastq {
            "the '+' line of the record may be missing"
        } else {
            "remove the numbers of GenBank-like lines, or make it FASTA with any2fasta"
        };
        format!("a line of letters has the digit '{digit}'; {remedy}")
    }

    /// The rest of a header line; what comes before the first white space is the name.
    fn read_header(&mut self) -> Result<()> {
        let mut header = std::mem::take(&mut self.header);
        header.clear();
        loop {
            let Some((from, to, ends)) = self.piece()? else {
                return Err(self.fail(1, "the file ends in the middle of a header"));
            };
            if header.len() <= MAX_NAME {
                header.extend_from_slice(&(*self.block).as_ref()[from..to]);
            }
            if ends {
                break;
            }
        }
        if memchr(0, &header).is_some() {
            return Err(self.fail(0, NUL));
        }
        let line = header.trim_ascii_start();
        let name = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
        if name.len() > MAX_NAME {
            let message = format!("a record's name has more than {MAX_NAME} bytes");
            return Err(self.fail(0, &message));
        }
        String::from_utf8_lossy(name).as_ref().clone_into(&mut self.name);
        self.header = header;
        Ok(())
    }

    /// The `+` line of a FASTQ record, and one quality for each letter, on one or more lines.
    fn pass_qualities(&mut self) -> Result<()> {
        loop {
            match self.piece()? {
                Some((_, _, true)) => break,
                Some(_) => {}
                None => return Err(self.fail(1, CUT_OFF)),
            }
        }
        let (mut qualities, mut whole) = (0, true);
        while whole && qualities < self.letters {
            let is_header = self.peek()? == Some(b'@');
            let mut line = 0;
            whole = false;
            while !whole && let Some((from, to, ends)) = self.piece()? {
                let bytes = &(*self.block).as_ref()[from..to];
                line += bytes.iter().filter(|&&byte| byte > b' ').count();
                whole = ends;
            }
            if line == 0 && !whole {
                whole = qualities > 0;
                break;
            }
            if qualities > 0 && is_header && qualities + line > self.letters {
                break; // what was counted as qualities was the next record's header
            }
            qualities += line;
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
        if self.peek()?.is_none() {
            return Ok(None);
        }
        let (from, rest) = (self.at, self.rest());
        let line = memchr(b'\n', rest);
        let length = line.unwrap_or(rest.len());
        self.at += length + usize::from(line.is_some());
        self.breaks += u64::from(line.is_some());
        Ok(Some((from, from + length, line.is_some())))
    }

    /// Pass white space.
    fn skip_blank(&mut self) -> Result<()> {
        while let Some(byte) = self.peek()?
            && is_space(byte)
        {
            self.at += 1;
            self.breaks += u64::from(byte == b'\n');
        }
        Ok(())
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

    /// Take the next block, when nothing of this one is left; false at the end of the file.
    fn refill(&mut self) -> Result<bool> {
        let next = match self.blocks.next_block() {
            Ok(next) => next,
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                return Err(Error::io(&self.path)(error));
            }
            Err(error) => return Err(self.fail(1, &error.to_string())),
        };
        let more = next.is_some();
        self.block = next.unwrap_or_else(|| Box::new([]));
        self.at = 0;
        Ok(more)
    }

    /// The error `after` this many lines behind the last whole one; nothing is read after it.
    fn fail(&mut self, after: u64, message: &str) -> Error {
        let line = self.breaks + after;
        (self.done, self.next, self.block, self.at) = (true, Next::Record, Box::new([]), 0);
        let (path, record) = (self.path.clone(), self.name.clone());
        Error::Fasta { path, record, line, message: message.to_owned() }
    }
}

impl Iterator for FastaReader {
    type Item = Result<FastaRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut sequence = Vec::new();
        match self.read_record(&mut sequence) {
            Ok(name) => name.map(|name| Ok(FastaRecord { name: name.to_owned(), sequence })),
            Err(error) => Some(Err(error)),
        }
    }
}

/// A number with commas between thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Remove white space from what was appended, and read U as T for RNA. Returns how many letters stay.
/// An error is a digit, a NUL byte or a line break.
fn clean(text: &mut Vec<u8>, from: usize, rna: bool) -> std::result::Result<usize, ()> {
    // Letters alone are above the digits.
    if text[from..].iter().fold(u8::MAX, |min, &byte| min.min(byte)) <= b'9' {
        let wrong = |&byte: &u8| byte == 0 || byte == b'\n' || byte.is_ascii_digit();
        if text[from..].iter().any(wrong) {
            return Err(());
        }
        let mut to = from;
        for at in from..text.len() {
            text[to] = text[at];
            to += usize::from(!is_space(text[at]));
        }
        text.truncate(to);
    }
    if rna {
        for letter in &mut text[from..] {
            *letter -= u8::from(letter.eq_ignore_ascii_case(&b'U')); // T comes before U
        }
    }
    Ok(text.len() - from)
}

/// Whether the first letters of a file are those of RNA.
fn is_rna(head: &[u8], fastq: bool) -> bool {
    let lines = head[..head.len().min(SEARCHED)].split(|&byte| byte == b'\n').enumerate();
    let is_letters = |number, line: &[u8]| {
        if fastq { number % 4 == 1 } else { !line.starts_with(b">") }
    };
    let (mut uracils, mut bases, mut letters) = (0, 0, 0);
    for (_, line) in lines.filter(|(number, line)| is_letters(*number, line)) {
        for byte in line.iter().map(u8::to_ascii_uppercase) {
            match byte {
                b'T' => return false,
                b'U' => uracils += 1,
                b'A' | b'C' | b'G' => bases += 1,
                _ => {}
            }
        }
        letters += line.len();
    }
    // Proteins have U too, now and then.
    uracils > 0 && (uracils + bases) * 10 > letters * 9
}

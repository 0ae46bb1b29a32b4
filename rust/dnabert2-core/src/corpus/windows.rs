//! Windows cut out of letters as they arrive, so that a record may be of any length.
//!
//! The open window is the end of the chunk's text. Letters reach it through a small buffer that stays in
//! the cache, so that reading them costs the same for all lengths of windows.

use crate::corpus::report::FileReport;
use crate::corpus::select::WindowFilter;
use crate::corpus::settings::{OtherLetters, Split, WindowRule};
use crate::dna::{base_runs, complement, count_bases};
use crate::encode::{TOGETHER, is_all_bases};
use crate::io::fasta::FastaReader;
use crate::{Error, Ragged, Result};

/// Letters per read.
const READ_BP: usize = 1 << 14;

/// Minimum letters encoded together; more windows follow until they fill all columns.
const CHUNK_BP: usize = 3 << 16;

/// Maximum letters of a chunk, whatever its windows.
pub const MAX_CHUNK_BP: usize = 8 * CHUNK_BP;

/// Windows on their way to a shard.
#[derive(Default)]
pub struct Chunk {
    /// Position in the order of the input.
    pub number: u64,
    /// The windows' letters, one after the other.
    pub text: Vec<u8>,
    /// Where each window ends in `text`.
    pub ends: Vec<usize>,
    /// Origin of each window.
    pub rows: Vec<Row>,
    /// Names of the records of the rows.
    pub names: Vec<String>,
    /// The windows' ids, once they are encoded.
    pub ids: Ragged,
}

/// Origin of one window.
pub struct Row {
    pub file: u32,
    /// Its record's number in the file.
    pub record: u64,
    /// Position of the record's name in the chunk's names.
    pub name: usize,
    pub start: u64,
    pub end: u64,
    pub strand: i8,
    pub split: Split,
}

impl Chunk {
    /// With room for a chunk of windows of 1 kb, so that nothing grows and is copied on the way.
    pub fn with_room() -> Self {
        let mut chunk = Self::default();
        chunk.text.reserve_exact(2 * CHUNK_BP);
        chunk.ids.values.reserve_exact(2 * CHUNK_BP / 3);
        chunk
    }

    /// The letters of each window.
    pub fn windows(&self) -> Vec<&[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.text[start..end]).collect()
    }

    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.rows.clear();
        self.names.clear();
    }
}

/// Takes full chunks, and returns empty ones.
pub trait Sink {
    fn take(&mut self, chunk: Chunk) -> Result<Chunk>;
}

/// Position of the open window in a run of letters.
#[derive(PartialEq)]
enum Run {
    Ended,
    FirstWindow,
    LaterWindow,
}

/// Cuts the letters of one file after the other.
pub struct Windower<'a> {
    rule: &'a WindowRule,
    filter: WindowFilter<'a>,
    chunk: Chunk,
    /// Buffer of what is read.
    read: Vec<u8>,
    seed: u64,
    file: u32,
    name: String,
    /// Whether the chunk has the record's name.
    named: bool,
    record: u64,
    in_record: bool,
    /// Letters of the record so far.
    at: u64,
    /// Where the open window begins in the chunk's text.
    open: usize,
    run: Run,
    /// Length at which the open window is full.
    target: usize,
    /// Letters to skip before the next window.
    gap: usize,
    draws: u64,
}

impl<'a> Windower<'a> {
    /// `unit` is the number of the unit, so that every unit draws its own lengths.
    pub fn new(rule: &'a WindowRule, filter: WindowFilter<'a>, unit: u64) -> Self {
        let (chunk, seed) = (Chunk::with_room(), mix(rule.seed ^ mix(unit)));
        Self {
            rule,
            filter,
            chunk,
            read: Vec::with_capacity(2 * READ_BP),
            seed,
            file: 0,
            name: String::new(),
            named: false,
            record: 0,
            in_record: false,
            at: 0,
            open: 0,
            run: Run::Ended,
            target: 0,
            gap: 0,
            draws: 0,
        }
    }

    /// Begin a file.
    pub fn begin_file(&mut self, file: u32) {
        (self.file, self.record, self.in_record) = (file, 0, false);
        self.filter.report = FileReport::default();
    }

    /// Cut the letters that the reader has in memory. Returns their number, and whether more follow.
    pub fn cut(&mut self, reader: &mut FastaReader, sink: &mut impl Sink) -> Result<(u64, bool)> {
        let mut letters = 0;
        loop {
            if !self.in_record {
                let Some(name) = reader.next_record()? else { return Ok((letters, false)) };
                self.begin_record(name);
            }
            let some = self.read_some(reader, sink)?;
            letters += some as u64;
            if some == 0 {
                self.end_run(sink)?;
                self.in_record = false;
            }
            if reader.is_waiting() {
                return Ok((letters, true));
            }
        }
    }

    /// Whether U is read as T.
    pub fn reads_rna(&self) -> bool {
        self.rule.rna
    }

    /// Counts of the file so far.
    pub fn report(&self) -> &FileReport {
        &self.filter.report
    }

    fn begin_record(&mut self, name: &str) {
        self.name.clear();
        self.name.push_str(name);
        (self.in_record, self.named, self.at) = (true, false, 0);
        self.record += 1;
        self.filter.report.records += 1;
    }

    /// Read some letters and cut them. Returns their number.
    fn read_some(&mut self, reader: &mut FastaReader, sink: &mut impl Sink) -> Result<usize> {
        let mut read = std::mem::take(&mut self.read);
        read.clear();
        let count = reader.read_letters(&mut read, READ_BP)?;
        self.letters(&read, sink)?;
        self.read = read;
        Ok(count)
    }

    /// Cut letters of any kind.
    fn letters(&mut self, letters: &[u8], sink: &mut impl Sink) -> Result<()> {
        if is_all_bases(letters, self.rule.fold_case) {
            self.filter.report.bases += letters.len() as u64;
            return self.extend(letters, sink);
        }
        let bases = count_bases(letters, self.rule.fold_case);
        self.filter.report.bases += bases as u64;
        let mut counts = [0; 256];
        for &letter in letters {
            counts[usize::from(letter)] += 1_u64;
        }
        for letter in
            (0..=u8::MAX).filter(|&letter| count_bases(&[letter], self.rule.fold_case) == 0)
        {
            let count = counts[usize::from(letter)];
            if count > 0 {
                *self.filter.report.other_letters.entry(letter).or_default() += count;
            }
        }
        if self.rule.other_letters != OtherLetters::Split {
            return self.extend(letters, sink);
        }
        let mut done = 0;
        for (start, run) in base_runs(letters, self.rule.fold_case) {
            if start > done {
                self.end_run(sink)?;
                self.at += (start - done) as u64;
            }
            self.extend(run, sink)?;
            done = start + run.len();
        }
        if done < letters.len() {
            self.end_run(sink)?;
            self.at += (letters.len() - done) as u64;
        }
        Ok(())
    }

    /// Hand over the last chunk.
    pub fn finish(&mut self, sink: &mut impl Sink) -> Result<()> {
        if !self.chunk.ends.is_empty() {
            sink.take(std::mem::take(&mut self.chunk))?;
        }
        Ok(())
    }

    fn extend(&mut self, mut letters: &[u8], sink: &mut impl Sink) -> Result<()> {
        if self.run == Run::Ended && !letters.is_empty() {
            self.begin_run();
        }
        while !letters.is_empty() {
            if self.gap > 0 {
                let skipped = self.gap.min(letters.len());
                self.gap -= skipped;
                self.at += skipped as u64;
                letters = &letters[skipped..];
                continue;
            }
            let room = self.target - (self.chunk.text.len() - self.open);
            let (fitting, rest) = letters.split_at(room.min(letters.len()));
            if self.chunk.text.try_reserve(fitting.len()).is_err() {
                let (name, letters) = ("window_bp", self.chunk.text.len());
                let message = format!("no memory for more than {letters} letters; take fewer");
                return Err(Error::InvalidArgument { name, message });
            }
            self.chunk.text.extend_from_slice(fitting);
            self.at += fitting.len() as u64;
            letters = rest;
            self.close_full(sink)?;
        }
        Ok(())
    }

    fn begin_run(&mut self) {
        (self.run, self.gap) = (Run::FirstWindow, 0);
        let record = mix(u64::from(self.file) << 32 ^ self.record);
        self.draws = mix(self.seed ^ record ^ self.at);
        self.target = self.length();
    }

    /// Close the open window if it is full.
    fn close_full(&mut self, sink: &mut impl Sink) -> Result<()> {
        if self.chunk.text.len() - self.open < self.target {
            return Ok(());
        }
        self.close();
        self.flush_full(sink)
    }

    /// The last window ends with the run; no window lies wholly inside another.
    fn end_run(&mut self, sink: &mut impl Sink) -> Result<()> {
        if self.run == Run::Ended {
            return Ok(());
        }
        let length = self.chunk.text.len() - self.open;
        if length > 0 && (self.run == Run::FirstWindow || length > self.overlap()) {
            self.close();
        }
        self.chunk.text.truncate(self.open);
        self.run = Run::Ended;
        self.flush_full(sink)
    }

    fn overlap(&self) -> usize {
        match (self.rule.window_bp, self.rule.min_window_bp) {
            (Some(window), None) => window.saturating_sub(self.rule.stride_bp),
            _ => 0,
        }
    }

    /// Length of the next window.
    fn length(&mut self) -> usize {
        let Some(max) = self.rule.window_bp else { return usize::MAX };
        let Some(min) = self.rule.min_window_bp else { return max };
        self.draws = self.draws.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let lengths = (max - min + 1) as u128;
        let drawn = (u128::from(mix(self.draws)) * lengths) >> 64;
        min + usize::try_from(drawn).expect("below the number of lengths")
    }

    /// End the open window and begin the next one with what both share.
    fn close(&mut self) {
        let (from, to) = (self.open, self.chunk.text.len());
        let overlap = self.overlap().min(to - from);
        let text = &mut self.chunk.text;
        let (start, end) = (self.at - (to - from) as u64, self.at);
        match self.filter.select(&text[from..to]) {
            None => {
                text.copy_within(to - overlap..to, from);
                text.truncate(from + overlap);
            }
            Some(split) => {
                if !self.named {
                    self.chunk.names.push(self.name.clone());
                    self.named = true;
                }
                let (file, record) = (self.file, self.record);
                let name = self.chunk.names.len() - 1;
                let row = |strand| Row { file, record, name, start, end, strand, split };
                self.chunk.ends.push(to);
                self.chunk.rows.push(row(1));
                if self.rule.both_strands {
                    text.reserve(to - from + overlap);
                    for at in (from..to).rev() {
                        text.push(complement(text[at]));
                    }
                    self.chunk.ends.push(text.len());
                    self.chunk.rows.push(row(-1));
                }
                self.open = text.len();
                text.extend_from_within(to - overlap..to);
            }
        }
        self.run = Run::LaterWindow;
        if let Some(window) = self.rule.window_bp
            && self.rule.min_window_bp.is_none()
        {
            self.gap = self.rule.stride_bp.saturating_sub(window);
        }
        self.target = self.length();
    }

    fn flush_full(&mut self, sink: &mut impl Sink) -> Result<()> {
        let filled = self.open >= CHUNK_BP && self.chunk.ends.len().is_multiple_of(TOGETHER);
        if filled || self.open >= MAX_CHUNK_BP { self.flush(sink) } else { Ok(()) }
    }

    /// Hand over the chunk; the open window moves on to the next.
    fn flush(&mut self, sink: &mut impl Sink) -> Result<()> {
        let tail = self.chunk.text.split_off(self.open);
        let mut next = sink.take(std::mem::take(&mut self.chunk))?;
        next.clear();
        next.text.extend_from_slice(&tail);
        (self.chunk, self.open, self.named) = (next, 0, false);
        Ok(())
    }
}

/// `SplitMix64`'s mixing of a counter (Steele, Lea and Flood, 2014).
fn mix(counter: u64) -> u64 {
    let mixed = (counter ^ (counter >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

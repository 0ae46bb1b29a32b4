//! The steps of a build (read ahead, cut, encode, append); every thread takes whichever is ready.
//!
//! All but encoding keep the order of the input, one thread at a time each. There are as many threads as
//! cores, and none waits while a step is ready. With one thread per step, threads would wait for blocks
//! and chunks, or share a core while another core is idle.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::corpus::report::FileReport;
use crate::corpus::shard_writer::Writer;
use crate::corpus::windows::{Chunk, MAX_CHUNK_BP, Sink, Windower};
use crate::encode::Scratch;
use crate::error::Origin;
use crate::io::fasta::FastaReader;
use crate::io::input::Input;
use crate::io::source::ReadAheadQueue;
use crate::parallel::lock;
use crate::tokenizer::Options;
use crate::{Error, Result, Tokenizer};

/// Chunks waiting to be encoded, per thread: with fewer, threads are idle at times while one cuts.
const WAITING: usize = 2;

/// Chunks in flight beyond one per thread, so that threads have work while a shard is written.
const EXTRA_CHUNKS: usize = 24;

/// Maximum letters in flight; more only if one window has more.
const IN_FLIGHT_BP: usize = 1 << 26;

/// A chunk of more letters holds a giant window, which all threads encode together.
const GIANT_BP: usize = 4 * MAX_CHUNK_BP;

/// Letters between two reports.
const REPORT_BP: u64 = 1 << 22;

/// Time between two reports while there is nothing to do.
const PAUSE: Duration = Duration::from_millis(100);

/// Called with the number of letters processed since.
pub type Report<'a> = dyn FnMut(u64) -> Result<()> + 'a;

/// The pipeline of one unit.
pub struct Pipeline<'a> {
    tokenizer: &'a Tokenizer,
    threads: usize,
    files: &'a [PathBuf],
    state: Mutex<State<'a>>,
    /// A step may be ready, or all is done.
    changed: Condvar,
    /// There may be room for a chunk.
    room: Condvar,
}

/// What waits between steps, and the ordered steps, unless a thread has taken one.
struct State<'a> {
    queue: ReadAheadQueue,
    reading: bool,
    cutting: Option<Box<Cutting<'a>>>,
    /// Counts of every file, once all is cut.
    cut: Option<Result<Vec<FileReport>>>,
    /// Chunks to encode.
    chunks: VecDeque<Chunk>,
    encoded: BTreeMap<u64, Chunk>,
    writer: Option<Box<Writer<'a>>>,
    /// Chunks cut and chunks written so far.
    numbers: [u64; 2],
    spare: Vec<Chunk>,
    /// Letters of all chunks in flight.
    letters: usize,
    /// Letters processed, one number per report.
    unreported: VecDeque<u64>,
    failed: Option<Error>,
}

/// A step that a thread can take.
enum Step<'a> {
    Read(ReadAheadQueue),
    Cut(Box<Cutting<'a>>),
    Encode(Chunk),
    Append(Box<Writer<'a>>, Chunk),
}

/// Opens a file.
pub type Open<'a> = dyn FnMut(&Path) -> Result<Input> + Send + 'a;

/// The files of a unit, and how far they are cut.
pub struct Cutting<'a> {
    pub open: Box<Open<'a>>,
    pub files: &'a [PathBuf],
    pub windower: Windower<'a>,
    pub reader: Option<FastaReader>,
    pub reports: Vec<FileReport>,
    pub unreported: u64,
}

impl<'a> Pipeline<'a> {
    pub fn new(
        tokenizer: &'a Tokenizer,
        threads: usize,
        cutting: Cutting<'a>,
        writer: Writer<'a>,
    ) -> Self {
        let files = cutting.files;
        let state = State {
            queue: ReadAheadQueue::default(),
            reading: false,
            cutting: Some(Box::new(cutting)),
            cut: None,
            chunks: VecDeque::new(),
            encoded: BTreeMap::new(),
            writer: Some(Box::new(writer)),
            numbers: [0; 2],
            spare: Vec::new(),
            letters: 0,
            unreported: VecDeque::new(),
            failed: None,
        };
        Self {
            tokenizer,
            threads,
            files,
            state: Mutex::new(state),
            changed: Condvar::new(),
            room: Condvar::new(),
        }
    }

    /// Build everything. Returns the counts of each file.
    pub fn run(self, report: &mut Report<'_>) -> Result<Vec<FileReport>> {
        std::thread::scope(|scope| {
            for _ in 1..self.threads {
                scope.spawn(|| self.work(None));
            }
            self.work(Some(report));
        });
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = state.failed {
            return Err(error);
        }
        state.unreported.into_iter().try_for_each(report)?;
        let reports = state.cut.unwrap_or(Err(Error::Interrupted))?;
        state.writer.map_or(Ok(()), |writer| writer.finish())?;
        Ok(reports)
    }

    /// Take steps until there are no more.
    fn work(&self, mut report: Option<&mut Report<'_>>) {
        let _stop = StopOnPanic(self);
        let mut scratch = Scratch::default();
        let mut state = self.state();
        let mut paused = false;
        while !state.is_done() {
            if let Some(report) = &mut report
                && (paused || !state.unreported.is_empty())
            {
                paused = false;
                let letters = state.unreported.pop_front().unwrap_or(0);
                drop(state);
                if let Err(error) = report(letters) {
                    self.fail(error);
                }
                state = self.state();
            } else if let Some(step) = self.next(&mut state) {
                drop(state);
                self.take(step, &mut scratch);
                state = self.state();
            } else {
                let wait = self.changed.wait_timeout(state, PAUSE);
                let (again, timeout) = wait.unwrap_or_else(PoisonError::into_inner);
                (state, paused) = (again, timeout.timed_out());
            }
        }
        self.changed.notify_all();
    }

    /// The next step that is ready. A thread that takes one wakes another thread, as another step may be
    /// ready.
    fn next(&self, state: &mut State<'a>) -> Option<Step<'a>> {
        let step = state.next(self.threads)?;
        self.changed.notify_one();
        Some(step)
    }

    fn take(&self, step: Step<'a>, scratch: &mut Scratch) {
        match step {
            Step::Read(queue) => {
                queue.read_ahead();
                self.state().reading = false;
            }
            Step::Cut(mut cutting) => {
                let outcome = cutting.advance(self, scratch);
                let mut state = self.state();
                match outcome {
                    Ok(None) => state.cutting = Some(cutting),
                    Ok(Some(reports)) => state.cut = Some(Ok(reports)),
                    Err(error) => state.cut = Some(Err(error)),
                }
            }
            Step::Encode(mut chunk) => match self.encode(&mut chunk, scratch) {
                Ok(()) => drop(self.state().encoded.insert(chunk.number, chunk)),
                Err(error) => self.fail(error),
            },
            Step::Append(mut writer, chunk) => match writer.append(&chunk) {
                Ok(()) => {
                    self.state().give_back(writer, chunk);
                    self.room.notify_one();
                }
                Err(error) => self.fail(error),
            },
        }
    }

    fn encode(&self, chunk: &mut Chunk, scratch: &mut Scratch) -> Result<()> {
        let mut ids = std::mem::take(&mut chunk.ids);
        let (windows, options) = (chunk.windows(), Options::default());
        let encoded = if chunk.text.len() > GIANT_BP {
            self.tokenizer.encode_batch(&windows, &options, self.threads).map(|all| ids = all)
        } else {
            self.tokenizer.encode_into(&windows, &options, scratch, &mut ids)
        };
        encoded.map_err(|error| self.in_record(error, chunk))?;
        chunk.ids = ids;
        Ok(())
    }

    /// Name the record of an unknown letter, instead of the number of a window. The window is on the
    /// forward strand, which comes before the other one.
    fn in_record(&self, error: Error, chunk: &Chunk) -> Error {
        let Error::UnknownLetter { origin: Origin::Sequence(window), letter, position } = error
        else {
            return error;
        };
        let row = &chunk.rows[window];
        let path = self.files[row.file as usize].clone();
        let origin = Origin::Record { path, line: None, name: chunk.names[row.name].clone() };
        let start = usize::try_from(row.start).expect("a position in memory");
        Error::UnknownLetter { origin, letter, position: start + position }
    }

    fn fail(&self, error: Error) {
        self.state().failed.get_or_insert(error);
        self.changed.notify_all();
        self.room.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State<'a>> {
        lock(&self.state)
    }
}

impl<'a> State<'a> {
    fn next(&mut self, threads: usize) -> Option<Step<'a>> {
        if !self.reading && self.queue.has_room() {
            self.reading = true;
            return Some(Step::Read(self.queue.clone()));
        }
        let number = self.numbers[1];
        if self.encoded.contains_key(&number)
            && let Some(writer) = self.writer.take()
            && let Some(chunk) = self.encoded.remove(&number)
        {
            return Some(Step::Append(writer, chunk));
        }
        if self.chunks.len() < WAITING * threads
            && !self.is_crowded(threads, 0)
            && self.queue.is_ready()
            && let Some(cutting) = self.cutting.take()
        {
            return Some(Step::Cut(cutting));
        }
        self.chunks.pop_front().map(Step::Encode)
    }

    /// Whether a chunk of this many letters must wait to be cut.
    fn is_crowded(&self, threads: usize, letters: usize) -> bool {
        let [cut, written] = self.numbers;
        self.letters > 0 && self.letters + letters > IN_FLIGHT_BP
            || cut - written >= (threads + EXTRA_CHUNKS) as u64
    }

    fn give_back(&mut self, writer: Box<Writer<'a>>, chunk: Chunk) {
        self.writer = Some(writer);
        self.numbers[1] += 1;
        self.letters -= chunk.text.len();
        if chunk.text.capacity() <= 2 * MAX_CHUNK_BP {
            self.spare.push(chunk);
        }
    }

    fn is_done(&self) -> bool {
        self.failed.is_some() || self.cut.is_some() && self.numbers[0] == self.numbers[1]
    }
}

impl Cutting<'_> {
    /// Cut what has been read. Returns the counts of each file once all files are cut.
    fn advance(
        &mut self,
        pipeline: &Pipeline<'_>,
        scratch: &mut Scratch,
    ) -> Result<Option<Vec<FileReport>>> {
        let mut outlet = Outlet { pipeline, scratch };
        let Some(reader) = &mut self.reader else {
            let number = self.reports.len();
            let Some(path) = self.files.get(number) else {
                self.windower.finish(&mut outlet)?;
                return Ok(Some(std::mem::take(&mut self.reports)));
            };
            let mut input = (self.open)(path)?;
            let queue = ReadAheadQueue::new(input.source);
            pipeline.state().queue = queue.clone();
            input.source = Box::new(queue);
            self.reader = Some(FastaReader::new(input, self.windower.reads_rna())?);
            self.windower
                .begin_file(u32::try_from(number).expect("a unit has fewer than 2^32 files"));
            return Ok(None);
        };
        let (letters, more) = self.windower.cut(reader, &mut outlet)?;
        self.unreported += letters;
        if !more {
            self.reports.push(self.windower.report().clone());
            self.reader = None;
        }
        if !more || self.unreported >= REPORT_BP {
            let letters = std::mem::take(&mut self.unreported);
            pipeline.state().unreported.push_back(letters);
        }
        Ok(None)
    }
}

/// Passes full chunks on to be encoded.
struct Outlet<'a, 'p> {
    pipeline: &'p Pipeline<'a>,
    scratch: &'p mut Scratch,
}

impl Sink for Outlet<'_, '_> {
    /// Takes steps itself while there is no room for the chunk.
    fn take(&mut self, mut chunk: Chunk) -> Result<Chunk> {
        let Pipeline { threads, changed, room, .. } = self.pipeline;
        let mut state = self.pipeline.state();
        while state.failed.is_none() && state.is_crowded(*threads, chunk.text.len()) {
            if let Some(step) = self.pipeline.next(&mut state) {
                drop(state);
                self.pipeline.take(step, self.scratch);
                state = self.pipeline.state();
            } else {
                state = room.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        if state.failed.is_some() {
            return Err(Error::Interrupted);
        }
        chunk.number = state.numbers[0];
        state.numbers[0] += 1;
        state.letters += chunk.text.len();
        state.chunks.push_back(chunk);
        changed.notify_one();
        Ok(state.spare.pop().unwrap_or_else(Chunk::with_room))
    }
}

/// Lets the other threads end when one of them panics.
struct StopOnPanic<'a, 'p>(&'p Pipeline<'a>);

impl Drop for StopOnPanic<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(Error::Interrupted);
        }
    }
}

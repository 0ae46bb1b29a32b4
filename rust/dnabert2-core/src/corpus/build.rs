//! The pipeline: one thread reads, the calling one cuts, some encode, one writes, all at once.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use crate::corpus::choose::{Chooser, Seen};
use crate::corpus::cut::{Chunk, Cutter, FULL_BP, Sink};
use crate::corpus::write::Writer;
use crate::corpus::{FileReport, Provenance, Settings, ShardReport, Unit};
use crate::encode::Scratch;
use crate::fasta::FastaReader;
use crate::tokenizer::Options;
use crate::{Error, Result, Tokenizer, threads};

/// Chunks on their way, beside one for every thread that encodes.
const AHEAD: usize = 6;

/// Letters on their way; more only if one window has more.
const IN_FLIGHT_BP: usize = 1 << 26;

/// A chunk of more letters holds a giant window, which all threads encode together.
const GIANT_BP: usize = 4 * FULL_BP;

/// Builds the units of one corpus.
pub struct CorpusBuilder {
    tokenizer: Arc<Tokenizer>,
    settings: Settings,
    seen: Seen,
}

impl CorpusBuilder {
    /// With an encoder and settings.
    #[must_use]
    pub fn new(tokenizer: Arc<Tokenizer>, settings: Settings) -> Self {
        Self { tokenizer, settings, seen: Seen::default() }
    }

    /// Build what a unit lacks. `open` opens a file; `report` hears how many more letters were
    /// worked through; `on_shard` hears of each shard once it is written. Returns what each file gave.
    ///
    /// Repeats are dropped over all units that one builder builds; one that is there already must
    /// be built again all the same, with [`Unit::done`] at its greatest, for its windows to count.
    ///
    /// # Errors
    /// Those of [`FastaReader`], of encoding and of writing, and whatever `report` or `on_shard`
    /// returns.
    pub fn build(
        &mut self,
        unit: &Unit,
        mut open: impl FnMut(&Path) -> Result<FastaReader>,
        mut report: impl FnMut(u64) -> Result<()>,
        on_shard: impl FnMut(ShardReport, Provenance) -> Result<()> + Send,
    ) -> Result<Vec<FileReport>> {
        let Self { tokenizer, settings, seen } = self;
        // Reading and cutting keep a core busy, or the threads that encode would take each other's cache.
        let threads = threads::count(settings.threads);
        let workers = threads.saturating_sub(1).max(1);
        let (give_back, spent) = channel();
        for _ in 0..workers + AHEAD {
            let _ = give_back.send(Chunk::with_room()); // cannot fail: the receiver is at hand
        }
        let (full, to_encode) = sync_channel(workers + AHEAD);
        let (encoded, to_write) = sync_channel(workers + AHEAD);
        let to_encode = Mutex::new(to_encode);
        let mut writer = Writer::new(settings, unit, on_shard);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                let (to_encode, encoded) = (&to_encode, encoded.clone());
                let tokenizer = &**tokenizer;
                scope.spawn(move || encode(tokenizer, to_encode, &encoded, threads));
            }
            drop(encoded);
            let writing = scope.spawn(move || {
                for chunk in to_write {
                    // Nobody takes spent chunks once everything is cut.
                    writer.take(chunk?, |chunk| drop(give_back.send(chunk)))?;
                }
                Ok(writer)
            });
            let chooser = Chooser::new(settings, unit, seen);
            let mut queue = Queue { full, spent, spare: Vec::new(), number: 0, letters: 0 };
            let mut cutter = Cutter::new(&settings.rule, chooser, unit.number);
            let cut = (|| {
                let mut reports = Vec::with_capacity(unit.files.len());
                for (path, number) in unit.files.iter().zip(0..) {
                    let mut reader = open(path)?;
                    reports.push(cutter.cut_file(number, &mut reader, &mut queue, &mut report)?);
                }
                cutter.finish(&mut queue)?;
                Ok(reports)
            })();
            drop(queue);
            let writer = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // When writing failed, cutting was stopped, and its error says only that.
            let writer: Writer<_> = writer?;
            let reports = cut?;
            writer.finish()?;
            Ok(reports)
        })
    }
}

fn encode(
    tokenizer: &Tokenizer,
    chunks: &Mutex<Receiver<Chunk>>,
    encoded: &SyncSender<Result<Chunk>>,
    threads: usize,
) {
    let mut scratch = Scratch::default();
    loop {
        let next = chunks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut chunk) = next else { return };
        let mut ids = std::mem::take(&mut chunk.ids);
        let (windows, options) = (chunk.windows(), Options::default());
        let outcome = if chunk.text.len() > GIANT_BP {
            tokenizer.encode_batch(&windows, &options, threads).map(|giant| ids = giant)
        } else {
            tokenizer.encode_into(&windows, &options, &mut scratch, &mut ids)
        };
        chunk.ids = ids;
        if encoded.send(outcome.map(|()| chunk)).is_err() {
            return; // the writer has met an error
        }
    }
}

/// Chunks go out full and come back spent; what is on its way is bounded.
struct Queue {
    full: SyncSender<Chunk>,
    spent: Receiver<Chunk>,
    spare: Vec<Chunk>,
    number: u64,
    letters: usize,
}

impl Queue {
    fn wait(&mut self) -> Result<Chunk> {
        let mut chunk = self.spent.recv().map_err(|_| Error::Interrupted)?;
        self.letters -= chunk.text.len();
        if chunk.text.capacity() > 2 * FULL_BP {
            chunk = Chunk::with_room();
        }
        Ok(chunk)
    }
}

impl Sink for Queue {
    fn take(&mut self, mut chunk: Chunk) -> Result<Chunk> {
        chunk.number = self.number;
        self.number += 1;
        while self.letters > 0 && self.letters + chunk.text.len() > IN_FLIGHT_BP {
            let chunk = self.wait()?;
            self.spare.push(chunk);
        }
        self.letters += chunk.text.len();
        self.full.send(chunk).map_err(|_| Error::Interrupted)?;
        self.spare.pop().map_or_else(|| self.wait(), Ok)
    }
}

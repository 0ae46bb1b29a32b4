//! Collecting encoded windows, in input order, into shards of each split.

use std::panic::resume_unwind;

use crate::corpus::cut::Chunk;
use crate::corpus::{Ledger, Provenance, Settings, ShardReport, Split, Unit};
use crate::{Ragged, Result, shard};

/// Tokens that room is made for at once.
const MOST_RESERVED: usize = 1 << 26;

/// Tokens of a shard beyond those that fill it: the last window ends it.
const BEYOND: usize = 1 << 14;

/// A shard that is being filled.
#[derive(Default)]
struct Open {
    ids: Ragged,
    origin: Provenance,
    /// File and record of the last window.
    last: Option<(u32, u64)>,
}

/// Writes the shards of one unit.
pub struct Writer<'a> {
    settings: &'a Settings,
    unit: &'a Unit,
    ledger: &'a mut dyn Ledger,
    open: [Open; 2],
    shards: usize,
}

impl<'a> Writer<'a> {
    pub fn new(settings: &'a Settings, unit: &'a Unit, ledger: &'a mut dyn Ledger) -> Self {
        let mut open = <[Open; 2]>::default();
        for Open { ids, .. } in &mut open {
            // Pages are touched when they are filled, and none of them is copied on the way.
            ids.values.reserve_exact(settings.shard_tokens.min(MOST_RESERVED) + BEYOND);
        }
        Self { settings, unit, ledger, open, shards: unit.shards }
    }

    /// Write what is left.
    pub fn finish(mut self) -> Result<()> {
        self.write(Split::Train, true)?;
        self.write(Split::Valid, true)
    }

    /// Append the windows of a chunk, the next in order.
    pub fn append(&mut self, chunk: &Chunk) -> Result<()> {
        for (i, row) in chunk.rows.iter().enumerate() {
            let split = row.split as usize;
            // A reverse complement stays with its window, so that a unit can go on behind a shard.
            let full = self.open[split].ids.values.len() >= self.settings.shard_tokens;
            if full && row.strand == 1 {
                self.write(row.split, false)?;
            }
            let Open { ids, origin, last } = &mut self.open[split];
            ids.push(chunk.ids.get(i));
            // A name stands once for its record, however the record was cut into chunks.
            if *last != Some((row.file, row.record)) {
                *last = Some((row.file, row.record));
                origin.names.push(chunk.names[row.name].clone());
            }
            let record = u32::try_from(origin.names.len() - 1).unwrap_or(u32::MAX);
            origin.file.push(row.file);
            origin.record.push(record);
            origin.start.push(row.start);
            origin.end.push(row.end);
            origin.strand.push(row.strand);
        }
        Ok(())
    }

    /// Write a shard, at the end of the unit while its origins are kept; before that, other threads have
    /// work for every core.
    fn write(&mut self, split: Split, at_end: bool) -> Result<()> {
        let Open { ids, origin, last } = &mut self.open[split as usize];
        let origin = std::mem::take(origin);
        *last = None;
        if ids.is_empty() {
            return Ok(());
        }
        let name = format!("shard-{:05}.safetensors", self.shards);
        let path = self.unit.folder.join(&name);
        let write = || shard::write(&path, ids, &self.settings.about);
        let written = if at_end {
            std::thread::scope(|scope| {
                let writing = scope.spawn(write);
                let kept = self.ledger.keep(origin);
                let written = writing.join().unwrap_or_else(|panic| resume_unwind(panic))?;
                kept.map(|()| written)
            })
        } else {
            write().and_then(|written| self.ledger.keep(origin).map(|()| written))
        }?;
        let (sequences, tokens) = (ids.len() as u64, ids.values.len() as u64);
        ids.clear();
        self.shards += 1;
        self.ledger.note(ShardReport { name, split, sequences, tokens, written })
    }
}

//! Collecting encoded windows, in input order, into shards of each split.

use std::collections::BTreeMap;

use crate::corpus::cut::Chunk;
use crate::corpus::{Provenance, Settings, ShardReport, Split, Unit};
use crate::{Ragged, Result, shard};

/// Tokens that room is made for at once.
const MOST_RESERVED: usize = 1 << 26;

/// A shard that is being filled.
#[derive(Default)]
struct Open {
    ids: Ragged,
    origin: Provenance,
    /// File and record of the last window.
    last: Option<(u32, u64)>,
}

/// Writes the shards of one unit; tells `on_shard` of each once it is on disk.
pub struct Writer<'a, F> {
    settings: &'a Settings,
    unit: &'a Unit,
    on_shard: F,
    open: [Open; 2],
    shards: usize,
    next: u64,
    /// Chunks that came before their turn.
    early: BTreeMap<u64, Chunk>,
}

impl<'a, F: FnMut(ShardReport, Provenance) -> Result<()>> Writer<'a, F> {
    pub fn new(settings: &'a Settings, unit: &'a Unit, on_shard: F) -> Self {
        let mut open = <[Open; 2]>::default();
        for Open { ids, .. } in &mut open {
            // Pages are touched when they are filled, and none of them is copied on the way.
            ids.values.reserve_exact(settings.shard_tokens.min(MOST_RESERVED));
        }
        let early = BTreeMap::new();
        Self { settings, unit, on_shard, open, shards: unit.shards, next: 0, early }
    }

    /// Take a chunk; `spent` gets those whose windows are copied.
    pub fn take(&mut self, chunk: Chunk, mut spent: impl FnMut(Chunk)) -> Result<()> {
        self.early.insert(chunk.number, chunk);
        while let Some(mut chunk) = self.early.remove(&self.next) {
            self.append(&mut chunk)?;
            self.next += 1;
            spent(chunk);
        }
        Ok(())
    }

    /// Write what is left.
    pub fn finish(mut self) -> Result<()> {
        self.write(Split::Train)?;
        self.write(Split::Valid)
    }

    fn append(&mut self, chunk: &mut Chunk) -> Result<()> {
        for (i, row) in chunk.rows.iter().enumerate() {
            let split = row.split as usize;
            // A reverse complement stays with its window, so that a unit can go on behind a shard.
            let full = self.open[split].ids.values.len() >= self.settings.shard_tokens;
            if full && row.strand == 1 {
                self.write(row.split)?;
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

    fn write(&mut self, split: Split) -> Result<()> {
        let Open { ids, origin, last } = &mut self.open[split as usize];
        let origin = std::mem::take(origin);
        *last = None;
        if ids.is_empty() {
            return Ok(());
        }
        let name = format!("shard-{:05}.safetensors", self.shards);
        let written = shard::write(&self.unit.folder.join(&name), ids, &self.settings.about)?;
        let (sequences, tokens) = (ids.len() as u64, ids.values.len() as u64);
        ids.clear();
        self.shards += 1;
        (self.on_shard)(ShardReport { name, split, sequences, tokens, written }, origin)
    }
}

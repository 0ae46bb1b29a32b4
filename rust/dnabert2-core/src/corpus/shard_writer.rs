//! Encoded windows, collected in input order into shards of each split.

use std::panic::resume_unwind;
use std::thread::ScopedJoinHandle;

use crate::corpus::report::{Ledger, Provenance, ShardReport};
use crate::corpus::settings::{Settings, Split, Unit};
use crate::corpus::windows::Chunk;
use crate::{Ragged, Result, shard};

/// Maximum tokens reserved in advance.
const MAX_RESERVED: usize = 1 << 26;

/// Tokens reserved beyond a full shard, for its last window.
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
            ids.values.reserve_exact(settings.shard_tokens.min(MAX_RESERVED) + BEYOND);
        }
        Self { settings, unit, ledger, open, shards: unit.shards }
    }

    /// Write the last shards, each while origins are kept: no other thread has work by now.
    pub fn finish(self) -> Result<()> {
        let Self { settings, unit, ledger, open, shards } = self;
        let splits = [Split::Train, Split::Valid].into_iter().zip(open);
        let left = splits.filter(|(_, open)| !open.ids.is_empty()).zip(shards..);
        let saved = std::thread::scope(|scope| {
            let (mut saving, mut kept) = (Vec::new(), Ok(()));
            for ((split, Open { ids, origin, .. }), number) in left {
                saving.push(scope.spawn(move || save(settings, unit, number, split, &ids)));
                kept = kept.and_then(|()| ledger.keep(number, origin));
            }
            let joined = saving.into_iter().map(ScopedJoinHandle::join);
            let saved = joined.map(|saved| saved.unwrap_or_else(|panic| resume_unwind(panic)));
            let saved = saved.collect::<Result<Vec<_>>>()?;
            kept.map(|()| saved)
        })?;
        saved.into_iter().try_for_each(|shard| ledger.note(shard))
    }

    /// Append the windows of a chunk, the next in order.
    pub fn append(&mut self, chunk: &Chunk) -> Result<()> {
        for (i, row) in chunk.rows.iter().enumerate() {
            let split = row.split as usize;
            // A reverse complement stays with its window, so that a unit can resume after a shard.
            let full = self.open[split].ids.values.len() >= self.settings.shard_tokens;
            if full && row.strand == 1 {
                self.write(row.split)?;
            }
            let Open { ids, origin, last } = &mut self.open[split];
            ids.push(chunk.ids.get(i));
            // A name is kept once per record, however the record was cut into chunks.
            if *last != Some((row.file, row.record)) {
                *last = Some((row.file, row.record));
                origin.names.push(chunk.names[row.name].clone());
            }
            let record =
                u32::try_from(origin.names.len() - 1).expect("a shard has fewer than 2^32 records");
            origin.file.push(row.file);
            origin.record.push(record);
            origin.start.push(row.start);
            origin.end.push(row.end);
            origin.strand.push(row.strand);
        }
        Ok(())
    }

    /// Write a shard that is full.
    fn write(&mut self, split: Split) -> Result<()> {
        let Open { ids, origin, last } = &mut self.open[split as usize];
        let shard = save(self.settings, self.unit, self.shards, split, ids)?;
        self.ledger.keep(self.shards, std::mem::take(origin))?;
        ids.clear();
        *last = None;
        self.shards += 1;
        self.ledger.note(shard)
    }
}

fn save(
    settings: &Settings,
    unit: &Unit,
    number: usize,
    split: Split,
    ids: &Ragged,
) -> Result<ShardReport> {
    let name = format!("shard-{number:05}.safetensors");
    let written = shard::write(&unit.folder.join(&name), ids, &settings.about)?;
    let (sequences, tokens) = (ids.len() as u64, ids.values.len() as u64);
    Ok(ShardReport { name, split, sequences, tokens, written })
}

//! Building the units of a corpus.

use std::path::Path;
use std::sync::Arc;

use crate::corpus::pipeline::{Cutting, Pipeline};
use crate::corpus::report::{FileReport, Ledger};
use crate::corpus::select::{Seen, WindowFilter};
use crate::corpus::settings::{Settings, Unit};
use crate::corpus::shard_writer::Writer;
use crate::corpus::windows::Windower;
use crate::io::input::Input;
use crate::{Result, Tokenizer, parallel};

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

    /// Build the missing shards of a unit. `open` opens a file, as [`Input::open`] does;
    /// `report` is called on this thread with the number of letters processed since. Returns the
    /// counts of each file.
    ///
    /// Duplicates are dropped over all units of one builder. A unit that exists must be built again all
    /// the same, with [`Unit::done`] at its maximum, so that its windows are seen.
    ///
    /// # Errors
    /// Those of [`FastaReader`](crate::io::fasta::FastaReader), of encoding and of writing, and whatever
    /// `report` or `ledger` returns.
    pub fn build(
        &mut self,
        unit: &Unit,
        open: impl FnMut(&Path) -> Result<Input> + Send,
        mut report: impl FnMut(u64) -> Result<()>,
        ledger: &mut dyn Ledger,
    ) -> Result<Vec<FileReport>> {
        let Self { tokenizer, settings, seen } = self;
        let filter = WindowFilter::new(settings, unit, seen);
        let cutting = Cutting {
            open: Box::new(open),
            files: &unit.files,
            windower: Windower::new(&settings.rule, filter, unit.number),
            reader: None,
            reports: Vec::with_capacity(unit.files.len()),
            unreported: 0,
        };
        let writer = Writer::new(settings, unit, ledger);
        let threads = parallel::count(settings.threads);
        Pipeline::new(tokenizer, threads, cutting, writer).run(&mut report)
    }
}

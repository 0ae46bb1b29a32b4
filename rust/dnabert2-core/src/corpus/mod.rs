//! From sequence files to token files: windows are cut, selected, encoded and written in input order.
//!
//! `windows` cuts windows out of the letters as they are read, `select` decides which of them stay and in
//! which split, `shard_writer` collects them into shards, `pipeline` keeps every core busy with these steps
//! and with encoding. The output depends on the input and the settings, never on the number of threads.
//!
//! A corpus is built in units of some files each, which share nothing. Each unit can be built anywhere,
//! and a stopped unit resumes after its last whole shard.

mod build;
mod pipeline;
mod report;
mod select;
mod settings;
mod shard_writer;
mod windows;

pub use build::CorpusBuilder;
pub use report::{FileReport, Ledger, Provenance, ShardReport};
pub use settings::{OtherLetters, Settings, Split, Unit, WindowRule};

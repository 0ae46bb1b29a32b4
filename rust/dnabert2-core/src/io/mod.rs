//! Sequence files: bytes decompressed in blocks (`compression`), and the records in them (`fasta`).

pub mod compression;
pub mod fasta;

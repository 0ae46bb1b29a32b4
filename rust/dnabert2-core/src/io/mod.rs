//! Sequence files: one way to open any of them (`input`), and the records in them (`fasta`).
//!
//! `compression` decompresses, `source` reads blocks ahead, `notices` collects warnings.

pub mod compression;
pub mod fasta;
pub mod input;
pub mod notices;
pub mod source;

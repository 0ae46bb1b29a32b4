//! Exact genome BPE and memory-mapped token shards, in plain Rust.
//!
//! `tokenizer` turns text into ids with `encode`, by a vocabulary that `tokenizer_file` reads or `train`
//! learns; `corpus` turns FASTA files (`io`) into token files (`shard`).

pub mod corpus;
pub mod dna;
pub mod encode;
pub mod error;
pub mod io;
pub mod kmer;
pub mod parallel;
pub mod policy;
pub mod ragged;
pub mod shard;
pub mod tokenizer;
pub mod tokenizer_file;
pub mod train;
pub mod vocab;

pub use error::{Error, Result};
pub use ragged::{Ragged, TokenId};
pub use tokenizer::Tokenizer;

//! Bases a second of the encoder itself, without Python: `cargo bench --bench encode -- GENOME.fa.gz`.
//!
//! Prints one JSON line a row: pieces of 100 and 1,000 bases and one long string, on one thread and on
//! two. The general encoder, which any vocabulary can use, is the yardstick.

#![expect(clippy::print_stdout, reason = "the figures are the output")]

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use dnabert2_core::Tokenizer;
use dnabert2_core::dna::base_runs;
use dnabert2_core::encode::{Automaton, GeneralEncoder};
use dnabert2_core::fasta::FastaReader;
use dnabert2_core::tokenizer::{Options, Policy};

const BASES: usize = 32_000_000;
const REPETITIONS: usize = 7;

/// Median of bases a nanosecond.
fn gigabases_per_second(bases: usize, mut work: impl FnMut()) -> f64 {
    let mut seconds: Vec<f64> = (0..REPETITIONS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "a benchmark's figure")]
    let bases = bases as f64;
    bases / seconds[REPETITIONS / 2] / 1e9
}

fn main() {
    let Some(path) = std::env::args().skip(1).find(|argument| !argument.starts_with("--")) else {
        eprintln!("name a genome: cargo bench --bench encode -- GENOME.fa.gz");
        return;
    };
    let mut genome = Vec::new();
    for record in FastaReader::open(Path::new(&path)).expect("a FASTA file") {
        let record = record.expect("a whole record");
        base_runs(&record.sequence).for_each(|(_, run)| genome.extend_from_slice(run));
    }
    genome.make_ascii_uppercase();
    genome.truncate(BASES);

    let vocabulary = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../python/dnabert2_fast/data/dnabert2.tokenizer.json"
    );
    let tokenizer = Tokenizer::open(Path::new(vocabulary), Policy::default()).expect("it is here");
    let vocab = &tokenizer.file().vocab;
    let start = Instant::now();
    black_box(Automaton::compile(vocab).expect("it has four letters"));
    let seconds = start.elapsed().as_secs_f64();
    println!(r#"{{"bench": "encode.rs", "compile_seconds": {seconds:.3}}}"#);
    let general = GeneralEncoder::new(vocab);
    let rank = |base: &u8| b"ACGT".iter().zip(0..).find(|(b, _)| *b == base).map_or(0, |(_, r)| r);
    let codes: Vec<u8> = genome[..2_000_000].iter().map(rank).collect();
    let mut pieces = Vec::new();
    let speed = gigabases_per_second(codes.len(), || {
        for window in codes.chunks(1000) {
            pieces.clear();
            general.encode(vocab, window, &mut pieces);
            black_box(&pieces);
        }
    });
    println!(
        r#"{{"bench": "encode.rs", "encoder": "general", "gigabases_per_second": {speed:.3}}}"#
    );

    for length in [100, 1_000, genome.len()] {
        let texts: Vec<&[u8]> = genome.chunks_exact(length).collect();
        let bases = texts.len() * length;
        let mut one = 0.0;
        for threads in [1, 2] {
            let encode = || tokenizer.encode_batch(&texts, &Options::default(), threads);
            black_box(encode().expect("bases only"));
            let speed = gigabases_per_second(bases, || {
                black_box(encode().expect("bases only"));
            });
            if threads == 1 {
                one = speed;
            }
            println!(
                r#"{{"bench": "encode.rs", "encoder": "automaton", "length_bp": {length}, "threads": {threads}, "gigabases_per_second": {speed:.3}, "over_one_thread": {:.2}}}"#,
                speed / one
            );
        }
    }
}

//! Rates of the encoder without Python: `cargo bench --bench encode -- GENOME.fa.gz`.
//!
//! Prints one JSON line per case: pieces of 100 and 1,000 bases and one long string, on one thread
//! and on two. `benches/core.py` runs it and records the lines. The tests compare all ways of encoding
//! with merging by definition.

#![expect(clippy::print_stdout, reason = "the figures are the output")]

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use dnabert2_core::Tokenizer;
use dnabert2_core::dna::{BASES, base_runs};
use dnabert2_core::encode::{Automaton, GeneralEncoder, LongestFirst};
use dnabert2_core::io::fasta::FastaReader;
use dnabert2_core::policy::Policy;
use dnabert2_core::tokenizer::{Definition, Matching, Options};
use dnabert2_core::tokenizer_file::{self, from_trained, with_matching};
use dnabert2_core::train::{self, BpeTrainer, InputConfig, InputStats};
use dnabert2_core::vocab::Vocab;

const GENOME_BP: usize = 32_000_000;
const REPETITIONS: usize = 7;

/// Rates of a few repetitions, in millions of bases per second.
fn rates(bases: usize, mut work: impl FnMut()) -> Vec<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a benchmark's figure")]
    let bases = bases as f64;
    (0..REPETITIONS)
        .map(|_| {
            let start = Instant::now();
            work();
            bases / start.elapsed().as_secs_f64() / 1e6
        })
        .collect()
}

fn main() {
    let Some(path) = std::env::args().skip(1).find(|argument| !argument.starts_with("--")) else {
        eprintln!("name a genome: cargo bench --bench encode -- GENOME.fa.gz");
        return;
    };
    let mut genome = Vec::new();
    for record in FastaReader::open(Path::new(&path)).expect("a FASTA file") {
        let record = record.expect("a whole record");
        base_runs(&record.sequence, true).for_each(|(_, run)| genome.extend_from_slice(run));
    }
    genome.make_ascii_uppercase();
    genome.truncate(GENOME_BP);

    let vocabulary = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../python/dnabert2_fast/data/dnabert2.tokenizer.json"
    );
    let file = tokenizer_file::open(Path::new(vocabulary)).expect("it is here");
    let vocab = file.vocab().expect("it has pieces");
    compiling(vocab, "published");
    for size in [8_192, 16_384] {
        let mut trainer =
            BpeTrainer::new(InputConfig { window_bp: Some(1_000), ..InputConfig::default() });
        trainer
            .add(&genome[..genome.len() / 2], 1, &mut InputStats::default())
            .expect("bases only");
        let vocab = trainer
            .train(&train::Options { vocab_size: size, ..Default::default() }, &[], |_| Ok(()))
            .expect("there are bases");
        compiling(&vocab, "trained");
        let text = from_trained(&vocab, &["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]);
        let file = tokenizer_file::parse(Path::new("trained"), text).expect("our own file");
        let encode = encoder(Tokenizer::new(file, Policy::default()), 1);
        let texts: Vec<&[u8]> = genome.chunks_exact(1_000).collect();
        row(&format!("exact BPE, {size} tokens"), 1_000, 1, &speed(&texts, &encode));
    }

    let rank = |base: &u8| b"ACGT".iter().zip(0..).find(|(b, _)| *b == base).map_or(0, |(_, r)| r);
    let codes: Vec<u8> = genome[..2_000_000].iter().map(rank).collect();
    let windows: Vec<&[u8]> = codes.chunks_exact(1_000).collect();
    let general = GeneralEncoder::new(vocab);
    let longest_first = LongestFirst::new(vocab);
    row(
        "exact BPE, general encoder",
        1_000,
        1,
        &speed(&windows, |windows| {
            let mut pieces = Vec::new();
            for window in windows {
                general.encode(vocab, window, &mut pieces);
            }
            black_box(pieces);
        }),
    );
    row(
        "longest token first",
        1_000,
        1,
        &speed(&windows, |windows| {
            let mut pieces = Vec::new();
            for window in windows {
                longest_first.encode(window, &mut pieces);
            }
            black_box(pieces);
        }),
    );

    let longest = with_matching(file.clone(), Matching::Longest).expect("it has pieces");
    for (name, file) in [
        ("exact BPE", file),
        ("leftmost longest match", longest),
        ("overlapping 6-mers", kmers("")),
        ("6-mers side by side", kmers("A\nC\nG\nT\nN\n")),
    ] {
        let tokenizer = Tokenizer::new(file, Policy::default());
        for length in [100, 1_000, genome.len()] {
            let texts: Vec<&[u8]> = genome.chunks_exact(length).collect();
            for threads in [1, 2] {
                row(name, length, threads, &speed(&texts, encoder(tokenizer.clone(), threads)));
            }
        }
    }
}

/// A vocabulary of all 6-mers and some letters.
fn kmers(letters: &str) -> Definition {
    let mut text = String::from("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
    for number in 0..1_usize << 12 {
        text.extend((0..6).map(|at| char::from(BASES[number >> (2 * at) & 3])));
        text.push('\n');
    }
    tokenizer_file::parse(Path::new("k-mers"), text + letters).expect("all k-mers")
}

fn encoder(tokenizer: Tokenizer, threads: usize) -> impl Fn(&[&[u8]]) {
    move |texts| {
        let options = Options::default();
        black_box(tokenizer.encode_batch(texts, &options, threads).expect("bases only"));
    }
}

fn compiling(vocab: &Vocab, name: &str) {
    let start = Instant::now();
    let states = Automaton::bpe(vocab).expect("it has four letters").states();
    let seconds = start.elapsed().as_secs_f64();
    let case = format!("compiling {} tokens ({name}), {states} states", vocab.len());
    println!(
        r#"{{"case": "{case}", "metric": "wall time", "unit": "s", "values": [{seconds:.4}]}}"#
    );
}

/// Rates over all texts.
fn speed(texts: &[&[u8]], encode: impl Fn(&[&[u8]])) -> Vec<f64> {
    encode(texts);
    rates(texts.iter().map(|text| text.len()).sum(), || encode(texts))
}

fn row(encoder: &str, length: usize, threads: usize, values: &[f64]) {
    let plural = if threads > 1 { "s" } else { "" };
    let case = format!("{encoder}, {length} bp pieces, {threads} thread{plural}");
    println!(
        r#"{{"case": "{case}", "metric": "wall time", "unit": "Mbases/s", "values": {values:.1?}}}"#
    );
}

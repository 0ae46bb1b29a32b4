//! Fixed work for counting instructions: `instructions NAME BASES`. `benches/instructions.py` runs it
//! under valgrind and compares the counts with the newest record.

use std::hint::black_box;
use std::path::Path;

use dnabert2_core::Tokenizer;
use dnabert2_core::dna::BASES;
use dnabert2_core::encode::{Automaton, GeneralEncoder};
use dnabert2_core::policy::Policy;
use dnabert2_core::tokenizer::{Definition, Matching, Options};
use dnabert2_core::tokenizer_file::{self, with_matching};
use dnabert2_core::train::{self, BpeTrainer, InputConfig, InputStats};

/// Bases that are the same in every run, with repeats in them as genomes have.
fn bases(length: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize
    };
    let mut text: Vec<u8> = Vec::with_capacity(length + 64);
    while text.len() < length {
        if draw() % 50 == 0 && text.len() > 64 {
            let unit = 1 + draw() % 6;
            for _ in 0..20 + draw() % 40 {
                text.push(text[text.len() - unit]);
            }
        } else {
            text.push(BASES[draw() & 3]);
        }
    }
    text.truncate(length);
    text
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, name, length, ..] = arguments.as_slice() else {
        eprintln!("run benches/instructions.py");
        return;
    };
    let Ok(length) = length.parse::<usize>() else { return };
    // Always as many, so that making them drops out of a difference.
    let text = bases(4_000_000);
    let text = &text[..length.min(text.len())];
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../python/dnabert2_fast/data/dnabert2.tokenizer.json"
    );
    let file = tokenizer_file::open(Path::new(path)).expect("it travels with the package");
    let vocab = file.vocab().expect("it has pieces").clone();
    let encode = |file: Definition, piece: usize| {
        let tokenizer = Tokenizer::new(file, Policy::default());
        let texts: Vec<&[u8]> = text.chunks(piece).collect();
        black_box(tokenizer.encode_batch(&texts, &Options::default(), 1).expect("bases only"));
    };
    match name.as_str() {
        "nothing" => {}
        "compile" => drop(black_box(Automaton::bpe(&vocab))),
        "pieces of 1 kb" => encode(file, 1_000),
        "one run" => encode(file, text.len()),
        "longest" => encode(with_matching(file, Matching::Longest).expect("it has pieces"), 1_000),
        "general" => {
            let codes: Vec<u8> = text
                .iter()
                .filter_map(|base| BASES.iter().zip(0..).find(|(b, _)| *b == base))
                .map(|(_, code)| code)
                .collect();
            let mut pieces = Vec::new();
            GeneralEncoder::new(&vocab).encode(&vocab, &codes, &mut pieces);
            black_box(pieces);
        }
        "train" => {
            let options = train::Options { vocab_size: 1_024, threads: 1, ..Default::default() };
            let mut trainer =
                BpeTrainer::new(InputConfig { window_bp: Some(1_000), ..InputConfig::default() });
            trainer.add(text, 1, &mut InputStats::default()).expect("bases only");
            black_box(trainer.train(&options, &[], |_| Ok(())).expect("there are bases"));
        }
        other => eprintln!("there is no work called {other:?}"),
    }
}

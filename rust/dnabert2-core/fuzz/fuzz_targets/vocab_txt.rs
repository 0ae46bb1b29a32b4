//! Any lines as a list of k-mers: refused or read, and what is read encodes and decodes to itself.
#![no_main]

use std::path::Path;

use dnabert2_core::Tokenizer;
use dnabert2_core::policy::Policy;
use dnabert2_core::tokenizer::Options;
use dnabert2_core::tokenizer_file;
use libfuzzer_sys::fuzz_target;

const BASES: [&str; 4] = ["A", "C", "G", "T"];

fuzz_target!(|input: (u8, u8, u8, &[u8])| {
    let (k, rotation, missing, more) = input;
    // Free lines are hardly ever all k-mers; most of the list is therefore made.
    let kmers = (0..k % 4).fold(vec![String::new()], |texts, _| {
        texts.iter().flat_map(|text| BASES.map(|base| format!("{text}{base}"))).collect()
    });
    let mut lines: Vec<String> =
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned).into();
    lines.extend(kmers.into_iter().filter(|kmer| !kmer.is_empty()));
    let rotation = usize::from(rotation) % lines.len();
    lines[1..].rotate_left(rotation.min(4));
    if missing > 200 {
        lines.remove(usize::from(missing) % lines.len());
    }
    let text = format!("{}\n{}", lines.join("\n"), String::from_utf8_lossy(more));
    let Ok(file) = tokenizer_file::parse(Path::new("vocab.txt"), text) else { return };
    let tokens = file.tokens.clone();
    let tokenizer = Tokenizer::new(file, Policy::default());
    let batch = tokenizer
        .encode_batch(&["", "ACGTNNacgTTTTTTTTTTTTGCA", "[MASK]ACGT"], &Options::default(), 1)
        .expect("any letter is allowed");
    assert!(batch.values.iter().all(|&id| usize::from(id) < tokens.len()));
});

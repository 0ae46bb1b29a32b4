//! A vocabulary trained on one half of the input encodes the other half as BPE is defined, by the
//! automaton and in the general way.
#![no_main]

use dnabert2_core::encode::{Automaton, GeneralEncoder, Scratch};
use dnabert2_core::train::{BpeTrainer, InputConfig, InputStats, Options};
use libfuzzer_sys::fuzz_target;

#[path = "../../tests/common/mod.rs"]
#[allow(dead_code)]
mod common;

fuzz_target!(|input: (u8, &[u8])| {
    let (merges, bytes) = input;
    let text: String = bytes
        .iter()
        .flat_map(|byte| (0..4).map(move |at| b"ACGT"[usize::from(byte >> (2 * at) & 3)]))
        .map(char::from)
        .take(2_000)
        .collect();
    let (training, text) = text.split_at(text.len() / 2);
    let mut trainer = BpeTrainer::new(InputConfig { threads: 1, ..InputConfig::default() });
    if training.is_empty()
        || trainer.add(training.as_bytes(), 1, &mut InputStats::default()).is_err()
    {
        return;
    }
    let options = Options { vocab_size: 9 + usize::from(merges), threads: 1, ..Options::default() };
    let Ok(vocab) = trainer.train(&options, &[], |_| Ok(())) else { return };
    let codes = common::codes(text);
    let want = common::encode_naively(&vocab, &codes);
    let mut pieces = Vec::new();
    GeneralEncoder::new(&vocab).encode(&vocab, &codes, &mut pieces);
    assert_eq!(pieces, want);
    let ids: Vec<_> = want.iter().map(|&piece| vocab.id(piece)).collect();
    let automaton = Automaton::bpe(&vocab).expect("four letters, few pieces");
    automaton.encode_runs(&[text.as_bytes()], &mut Scratch::default(), |got| assert_eq!(got, ids));
});

//! Encoding equals BPE as it is defined.

#[expect(dead_code, reason = "each test file uses some of the twins")]
mod common;

use common::{codes, encode_naively};
use dnabert2_core::encode::GeneralEncoder;
use dnabert2_core::train::BpeTrainer;
use dnabert2_core::vocab::Vocab;
use proptest::prelude::*;

fn trained(sequences: &[String], merges: usize) -> Vocab {
    let mut trainer = BpeTrainer::new(None);
    for sequence in sequences {
        trainer.add(sequence.as_bytes()).expect("small input");
    }
    trainer.train(5 + 4 + merges, 1, 5, |_| Ok(())).expect("there are bases")
}

fn encoded(vocab: &Vocab, codes: &[u8]) -> Vec<u32> {
    let mut pieces = Vec::new();
    GeneralEncoder::new(vocab).encode(vocab, codes, &mut pieces);
    pieces
}

/// Sequence with the repeats that make BPE hard: homopolymers, tandem repeats, few letters.
fn dna(most: usize) -> impl Strategy<Value = String> {
    let unit = proptest::string::string_regex("[ACGT]{1,4}").expect("a valid pattern");
    let run = (unit, 1..40_usize).prop_map(|(unit, times)| unit.repeat(times));
    let two = proptest::string::string_regex("[AT]{0,60}").expect("a valid pattern");
    let any = proptest::string::string_regex("[ACGT]{0,60}").expect("a valid pattern");
    proptest::collection::vec(prop_oneof![run, two, any], 1..6).prop_map(move |parts| {
        let mut text = parts.concat();
        text.truncate(most);
        text + "A"
    })
}

proptest! {
    #[test]
    fn general_encoder_is_bpe(
        training in proptest::collection::vec(dna(400), 1..4),
        merges in 0..80_usize,
        text in dna(300),
    ) {
        let vocab = trained(&training, merges);
        let codes = codes(&text);
        prop_assert_eq!(encoded(&vocab, &codes), encode_naively(&vocab, &codes));
    }

    #[test]
    fn neighbours_are_what_encoding_leaves_alone(
        training in dna(300), merges in 0..40_usize,
    ) {
        let vocab = trained(&[training], merges);
        for (left, a) in vocab.texts().iter().zip(0..) {
            for (right, b) in vocab.texts().iter().zip(0..) {
                let joint = codes(&String::from_utf8([&left[..], right].concat()).expect("ASCII"));
                prop_assert_eq!(vocab.adjacent(a, b), encode_naively(&vocab, &joint) == [a, b]);
            }
        }
    }
}

#[test]
fn every_short_string_of_small_vocabularies() {
    for (training, merges) in
        [("ACACACGTGTAAAAAA", 6), ("AAAAAAAAAAAAAAAAAAAA", 8), ("ATATTATTTAAATAT", 9)]
    {
        let vocab = trained(&[training.to_owned()], merges);
        for length in 0..=7_u32 {
            for number in 0..4_u32.pow(length) {
                let codes: Vec<u8> = (0..length).map(|i| (number >> (2 * i) & 3) as u8).collect();
                assert_eq!(encoded(&vocab, &codes), encode_naively(&vocab, &codes), "{codes:?}");
            }
        }
    }
}

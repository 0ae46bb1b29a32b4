//! Encoding equals BPE as it is defined.

#[expect(dead_code, reason = "each test file uses some of the twins")]
mod common;

use common::{codes, encode_naively, longest_first_naively, longest_naively};
use dnabert2_core::TokenId;
use dnabert2_core::encode::{
    Automaton, GeneralEncoder, LongestFirst, Scratch, Trie, encode_with_dropout,
};
use dnabert2_core::tokenizer_file;
use dnabert2_core::train::{BpeTrainer, InputConfig, InputStats, Options};
use dnabert2_core::vocab::{MAX_LETTERS, Vocab};
use proptest::prelude::*;

fn trained(sequences: &[String], merges: usize) -> Vocab {
    let mut trainer = BpeTrainer::new(InputConfig::default());
    for sequence in sequences {
        trainer.add(sequence.as_bytes(), 1, &mut InputStats::default()).expect("small input");
    }
    trainer
        .train(&Options { vocab_size: 9 + merges, ..Options::default() }, &[], |_| Ok(()))
        .expect("there are bases")
}

fn encoded(vocab: &Vocab, codes: &[u8]) -> Vec<u32> {
    let mut pieces = Vec::new();
    GeneralEncoder::new(vocab).encode(vocab, codes, &mut pieces);
    pieces
}

/// What the automaton makes of several runs at once.
fn scanned(automaton: &Automaton, runs: &[String]) -> Vec<Vec<TokenId>> {
    let runs: Vec<&[u8]> = runs.iter().map(String::as_bytes).collect();
    let mut ids = Vec::new();
    automaton.encode_runs(&runs, &mut Scratch::default(), |some| ids.push(some.to_vec()));
    ids
}

fn naive_ids(vocab: &Vocab, text: &str) -> Vec<TokenId> {
    encode_naively(vocab, &codes(text)).into_iter().map(|piece| vocab.id(piece)).collect()
}

/// The general encoder's ids: for texts that are too long for the definition.
fn general_ids(vocab: &Vocab, text: &str) -> Vec<TokenId> {
    encoded(vocab, &codes(text)).into_iter().map(|piece| vocab.id(piece)).collect()
}

fn published() -> Vocab {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../python/dnabert2_fast/data/dnabert2.tokenizer.json"
    );
    let file = tokenizer_file::open(path.as_ref()).expect("it travels with the package");
    file.vocab().expect("it has pieces").clone()
}

/// Sequence with the repeats that make BPE hard: homopolymers, tandem repeats, few letters.
fn dna(max_length: usize) -> impl Strategy<Value = String> {
    let unit = proptest::string::string_regex("[ACGT]{1,4}").expect("a valid pattern");
    let run = (unit, 1..40_usize).prop_map(|(unit, times)| unit.repeat(times));
    let two = proptest::string::string_regex("[AT]{0,60}").expect("a valid pattern");
    let any = proptest::string::string_regex("[ACGT]{0,60}").expect("a valid pattern");
    proptest::collection::vec(prop_oneof![run, two, any], 1..6).prop_map(move |parts| {
        let mut text = parts.concat();
        text.truncate(max_length);
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
    fn pieces_are_added_to_those_of_other_texts(
        training in proptest::collection::vec(dna(400), 1..4),
        texts in proptest::collection::vec(dna(60), 1..6),
    ) {
        let vocab = trained(&training, 80);
        let encoder = GeneralEncoder::new(&vocab);
        let (mut together, mut alone) = (Vec::new(), Vec::new());
        for text in &texts {
            encoder.encode(&vocab, &codes(text), &mut together);
            alone.extend(encoded(&vocab, &codes(text)));
        }
        prop_assert_eq!(together, alone);
    }

    #[test]
    fn automaton_is_bpe(
        training in proptest::collection::vec(dna(400), 1..4),
        merges in 0..120_usize,
        runs in proptest::collection::vec(dna(300), 0..150),
    ) {
        let vocab = trained(&training, merges);
        let automaton = Automaton::bpe(&vocab).expect("four letters, few pieces");
        let want: Vec<_> = runs.iter().map(|run| naive_ids(&vocab, run)).collect();
        prop_assert_eq!(scanned(&automaton, &runs), want);
    }

    #[test]
    fn longest_match_is_longest_match(
        training in proptest::collection::vec(dna(400), 1..4),
        merges in 0..120_usize,
        runs in proptest::collection::vec(dna(100), 0..8),
    ) {
        let vocab = trained(&training, merges);
        let automaton = Automaton::longest(&vocab).expect("four letters, few pieces");
        let trie = Trie::new(&vocab);
        for (run, ids) in runs.iter().zip(scanned(&automaton, &runs)) {
            let want = longest_naively(&vocab, &codes(run));
            let mut pieces = Vec::new();
            trie.encode_longest(&codes(run), &mut pieces);
            prop_assert_eq!(&pieces, &want);
            let want: Vec<_> = want.into_iter().map(|piece| vocab.id(piece)).collect();
            prop_assert_eq!(ids, want);
        }
    }

    #[test]
    fn longest_first_is_longest_first(
        training in proptest::collection::vec(dna(400), 1..4),
        merges in 0..120_usize,
        text in dna(150),
    ) {
        let vocab = trained(&training, merges);
        let mut pieces = Vec::new();
        LongestFirst::new(&vocab).encode(&codes(&text), &mut pieces);
        prop_assert_eq!(pieces, longest_first_naively(&vocab, &codes(&text)));
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

/// The proof obligation of the automaton, exhaustively: every text up to ten letters.
#[test]
fn automaton_on_every_short_string_of_small_vocabularies() {
    for (training, merges) in [
        ("ACACACGTGTAAAAAA", 6),
        ("AAAAAAAAAAAAAAAAAAAA", 8),
        ("ATATTATTTAAATAT", 9),
        ("ACGTTGCAACGTACGTTTGCAGGCA", 14),
        ("A", 0),
    ] {
        let vocab = trained(&[training.to_owned()], merges);
        let automaton = Automaton::bpe(&vocab).expect("four letters, few pieces");
        for length in 1..=8_u32 {
            let texts: Vec<String> = (0..4_u32.pow(length))
                .map(|number| {
                    (0..length)
                        .map(|i| ['A', 'C', 'G', 'T'][(number >> (2 * i) & 3) as usize])
                        .collect()
                })
                .collect();
            for (text, ids) in texts.iter().zip(scanned(&automaton, &texts)) {
                assert_eq!(ids, naive_ids(&vocab, text), "{text}");
            }
        }
    }
}

/// A simple generator, so that long texts are the same every time.
fn random_bases(mut state: u64, length: usize) -> String {
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ['A', 'C', 'G', 'T'][(state >> 62) as usize]
        })
        .collect()
}

#[test]
fn published_vocabulary_on_repeats_of_every_length() {
    let vocab = published();
    let automaton = Automaton::bpe(&vocab).expect("it has four letters");
    let mut texts = Vec::new();
    for unit in ["A", "C", "CA", "TG", "TA", "GA", "TC", "ACG", "AAAT", "CACACACT"] {
        for length in (1..75).chain([127, 128, 129, 255, 999, 1000, 1001]) {
            let repeat: String = unit.chars().cycle().take(length).collect();
            texts.push(format!("{}{repeat}{}", random_bases(7, length % 9), random_bases(8, 5)));
            texts.push(repeat);
        }
    }
    for (text, ids) in texts.iter().zip(scanned(&automaton, &texts)) {
        assert_eq!(ids, naive_ids(&vocab, text), "{text}");
    }
}

/// Cuts of long runs, with repeats across them that keep estimates wrong for thousands of letters.
#[test]
fn long_runs_are_exact_across_their_cuts() {
    let vocab = published();
    let automaton = Automaton::bpe(&vocab).expect("it has four letters");
    let random = random_bases(3, 700_001);
    let mut texts = vec![
        random[..40_000].to_owned(),
        random[..198_912].to_owned(), // exactly one block
        random[..198_913].to_owned(),
        random.clone(),
        "A".repeat(450_001),
        "CA".repeat(250_000) + "T",
        "T".to_owned() + &"CA".repeat(250_000),
    ];
    for (unit, times) in [("TG", 60_000), ("A", 30_000), ("GATA", 3_000), ("ACGTT", 50_000)] {
        for cut in [16_576, 198_912, 2 * 198_912 - 77] {
            let repeat = unit.repeat(times);
            let half = repeat.len() / 2;
            let from = cut.max(half) - half;
            texts.push(random[..from].to_owned() + &repeat + &random[from..from + 90_001]);
        }
    }
    for text in texts {
        let want = general_ids(&vocab, &text);
        let whole = scanned(&automaton, std::slice::from_ref(&text)).remove(0);
        assert!(whole == want, "{}...", &text[..40]);
        for threads in [1, 3] {
            let mut ids = Vec::new();
            automaton.encode_run(text.as_bytes(), threads, &mut Scratch::default(), |some| {
                ids.extend_from_slice(some);
            });
            assert!(ids == want, "{}... of {}", &text[..40], text.len());
        }
    }
}

/// Pieces of seven letters, TG and five of A and C, in a fixed order, and merges of each with the next,
/// the last two first. So in a row of them every second border depends on where the row ends.
fn chained() -> Vocab {
    let mut merges = vec![(3, 2)];
    let mut row = vec![4];
    let mut made = 4;
    for _ in 0..5 {
        let longer: Vec<_> = row.iter().flat_map(|&piece| [(piece, 0), (piece, 1)]).collect();
        row = (0..).take(longer.len()).map(|number| made + 1 + number).collect();
        made += u32::try_from(longer.len()).expect("few");
        merges.extend(longer);
    }
    merges.extend(row.windows(2).rev().map(|two| (two[0], two[1])));
    let ids = (0..).take(4 + merges.len()).collect();
    Vocab::new(b"ACGT", &merges, ids).expect("sound merges")
}

/// Rows of 31 or 32 pieces: without the end of a row, half of the estimates at its begin are wrong.
#[test]
fn estimates_that_are_wrong_are_repaired() {
    let vocab = chained();
    let automaton = Automaton::bpe(&vocab).expect("few pieces");
    let row: Vec<u8> = vocab.texts()[36..68].concat();
    let mut text = Vec::new();
    for number in random_bases(9, 3_000).bytes() {
        text.extend_from_slice(if number < b'G' { &row } else { &row[..31 * 7] });
    }
    let text = String::from_utf8(text).expect("ASCII");
    assert_eq!(encoded(&vocab, &codes(&text[..448])), encode_naively(&vocab, &codes(&text[..448])));
    for length in [text.len(), 450_000, 450_001, 198_913, 66_001, 66_000] {
        let text = &text[..length];
        let want = general_ids(&vocab, text);
        for threads in [1, 3] {
            let mut ids = Vec::new();
            automaton.encode_run(text.as_bytes(), threads, &mut Scratch::default(), |some| {
                ids.extend_from_slice(some);
            });
            assert!(ids == want, "{length} letters, {threads} threads");
        }
    }
}

/// In longest match the borders of a homopolymer depend on where it begins, however far to the left.
#[test]
fn borders_that_are_wrong_are_repaired() {
    let merges = [(0, 0), (4, 0), (2, 3)]; // AA, AAA, GT
    let vocab = Vocab::new(b"ACGT", &merges, (0..7).collect()).expect("sound merges");
    let automaton = Automaton::longest(&vocab).expect("few pieces");
    let repeat = "A".repeat(66_000);
    for begin in ["", "A", "C", "GT"] {
        let text = begin.to_owned() + &repeat + "GTACAAAAG" + &repeat;
        let want: Vec<_> =
            longest_naively(&vocab, &codes(&text)).into_iter().map(|one| vocab.id(one)).collect();
        let mut ids = Vec::new();
        automaton.encode_run(text.as_bytes(), 2, &mut Scratch::default(), |some| {
            ids.extend_from_slice(some);
        });
        assert!(ids == want, "{begin:?}");
    }
}

#[test]
fn letters_alone_have_a_state_each() {
    let letters = Vocab::new(b"ACGT", &[], (0..4).collect()).expect("letters");
    // And one of the empty text.
    assert_eq!(Automaton::bpe(&letters).expect("few pieces").states(), 5);
    assert_eq!(Automaton::longest(&letters).expect("few pieces").states(), 5);
}

#[test]
fn other_letters_do_not_change_runs_of_bases() {
    // N, then _A, then AC and N_.
    let merges = [(5, 1), (1, 2), (0, 5)];
    let vocab = Vocab::new(b"NACGT_", &merges, (0..9).collect()).expect("sound merges");
    let automaton = Automaton::bpe(&vocab).expect("it has the four bases");
    assert_eq!(scanned(&automaton, &["GACAC".to_owned()]), [[3, 7, 7]]);
    let three = Vocab::new(b"ACG", &[(0, 1)], (0..4).collect()).expect("sound merges");
    assert!(Automaton::bpe(&three).is_none());
}

/// More pieces than 16 bits have states for.
#[test]
fn wide_states_are_exact() {
    let mut trainer = BpeTrainer::new(InputConfig::default());
    trainer
        .add(random_bases(11, 600_000).as_bytes(), 1, &mut InputStats::default())
        .expect("small input");
    let vocab = trainer
        .train(&Options { vocab_size: 15_000, ..Options::default() }, &[], |_| Ok(()))
        .expect("there are bases");
    let automaton = Automaton::bpe(&vocab).expect("within the cap");
    assert!(matches!(automaton, Automaton::Wide(_)), "{} states", automaton.states());
    let text = random_bases(12, 300_000) + &"CA".repeat(50_000) + &random_bases(13, 10_000);
    let want = general_ids(&vocab, &text);
    let mut ids = Vec::new();
    automaton.encode_run(text.as_bytes(), 2, &mut Scratch::default(), |some| {
        ids.extend_from_slice(some);
    });
    assert!(ids == want);
    assert!(scanned(&automaton, std::slice::from_ref(&text))[0] == want);
}

/// Two-sided: the share of merges left out shows in the number of pieces, and each draw is BPE of
/// some kind: its pieces spell the text.
#[test]
fn dropout_leaves_out_merges() {
    use rand_xoshiro::Xoshiro256PlusPlus;
    use rand_xoshiro::rand_core::SeedableRng;
    let vocab = published();
    let text = random_bases(5, 20_000);
    let draw = |rate: f64, seed: u64| {
        let mut pieces = Vec::new();
        let mut draws = Xoshiro256PlusPlus::seed_from_u64(seed);
        encode_with_dropout(&vocab, &codes(&text), rate, &mut draws, &mut pieces);
        let spelled = pieces.iter().flat_map(|&p| vocab.texts()[p as usize].clone()).collect();
        assert_eq!(String::from_utf8(spelled).expect("ASCII"), text);
        pieces
    };
    assert_eq!(draw(0.0, 1), encoded(&vocab, &codes(&text)));
    assert_eq!(draw(1.0, 1).len(), text.len());
    assert_eq!(draw(0.3, 1), draw(0.3, 1));
    assert_ne!(draw(0.3, 1), draw(0.3, 2));
    let counts: Vec<usize> = [0.0, 0.1, 0.3, 0.6, 1.0].map(|rate| draw(rate, 3).len()).to_vec();
    assert!(counts.is_sorted() && counts[1] > counts[0] && counts[3] < counts[4], "{counts:?}");
}

/// As long as a piece may be: its length fills the 16 bits that the machine has for it.
#[test]
fn the_longest_possible_piece_is_found() {
    let mut merges: Vec<(u32, u32)> =
        (0..15).map(|k| if k == 0 { (0, 0) } else { (k + 3, k + 3) }).collect();
    let mut whole = 18; // 2^15 letters
    for half in (4..18).rev().chain([0]) {
        merges.push((whole, half));
        whole = u32::try_from(3 + merges.len()).expect("few");
    }
    let vocab = Vocab::new(b"ACGT", &merges, (0..34).collect()).expect("sound merges");
    assert_eq!(vocab.texts()[33].len(), MAX_LETTERS);
    let automaton = Automaton::longest(&vocab).expect("few states");
    let text = "A".repeat(2 * MAX_LETTERS + 1) + "C";
    assert_eq!(scanned(&automaton, &[text]), [[33, 33, 0, 1]]);
}

//! Training equals BPE training as it is defined.

#[expect(dead_code, reason = "each test file uses some of the twins")]
mod common;

use common::{codes, train_naively};
use dnabert2_core::Error;
use dnabert2_core::train::{BpeTrainer, InputConfig, InputStats, Options};
use proptest::prelude::*;

fn options(vocab_size: usize) -> Options {
    Options { vocab_size, threads: 1, ..Options::default() }
}

proptest! {
    #[test]
    fn merges_equal_the_naive_ones(
        sequences in proptest::collection::vec("[ACGT]{1,150}|(AC|TTA|G){1,60}|A{1,90}", 1..5),
        window_bp in proptest::option::of(1..70_usize),
        merges in 0..60_usize,
        min_count in 1..4_u64,
        threads in 1..4_usize,
        max_token_bp in proptest::option::of(2..9_usize),
    ) {
        let mut trainer = BpeTrainer::new(InputConfig { window_bp, threads, ..InputConfig::default() });
        let mut windows = Vec::new();
        for sequence in &sequences {
            trainer.add(sequence.as_bytes(), 1, &mut InputStats::default()).expect("small input");
            let codes = codes(sequence);
            windows.extend(codes.chunks(window_bp.unwrap_or(codes.len())).map(<[u8]>::to_vec));
        }
        let options =
            Options { min_frequency: min_count, threads, max_token_bp, ..options(9 + merges) };
        let vocab = trainer.train(&options, &[], |_| Ok(())).expect("there are bases");
        let naive = train_naively(
            &windows, merges, min_count, max_token_bp.unwrap_or(usize::MAX),
        );
        prop_assert_eq!(vocab.merges(), &naive[..]);
    }
}

/// A text that does not fit the limit, in memory and on disk, with some merges known beforehand: the
/// same merges.
#[test]
fn passes_over_the_text_make_the_same_merges() {
    let mut text = "ACGTTGCATTAGCCATGACCA".repeat(30) + &"A".repeat(77) + &"CAG".repeat(40);
    for round in 1..9_usize {
        text += &text[round * 31..round * 97].replace("CA", "TTG");
    }
    let folder = tempfile::tempdir().expect("a folder for the test");
    for window_bp in [None, Some(50), Some(7)] {
        let whole = {
            let mut trainer = BpeTrainer::new(InputConfig { window_bp, ..InputConfig::default() });
            trainer.add(text.as_bytes(), 1, &mut InputStats::default()).expect("small input");
            trainer.train(&options(9 + 150), &[], |_| Ok(())).expect("there are bases")
        };
        let naive = train_naively(
            &codes(&text)
                .chunks(window_bp.unwrap_or(usize::MAX))
                .map(<[u8]>::to_vec)
                .collect::<Vec<_>>(),
            150,
            1,
            usize::MAX,
        );
        assert_eq!(whole.merges(), &naive[..]);
        for (memory_limit, threads, known) in
            [(0, 1, 0), (0, 3, 0), (6_000, 2, 0), (0, 1, 11), (u64::MAX, 2, 40)]
        {
            let mut trainer =
                BpeTrainer::new(InputConfig { window_bp, threads, ..InputConfig::default() });
            trainer.spill_to(folder.path()).expect("a file");
            trainer.add(text.as_bytes(), 1, &mut InputStats::default()).expect("small input");
            let options = Options { memory_limit: Some(memory_limit), threads, ..options(9 + 150) };
            let known = &whole.merges()[..known];
            let vocab = trainer.train(&options, known, |_| Ok(())).expect("there are bases");
            assert_eq!(vocab.merges(), whole.merges(), "{window_bp:?} {memory_limit} {threads}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("it is there").count(), 0);
    }
}

/// Several spans for the threads, and repeats across their borders.
#[test]
fn long_input_on_several_threads() {
    let mut state = 1_u64;
    let mut text: String = (0..170_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ['A', 'C', 'G', 'T'][(state >> 62) as usize]
        })
        .collect();
    text.replace_range(65_000..66_200, &"CA".repeat(600));
    text.replace_range(131_000..131_201, &"A".repeat(201));
    let codes = codes(&text);
    let windows: Vec<Vec<u8>> = codes.chunks(50_000).map(<[u8]>::to_vec).collect();
    let naive = train_naively(&windows, 25, 1, usize::MAX);
    for threads in [1, 2, 3] {
        let mut trainer = BpeTrainer::new(InputConfig {
            window_bp: Some(50_000),
            threads,
            ..InputConfig::default()
        });
        trainer.add(text.as_bytes(), 1, &mut InputStats::default()).expect("small input");
        let options = Options { threads, ..options(9 + 25) };
        let vocab = trainer.train(&options, &[], |_| Ok(())).expect("there are bases");
        assert_eq!(vocab.merges(), &naive[..]);
    }
}

/// Thousands of repeats: pairs that arise in a generation have no room in its index.
#[test]
fn pairs_without_room_wait_for_the_next_generation() {
    for unit in ["ACGTTGCATTAGCC", "TTCAGACATGTGTAGCC", "CGCATAAGCCTTTGTAAAACAGACT"] {
        let text = unit.repeat(170_000 / unit.len());
        let windows: Vec<Vec<u8>> = codes(&text).chunks(50_000).map(<[u8]>::to_vec).collect();
        let naive = train_naively(&windows, 25, 1, usize::MAX);
        for threads in [1, 2] {
            let config = InputConfig { window_bp: Some(50_000), threads, ..InputConfig::default() };
            let mut trainer = BpeTrainer::new(config);
            trainer.add(text.as_bytes(), 1, &mut InputStats::default()).expect("small input");
            let options = Options { threads, ..options(9 + 25) };
            let vocab = trainer.train(&options, &[], |_| Ok(())).expect("there are bases");
            assert_eq!(vocab.merges(), &naive[..], "{unit} {threads}");
        }
    }
}

#[test]
fn other_letters_end_a_run_and_are_counted() {
    let (mut trainer, mut stats) = (BpeTrainer::new(InputConfig::default()), InputStats::default());
    trainer.add(b"ACNNacRAC", 1, &mut stats).expect("small input");
    let others = [(b'N', 2), (b'R', 1)].into();
    assert_eq!(stats, InputStats { used: 6, left_out: 0, others });
    let vocab = trainer.train(&options(10), &[], |_| Ok(())).expect("there are bases");
    assert_eq!(vocab.texts()[4], b"AC");
}

#[test]
fn bad_arguments_are_named() {
    let small = BpeTrainer::new(InputConfig::default()).train(&options(8), &[], |_| Ok(()));
    assert!(small.is_err_and(|e| e.to_string().contains("must be between 9 and 65536 (got 8)")));
    let empty = BpeTrainer::new(InputConfig::default()).train(&options(16), &[], |_| Ok(()));
    assert!(empty.is_err_and(|e| e.to_string().contains("no A, C, G or T")));
}

#[test]
fn the_size_has_limits_that_are_allowed() {
    let train = |vocab_size| {
        let mut trainer = BpeTrainer::new(InputConfig::default());
        trainer.add(b"ACACACACGT", 1, &mut InputStats::default()).expect("small input");
        let options = Options { min_frequency: 0, ..options(vocab_size) };
        trainer.train(&options, &[(0, 1), (4, 4), (5, 4)], |_| Ok(()))
    };
    let letters = train(9).expect("room for the letters");
    assert_eq!((letters.merges(), letters.id(0), letters.id(3)), (&[][..], 5, 8));
    // Known merges beyond the size are left out.
    assert_eq!(train(11).expect("room for two merges").merges(), [(0, 1), (4, 4)]);
    // All that can be merged is merged, and no pair that does not occur.
    let all = train(65_536).expect("all that 16 bits hold");
    assert_eq!(all.texts().last().map(Vec::len), Some(10));
    assert!(train(65_537).is_err_and(|e| e.to_string().contains("between 9 and 65536")));
}

/// More pieces than slots of 16 bits hold: the same merges in one go, and from known ones on either side
/// of that limit.
#[test]
fn slots_are_widened_without_a_trace() {
    let mut state = 5_u64;
    let text: Vec<u8> = (0..170_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            b"ACGT"[(state >> 62) as usize]
        })
        .collect();
    let train = |known: &[(u32, u32)]| {
        let config = InputConfig { window_bp: Some(4_000), threads: 1, ..InputConfig::default() };
        let mut trainer = BpeTrainer::new(config);
        trainer.add(&text, 1, &mut InputStats::default()).expect("small input");
        let vocab = trainer.train(&options(9 + 34_000), known, |_| Ok(()));
        vocab.expect("there are bases").merges().to_vec()
    };
    let whole = train(&[]);
    assert_eq!(whole.len(), 34_000);
    for known in [100, 32_700, 33_000] {
        assert!(train(&whole[..known]) == whole, "{known}");
    }
}

#[test]
fn the_fingerprint_is_that_of_the_windows() {
    let windows = InputConfig { window_bp: Some(4), ..InputConfig::default() };
    let mut trainer = BpeTrainer::new(windows);
    for sequence in [b"ACGTACN", &b"TT"[..]] {
        trainer.add(sequence, 1, &mut InputStats::default()).expect("small input");
    }
    // sha256sum of "ACGT/AC/TT/".
    let want = "da36be3b7931173416e0b763eae05a72c99e560f08c1e82d26d38e2b4136636b";
    assert_eq!(trainer.fingerprint(), want);
}

#[test]
fn every_merge_is_reported_once() {
    let text = "ACGTTGCATTAGCCATGACCA".repeat(20) + &"A".repeat(77) + &"CAG".repeat(40);
    for (memory_limit, known) in [(None, 0), (Some(0), 0), (Some(3_000), 0), (None, 7)] {
        let train = |known: &[(u32, u32)]| {
            let mut trainer = BpeTrainer::new(InputConfig::default());
            trainer.add(text.as_bytes(), 1, &mut InputStats::default()).expect("small input");
            let options = Options { memory_limit, ..options(9 + 40) };
            let mut heard = Vec::new();
            let vocab = trainer.train(&options, known, |merges| {
                heard.push(merges.to_vec());
                Ok(())
            });
            (vocab.expect("there are bases"), heard)
        };
        let known = train(&[]).0.merges()[..known].to_vec();
        let (vocab, heard) = train(&known);
        let want: Vec<_> = (known.len() + 1..=40).map(|n| vocab.merges()[..n].to_vec()).collect();
        assert_eq!(heard, want, "{memory_limit:?}");
    }
}

#[test]
fn a_folder_that_is_missing_is_named() {
    let mut trainer = BpeTrainer::new(InputConfig::default());
    let missing = tempfile::tempdir().expect("a folder").path().join("none");
    assert!(matches!(trainer.spill_to(&missing), Err(Error::Io { path, .. }) if path == missing));
}

#[test]
fn known_merges_must_be_sound() {
    for known in [&[(0, 4)][..], &[(0, 1), (0, 1)]] {
        let mut trainer = BpeTrainer::new(InputConfig::default());
        trainer.add(b"ACGTACGTACGT", 1, &mut InputStats::default()).expect("small input");
        let refused = trainer.train(&options(20), known, |_| Ok(()));
        assert!(matches!(refused, Err(Error::Vocab { .. })));
    }
}

#[test]
fn no_piece_is_longer_than_a_vocabulary_may_hold() {
    let mut trainer = BpeTrainer::new(InputConfig::default());
    trainer.add(&b"A".repeat(200_000), 1, &mut InputStats::default()).expect("small input");
    let vocab = trainer.train(&options(30), &[], |_| Ok(())).expect("there are bases");
    let longest = vocab.texts().iter().map(Vec::len).max();
    assert!(longest.is_some_and(|letters| (1 << 15..1 << 16).contains(&letters)));
}

#[test]
fn report_can_stop_the_work() {
    let mut trainer = BpeTrainer::new(InputConfig::default());
    trainer.add(b"ACGTACGTACGT", 1, &mut InputStats::default()).expect("small input");
    let stopped = trainer.train(&options(20), &[], |merges| {
        if merges.len() > 1 { Err(Error::Interrupted) } else { Ok(()) }
    });
    assert!(matches!(stopped, Err(Error::Interrupted)));
}

/// Counts that 32 bits cannot hold, signed or not: the content of a window counted many times over
/// wins against what fills a megabyte, and only by as much as it should.
#[test]
fn counts_have_64_bits() {
    for times in [1 << 31, (1 << 32) - 1, (1 << 32) + 1, 1 << 40] {
        let mut trainer = BpeTrainer::new(InputConfig { threads: 2, ..InputConfig::default() });
        trainer.add(&b"AC".repeat(20_000), 1, &mut InputStats::default()).expect("small input");
        trainer.add(b"GT", times, &mut InputStats::default()).expect("small input");
        trainer.add(b"TA", times - 1, &mut InputStats::default()).expect("small input");
        trainer.add(b"TANTA", 1, &mut InputStats::default()).expect("small input");
        // TA is seen once more than GT, AC 20,000 times, CA 19,999 times.
        let options = Options { threads: 2, ..options(9 + 4) };
        let vocab = trainer.train(&options, &[], |_| Ok(())).expect("there are bases");
        let texts: Vec<_> =
            vocab.texts()[4..].iter().map(|t| t.escape_ascii().to_string()).collect();
        assert_eq!(texts, ["TA", "GT", "AC", "ACAC"], "{times}");
    }
}

fn texts(config: InputConfig, sequence: &str, merges: usize) -> (Vec<String>, InputStats) {
    let (mut trainer, mut stats) = (BpeTrainer::new(config), InputStats::default());
    trainer.add(sequence.as_bytes(), 1, &mut stats).expect("small input");
    let vocab = trainer.train(&options(9 + merges), &[], |_| Ok(())).expect("there are bases");
    let texts = vocab.texts()[4..].iter().map(|text| text.escape_ascii().to_string());
    (texts.collect(), stats)
}

#[test]
fn input_is_read_as_configured() {
    let compat = InputConfig { fold_case: false, ..InputConfig::default() };
    let (made, stats) = texts(compat, "ACgtgtgtAC", 1);
    assert_eq!((made, stats.used, stats.others.len()), (vec!["AC".to_owned()], 4, 2));

    let both = InputConfig { both_strands: true, ..InputConfig::default() };
    let (made, stats) = texts(both, "AACAACAA", 2);
    assert_eq!((made[0].as_str(), stats.used), ("AA", 8)); // AA and TT tie
    assert_eq!(made[1], "TT");

    let text = "ACGTTGCATTAGCCATGACC".repeat(500);
    let sample =
        InputConfig { window_bp: Some(10), sample: 0.3, seed: 5, ..InputConfig::default() };
    let (made, stats) = texts(sample, &text, 8);
    assert_eq!(stats.used + stats.left_out, 10_000);
    assert!((2_500..3_500).contains(&stats.used), "{stats:?}");
    assert_eq!(texts(sample, &text, 8), (made, stats.clone()));
    assert_ne!(texts(InputConfig { seed: 6, ..sample }, &text, 8).1.used, stats.used);
}

proptest! {
    /// Sequences that repeat are stored once per bit of their number; the merges are the same.
    #[test]
    fn repeated_sequences_count_as_often_as_they_occur(
        sequences in proptest::collection::vec(("[ACGT]{1,30}", 1_usize..70), 1..40),
        both_strands: bool,
        window_bp in proptest::option::of(3_usize..9),
    ) {
        let config = InputConfig { both_strands, window_bp, threads: 2, ..InputConfig::default() };
        let (mut one_by_one, mut together) = (BpeTrainer::new(config), BpeTrainer::new(config));
        let mut stats = InputStats::default();
        for (text, times) in &sequences {
            for _ in 0..*times {
                one_by_one.add(text.as_bytes(), 1, &mut stats).expect("small input");
            }
            together.add(text.as_bytes(), *times as u64, &mut stats).expect("small input");
        }
        let mut windows = Vec::new();
        for (text, times) in &sequences {
            for window in codes(text).chunks(window_bp.unwrap_or(text.len())) {
                let other: Vec<u8> = window.iter().rev().map(|code| 3 - code).collect();
                for _ in 0..*times {
                    windows.push(window.to_vec());
                    windows.extend(both_strands.then(|| other.clone()));
                }
            }
        }
        let want = train_naively(&windows, 30, 1, usize::MAX);
        for trainer in [one_by_one, together] {
            let vocab = trainer.train(&options(9 + 30), &[], |_| Ok(())).expect("bases");
            prop_assert_eq!(vocab.merges(), &want[..]);
        }
    }
}

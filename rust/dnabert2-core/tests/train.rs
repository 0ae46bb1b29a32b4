//! Training equals BPE training as it is defined.

#[expect(dead_code, reason = "each test file uses some of the twins")]
mod common;

use common::{codes, train_naively};
use dnabert2_core::Error;
use dnabert2_core::train::BpeTrainer;
use proptest::prelude::*;

proptest! {
    #[test]
    fn merges_equal_the_naive_ones(
        sequences in proptest::collection::vec("[ACGT]{1,150}|(AC|TTA|G){1,60}|A{1,90}", 1..5),
        window_bp in proptest::option::of(1..70_usize),
        merges in 0..60_usize,
        min_count in 1..4_u64,
        threads in 1..4_usize,
    ) {
        let mut trainer = BpeTrainer::new(window_bp);
        let mut windows = Vec::new();
        for sequence in &sequences {
            trainer.add(sequence.as_bytes()).expect("small input");
            let codes = codes(sequence);
            windows.extend(codes.chunks(window_bp.unwrap_or(codes.len())).map(<[u8]>::to_vec));
        }
        let vocab = trainer.train(9 + merges, min_count, 5, threads, |_| Ok(())).expect("there are bases");
        let naive = train_naively(&windows, merges, min_count);
        prop_assert_eq!(vocab.merges(), &naive[..]);
    }
}

/// Several stretches for the threads, and repeats across their borders.
#[test]
fn long_input_on_several_threads() {
    let mut state = 1_u64;
    let mut text: String = (0..150_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ['A', 'C', 'G', 'T'][(state >> 62) as usize]
        })
        .collect();
    text.replace_range(65_000..66_200, &"CA".repeat(600));
    text.replace_range(131_000..131_201, &"A".repeat(201));
    let naive = train_naively(&[codes(&text)], 25, 1);
    for threads in [1, 2, 3] {
        let mut trainer = BpeTrainer::new(None);
        trainer.add(text.as_bytes()).expect("small input");
        let vocab = trainer.train(9 + 25, 1, 5, threads, |_| Ok(())).expect("there are bases");
        assert_eq!(vocab.merges(), &naive[..]);
    }
}

#[test]
fn other_letters_end_a_run_and_are_counted() {
    let mut trainer = BpeTrainer::new(None);
    trainer.add(b"ACNNacRAC").expect("small input");
    assert_eq!((trainer.bases(), trainer.skipped()), (6, 3));
    let vocab = trainer.train(10, 1, 5, 1, |_| Ok(())).expect("there are bases");
    assert_eq!(vocab.texts()[4], b"AC");
}

#[test]
fn bad_arguments_are_named() {
    let small = BpeTrainer::new(None).train(8, 1, 5, 1, |_| Ok(()));
    assert!(small.is_err_and(|e| e.to_string().contains("8 is not between 9 and 65536")));
    let empty = BpeTrainer::new(None).train(16, 1, 5, 1, |_| Ok(()));
    assert!(empty.is_err_and(|e| e.to_string().contains("nothing to train on")));
}

#[test]
fn report_can_stop_the_work() {
    let mut trainer = BpeTrainer::new(None);
    trainer.add(b"ACGTACGTACGT").expect("small input");
    let stopped = trainer
        .train(20, 1, 5, 1, |pieces| if pieces > 5 { Err(Error::Interrupted) } else { Ok(()) });
    assert!(matches!(stopped, Err(Error::Interrupted)));
}

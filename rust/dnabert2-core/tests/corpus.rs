//! Corpora: windows against a plain loop, and files that do not depend on threads.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use dnabert2_core::corpus::{CorpusBuilder, FileReport, Settings, ShardReport, Split, WindowRule};
use dnabert2_core::tokenizer::{Options, Policy};
use dnabert2_core::tokenizer_file::{TokenizerFile, from_trained};
use dnabert2_core::train::{self, BpeTrainer, Intake, Tally};
use dnabert2_core::{Error, Tokenizer};
use proptest::prelude::*;

fn tokenizer() -> Arc<Tokenizer> {
    let mut trainer = BpeTrainer::new(Intake::default());
    trainer.add(b"ACGTACACAGGTTACACATTTTACGACGA", 1, &mut Tally::default()).expect("bases");
    let merges = trainer
        .train(&train::Options { vocab_size: 24, ..Default::default() }, &[], |_| Ok(()))
        .expect("enough to merge");
    let text = from_trained(&merges, &["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]);
    let file = TokenizerFile::parse(Path::new("test"), text).expect("our own file");
    Arc::new(Tokenizer::new(file, Policy::default()))
}

fn settings(rule: WindowRule, valid_fraction: f64, threads: usize) -> Settings {
    Settings { rule, valid_fraction, shard_tokens: 2000, threads, about: "{}".into() }
}

fn build(fasta: &Path, folder: &Path, settings: Settings) -> (FileReport, Vec<ShardReport>) {
    let mut builder = CorpusBuilder::new(folder, tokenizer(), settings);
    let file = builder.add_file(fasta, |_| Ok(())).expect("a good file");
    (file, builder.finish().expect("a writable folder"))
}

fn naive_windows(rule: &WindowRule, length: usize) -> Vec<(usize, usize)> {
    let Some(window) = rule.window_bp else {
        return if length >= rule.min_bp { vec![(0, length)] } else { vec![] };
    };
    let mut found = Vec::new();
    let mut start = 0;
    loop {
        let end = length.min(start + window);
        if end - start >= rule.min_bp {
            found.push((start, end));
        }
        start += rule.stride_bp;
        // The next window must hold a base that no window so far has held.
        if start >= length || end == length {
            return found;
        }
    }
}

proptest! {
    #[test]
    fn windows_are_those_of_a_plain_loop(
        length in 1usize..60, window in 1usize..20, stride in 1usize..25, min in 1usize..10,
        whole: bool,
    ) {
        let window_bp = (!whole).then_some(window);
        let rule = WindowRule { window_bp, stride_bp: stride, min_bp: min, both_strands: false };
        prop_assert_eq!(rule.windows(length).collect::<Vec<_>>(), naive_windows(&rule, length));
    }
}

fn genome(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("g.fa");
    let mut file = std::fs::File::create(&path).expect("a file");
    let mut state = 1_u64;
    for record in 0..3 {
        let letters: String = (0..30_011)
            .map(|i| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                if i % 7001 == 7000 { 'N' } else { char::from(b"ACGTacgt"[(state >> 61) as usize]) }
            })
            .collect();
        writeln!(file, ">r{record} about it\n{letters}").expect("written");
    }
    path
}

#[test]
fn every_window_is_its_stretch_of_the_genome_whatever_the_threads() {
    let folder = tempfile::tempdir().expect("a folder");
    let fasta = genome(folder.path());
    let rule = WindowRule { window_bp: Some(50), stride_bp: 50, min_bp: 20, both_strands: true };
    let mut all = Vec::new();
    for threads in [1, 2] {
        let out = folder.path().join(format!("t{threads}"));
        std::fs::create_dir(&out).expect("a folder");
        let (file, shards) = build(&fasta, &out, settings(rule.clone(), 0.2, threads));
        let bytes: Vec<_> =
            shards.iter().map(|s| std::fs::read(out.join(&s.name)).expect("a shard")).collect();
        all.push((file, shards, bytes));
    }
    let (file, shards, bytes) = all.remove(0);
    assert_eq!((file.clone(), shards.clone(), bytes.clone()), all.remove(0));
    assert_eq!(file.records, ["r0", "r1", "r2"]);
    assert_eq!((file.bases, file.other_letters), (3 * 30_007, 12));

    let sequences =
        |split| -> u64 { shards.iter().filter(|s| s.split == split).map(|s| s.sequences).sum() };
    let (train, valid) = (sequences(Split::Train), sequences(Split::Valid));
    assert!((4..6).contains(&((train + valid) / valid)), "{train} and {valid}");

    let text = std::fs::read_to_string(&fasta).expect("the genome");
    let records: Vec<&str> =
        text.split('>').skip(1).map(|r| r.lines().nth(1).expect("letters")).collect();
    let tok = tokenizer();
    for split in [Split::Train, Split::Valid] {
        let origin = &file.windows[split as usize];
        let mut at = 0;
        for (shard, bytes) in shards.iter().zip(&bytes).filter(|(shard, _)| shard.split == split) {
            let tensors = safetensors::SafeTensors::deserialize(bytes).expect("safetensors");
            let numbers = |name: &str, width: usize| -> Vec<u64> {
                let tensor = tensors.tensor(name).expect("a tensor");
                tensor
                    .data()
                    .chunks(width)
                    .map(|c| c.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b)))
                    .collect()
            };
            let (ids, offsets) = (numbers("input_ids", 2), numbers("offsets", 8));
            assert_eq!(ids.len() as u64, shard.tokens);
            for pair in offsets.windows(2) {
                let stretch = usize::try_from(origin.start[at]).expect("small")
                    ..usize::try_from(origin.end[at]).expect("small");
                let forward = records[origin.record[at] as usize][stretch].as_bytes();
                let read = match origin.strand[at] {
                    1 => forward.to_vec(),
                    _ => dnabert2_core::dna::reverse_complement(forward),
                };
                let want = tok.encode(&read, None, 0, &Options::default()).expect("bases").ids;
                let range = usize::try_from(pair[0]).expect("small")
                    ..usize::try_from(pair[1]).expect("small");
                let got: Vec<u64> = ids[range].to_vec();
                assert_eq!(got, want.into_iter().map(u64::from).collect::<Vec<_>>());
                at += 1;
            }
        }
        assert_eq!(at, origin.start.len());
    }
}

#[test]
fn a_damaged_file_or_a_stop_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let fasta = genome(folder.path());
    let rule = WindowRule { window_bp: None, stride_bp: 1, min_bp: 1, both_strands: false };
    let mut builder = CorpusBuilder::new(folder.path(), tokenizer(), settings(rule, 0.0, 1));
    let stopped = builder.add_file(&fasta, |_| Err(Error::Interrupted));
    assert!(matches!(stopped, Err(Error::Interrupted)));
    std::fs::write(folder.path().join("bad.fa"), "ACGT\n").expect("written");
    let bad = builder.add_file(&folder.path().join("bad.fa"), |_| Ok(()));
    assert!(matches!(bad, Err(Error::Fasta { .. })));
}

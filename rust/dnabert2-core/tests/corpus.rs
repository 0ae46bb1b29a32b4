//! Corpora: windows against a plain loop, and files that do not depend on threads or stops.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dnabert2_core::corpus::{
    CorpusBuilder, FileReport, Ledger, OtherLetters, Provenance, Settings, ShardReport, Split,
    Unit, WindowRule,
};
use dnabert2_core::io::input::Input;
use dnabert2_core::policy::Policy;
use dnabert2_core::tokenizer::Options;
use dnabert2_core::tokenizer_file::{self, from_trained};
use dnabert2_core::train::{self, BpeTrainer, InputConfig, InputStats};
use dnabert2_core::{Error, Tokenizer};
use proptest::prelude::*;

fn tokenizer() -> Arc<Tokenizer> {
    let mut trainer = BpeTrainer::new(InputConfig::default());
    trainer.add(b"ACGTACACAGGTTACACATTTTACGACGA", 1, &mut InputStats::default()).expect("bases");
    let merges = trainer
        .train(&train::Options { vocab_size: 24, ..Default::default() }, &[], |_| Ok(()))
        .expect("enough to merge");
    let text = from_trained(&merges, &["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]);
    let file = tokenizer_file::parse(Path::new("test"), text).expect("our own file");
    Arc::new(Tokenizer::new(file, Policy::default()))
}

fn rule(window_bp: usize, stride_bp: usize, min_bp: usize) -> WindowRule {
    WindowRule {
        window_bp: Some(window_bp),
        min_window_bp: None,
        stride_bp,
        min_bp,
        both_strands: false,
        other_letters: OtherLetters::Split,
        fold_case: true,
        rna: false,
        seed: 0,
    }
}

fn settings(rule: WindowRule, valid_fraction: f64, threads: usize) -> Settings {
    let about = "{}".into();
    Settings { rule, valid_fraction, deduplicate: false, shard_tokens: 2000, threads, about }
}

fn unit(folder: &Path, fasta: &Path) -> Unit {
    let (folder, files) = (folder.to_owned(), vec![fasta.to_owned()]);
    Unit { number: 0, folder, files, keep: 1.0, done: [0, 0], shards: 0 }
}

type Built = (Vec<FileReport>, Vec<(ShardReport, Provenance)>);

#[derive(Default)]
struct Kept {
    first: usize,
    origins: Vec<Provenance>,
    shards: Vec<ShardReport>,
    refuses: bool,
}

impl Ledger for Kept {
    fn keep(&mut self, shard: usize, origin: Provenance) -> Result<(), Error> {
        assert_eq!(shard, self.first + self.origins.len());
        self.origins.push(origin);
        Ok(())
    }

    fn note(&mut self, shard: ShardReport) -> Result<(), Error> {
        if self.refuses {
            return Err(Error::InvalidArgument { name: "shard", message: "not wanted".into() });
        }
        self.shards.push(shard);
        Ok(())
    }
}

fn build(unit: &Unit, settings: Settings) -> Built {
    let mut kept = Kept { first: unit.shards, ..Kept::default() };
    let mut builder = CorpusBuilder::new(tokenizer(), settings);
    let files = builder.build(unit, Input::open, |_| Ok(()), &mut kept);
    let files = files.expect("a good file and a writable folder");
    (files, kept.shards.into_iter().zip(kept.origins).collect())
}

fn naive_windows(rule: &WindowRule, length: usize) -> Vec<(u64, u64)> {
    let window = rule.window_bp.unwrap_or(length);
    let mut found = Vec::new();
    let mut start = 0;
    loop {
        let end = length.min(start + window);
        if end - start >= rule.min_bp {
            found.push((start as u64, end as u64));
        }
        start += rule.stride_bp;
        // The next window must hold a base that no window so far has held.
        if rule.window_bp.is_none() || start >= length || end == length {
            return found;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn windows_are_those_of_a_plain_loop(
        length in 1usize..300, window in 1usize..40, stride in 1usize..50, min in 1usize..10,
        whole: bool, line in 1usize..30,
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut rule = rule(window, stride, min.min(window));
        if whole {
            rule.window_bp = None;
        }
        let letters: Vec<u8> = b"ACGTTGCA".iter().copied().cycle().take(length).collect();
        let mut text = b">r\nNN\n".to_vec();
        for line in letters.chunks(line) {
            text.extend_from_slice(line);
            text.push(b'\n');
        }
        let fasta = folder.path().join("g.fa");
        std::fs::write(&fasta, text).expect("written");
        let (_, shards) = build(&unit(folder.path(), &fasta), settings(rule.clone(), 0.0, 1));
        let got: Vec<_> = shards
            .iter()
            .flat_map(|(_, o)| o.start.iter().map(|s| s - 2).zip(o.end.iter().map(|e| e - 2)))
            .collect();
        prop_assert_eq!(got, naive_windows(&rule, length));
    }
}

fn genome(folder: &Path) -> PathBuf {
    let path = folder.join("g.fa");
    let mut file = std::fs::File::create(&path).expect("a file");
    let mut state = 1_u64;
    for record in 0..3 {
        let letters: String = (0..300_011)
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
fn every_window_is_its_span_of_the_genome_whatever_the_threads_and_stops() {
    let folder = tempfile::tempdir().expect("a folder");
    let fasta = genome(folder.path());
    let rule = WindowRule { both_strands: true, ..rule(50, 50, 20) };
    let mut all = Vec::new();
    for threads in [1, 4] {
        let out = folder.path().join(format!("t{threads}"));
        std::fs::create_dir(&out).expect("a folder");
        let (files, shards) = build(&unit(&out, &fasta), settings(rule.clone(), 0.2, threads));
        let bytes: Vec<_> = shards
            .iter()
            .map(|(shard, _)| std::fs::read(out.join(&shard.name)).expect("a shard"))
            .collect();
        all.push((files, shards, bytes));
    }
    let (files, shards, bytes) = all.remove(0);
    assert_eq!((&files, &shards, &bytes), (&all[0].0, &all[0].1, &all[0].2));
    assert_eq!((files[0].records, files[0].bases), (3, 899_907));
    assert_eq!(files[0].other_letters.values().sum::<u64>(), 126);

    // Stopped after some shards, and resumed.
    for stopped in [1, 7, shards.len() - 1] {
        let out = folder.path().join(format!("s{stopped}"));
        std::fs::create_dir(&out).expect("a folder");
        let mut rest = unit(&out, &fasta);
        rest.shards = stopped;
        for (shard, _) in &shards[..stopped] {
            rest.done[shard.split as usize] += shard.sequences;
        }
        let (again, more) = build(&rest, settings(rule.clone(), 0.2, 3));
        assert_eq!((&again, &more[..]), (&files, &shards[stopped..]));
        for ((shard, _), want) in more.iter().zip(&bytes[stopped..]) {
            assert!(std::fs::read(out.join(&shard.name)).expect("a shard") == *want);
        }
    }

    let sequences = |split| -> u64 {
        shards.iter().filter(|(s, _)| s.split == split).map(|(s, _)| s.sequences).sum()
    };
    let (train, valid) = (sequences(Split::Train), sequences(Split::Valid));
    assert!((4..6).contains(&((train + valid) / valid)), "{train} and {valid}");
    assert_eq!(train + valid, 2 * files[0].windows);

    let text = std::fs::read_to_string(&fasta).expect("the genome");
    let records: Vec<&str> =
        text.split('>').skip(1).map(|r| r.lines().nth(1).expect("letters")).collect();
    let tok = tokenizer();
    for ((shard, origin), bytes) in shards.iter().zip(&bytes) {
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
        assert_eq!((ids.len() as u64, bytes.len() as u64), (shard.tokens, shard.written.bytes));
        for (at, pair) in offsets.windows(2).enumerate() {
            let small = |number: u64| usize::try_from(number).expect("small");
            let span = small(origin.start[at])..small(origin.end[at]);
            let record: usize = origin.names[origin.record[at] as usize][1..].parse().expect("r1");
            let forward = records[record][span].as_bytes();
            let read = match origin.strand[at] {
                1 => forward.to_vec(),
                _ => dnabert2_core::dna::reverse_complement(forward),
            };
            let want = tok.encode(&read, None, 0, &Options::default()).expect("bases").ids;
            let got = &ids[small(pair[0])..small(pair[1])];
            assert_eq!(got, want.into_iter().map(u64::from).collect::<Vec<_>>());
        }
    }
}

#[test]
fn errors_of_any_stage_come_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let fasta = genome(folder.path());
    let one = unit(folder.path(), &fasta);
    let mut builder = CorpusBuilder::new(tokenizer(), settings(rule(50, 50, 1), 0.0, 3));
    let mut kept = Kept::default();
    let stopped = builder.build(&one, Input::open, |_| Err(Error::Interrupted), &mut kept);
    assert!(matches!(stopped, Err(Error::Interrupted)));
    let mut strict = Kept { refuses: true, ..Kept::default() };
    let refused = builder.build(&one, Input::open, |_| Ok(()), &mut strict);
    assert!(matches!(refused, Err(Error::InvalidArgument { name: "shard", .. })));
    let lost = Unit { folder: folder.path().join("none"), ..one };
    let lost = builder.build(&lost, Input::open, |_| Ok(()), &mut kept);
    assert!(matches!(lost, Err(Error::Io { .. })));
    std::fs::write(folder.path().join("bad.fa"), "ACGT\n").expect("written");
    let bad = unit(folder.path(), &folder.path().join("bad.fa"));
    let bad = builder.build(&bad, Input::open, |_| Ok(()), &mut kept);
    assert!(matches!(bad, Err(Error::Fasta { .. })));
}

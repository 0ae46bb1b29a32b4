//! Corpora: windows against a plain loop, and files that do not depend on threads or stops.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use dnabert2_core::corpus::{
    CorpusBuilder, FileReport, Ledger, OtherLetters, Provenance, Settings, ShardReport, Split,
    Unit, WindowRule,
};
use dnabert2_core::dna::reverse_complement;
use dnabert2_core::io::input::Input;
use dnabert2_core::policy::Policy;
use dnabert2_core::tokenizer::Options;
use dnabert2_core::tokenizer_file::{self, from_trained};
use dnabert2_core::train::{self, BpeTrainer, InputConfig, InputStats};
use dnabert2_core::{Error, TokenId, Tokenizer};
use proptest::prelude::*;

fn tokenizer() -> Arc<Tokenizer> {
    static TRAINED: LazyLock<Arc<Tokenizer>> = LazyLock::new(|| {
        let mut trainer = BpeTrainer::new(InputConfig::default());
        trainer
            .add(b"ACGTACACAGGTTACACATTTTACGACGA", 1, &mut InputStats::default())
            .expect("bases");
        let merges = trainer
            .train(&train::Options { vocab_size: 24, ..Default::default() }, &[], |_| Ok(()))
            .expect("enough to merge");
        let text = from_trained(&merges, &["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]);
        let file = tokenizer_file::parse(Path::new("test"), text).expect("our own file");
        Arc::new(Tokenizer::new(file, Policy::default()))
    });
    TRAINED.clone()
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

/// Windows of a run of letters as they are defined.
fn naive_windows(rule: &WindowRule, length: usize) -> Vec<(usize, usize)> {
    let window = rule.window_bp.unwrap_or(length);
    let mut found = Vec::new();
    let mut start = 0;
    while start < length {
        let end = length.min(start + window);
        found.push((start, end));
        // The next window must hold a letter that no window so far has held.
        start = if end == length { length } else { start + rule.stride_bp };
    }
    found
}

/// Runs of letters from which windows are cut.
fn naive_runs(rule: &WindowRule, letters: &[u8]) -> Vec<(usize, usize)> {
    if rule.other_letters != OtherLetters::Split {
        return vec![(0, letters.len())];
    }
    let mut runs = Vec::new();
    let mut start = 0;
    for at in 0..=letters.len() {
        if letters.get(at).is_none_or(|&letter| !is_base(rule, letter)) {
            runs.push((start, at));
            start = at + 1;
        }
    }
    runs
}

fn is_base(rule: &WindowRule, letter: u8) -> bool {
    b"ACGT".contains(&letter) || rule.fold_case && b"acgt".contains(&letter)
}

/// Whether item `number`, counted from 1, is in an evenly spaced share.
fn is_taken(number: u32, share: f64, phase: f64) -> bool {
    let so_far = |number: u32| (f64::from(number) * share + phase).floor();
    so_far(number) > so_far(number - 1)
}

type Records = Vec<(String, String)>;
type Shard = (Split, Provenance, Vec<Vec<TokenId>>);

/// A corpus as it is defined, with everything in memory.
fn build_naively(
    unit: &Unit,
    settings: &Settings,
    files: &[Records],
    seen: &mut HashSet<Vec<u8>>,
) -> (Vec<FileReport>, Vec<Shard>) {
    let rule = &settings.rule;
    let golden = 0.618_033_988_749_894_9;
    let phase = (0.5 + f64::from(u32::try_from(unit.number).expect("small")) * golden).fract();
    let (mut reports, mut shards) = (Vec::new(), Vec::new());
    let (mut fitting, mut chosen) = (0, 0);
    let mut open = [Split::Train, Split::Valid].map(|split| (split, Vec::new()));
    for (file, records) in (0..).zip(files) {
        let mut report = FileReport::default();
        for (record, (name, letters)) in records.iter().enumerate() {
            let letters = letters.as_bytes();
            let bases = letters.iter().filter(|&&letter| is_base(rule, letter)).count();
            report.records += 1;
            report.bases += bases as u64;
            for &letter in letters.iter().filter(|&&letter| !is_base(rule, letter)) {
                *report.other_letters.entry(letter).or_default() += 1;
            }
            for (run, end) in naive_runs(rule, letters) {
                for (from, to) in naive_windows(rule, end - run) {
                    let (start, end) = (run + from, run + to);
                    let window = &letters[start..end];
                    let bases = window.iter().filter(|&&letter| is_base(rule, letter)).count();
                    if rule.other_letters == OtherLetters::Drop && bases < window.len() {
                        report.with_other_letters += 1;
                        continue;
                    }
                    if bases < rule.min_bp {
                        report.too_short += 1;
                        continue;
                    }
                    fitting += 1;
                    if !is_taken(fitting, unit.keep, 0.5) {
                        report.left_out += 1;
                        continue;
                    }
                    let same =
                        if rule.fold_case { window.to_ascii_uppercase() } else { window.to_vec() };
                    if settings.deduplicate && !seen.insert(same) {
                        report.duplicates += 1;
                        continue;
                    }
                    report.windows += 1;
                    let held_out = is_taken(chosen / 64 + 1, settings.valid_fraction, phase);
                    chosen += 1;
                    let (split, rows) = &mut open[usize::from(held_out)];
                    if tokens(rows) >= settings.shard_tokens {
                        shards.push(shard(*split, std::mem::take(rows)));
                    }
                    let origin = (file, record, name, start as u64, end as u64);
                    rows.push((origin, 1, ids(window)));
                    if rule.both_strands {
                        rows.push((origin, -1, ids(&reverse_complement(window))));
                    }
                }
            }
        }
        reports.push(report);
    }
    let last = open.into_iter().filter(|(_, rows)| !rows.is_empty());
    shards.extend(last.map(|(split, rows)| shard(split, rows)));
    (reports, shards)
}

/// File, record, its name, start and end; strand; ids.
type Row<'a> = ((u32, usize, &'a String, u64, u64), i8, Vec<TokenId>);

fn tokens(rows: &[Row<'_>]) -> usize {
    rows.iter().map(|(_, _, ids)| ids.len()).sum()
}

fn shard(split: Split, rows: Vec<Row<'_>>) -> Shard {
    let mut origin = Provenance::default();
    let mut last = None;
    for &((file, record, name, start, end), strand, _) in &rows {
        if last.replace((file, record)) != Some((file, record)) {
            origin.names.push(name.clone());
        }
        origin.file.push(file);
        origin.record.push(u32::try_from(origin.names.len() - 1).expect("few"));
        origin.start.push(start);
        origin.end.push(end);
        origin.strand.push(strand);
    }
    (split, origin, rows.into_iter().map(|(_, _, ids)| ids).collect())
}

fn ids(letters: &[u8]) -> Vec<TokenId> {
    tokenizer().encode(letters, None, 0, &Options::default()).expect("any letter").ids
}

/// The sequences of a shard on disk.
fn sequences(path: &Path) -> Vec<Vec<TokenId>> {
    let bytes = std::fs::read(path).expect("a shard");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let numbers = |name: &str, width: usize| -> Vec<usize> {
        let tensor = tensors.tensor(name).expect("a tensor");
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |n, &b| n << 8 | usize::from(b));
        tensor.data().chunks(width).map(number).collect()
    };
    let ids: Vec<TokenId> = numbers("input_ids", 2)
        .into_iter()
        .map(|id| TokenId::try_from(id).expect("two bytes"))
        .collect();
    let offsets = numbers("offsets", 8);
    offsets.windows(2).map(|two| ids[two[0]..two[1]].to_vec()).collect()
}

fn write_files(folder: &Path, files: &[Records], line: usize) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for (number, records) in files.iter().enumerate() {
        let mut text = Vec::new();
        for (name, letters) in records {
            text.extend_from_slice(format!(">{name} described\n").as_bytes());
            for line in letters.as_bytes().chunks(line) {
                text.extend_from_slice(line);
                text.push(b'\n');
            }
        }
        paths.push(folder.join(format!("{number}.fa")));
        std::fs::write(&paths[number], text).expect("written");
    }
    paths
}

/// Build two units of the same files with one builder, and compare all that comes of it with the twin.
fn compare(files: &[Records], line: usize, settings: &Settings, keep: f64, number: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let paths = write_files(folder.path(), files, line);
    let mut builder = CorpusBuilder::new(tokenizer(), settings.clone());
    let mut seen = HashSet::new();
    for number in [number, number + 1] {
        let out = folder.path().join(number.to_string());
        std::fs::create_dir(&out).expect("a folder");
        let unit = Unit { number, keep, files: paths.clone(), ..unit(&out, &paths[0]) };
        let (mut kept, mut letters) = (Kept::default(), 0);
        let report = |some| {
            letters += some;
            Ok(())
        };
        let reports = builder.build(&unit, Input::open, report, &mut kept).expect("sound");
        let (want, shards) = build_naively(&unit, settings, files, &mut seen);
        assert_eq!(reports, want);
        let all = |file: &FileReport| file.bases + file.other_letters.values().sum::<u64>();
        assert_eq!(letters, want.iter().map(all).sum::<u64>());
        assert_eq!(kept.shards.len(), shards.len());
        for (at, (split, origin, ids)) in shards.into_iter().enumerate() {
            let shard = &kept.shards[at];
            assert_eq!(
                (shard.name.clone(), shard.split),
                (format!("shard-{at:05}.safetensors"), split)
            );
            assert_eq!(kept.origins[at], origin);
            let path = out.join(&shard.name);
            assert!(sequences(&path) == ids, "shard {at}");
            let number = |ids: &Vec<TokenId>| ids.len() as u64;
            assert_eq!(shard.tokens, ids.iter().map(number).sum::<u64>());
            assert_eq!(shard.sequences, ids.len() as u64);
            assert_eq!(shard.written.bytes, std::fs::metadata(path).expect("a shard").len());
        }
    }
}

fn window_rules() -> impl Strategy<Value = WindowRule> {
    let other =
        prop_oneof![Just(OtherLetters::Split), Just(OtherLetters::Drop), Just(OtherLetters::Keep)];
    let numbers = (prop::option::weighted(0.9, 1usize..30), 1usize..40, 1usize..10);
    (numbers, any::<[bool; 2]>(), other).prop_map(|(numbers, flags, other_letters)| {
        let ((window_bp, stride, min), [both_strands, fold_case]) = (numbers, flags);
        WindowRule { window_bp, both_strands, fold_case, other_letters, ..rule(1, stride, min) }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_corpus_is_that_of_a_plain_loop(
        files in prop::collection::vec(prop::collection::vec(
            ("[a-z]{1,3}", "[ACGTNacgtn]{0,80}|[ACGT]{0,900}|(ACGTTGCA|NN|acgRA){0,90}"), 1..4), 1..3),
        line in 1usize..90,
        rule in window_rules(),
        valid_fraction in prop_oneof![Just(0.0), 0.0..1.0, Just(1.0)],
        keep in prop_oneof![Just(1.0), 0.1..1.0],
        deduplicate: bool,
        shard_tokens in 1usize..900,
        threads in 1usize..4,
        number in 0u64..9,
    ) {
        let settings = Settings {
            deduplicate, shard_tokens, ..settings(rule, valid_fraction, threads)
        };
        compare(&files, line, &settings, keep, number);
    }
}

fn random_letters(mut state: u64, length: usize) -> String {
    (0..length)
        .map(|at| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if at % 7001 == 7000 { 'N' } else { char::from(b"ACGTacgt"[(state >> 61) as usize]) }
        })
        .collect()
}

/// Records of several chunks, cut in every way.
#[test]
fn long_records_are_cut_like_short_ones() {
    let mut records: Records = [450_000, 1, 400_000, 200_011]
        .map(|length| (format!("r{length}"), random_letters(length as u64, length)))
        .into();
    // More of them than are read at once.
    records[2].1.replace_range(100_000..150_000, &"N".repeat(50_000));
    let files = [records.clone(), records];
    for (window_bp, stride, other_letters, deduplicate) in [
        (Some(1000), 700, OtherLetters::Split, true),
        (Some(300_000), 450_000, OtherLetters::Keep, false),
        (Some(64), 100, OtherLetters::Drop, true),
        (None, 1, OtherLetters::Keep, false),
    ] {
        let rule = WindowRule { window_bp, other_letters, ..rule(1, stride, 10) };
        let settings = Settings { deduplicate, shard_tokens: 100_000, ..settings(rule, 0.1, 2) };
        compare(&files, 70, &settings, 0.9, 3);
    }
}

/// A window of more letters than several chunks hold, and a report now and then.
#[test]
fn a_giant_window_is_encoded_like_any_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let letters = "ACGTTTGACA".repeat(650_000);
    let records = vec![("giant".to_owned(), letters.clone()), ("s".to_owned(), "ACG".to_owned())];
    let paths = write_files(folder.path(), &[records], letters.len());
    let settings = settings(WindowRule { window_bp: None, ..rule(1, 1, 1) }, 0.0, 2);
    let mut builder = CorpusBuilder::new(tokenizer(), settings);
    let (mut kept, mut reported) = (Kept::default(), Vec::new());
    let report = |some| {
        reported.push(some);
        Ok(())
    };
    builder.build(&unit(folder.path(), &paths[0]), Input::open, report, &mut kept).expect("sound");
    assert_eq!(reported.iter().sum::<u64>(), 6_500_003);
    assert!(reported.iter().filter(|&&some| some > 0).count() > 1, "{reported:?}");
    let (one, two) = (&kept.shards[0], &kept.shards[1]);
    assert_eq!((kept.shards.len(), one.sequences, two.sequences), (2, 1, 1));
    let want = tokenizer().encode_batch(&[letters], &Options::default(), 2).expect("bases");
    assert!(sequences(&folder.path().join(&one.name))[0] == want.get(0));
    assert_eq!(sequences(&folder.path().join(&two.name)), [ids(b"ACG")]);
}

/// Windows of drawn lengths follow each other without gaps, have lengths from the minimum to the maximum
/// about equally often, and other ones for another seed, unit, file or record.
#[test]
fn drawn_lengths_are_even_and_cover_every_run() {
    let letters = "ACGTTGCATC".repeat(2_000);
    let record = |name: &str| (name.to_owned(), letters.clone() + "N" + &letters[..7_000]);
    let files = [vec![record("a"), record("b")], vec![record("c")]];
    let folder = tempfile::tempdir().expect("a folder");
    let paths = write_files(folder.path(), &files, 60);
    let mut all = HashSet::new();
    let mut draw = |seed, number, overlapping: usize| {
        let drawn = WindowRule { min_window_bp: Some(5), seed, ..rule(24, overlapping, 1) };
        let unit = Unit { number, files: paths.clone(), ..unit(folder.path(), &paths[0]) };
        let (_, shards) = build(&unit, settings(drawn, 0.0, 2));
        let windows: Vec<_> = shards
            .iter()
            .flat_map(|(_, o)| {
                let names = o.record.iter().map(|&record| o.names[record as usize].clone());
                names.zip(o.start.iter().copied().zip(o.end.iter().copied()))
            })
            .collect();
        let mut times = [0; 25];
        let mut at = 0;
        let mut cut = Vec::new();
        for (name, (start, end)) in windows {
            let length = usize::try_from(end - start).expect("short");
            let last = [20_000, 27_001].contains(&end);
            assert!(length <= 24 && (length >= 5 || last), "{start} to {end}");
            times[length] += usize::from(!last);
            assert_eq!(start, at, "{name}");
            at = match end {
                20_000 => 20_001,
                27_001 => 0,
                end => end,
            };
            cut.push(end);
            if last {
                // No two runs are cut alike.
                assert!(all.insert(std::mem::take(&mut cut)));
            }
        }
        // 81,000 letters by 20 lengths of 14.5 letters on average: 279 of each.
        assert!(times[5..].iter().all(|times| (200..360).contains(times)), "{times:?}");
    };
    draw(0, 0, 24);
    draw(1, 0, 10);
    draw(0, 1, 40);
}

/// The generator `SplitMix64` (Steele, Lea and Flood, 2014): the output for a state.
fn split_mix(state: u64) -> u64 {
    let mixed = u128::from(state ^ (state >> 30)) * 0xbf58_476d_1ce4_e5b9 % (1 << 64);
    let mixed = (mixed ^ (mixed >> 27)) * 0x94d0_49bb_1331_11eb % (1 << 64);
    u64::try_from(mixed ^ (mixed >> 31)).expect("64 bits")
}

/// The published first outputs of `SplitMix64` for the state 1,234,567.
#[test]
fn the_plain_generator_is_the_published_one() {
    let golden = 0x9e37_79b9_7f4a_7c15;
    let first = split_mix(1_234_567_u64.wrapping_add(golden));
    let second = split_mix(1_234_567_u64.wrapping_add(golden).wrapping_add(golden));
    assert_eq!([first, second], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
}

/// Drawn lengths depend only on seed, unit, file, record (counted from 1) and start of the run.
#[test]
fn drawn_lengths_are_those_of_the_generator() {
    let letters = "ACGTTGCATC".repeat(20);
    let record = |name: &str| (name.to_owned(), letters.clone() + "N" + &letters[..70]);
    let files = [vec![record("a"), record("b")], vec![record("c"), record("d"), record("e")]];
    let folder = tempfile::tempdir().expect("a folder");
    let paths = write_files(folder.path(), &files, 60);
    let seed = 77;
    let drawn = WindowRule { min_window_bp: Some(5), seed, ..rule(24, 24, 1) };
    let unit = Unit { number: 3, files: paths.clone(), ..unit(folder.path(), &paths[0]) };
    let (_, shards) = build(&unit, settings(drawn, 0.0, 2));
    let found: Vec<_> = shards
        .iter()
        .flat_map(|(_, o)| o.start.iter().copied().zip(o.end.iter().copied()))
        .collect();
    let mut right = Vec::new();
    for (file, record) in [(0, 1), (0, 2), (1, 1), (1, 2), (1, 3)] {
        for (begin, end) in [(0, 200), (201, 271)] {
            let run = split_mix((file << 32) + record) ^ begin;
            let mut state = split_mix(split_mix(seed ^ split_mix(3)) ^ run);
            let mut at = begin;
            while at < end {
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let length =
                    5 + u64::try_from((u128::from(split_mix(state)) * 20) >> 64).expect("20");
                right.push((at, end.min(at + length)));
                at += length;
            }
        }
    }
    assert_eq!(found, right);
}

/// Shards of one strand, resumed after any of them.
#[test]
fn a_unit_of_one_strand_resumes_after_any_shard() {
    let folder = tempfile::tempdir().expect("a folder");
    let records = vec![("r".to_owned(), random_letters(5, 40_000))];
    let paths = write_files(folder.path(), &[records], 70);
    let settings = Settings { deduplicate: true, ..settings(rule(20, 15, 5), 0.4, 2) };
    let (files, shards) = build(&unit(folder.path(), &paths[0]), settings.clone());
    assert!(shards.len() > 5);
    for stopped in 0..=shards.len() {
        let mut rest = unit(folder.path(), &paths[0]);
        rest.shards = stopped;
        for (shard, _) in &shards[..stopped] {
            rest.done[shard.split as usize] += shard.sequences;
        }
        let (again, more) = build(&rest, settings.clone());
        assert_eq!((&again, &more[..]), (&files, &shards[stopped..]));
    }
}

#[test]
fn splits_have_the_names_of_the_format() {
    assert_eq!([Split::Train, Split::Valid].map(Split::name), ["train", "valid"]);
}

fn genome(folder: &Path) -> PathBuf {
    let path = folder.join("g.fa");
    let mut file = std::fs::File::create(&path).expect("a file");
    for record in 0..3 {
        let letters = random_letters(record + 1, 300_011);
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

    let written = |split| -> u64 {
        shards.iter().filter(|(s, _)| s.split == split).map(|(s, _)| s.sequences).sum()
    };
    let (train, valid) = (written(Split::Train), written(Split::Valid));
    assert!((4..6).contains(&((train + valid) / valid)), "{train} and {valid}");
    assert_eq!(train + valid, 2 * files[0].windows);

    let text = std::fs::read_to_string(&fasta).expect("the genome");
    let records: Vec<&str> =
        text.split('>').skip(1).map(|r| r.lines().nth(1).expect("letters")).collect();
    for (shard, origin) in &shards {
        let small = |number: u64| usize::try_from(number).expect("small");
        for (at, got) in sequences(&folder.path().join("t1").join(&shard.name)).iter().enumerate() {
            let span = small(origin.start[at])..small(origin.end[at]);
            let record: usize = origin.names[origin.record[at] as usize][1..].parse().expect("r1");
            let forward = records[record][span].as_bytes();
            let read = match origin.strand[at] {
                1 => forward.to_vec(),
                _ => reverse_complement(forward),
            };
            assert_eq!(got, &ids(&read));
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

/// A panic of what the caller gave is passed on, and leaves no thread waiting.
#[test]
fn a_panic_ends_the_build() {
    struct Panics;
    impl Ledger for Panics {
        fn keep(&mut self, _: usize, _: Provenance) -> Result<(), Error> {
            panic!("as a test");
        }

        fn note(&mut self, _: ShardReport) -> Result<(), Error> {
            Ok(())
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let fasta = genome(folder.path());
    for threads in [1, 3] {
        let ended = std::panic::catch_unwind(|| {
            let mut builder =
                CorpusBuilder::new(tokenizer(), settings(rule(50, 50, 1), 0.0, threads));
            builder.build(&unit(folder.path(), &fasta), Input::open, |_| Ok(()), &mut Panics)
        });
        assert!(ended.is_err());
    }
}

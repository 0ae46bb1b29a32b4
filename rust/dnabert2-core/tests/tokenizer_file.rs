//! Files that cannot be reproduced exactly are refused with the pointer to it.

use std::path::Path;

use dnabert2_core::policy::Policy;
use dnabert2_core::tokenizer::{Definition, Gap, Matching, Model, Options, Pieces, Slot};
use dnabert2_core::tokenizer_file::{self, from_trained, with_matching};
use dnabert2_core::train::{self, BpeTrainer, InputConfig, InputStats};
use dnabert2_core::{Error, Tokenizer};
use proptest::prelude::*;
use serde_json::{Value, json};

fn small() -> Value {
    let mut trainer = BpeTrainer::new(InputConfig::default());
    trainer.add(b"ACACGTGTTTAC", 1, &mut InputStats::default()).expect("small input");
    let vocab = trainer
        .train(&train::Options { vocab_size: 14, ..Default::default() }, &[], |_| Ok(()))
        .expect("there are bases");
    let special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"];
    serde_json::from_str(&from_trained(&vocab, &special)).expect("own file")
}

fn refusal(file: &Value) -> String {
    match tokenizer_file::parse(Path::new("t.json"), file.to_string()) {
        Err(Error::TokenizerFile { pointer, message, .. }) => format!("{pointer}: {message}"),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn what_is_written_reads_back() {
    let text = small().to_string();
    let file = tokenizer_file::parse(Path::new("t.json"), text.clone()).expect("own file");
    assert_eq!((file.text.as_str(), file.unknown, file.tokens.len()), (text.as_str(), Some(0), 14));
    let tokenizer = Tokenizer::new(file, Policy::default());
    let encoding = tokenizer.encode(b"acNAC", None, 0, &Options::default());
    assert_eq!(encoding.expect("unknown letters are allowed").ids, [1, 9, 0, 9, 2]);
}

#[test]
fn one_letter_is_read_as_another() {
    let mut file = small();
    file["normalizer"] = json!({"type": "Replace", "pattern": {"String": "U"}, "content": "T"});
    let tokenizer = Tokenizer::new(read(&file), Policy::default());
    let ids =
        |text: &[u8]| tokenizer.encode(text, None, 0, &Options::default()).expect("sound").ids;
    assert_eq!(ids(b"AUNACU"), ids(b"ATNACT"));
    assert_ne!(ids(b"AU"), ids(b"AN"));
}

#[test]
fn both_spellings_of_merges_are_read() {
    let mut file = small();
    for merge in file["model"]["merges"].as_array_mut().expect("a list") {
        let (left, right) = merge.as_str().and_then(|m| m.split_once(' ')).expect("two parts");
        *merge = json!([left, right]);
    }
    assert!(tokenizer_file::parse(Path::new("t.json"), file.to_string()).is_ok());
}

#[test]
fn no_object_has_a_name_twice() {
    let text = small().to_string();
    let twice = [
        (r#""A":"#, r#""A":7,"A":"#, r#""A" occurs twice"#),
        // The second spelling is the same letter.
        (r#""A":"#, r#""\u0041":7,"A":"#, r#""A" occurs twice"#),
        (r#""model":"#, r#""model":null,"model":"#, r#""model" occurs twice"#),
        (r#""merges":"#, r#""merges":[],"merges":"#, r#""merges" occurs twice"#),
        (r#""special":"#, r#""special":false,"special":"#, r#""special" occurs twice"#),
    ];
    for (once, instead, message) in twice {
        assert!(text.contains(once), "{once}");
        let file = text.replacen(once, instead, 1);
        // The file is valid JSON: only the check for duplicate names refuses it.
        assert!(serde_json::from_str::<Value>(&file).is_ok());
        match tokenizer_file::parse(Path::new("t.json"), file) {
            Err(Error::TokenizerFile { message: said, .. }) => {
                assert!(said.contains(message) && said.ends_with("; leave one"), "{said}");
            }
            other => panic!("expected a refusal, got {other:?}"),
        }
    }
}

fn replace(pattern: &str) -> Value {
    json!({"type": "Replace", "pattern": {"Regex": pattern}, "content": "-"})
}

fn sequence(name: &str) -> Value {
    json!({"Sequence": {"id": name, "type_id": 0}})
}

fn check<const N: usize>(cases: [(&str, Value, &str); N]) {
    for (pointer, value, expected) in cases {
        let mut file = small();
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        match file.pointer_mut(parent).unwrap_or_else(|| panic!("{parent} is in the file")) {
            Value::Array(list) => list[key.parse::<usize>().expect("an index")] = value,
            object => object[key.replace("~1", "/")] = value,
        }
        let found = refusal(&file);
        assert!(found.starts_with(expected), "{pointer}: {found}");
    }
}

#[test]
fn refusals_name_the_pointer() {
    let cases: [(&str, Value, &str); 18] = [
        (
            "/normalizer",
            json!({"type": "Lowercase"}),
            "/normalizer/type: Lowercase is not supported",
        ),
        (
            "/normalizer",
            json!({"type": "Replace", "pattern": {"Regex": "N+"}, "content": "-"}),
            "/normalizer/pattern/Regex: only patterns like N{10,}",
        ),
        (
            "/normalizer",
            json!({"type": "Replace", "pattern": {"String": "1"}, "content": "T"}),
            "/normalizer/pattern/String: one letter for another is supported, as U by T",
        ),
        (
            "/normalizer",
            json!({"type": "Replace", "pattern": {"Regex": "A{10,}"}, "content": "AC"}),
            "/normalizer: \"AC\" must be a token, one character",
        ),
        (
            "/pre_tokenizer",
            json!({"type": "Split", "pattern": {"String": "AC"}, "behavior": "Isolated"}),
            "/pre_tokenizer/pattern: only a text that the normalizer puts in",
        ),
        ("/pre_tokenizer", json!({"type": "ByteLevel"}), "/pre_tokenizer/type: ByteLevel is not"),
        ("/post_processor", json!({"type": "ByteLevel"}), "/post_processor/type: ByteLevel is not"),
        ("/model/type", json!("Unigram"), "/model/type: Unigram is not supported"),
        ("/model/dropout", json!(0.1), "/model/dropout: only null"),
        ("/model/fuse_unk", json!(true), "/model/fuse_unk: only false"),
        ("/model/unk_token", json!("[X]"), "/model/unk_token: \"[X]\" is not in the vocabulary"),
        ("/model/vocab/A", json!(1e300), "/model/vocab/A: an id from 0 to 65535"),
        ("/model/vocab/A", json!(900), "/model/vocab/A: id 900 leaves a gap"),
        ("/model/vocab/A", json!(6), "/model/vocab/C: id 6 also belongs to \"A\""),
        ("/model/merges/1", json!("A"), "/model/merges/1: a merge is"),
        ("/model/merges/0", json!("ACAC GT"), "/model/merges/0: \"ACAC\" is neither"),
        ("/added_tokens/1/lstrip", json!(true), "/added_tokens/1/lstrip: only false"),
        ("/added_tokens/1/id", json!(3), "/added_tokens/1/id: id 3 is not \"[CLS]\""),
    ];
    check(cases);
    let mut file = small();
    file["surprise"] = json!(1);
    assert_eq!(refusal(&file), "/surprise: this field is not supported");
    let mut file = small();
    let first = file["model"]["merges"][0].clone();
    file["model"]["merges"].as_array_mut().expect("a list").push(first);
    assert!(refusal(&file).contains("two merges make"));
    let deep = "[".repeat(100_000);
    let nested = tokenizer_file::parse(Path::new("t.json"), deep);
    assert!(nested.is_err_and(|e| e.to_string().contains("not JSON")));
}

#[test]
fn refusals_of_steps_and_fields_name_the_pointer() {
    check([
        ("/normalizer", json!([]), "/normalizer: an object"),
        ("/normalizer", replace("N{0,}"), "/normalizer/pattern/Regex: only patterns like N{10,}"),
        ("/normalizer", replace("N{10}"), "/normalizer/pattern/Regex: only patterns like N{10,}"),
        ("/normalizer", replace("NN{10,}"), "/normalizer/pattern/Regex: only patterns like N{10,}"),
        ("/normalizer", replace("-{10,}"), "/normalizer/pattern/Regex: only patterns like N{10,}"),
        ("/normalizer", replace("N{x,}"), "/normalizer/pattern/Regex: only patterns like N{10,}"),
        (
            "/normalizer",
            json!({"type": "Sequence", "normalizers": [replace("N{2,}"), {"type": "Strip"}]}),
            "/normalizer/normalizers/1: the Replace of a run must be the last",
        ),
        (
            "/normalizer",
            json!({"type": "Sequence", "normalizers": [replace("N{2,}"), replace("N{2,}")]}),
            "/normalizer/normalizers/1: the Replace of a run must be the last",
        ),
        (
            "/pre_tokenizer",
            json!({"type": "Split", "pattern": {"String": "-"}, "behavior": "Removed"}),
            "/pre_tokenizer/behavior: only Isolated",
        ),
        (
            "/pre_tokenizer",
            json!({"type": "Split", "pattern": {"String": "-"}, "behavior": "Isolated", "invert": true}),
            "/pre_tokenizer/invert: only false",
        ),
        ("/pre_tokenizer", json!({"type": "Split"}), "/pre_tokenizer/pattern/String: a string"),
        ("/post_processor/single", json!([]), "/post_processor/single: each sequence must"),
        (
            "/post_processor/pair",
            json!([sequence("A")]),
            "/post_processor/pair: each sequence must",
        ),
        (
            "/post_processor/pair",
            json!([sequence("B")]),
            "/post_processor/pair: each sequence must",
        ),
        ("/post_processor/single/1", json!({}), "/post_processor/single/1: a template entry"),
        ("/post_processor/single/1", sequence("C"), "/post_processor/single/1: a Sequence A or B"),
        (
            "/post_processor/single/1/Sequence/type_id",
            json!(-1),
            "/post_processor/single/1/type_id: an id from 0",
        ),
        (
            "/post_processor/special_tokens/[CLS]/ids",
            json!([14]),
            "/post_processor/special_tokens/[CLS]/ids: no token has this id",
        ),
        (
            "/post_processor",
            json!({"type": "BertProcessing", "cls": ["[CLS]", 14], "sep": ["[SEP]", 2]}),
            "/post_processor/cls/1: no token has this id",
        ),
        ("/model", json!(null), "/model: an object"),
        ("/model/surprise", json!(1), "/model/surprise: this field is not supported"),
        ("/model/dropout", json!(-1), "/model/dropout: only null"),
        ("/model/continuing_subword_prefix", json!("##"), "/model/continuing_subword_prefix: only"),
        ("/model/end_of_word_suffix", json!("/"), "/model/end_of_word_suffix: only null"),
        ("/model/byte_fallback", json!(true), "/model/byte_fallback: only false"),
        ("/model/ignore_merges", json!(true), "/model/ignore_merges: only false"),
        ("/model/vocab/\u{e9}", json!(14), "/model/vocab/\u{e9}: letters must be ASCII"),
        ("/model/merges/0", json!(["A"]), "/model/merges/0: a merge is"),
        ("/model/merges/0", json!("C C"), "/model/merges/0: \"CC\" is not in the vocabulary"),
        ("/added_tokens/0/content", json!(""), "/added_tokens/0/content: an added token must not"),
        (
            "/added_tokens/0",
            json!({"id": 14, "content": "AX"}),
            "/added_tokens: \"AX\" begins with a letter of the vocabulary",
        ),
        ("/a~1b", json!(1), "/a~1b: this field is not supported"),
    ]);
}

proptest! {
    #[test]
    fn damaged_files_never_panic(cut in 0..2000_usize, at in 0..2000_usize, byte in any::<u8>()) {
        let mut bytes = small().to_string().into_bytes();
        let length = bytes.len();
        bytes[at % length] = byte;
        bytes.truncate(length - cut.min(length));
        if let Ok(text) = String::from_utf8(bytes) {
            let _ = tokenizer_file::parse(Path::new("t.json"), text);
        }
    }
}

/// A vocabulary in which every token is the one before it twice.
fn doubling(times: u32) -> String {
    let mut file = small();
    let (mut merges, mut vocab) = (Vec::new(), serde_json::Map::new());
    for (id, token) in
        ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", "A", "C", "G", "T"].iter().enumerate()
    {
        vocab.insert((*token).to_owned(), id.into());
    }
    for power in 0..times {
        let half = "A".repeat(1 << power);
        vocab.insert(half.repeat(2), (9 + power).into());
        merges.push(serde_json::json!([half, half]));
    }
    file["model"]["vocab"] = vocab.into();
    file["model"]["merges"] = merges.into();
    file.to_string()
}

#[test]
fn tokens_too_long_to_compile_are_encoded_in_the_general_way() {
    let path = Path::new("long.json");
    let file = tokenizer_file::parse(path, doubling(15)).expect("32,768 letters are allowed");
    let tokenizer = Tokenizer::new(file, Policy::default());
    let text = "A".repeat((1 << 16) + (1 << 12) + 1);
    let batch = tokenizer.encode_batch(&[text], &Options::default(), 1).expect("letters");
    assert_eq!(batch.get(0), [1, 23, 23, 20, 5, 2]);
    let refused = tokenizer_file::parse(path, doubling(17)).expect_err("too long");
    assert!(refused.to_string().contains("/model/merges/15: makes a token of more than 65535"));
}

fn read(file: &Value) -> Definition {
    tokenizer_file::parse(Path::new("t.json"), file.to_string()).expect("a sound file")
}

fn pieces(definition: &Definition) -> &Pieces {
    match &definition.model {
        Model::Pieces(pieces) => pieces,
        Model::Kmers(_) => panic!("pieces, not k-mers"),
    }
}

/// Letters A, C, G, T, N and -; runs of N become -.
fn with_gaps() -> Value {
    let tokens = ["[UNK]", "[CLS]", "[SEP]", "A", "C", "G", "T", "N", "-", "AC"];
    let vocab: serde_json::Map<_, _> =
        tokens.iter().zip(0..).map(|(token, id)| ((*token).to_owned(), json!(id))).collect();
    json!({
        "added_tokens": [{"id": 0, "content": "[UNK]"}, {"id": 10, "content": "<mask>"}],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Strip", "strip_left": false},
            {"type": "Replace", "pattern": {"Regex": "N{3,}"}, "content": "-"},
        ]},
        "pre_tokenizer": {"type": "Split", "pattern": {"String": "-"}, "behavior": "Isolated",
                          "invert": false},
        "truncation": {"anything": [-1, 1.5, null, true, "x"]},
        "model": {"dropout": 0.0, "end_of_word_suffix": "", "unk_token": "[UNK]",
                  "vocab": vocab, "merges": ["A C"]},
    })
}

#[test]
fn all_steps_of_a_file_are_read() {
    let mut file = with_gaps();
    let definition = read(&file);
    assert_eq!((definition.tokens.len(), definition.tokens[10].as_str()), (11, "<mask>"));
    assert_eq!(definition.single, [Slot::First(0)]);
    assert_eq!(definition.pair, [Slot::First(0), Slot::Second(1)]);
    let found = pieces(&definition);
    assert_eq!((found.matching, found.splits_words), (Matching::Bpe, false));
    assert_eq!(found.strips, (false, true));
    assert_eq!(found.gap, Some(Gap { letter: b'N', min_length: 3, id: 8 }));
    let added: Vec<_> =
        found.added.iter().map(|added| (added.content.as_str(), added.id)).collect();
    assert_eq!(added, [("<mask>", 10), ("[UNK]", 0)]);
    assert_eq!(found.vocab.letters(), b"ACGTN-");
    let tokenizer = Tokenizer::new(definition, Policy::default());
    let encoding = tokenizer.encode(b"ACNNNGNN<mask>", None, 0, &Options::default());
    assert_eq!(encoding.expect("letters").ids, [9, 8, 5, 7, 7, 10]);

    file["normalizer"] = json!({"type": "Strip", "strip_right": false});
    file["pre_tokenizer"] =
        json!({"type": "Split", "pattern": {"String": "_"}, "behavior": "Isolated"});
    file["post_processor"] =
        json!({"type": "BertProcessing", "cls": ["[CLS]", 1], "sep": ["<mask>", 10]});
    file["model"]["type"] = json!("LongestMatch");
    // A letter that is also an added token is found before letters are.
    file["added_tokens"][0] = json!({"id": 7, "content": "N", "lstrip": false});
    let definition = read(&file);
    let single = [Slot::Special(1, 0), Slot::First(0), Slot::Special(10, 0)];
    assert_eq!(definition.single, single);
    assert_eq!(definition.pair, [&single[..], &[Slot::Second(1), Slot::Special(10, 1)]].concat());
    let found = pieces(&definition);
    assert_eq!((found.matching, found.strips, found.gap), (Matching::Longest, (true, false), None));
    assert_eq!(found.vocab.letters(), b"ACGT-");
    assert!(pieces(&read(&small())).splits_words);
    assert_eq!(read(&small()).pair.len(), 5);
}

#[test]
fn a_gap_needs_its_token_its_split_and_its_letter() {
    let changes: [(&str, Value, &str); 4] = [
        ("/normalizer/normalizers/1/content", json!("A"), "/pre_tokenizer/pattern: only a text"),
        ("/normalizer/normalizers/1/pattern/Regex", json!("X{3,}"), "/normalizer: \"-\" must be"),
        ("/pre_tokenizer", json!(null), "/normalizer: \"-\" must be a token, one character"),
        ("/pre_tokenizer/pattern/String", json!("_"), "/normalizer: \"-\" must be a token"),
    ];
    for (pointer, value, expected) in changes {
        let mut file = with_gaps();
        *file.pointer_mut(pointer).expect("it is in the file") = value;
        let found = refusal(&file);
        assert!(found.starts_with(expected), "{pointer}: {found}");
    }
    for content in ["X", "AC"] {
        let mut file = with_gaps();
        file["normalizer"]["normalizers"][1]["content"] = json!(content);
        file["pre_tokenizer"]["pattern"]["String"] = json!(content);
        assert!(refusal(&file).starts_with(&format!("/normalizer: {content:?} must be a token")));
    }
}

#[test]
fn matching_is_declared_in_the_text() {
    let text = small().to_string();
    let file = tokenizer_file::parse(Path::new("t.json"), text.clone()).expect("own file");
    let same = with_matching(file.clone(), Matching::Bpe).expect("pieces");
    assert_eq!(same.text, text);
    for (matching, name) in
        [(Matching::Longest, "LongestMatch"), (Matching::LongestFirst, "LongestFirst")]
    {
        let other = with_matching(file.clone(), matching).expect("pieces");
        assert_eq!(pieces(&other).matching, matching);
        let value: Value = serde_json::from_str(&other.text).expect("JSON");
        assert_eq!(value["model"]["type"], name);
        assert_eq!(pieces(&read(&value)).matching, matching);
        let back = with_matching(other, Matching::Bpe).expect("pieces").text;
        assert_eq!(serde_json::from_str::<Value>(&back).expect("JSON"), small());
    }
    let kmers = tokenizer_file::parse(Path::new("v"), kmer_lines(&BERT, "")).expect("k-mers");
    let refused = with_matching(kmers, Matching::Longest);
    assert!(matches!(refused, Err(Error::InvalidArgument { name: "matching", .. })));
}

const BERT: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

fn kmer_lines(special: &[&str], singles: &str) -> String {
    let pairs = "ACGT".chars().flat_map(|a| "ACGT".chars().map(move |b| format!("{a}{b}\n")));
    let singles = singles.chars().map(|letter| format!("{letter}\n"));
    special.iter().map(|name| format!("{name}\n")).chain(pairs).chain(singles).collect()
}

#[test]
fn lists_of_kmers_are_read() {
    let file = tokenizer_file::parse(Path::new("v"), kmer_lines(&BERT, "")).expect("k-mers");
    assert_eq!((file.tokens.len(), file.unknown), (21, Some(1)));
    let single = [Slot::Special(2, 0), Slot::First(0), Slot::Special(3, 0)];
    assert_eq!(file.single, single);
    assert_eq!(file.pair, [&single[..], &[Slot::Second(1), Slot::Special(3, 1)]].concat());
    assert!(file.vocab().is_none());
    let text = kmer_lines(&["<unk>", "<pad>", "<mask>", "<cls>"], "ATCGN");
    let file = tokenizer_file::parse(Path::new("v"), text).expect("k-mers");
    assert_eq!((file.tokens.len(), file.unknown), (25, Some(0)));
    assert_eq!((file.single, file.pair), (vec![Slot::Special(3, 0), Slot::First(0)], vec![]));

    let many: Vec<_> = (0..=1 << 16).map(|number| format!("[{number}]\n")).collect();
    let many = "[PAD]\n".to_owned() + &many.concat();
    for (text, message) in [
        (kmer_lines(&BERT, "") + "AC\n", "v:22: \"AC\" occurs for the second time"),
        (kmer_lines(&BERT, "") + "ACG\nX\n", "v: 2 tokens are neither special nor k-mers"),
        (kmer_lines(&["[PAD]", "[CLS]", "[SEP]"], ""), "v: a line with [UNK] or <unk> is needed"),
        (kmer_lines(&["[PAD]", "[UNK]", "[SEP]"], ""), "v: a line with [CLS] or <cls> is needed"),
        (kmer_lines(&["[PAD]", "[UNK]", "[CLS]"], ""), "v: a line with [SEP] or [SEP] is needed"),
        (kmer_lines(&BERT, "").replace("CG\n", ""), "v: the k-mer CG is missing"),
        (kmer_lines(&BERT, "AC"), "v: contains some of A, C, G, T, but not all"),
        (many, "v:65537: there are more than 65,536"),
    ] {
        let error = tokenizer_file::parse(Path::new("v"), text).expect_err(message);
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn files_that_are_no_text_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.json");
    assert!(matches!(tokenizer_file::open(&path), Err(Error::Io { .. })));
    std::fs::write(&path, b"{\xff}").expect("written");
    let refused = tokenizer_file::open(&path).expect_err("not UTF-8");
    assert!(refused.to_string().ends_with("t.json: the file is not UTF-8 text"), "{refused}");
    std::fs::write(&path, small().to_string()).expect("written");
    assert_eq!(tokenizer_file::open(&path).expect("own file").text, small().to_string());
}

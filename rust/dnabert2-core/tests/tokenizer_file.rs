//! Files that cannot be reproduced exactly are refused with the pointer to it.

use std::path::Path;

use dnabert2_core::policy::Policy;
use dnabert2_core::tokenizer::Options;
use dnabert2_core::tokenizer_file::{self, from_trained};
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
    assert_eq!((file.text.as_str(), file.unknown, file.tokens.len()), (text.as_str(), 0, 14));
    let tokenizer = Tokenizer::new(file, Policy::default());
    let encoding = tokenizer.encode(b"acNAC", None, 0, &Options::default());
    assert_eq!(encoding.expect("unknown letters are allowed").ids, [1, 9, 0, 9, 2]);
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
        (r#""A":"#, r#""A":7,"A":"#, r#""A" stands twice"#),
        // The second spelling is the same letter.
        (r#""A":"#, r#""\u0041":7,"A":"#, r#""A" stands twice"#),
        (r#""model":"#, r#""model":null,"model":"#, r#""model" stands twice"#),
        (r#""merges":"#, r#""merges":[],"merges":"#, r#""merges" stands twice"#),
        (r#""special":"#, r#""special":false,"special":"#, r#""special" stands twice"#),
    ];
    for (once, instead, message) in twice {
        assert!(text.contains(once), "{once}");
        let file = text.replacen(once, instead, 1);
        // What refuses it is no error of JSON.
        assert!(serde_json::from_str::<Value>(&file).is_ok());
        match tokenizer_file::parse(Path::new("t.json"), file) {
            Err(Error::TokenizerFile { message: said, .. }) => assert!(said.contains(message)),
            other => panic!("expected a refusal, got {other:?}"),
        }
    }
}

#[test]
fn refusals_name_the_pointer() {
    let cases: [(&str, Value, &str); 17] = [
        ("/normalizer", json!({"type": "Lowercase"}), "/normalizer: only Strip"),
        (
            "/normalizer",
            json!({"type": "Replace", "pattern": {"Regex": "N+"}, "content": "-"}),
            "/normalizer/pattern/Regex: only patterns like N{10,}",
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
        ("/pre_tokenizer", json!({"type": "ByteLevel"}), "/pre_tokenizer: only null"),
        ("/post_processor", json!({"type": "ByteLevel"}), "/post_processor: only null"),
        ("/model/type", json!("Unigram"), "/model/type: only BPE"),
        ("/model/dropout", json!(0.1), "/model/dropout: only null"),
        ("/model/fuse_unk", json!(true), "/model/fuse_unk: only false"),
        ("/model/unk_token", json!(null), "/model/unk_token: an unknown token"),
        ("/model/vocab/A", json!(1e300), "/model/vocab/A: an id from 0 to 65535"),
        ("/model/vocab/A", json!(900), "/model/vocab/A: id 900 leaves a gap"),
        ("/model/vocab/A", json!(6), "/model/vocab/C: id 6 also belongs to \"A\""),
        ("/model/merges/1", json!("A"), "/model/merges/1: a merge is"),
        ("/model/merges/0", json!("ACAC GT"), "/model/merges/0: \"ACAC\" is neither"),
        ("/added_tokens/1/lstrip", json!(true), "/added_tokens/1/lstrip: only false"),
        ("/added_tokens/1/id", json!(3), "/added_tokens/1/id: id 3 is not \"[CLS]\""),
    ];
    for (pointer, value, expected) in cases {
        let mut file = small();
        *file.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer} is in the file")) = value;
        let found = refusal(&file);
        assert!(found.starts_with(expected), "{pointer}: {found}");
    }
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

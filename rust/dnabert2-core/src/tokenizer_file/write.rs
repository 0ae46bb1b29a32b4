//! Writing a `tokenizer.json`.

use serde_json::{Map, Value, json};

use crate::tokenizer::{Definition, Matching, Model};
use crate::tokenizer_file::model::model_type;
use crate::vocab::{Piece, Vocab};
use crate::{Error, Result};

/// Write the file of a newly trained vocabulary, laid out as DNABERT-2's is: special tokens
/// first (unknown, start, end, padding, mask), then letters, then merges.
///
/// # Panics
/// Never for a `vocab` that this crate trained: JSON values made here can be written.
#[must_use]
pub fn from_trained(vocab: &Vocab, special_tokens: &[&str]) -> String {
    let texts = vocab.texts().iter().map(|text| String::from_utf8_lossy(text).into_owned());
    let names = special_tokens.iter().map(|&token| token.to_owned()).chain(texts);
    let table: Map<String, Value> = names.zip(0..).map(|(t, id)| (t, json!(id))).collect();
    let text = |piece: Piece| String::from_utf8_lossy(&vocab.texts()[piece as usize]).into_owned();
    let merges: Vec<String> =
        vocab.merges().iter().map(|&(l, r)| format!("{} {}", text(l), text(r))).collect();
    let added: Vec<Value> = special_tokens
        .iter()
        .zip(0..)
        .map(|(content, id)| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false,
                       "rstrip": false, "normalized": false, "special": true})
        })
        .collect();
    let [unknown, start, end, _, _, ..] = *special_tokens else {
        panic!("five special tokens have a role")
    };
    let special = |token: &str, kind: u32| json!({"SpecialToken": {"id": token, "type_id": kind}});
    let sequence = |name: &str, kind: u32| json!({"Sequence": {"id": name, "type_id": kind}});
    let entry = |token: &str, id: u32| json!({"id": token, "ids": [id], "tokens": [token]});
    let file = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [special(start, 0), sequence("A", 0), special(end, 0)],
            "pair": [special(start, 0), sequence("A", 0), special(end, 0),
                     sequence("B", 1), special(end, 1)],
            "special_tokens": {start: entry(start, 1), end: entry(end, 2)},
        },
        "decoder": null,
        "model": {"type": "BPE", "dropout": null, "unk_token": unknown,
                  "continuing_subword_prefix": null, "end_of_word_suffix": null,
                  "fuse_unk": false, "vocab": table, "merges": merges},
    });
    pretty(&file)
}

fn pretty(file: &Value) -> String {
    serde_json::to_string_pretty(file).expect("JSON values can be written")
}

/// Return the same vocabulary, matched in another way, which its text declares.
///
/// # Errors
/// [`Error::InvalidArgument`] for a vocabulary of k-mers, which are not matched.
pub fn with_matching(mut definition: Definition, matching: Matching) -> Result<Definition> {
    let Model::Pieces(pieces) = &mut definition.model else {
        let message = "a vocabulary of k-mers has one way only".into();
        return Err(Error::InvalidArgument { name: "matching", message });
    };
    if pieces.matching != matching {
        pieces.matching = matching;
        let mut file: Value = serde_json::from_str(&definition.text).unwrap_or_default();
        file["model"]["type"] = model_type(matching).into();
        definition.text = pretty(&file);
    }
    Ok(definition)
}

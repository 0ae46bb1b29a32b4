//! Reading a `tokenizer.json`. `truncation`, `padding` and `decoder` are read past: here they are
//! arguments of the call.

use std::path::Path;

use rustc_hash::FxHashMap;
use serde_json::Value;
use serde_json::error::Category;

use crate::tokenizer::{Definition, Model, Pieces};
use crate::tokenizer_file::model::{added_tokens, merge_table, model_settings, token_table};
use crate::tokenizer_file::pipeline::{Normalizer, gap, normalizer, pre_tokenizer, templates};
use crate::tokenizer_file::pointer::JsonPointer;
use crate::tokenizer_file::strict_json::Unique;
use crate::{Result, TokenId};

pub fn parse(path: &Path, text: String) -> Result<Definition> {
    let pointer = JsonPointer { path: path.to_owned(), pointer: String::new() };
    let Unique(root) = serde_json::from_str(&text).map_err(|error| {
        pointer.fail(match error.classify() {
            Category::Data => format!("{error}; leave one"),
            _ => format!("not JSON: {error}; is the file complete?"),
        })
    })?;
    let top = pointer.object(&root)?;
    let known = [
        "version",
        "truncation",
        "padding",
        "added_tokens",
        "normalizer",
        "pre_tokenizer",
        "post_processor",
        "decoder",
        "model",
    ];
    pointer.only(top, &known)?;
    let model_pointer = pointer.at("model");
    let model = model_pointer.object(top.get("model").unwrap_or(&Value::Null))?;
    let matching = model_settings(&model_pointer, model)?;
    let mut tokens = token_table(&model_pointer, model)?;
    let added = added_tokens(&pointer.at("added_tokens"), top.get("added_tokens"), &mut tokens)?;
    let ids: FxHashMap<&str, TokenId> =
        tokens.iter().zip(0..).map(|(token, id)| (token.as_str(), id)).collect();
    let unknown = model
        .get("unk_token")
        .and_then(Value::as_str)
        .and_then(|token| ids.get(token).copied())
        .ok_or_else(|| {
            let pointer = model_pointer.at("unk_token");
            pointer.fail("an unknown token that is in the vocabulary is needed")
        })?;
    let vocab = merge_table(&model_pointer, model, &tokens, &ids, &added)?;
    for (content, _) in &added {
        if vocab.letters().contains(&content.as_bytes()[0]) {
            let message = format!("{content:?} begins with a letter of the vocabulary");
            return Err(pointer.at("added_tokens").fail(message));
        }
    }
    let (single, pair) =
        templates(&pointer.at("post_processor"), top.get("post_processor"), tokens.len())?;
    let Normalizer { strips, replace } =
        normalizer(&pointer.at("normalizer"), top.get("normalizer"))?;
    let split = pre_tokenizer(&pointer.at("pre_tokenizer"), top.get("pre_tokenizer"))?;
    let gap = gap(&pointer, replace, &split, &vocab, &ids)?;
    let pieces = Pieces { vocab, matching, added, splits_words: split.at_words, strips, gap };
    Ok(Definition { text, tokens, unknown, single, pair, model: Model::Pieces(Box::new(pieces)) })
}

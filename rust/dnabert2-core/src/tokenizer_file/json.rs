//! Reading a `tokenizer.json`. `truncation`, `padding` and `decoder` are read past: here they are
//! arguments of the call.

use std::path::Path;

use rustc_hash::FxHashMap;
use serde_json::Value;
use serde_json::error::Category;

use super::model::{added_tokens, merge_table, model_settings, token_table};
use super::pipeline::{Normalizer, gap, normalizer, pre_tokenizer, templates};
use super::pointer::Place;
use super::strict_json::Unique;
use super::{Model, Pieces, TokenizerFile};
use crate::{Result, TokenId};

pub fn parse(path: &Path, text: String) -> Result<TokenizerFile> {
    let place = Place { path: path.to_owned(), pointer: String::new() };
    let Unique(root) = serde_json::from_str(&text).map_err(|error| {
        place.fail(match error.classify() {
            Category::Data => format!("{error}; leave one"),
            _ => format!("not JSON: {error}; is the file complete?"),
        })
    })?;
    let top = place.object(&root)?;
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
    place.only(top, &known)?;
    let model_place = place.at("model");
    let model = model_place.object(top.get("model").unwrap_or(&Value::Null))?;
    let matching = model_settings(&model_place, model)?;
    let mut tokens = token_table(&model_place, model)?;
    let added = added_tokens(&place.at("added_tokens"), top.get("added_tokens"), &mut tokens)?;
    let ids: FxHashMap<&str, TokenId> =
        tokens.iter().zip(0..).map(|(token, id)| (token.as_str(), id)).collect();
    let unknown = model
        .get("unk_token")
        .and_then(Value::as_str)
        .and_then(|token| ids.get(token).copied())
        .ok_or_else(|| {
            let place = model_place.at("unk_token");
            place.fail("an unknown token that is in the vocabulary is needed")
        })?;
    let vocab = merge_table(&model_place, model, &tokens, &ids, &added)?;
    for (content, _) in &added {
        if vocab.letters().contains(&content.as_bytes()[0]) {
            let message = format!("{content:?} begins with a letter of the vocabulary");
            return Err(place.at("added_tokens").fail(message));
        }
    }
    let (single, pair) =
        templates(&place.at("post_processor"), top.get("post_processor"), tokens.len())?;
    let Normalizer { strips, replace } =
        normalizer(&place.at("normalizer"), top.get("normalizer"))?;
    let split = pre_tokenizer(&place.at("pre_tokenizer"), top.get("pre_tokenizer"))?;
    let gap = gap(&place, replace, &split, &vocab, &ids)?;
    let pieces = Pieces { vocab, matching, added, splits_words: split.at_words, strips, gap };
    Ok(TokenizerFile {
        text,
        tokens,
        unknown,
        single,
        pair,
        model: Model::Pieces(Box::new(pieces)),
    })
}

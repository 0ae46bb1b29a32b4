//! Reading a `tokenizer.json`. `truncation`, `padding` and `decoder` are read past: here they are
//! arguments of the call.

use std::path::Path;

use rustc_hash::FxHashMap;
use serde_json::Value;
use serde_json::error::Category;

use crate::tokenizer::{Added, Definition, Model, Pieces};
use crate::tokenizer_file::model::{
    added_tokens, matching, merge_table, model_settings, token_table,
};
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
    let model_pointer = pointer.at("model");
    let model = model_pointer.object(top.get("model").unwrap_or(&Value::Null))?;
    let matching = matching(&model_pointer, model)?;
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
    model_settings(&model_pointer, model)?;
    let mut tokens = token_table(&model_pointer, model)?;
    let normalizer = normalizer(&pointer.at("normalizer"), top.get("normalizer"))?;
    let added_pointer = pointer.at("added_tokens");
    let added = added_tokens(&added_pointer, top.get("added_tokens"), &normalizer, &mut tokens)?;
    let ids: FxHashMap<&str, TokenId> =
        tokens.iter().zip(0..).map(|(token, id)| (token.as_str(), id)).collect();
    let unknown = match model.get("unk_token") {
        None | Some(Value::Null) => None,
        Some(token) => {
            let here = model_pointer.at("unk_token");
            let token = here.string(Some(token))?;
            Some(ids.get(token).copied().ok_or_else(|| {
                here.fail(format!("{token:?} is not in the vocabulary. Add it, or write null."))
            })?)
        }
    };
    let vocab = merge_table(&model_pointer, model, &tokens, &ids, &added)?;
    let Normalizer { strips, gap: replaced_run, letters } = normalizer;
    for Added { content, .. } in &added {
        let begin = content.as_bytes()[0];
        if vocab.letters().contains(&begin) || letters.iter().any(|&(from, _)| from == begin) {
            let message = format!(
                "{content:?} begins with a letter of the vocabulary. Rename it, as [{content}]."
            );
            return Err(added_pointer.fail(message));
        }
    }
    let (single, pair) =
        templates(&pointer.at("post_processor"), top.get("post_processor"), tokens.len())?;
    let split = pre_tokenizer(&pointer.at("pre_tokenizer"), top.get("pre_tokenizer"))?;
    let gap = gap(&pointer, replaced_run, &split, &vocab, &ids)?;
    let splits_words = split.at_words;
    let pieces = Pieces { vocab, matching, added, replaced: letters, splits_words, strips, gap };
    Ok(Definition { text, tokens, unknown, single, pair, model: Model::Pieces(Box::new(pieces)) })
}

//! The `model` of a `tokenizer.json`: settings, tokens, merges.

use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::{Map, Value, json};

use crate::tokenizer::{Added, Matching};
use crate::tokenizer_file::pipeline::Normalizer;
use crate::tokenizer_file::pointer::JsonPointer;
use crate::vocab::{MAX_LETTERS, Piece, Vocab};
use crate::{Result, TokenId};

/// `/model/type` of each way to match pieces. Hugging Face `tokenizers` reads the first only, and refuses
/// the others.
const MODEL_TYPES: [(&str, Matching); 3] = [
    ("BPE", Matching::Bpe),
    ("LongestMatch", Matching::Longest),
    ("LongestFirst", Matching::LongestFirst),
];

/// Return `/model/type` of a way to match pieces.
pub(super) fn model_type(matching: Matching) -> &'static str {
    let (name, _) =
        MODEL_TYPES.into_iter().find(|(_, way)| *way == matching).expect("all are listed");
    name
}

/// How pieces are matched; a model of another type is refused before anything else.
pub(super) fn matching(pointer: &JsonPointer, model: &Map<String, Value>) -> Result<Matching> {
    let Some(kind) = model.get("type") else { return Ok(Matching::Bpe) };
    let found = MODEL_TYPES.iter().find(|(name, _)| kind == name).map(|(_, way)| *way);
    found.ok_or_else(|| {
        let known = MODEL_TYPES.map(|(name, _)| name).join(", ");
        pointer.at("type").unsupported(kind, &known, "Train a BPE vocabulary with train-tokenizer.")
    })
}

/// Refuse every option of the BPE model that changes ids in a way not reproduced here.
pub(super) fn model_settings(pointer: &JsonPointer, model: &Map<String, Value>) -> Result<()> {
    let known = [
        "type",
        "dropout",
        "unk_token",
        "continuing_subword_prefix",
        "end_of_word_suffix",
        "fuse_unk",
        "byte_fallback",
        "ignore_merges",
        "vocab",
        "merges",
    ];
    pointer.only(model, &known)?;
    for key in ["dropout", "continuing_subword_prefix", "end_of_word_suffix"] {
        if !model.get(key).is_none_or(|value| value.is_null() || value == "" || value == 0.0) {
            return Err(pointer.at(key).fail("only null is supported"));
        }
    }
    for key in ["fuse_unk", "byte_fallback", "ignore_merges"] {
        if !model.get(key).is_none_or(|value| value == false) {
            return Err(pointer.at(key).fail("only false is supported"));
        }
    }
    Ok(())
}

/// Tokens by id: every id from 0 up must be given once.
pub(super) fn token_table(
    pointer: &JsonPointer,
    model: &Map<String, Value>,
) -> Result<Vec<String>> {
    let pointer = pointer.at("vocab");
    let entries = pointer.object(model.get("vocab").unwrap_or(&Value::Null))?;
    let mut tokens = vec![None; entries.len()];
    for (token, value) in entries {
        let here = pointer.at(token);
        let id = here.id(Some(value))?;
        match tokens.get_mut(usize::from(id)) {
            Some(slot @ None) => *slot = Some(token.clone()),
            Some(Some(other)) => {
                return Err(here.fail(format!("id {id} also belongs to {other:?}")));
            }
            None => {
                let message = format!("id {id} leaves a gap: there are {} tokens", entries.len());
                return Err(here.fail(message));
            }
        }
    }
    Ok(tokens.into_iter().flatten().collect())
}

/// Tokens that are found in the text itself. A `normalized` one is found in the text behind the
/// normalizer instead, and after the others: it is accepted where that makes no difference.
pub(super) fn added_tokens(
    pointer: &JsonPointer,
    value: Option<&Value>,
    normalizer: &Normalizer,
    tokens: &mut Vec<String>,
) -> Result<Vec<Added>> {
    let mut added = Vec::new();
    let (mut begins, mut behind) = (FxHashSet::default(), Vec::new());
    let none = json!([]);
    let mut known: FxHashSet<String> = tokens.iter().cloned().collect();
    for (index, entry) in pointer.array(value.or(Some(&none)))?.iter().enumerate() {
        let here = pointer.at(index);
        let entry = here.object(entry)?;
        let content = here.at("content").string(entry.get("content"))?;
        if content.is_empty() {
            return Err(here.at("content").fail("an added token must not be empty"));
        }
        for key in ["single_word", "lstrip", "rstrip"] {
            if entry.get(key).is_some_and(|flag| flag != false) {
                return Err(here.at(key).fail("only false is supported"));
            }
        }
        // Hugging Face's default is the opposite of `special`.
        let flag = |key: &str| entry.get(key).and_then(Value::as_bool);
        let special = flag("special").unwrap_or(false);
        if flag("normalized").unwrap_or(false) {
            behind.push((here.at("normalized"), content));
        } else {
            begins.insert(content.as_bytes()[0]);
        }
        let id = here.at("id").id(entry.get("id"))?;
        if usize::from(id) == tokens.len() && known.insert(content.to_owned()) {
            tokens.push(content.to_owned());
        } else if tokens.get(usize::from(id)).is_none_or(|token| token != content) {
            let message = format!("id {id} is not {content:?} in the vocabulary");
            return Err(here.at("id").fail(message));
        }
        added.push(Added { content: content.to_owned(), id, special });
    }
    for (here, content) in behind {
        if normalizer.touches(content) || content.bytes().any(|byte| begins.contains(&byte)) {
            let message = "true changes ids here, by the normalizer or another added token. \
                           Write false.";
            return Err(here.fail(message));
        }
    }
    added.sort_by_key(|added| std::cmp::Reverse(added.content.len()));
    Ok(added)
}

pub(super) fn merge_table(
    pointer: &JsonPointer,
    model: &Map<String, Value>,
    tokens: &[String],
    ids: &FxHashMap<&str, TokenId>,
    added: &[Added],
) -> Result<Vocab> {
    let mut letters = Vec::new();
    let mut piece_ids = Vec::new();
    let mut pieces: FxHashMap<&str, Piece> = FxHashMap::default();
    for (token, id) in tokens.iter().zip(0..) {
        // A letter that is also an added token never reaches BPE.
        if token.chars().count() == 1 && !added.iter().any(|added| added.content == *token) {
            let &[letter] = token.as_bytes() else {
                return Err(pointer.at("vocab").at(token).fail("letters must be ASCII"));
            };
            pieces.insert(token, piece(letters.len()));
            letters.push(letter);
            piece_ids.push(id);
        }
    }
    let pointer = pointer.at("merges");
    let mut merges = Vec::new();
    for (index, entry) in pointer.array(model.get("merges"))?.iter().enumerate() {
        let here = pointer.at(index);
        let halves = match entry {
            Value::String(line) => line.split_once(' '),
            Value::Array(two) => match two.as_slice() {
                [Value::String(left), Value::String(right)] => {
                    Some((left.as_str(), right.as_str()))
                }
                _ => None,
            },
            _ => None,
        };
        let (left, right) = halves
            .ok_or_else(|| here.fail("a merge is \"LEFT RIGHT\" or [\"LEFT\", \"RIGHT\"]"))?;
        let part = |half: &str| {
            pieces
                .get(half)
                .copied()
                .ok_or_else(|| here.fail(format!("{half:?} is neither a letter nor merged before")))
        };
        let (left_piece, right_piece) = (part(left)?, part(right)?);
        let joined = format!("{left}{right}");
        if joined.len() > MAX_LETTERS {
            return Err(here.fail(format!("makes a token of more than {MAX_LETTERS} letters")));
        }
        let Some((&token, &id)) = ids.get_key_value(joined.as_str()) else {
            return Err(here.fail(format!("{joined:?} is not in the vocabulary")));
        };
        let rank = piece(piece_ids.len());
        if pieces.insert(token, rank).is_some() {
            return Err(here.fail(format!("two merges make {joined:?}; exact encoding needs one")));
        }
        merges.push((left_piece, right_piece));
        piece_ids.push(id);
    }
    if letters.is_empty() {
        return Err(pointer.fail("the vocabulary has no single letters to start from"));
    }
    Vocab::new(&letters, &merges, piece_ids).map_err(|error| pointer.fail(error.to_string()))
}

fn piece(number: usize) -> Piece {
    Piece::try_from(number).expect("every piece has an id of 16 bits")
}

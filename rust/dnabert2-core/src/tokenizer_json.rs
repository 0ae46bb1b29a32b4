//! Reading and writing `tokenizer.json`, the file of Hugging Face `tokenizers`.
//!
//! Only what this crate reproduces id for id is accepted; everything else is refused with the JSON
//! pointer of the place. `truncation`, `padding` and `decoder` are read past: here they are
//! arguments of the call.

use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;
use serde_json::{Map, Value, json};

use crate::vocab::{Piece, Vocab};
use crate::{Error, Result, TokenId};

/// One place of a template, such as the `[CLS]` of `[CLS] A [SEP]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// A special token and its type id.
    Special(TokenId, u32),
    /// The first (or only) sequence and its type id.
    First(u32),
    /// The second sequence of a pair and its type id.
    Second(u32),
}

/// What a `tokenizer.json` says.
#[derive(Debug, Clone)]
pub struct TokenizerJson {
    /// The file as it stands; saving writes this.
    pub text: String,
    /// Letters and merges.
    pub vocab: Vocab,
    /// Every token by id.
    pub tokens: Vec<String>,
    /// Tokens that are found in the text before anything else, longest first.
    pub added: Vec<(String, TokenId)>,
    /// Id of the unknown token.
    pub unknown: TokenId,
    /// Whether white space vanishes and words are kept from punctuation (`Whitespace`).
    pub splits_words: bool,
    /// Template of one sequence.
    pub single: Vec<Slot>,
    /// Template of a pair.
    pub pair: Vec<Slot>,
}

impl TokenizerJson {
    /// Read a file.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::TokenizerJson`] with the JSON pointer of
    /// whatever is wrong or cannot be reproduced exactly.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let text = String::from_utf8(bytes).map_err(|_| Error::TokenizerJson {
            path: path.to_owned(),
            pointer: "/".into(),
            message: "the file is not UTF-8 text".into(),
        })?;
        Self::parse(path, text)
    }

    /// Read the text of a file; `path` only serves messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn parse(path: &Path, text: String) -> Result<Self> {
        let place = Place { path: path.to_owned(), pointer: String::new() };
        let root: Value = serde_json::from_str(&text)
            .map_err(|error| place.fail(format!("not JSON: {error}; is the file complete?")))?;
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
        if !top.get("normalizer").is_none_or(Value::is_null) {
            return Err(place.at("normalizer").fail("normalizers are not supported; remove it"));
        }
        let model_place = place.at("model");
        let model = model_place.object(top.get("model").unwrap_or(&Value::Null))?;
        model_settings(&model_place, model)?;
        let mut tokens = token_table(&model_place, model)?;
        let added = added_tokens(&place.at("added_tokens"), top.get("added_tokens"), &mut tokens)?;
        let ids: FxHashMap<&str, TokenId> =
            tokens.iter().zip(0..).map(|(token, id)| (token.as_str(), id)).collect();
        let unknown = model
            .get("unk_token")
            .and_then(Value::as_str)
            .and_then(|token| ids.get(token).copied())
            .ok_or_else(|| {
                model_place
                    .at("unk_token")
                    .fail("an unknown token that is in the vocabulary is needed")
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
        let splits_words = pre_tokenizer(&place.at("pre_tokenizer"), top.get("pre_tokenizer"))?;
        Ok(Self { text, vocab, tokens, added, unknown, splits_words, single, pair })
    }

    /// Write the file of a newly trained vocabulary, laid out as DNABERT-2's is: special tokens
    /// first (unknown, start, end, padding, mask), then letters, then merges.
    ///
    /// # Panics
    /// Never for a `vocab` that this crate trained: JSON values made here can be written.
    #[must_use]
    pub fn from_trained(vocab: &Vocab, special_tokens: [&str; 5]) -> String {
        let texts = vocab.texts().iter().map(|text| String::from_utf8_lossy(text).into_owned());
        let names = special_tokens.iter().map(|&token| token.to_owned()).chain(texts);
        let table: Map<String, Value> = names.zip(0..).map(|(t, id)| (t, json!(id))).collect();
        let text =
            |piece: Piece| String::from_utf8_lossy(&vocab.texts()[piece as usize]).into_owned();
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
        let [unknown, start, end, _, _] = special_tokens;
        let special =
            |token: &str, kind: u32| json!({"SpecialToken": {"id": token, "type_id": kind}});
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
        serde_json::to_string_pretty(&file).expect("plain JSON values can be written")
    }
}

/// A JSON pointer in a file, for messages.
#[derive(Clone)]
struct Place {
    path: PathBuf,
    pointer: String,
}

impl Place {
    fn at(&self, key: impl std::fmt::Display) -> Self {
        let key = key.to_string().replace('~', "~0").replace('/', "~1");
        Self { path: self.path.clone(), pointer: format!("{}/{key}", self.pointer) }
    }

    fn fail(&self, message: impl Into<String>) -> Error {
        let pointer = if self.pointer.is_empty() { "/" } else { &self.pointer };
        Error::TokenizerJson {
            path: self.path.clone(),
            pointer: pointer.into(),
            message: message.into(),
        }
    }

    fn object<'v>(&self, value: &'v Value) -> Result<&'v Map<String, Value>> {
        value.as_object().ok_or_else(|| self.fail("an object {...} is needed here"))
    }

    fn array<'v>(&self, value: Option<&'v Value>) -> Result<&'v [Value]> {
        let array = value.and_then(Value::as_array);
        array.map(Vec::as_slice).ok_or_else(|| self.fail("a list [...] is needed here"))
    }

    fn string<'v>(&self, value: Option<&'v Value>) -> Result<&'v str> {
        value.and_then(Value::as_str).ok_or_else(|| self.fail("a string is needed here"))
    }

    fn id(&self, value: Option<&Value>) -> Result<TokenId> {
        value
            .and_then(Value::as_u64)
            .and_then(|id| TokenId::try_from(id).ok())
            .ok_or_else(|| self.fail("an id from 0 to 65535 is needed here"))
    }

    fn only(&self, object: &Map<String, Value>, known: &[&str]) -> Result<()> {
        match object.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(self.at(key).fail("this field is not supported")),
            None => Ok(()),
        }
    }
}

/// Refuse every option of the BPE model that changes ids in a way not reproduced here.
fn model_settings(place: &Place, model: &Map<String, Value>) -> Result<()> {
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
    place.only(model, &known)?;
    if model.get("type").is_some_and(|kind| kind != "BPE") {
        return Err(place.at("type").fail("only BPE is supported"));
    }
    for key in ["dropout", "continuing_subword_prefix", "end_of_word_suffix"] {
        if !model.get(key).is_none_or(|value| value.is_null() || value == "" || value == 0.0) {
            return Err(place.at(key).fail("only null is supported"));
        }
    }
    for key in ["fuse_unk", "byte_fallback", "ignore_merges"] {
        if !model.get(key).is_none_or(|value| value == false) {
            return Err(place.at(key).fail("only false is supported"));
        }
    }
    Ok(())
}

/// Tokens by id: every id from 0 up must be given once.
fn token_table(place: &Place, model: &Map<String, Value>) -> Result<Vec<String>> {
    let place = place.at("vocab");
    let entries = place.object(model.get("vocab").unwrap_or(&Value::Null))?;
    let mut tokens = vec![None; entries.len()];
    for (token, value) in entries {
        let here = place.at(token);
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

fn added_tokens(
    place: &Place,
    value: Option<&Value>,
    tokens: &mut Vec<String>,
) -> Result<Vec<(String, TokenId)>> {
    let mut added = Vec::new();
    for (index, entry) in place.array(value.or(Some(&json!([]))))?.iter().enumerate() {
        let here = place.at(index);
        let entry = here.object(entry)?;
        let content = here.at("content").string(entry.get("content"))?;
        if content.is_empty() {
            return Err(here.at("content").fail("an added token must not be empty"));
        }
        for key in ["single_word", "lstrip", "rstrip", "normalized"] {
            if entry.get(key).is_some_and(|flag| flag != false) {
                return Err(here.at(key).fail("only false is supported"));
            }
        }
        let id = here.at("id").id(entry.get("id"))?;
        if usize::from(id) == tokens.len() && !tokens.iter().any(|token| token == content) {
            tokens.push(content.to_owned());
        } else if tokens.get(usize::from(id)).is_none_or(|token| token != content) {
            let message = format!("id {id} is not {content:?} in the vocabulary");
            return Err(here.at("id").fail(message));
        }
        added.push((content.to_owned(), id));
    }
    added.sort_by_key(|(content, _)| std::cmp::Reverse(content.len()));
    Ok(added)
}

fn merge_table(
    place: &Place,
    model: &Map<String, Value>,
    tokens: &[String],
    ids: &FxHashMap<&str, TokenId>,
    added: &[(String, TokenId)],
) -> Result<Vocab> {
    let mut letters = Vec::new();
    let mut piece_ids = Vec::new();
    let mut pieces: FxHashMap<&str, Piece> = FxHashMap::default();
    for (token, id) in tokens.iter().zip(0..) {
        // A letter that is also an added token never reaches BPE.
        if token.chars().count() == 1 && !added.iter().any(|(content, _)| content == token) {
            let &[letter] = token.as_bytes() else {
                return Err(place.at("vocab").at(token).fail("letters must be ASCII"));
            };
            pieces.insert(token, Piece::try_from(letters.len()).unwrap_or(Piece::MAX));
            letters.push(letter);
            piece_ids.push(id);
        }
    }
    let place = place.at("merges");
    let mut merges = Vec::new();
    for (index, entry) in place.array(model.get("merges"))?.iter().enumerate() {
        let here = place.at(index);
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
        let Some((&token, &id)) = ids.get_key_value(joined.as_str()) else {
            return Err(here.fail(format!("{joined:?} is not in the vocabulary")));
        };
        let rank = Piece::try_from(piece_ids.len()).unwrap_or(Piece::MAX);
        if pieces.insert(token, rank).is_some() {
            return Err(here.fail(format!("two merges make {joined:?}; exact encoding needs one")));
        }
        merges.push((left_piece, right_piece));
        piece_ids.push(id);
    }
    if letters.is_empty() {
        return Err(place.fail("the vocabulary has no single letters to start from"));
    }
    Vocab::new(&letters, &merges, piece_ids).map_err(|error| place.fail(error.to_string()))
}

fn pre_tokenizer(place: &Place, value: Option<&Value>) -> Result<bool> {
    match value {
        None | Some(Value::Null) => Ok(false),
        Some(value) => match place.object(value)?.get("type").and_then(Value::as_str) {
            Some("Whitespace") => Ok(true),
            _ => Err(place.fail("only null and Whitespace are supported")),
        },
    }
}

fn templates(place: &Place, value: Option<&Value>, size: usize) -> Result<(Vec<Slot>, Vec<Slot>)> {
    let Some(value) = value.filter(|value| !value.is_null()) else {
        return Ok((vec![Slot::First(0)], vec![Slot::First(0), Slot::Second(1)]));
    };
    let object = place.object(value)?;
    let checked = |place: &Place, value: Option<&Value>| {
        let id = place.id(value)?;
        if usize::from(id) < size { Ok(id) } else { Err(place.fail("no token has this id")) }
    };
    match object.get("type").and_then(Value::as_str) {
        Some("BertProcessing") => {
            let id = |key| {
                let here = place.at(key);
                checked(&here.at(1), here.array(object.get(key))?.get(1))
            };
            let (start, end) = (id("cls")?, id("sep")?);
            let single = vec![Slot::Special(start, 0), Slot::First(0), Slot::Special(end, 0)];
            let second = [Slot::Second(1), Slot::Special(end, 1)];
            let pair = single.iter().copied().chain(second).collect();
            Ok((single, pair))
        }
        Some("TemplateProcessing") => {
            let specials = object.get("special_tokens").unwrap_or(&Value::Null);
            let read = |key: &str, firsts: usize, seconds: usize| {
                let here = place.at(key);
                let mut slots = Vec::new();
                for (index, entry) in here.array(object.get(key))?.iter().enumerate() {
                    let here = here.at(index);
                    let (kind, body) = here
                        .object(entry)?
                        .iter()
                        .next()
                        .ok_or_else(|| here.fail("a template entry must not be empty"))?;
                    let name = body.get("id").and_then(Value::as_str).unwrap_or_default();
                    let type_id = u32::from(here.at("type_id").id(body.get("type_id"))?);
                    match (kind.as_str(), name) {
                        ("Sequence", "A") => slots.push(Slot::First(type_id)),
                        ("Sequence", "B") => slots.push(Slot::Second(type_id)),
                        ("SpecialToken", name) => {
                            let listed = place.at("special_tokens").at(name).at("ids");
                            let ids = specials.get(name).and_then(|token| token.get("ids"));
                            for id in listed.array(ids)? {
                                slots.push(Slot::Special(checked(&listed, Some(id))?, type_id));
                            }
                        }
                        _ => {
                            return Err(here.fail("a Sequence A or B, or a SpecialToken is needed"));
                        }
                    }
                }
                let count =
                    |test: fn(&Slot) -> bool| slots.iter().filter(|slot| test(slot)).count();
                if count(|slot| matches!(slot, Slot::First(_))) != firsts
                    || count(|slot| matches!(slot, Slot::Second(_))) != seconds
                {
                    return Err(here.fail("each sequence must stand in the template once"));
                }
                Ok(slots)
            };
            Ok((read("single", 1, 0)?, read("pair", 1, 1)?))
        }
        _ => Err(place.fail("only null, TemplateProcessing and BertProcessing are supported")),
    }
}

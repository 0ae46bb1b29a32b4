//! The steps around the model in a `tokenizer.json`: normalizer, pre-tokenizer, template.

use rustc_hash::FxHashMap;
use serde_json::{Map, Value};

use crate::tokenizer::{Gap, Slot};
use crate::tokenizer_file::pointer::JsonPointer;
use crate::vocab::Vocab;
use crate::{Result, TokenId};

/// What a normalizer does.
#[derive(Default)]
pub(super) struct Normalizer {
    /// Drop white space at the left and at the right end.
    pub strips: (bool, bool),
    /// Letter, minimum length of a run of it, and the text that replaces the run.
    pub gap: Option<(u8, usize, String)>,
    /// Letters that others replace, in order.
    pub letters: Vec<(u8, u8)>,
}

impl Normalizer {
    /// Whether the normalizer may change a text, or what is found of it.
    pub fn touches(&self, text: &str) -> bool {
        let replaced = self.letters.iter().flat_map(|&(from, to)| [from, to]);
        let run = self
            .gap
            .iter()
            .flat_map(|(letter, _, content)| std::iter::once(*letter).chain(content.bytes()));
        replaced.chain(run).any(|byte| text.as_bytes().contains(&byte))
            || self.strips != (false, false)
    }
}

/// Strip, Replace of single letters, and at the end one Replace of a run of letters.
pub(super) fn normalizer(pointer: &JsonPointer, value: Option<&Value>) -> Result<Normalizer> {
    let mut done = Normalizer::default();
    for (here, step) in steps(pointer, value, "normalizers")? {
        add_step(&here, step, &mut done)?;
    }
    Ok(done)
}

/// The steps of a pipeline: none, one, or those of a `Sequence`, whose parts may be sequences.
fn steps<'v>(
    pointer: &JsonPointer,
    value: Option<&'v Value>,
    key: &str,
) -> Result<Vec<(JsonPointer, &'v Map<String, Value>)>> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(Vec::new()) };
    let object = pointer.object(value)?;
    if object.get("type").is_none_or(|kind| kind != "Sequence") {
        return Ok(vec![(pointer.clone(), object)]);
    }
    let mut found = Vec::new();
    let here = pointer.at(key);
    for (index, step) in here.array(object.get(key))?.iter().enumerate() {
        found.extend(steps(&here.at(index), Some(step), key)?);
    }
    Ok(found)
}

/// The only step of a pipeline, if it has one.
fn only_step<'v>(
    pointer: &JsonPointer,
    value: Option<&'v Value>,
    key: &str,
) -> Result<Option<(JsonPointer, &'v Map<String, Value>)>> {
    let mut found = steps(pointer, value, key)?.into_iter();
    match (found.next(), found.next()) {
        (_, Some((second, _))) => Err(second.fail("one step is supported. Leave out the others.")),
        (only, None) => Ok(only),
    }
}

fn add_step(pointer: &JsonPointer, step: &Map<String, Value>, done: &mut Normalizer) -> Result<()> {
    let kind = step.get("type").unwrap_or(&Value::Null);
    if done.gap.is_some() {
        return Err(pointer.fail("the Replace of a run must be the last step. Move it to the end."));
    }
    match kind.as_str() {
        Some("Strip") if done.letters.is_empty() => {
            let side = |key| step.get(key).and_then(Value::as_bool).unwrap_or(true);
            done.strips.0 |= side("strip_left");
            done.strips.1 |= side("strip_right");
            Ok(())
        }
        Some("Strip") => Err(pointer.fail("Strip must come before Replace. Move it to the front.")),
        Some("Replace") => {
            let here = pointer.at("pattern");
            let pattern = step.get("pattern").unwrap_or(&Value::Null);
            let content = pointer.at("content").string(step.get("content"))?;
            if let Some(text) = pattern.get("String") {
                let here = here.at("String");
                let letters = (letter(here.string(Some(text))?), letter(content));
                let (Some(from), Some(to)) = letters else {
                    let message = "one letter for another is supported, as U by T. Replace longer \
                                   texts before tokenizing.";
                    return Err(here.fail(message));
                };
                done.letters.push((from, to));
                return Ok(());
            }
            let here = here.at("Regex");
            let (letter, min_length) = run_pattern(here.string(pattern.get("Regex"))?)
                .ok_or_else(|| here.fail("only patterns like N{10,} are supported"))?;
            done.gap = Some((letter, min_length, content.to_owned()));
            Ok(())
        }
        _ => Err(pointer.at("type").unsupported(
            kind,
            "null, Strip, Replace",
            "Apply it to the text, and write null.",
        )),
    }
}

/// The one ASCII letter of a text.
fn letter(text: &str) -> Option<u8> {
    match text.as_bytes() {
        &[letter] if letter.is_ascii_alphabetic() => Some(letter),
        _ => None,
    }
}

/// `N{10,}` as its letter and number.
fn run_pattern(pattern: &str) -> Option<(u8, usize)> {
    let (letter, number) = pattern.strip_suffix(",}")?.split_once('{')?;
    match letter.as_bytes() {
        &[letter] if letter.is_ascii_alphabetic() => number
            .parse()
            .ok()
            .filter(|&min_length| min_length > 0)
            .map(|min_length| (letter, min_length)),
        _ => None,
    }
}

/// What a pre-tokenizer does.
#[derive(Default)]
pub(super) struct Split {
    /// White space vanishes, and words are kept from punctuation.
    pub at_words: bool,
    /// This text is a word of its own wherever it occurs.
    pub isolates: Option<String>,
}

pub(super) fn pre_tokenizer(pointer: &JsonPointer, value: Option<&Value>) -> Result<Split> {
    let Some((pointer, object)) = only_step(pointer, value, "pretokenizers")? else {
        return Ok(Split::default());
    };
    let kind = object.get("type").unwrap_or(&Value::Null);
    match kind.as_str() {
        Some("Whitespace") => Ok(Split { at_words: true, isolates: None }),
        Some("Split") => {
            let here = pointer.at("pattern").at("String");
            let pattern = object.get("pattern").and_then(|pattern| pattern.get("String"));
            let text = here.string(pattern)?.to_owned();
            if object.get("behavior").is_none_or(|way| way != "Isolated") {
                return Err(pointer.at("behavior").fail("only Isolated is supported"));
            }
            if object.get("invert").is_some_and(|invert| invert != false) {
                return Err(pointer.at("invert").fail("only false is supported"));
            }
            Ok(Split { at_words: false, isolates: Some(text) })
        }
        _ => Err(pointer.at("type").unsupported(
            kind,
            "null, Whitespace, Split",
            "Train a vocabulary with train-tokenizer.",
        )),
    }
}

/// The token of a replaced run. Its text must be a token that no merge can touch: the text that the
/// pre-tokenizer isolates.
pub(super) fn gap(
    pointer: &JsonPointer,
    replace: Option<(u8, usize, String)>,
    split: &Split,
    vocab: &Vocab,
    ids: &FxHashMap<&str, TokenId>,
) -> Result<Option<Gap>> {
    if let Some(text) = &split.isolates
        && replace.as_ref().is_none_or(|(_, _, content)| content != text)
        && text.bytes().any(|byte| vocab.letters().contains(&byte))
    {
        let message = "only a text that the normalizer puts in, or that no token has, is supported";
        return Err(pointer.at("pre_tokenizer").at("pattern").fail(message));
    }
    let Some((letter, min_length, content)) = replace else { return Ok(None) };
    let here = pointer.at("normalizer");
    let alone = split.isolates.as_ref() == Some(&content) && content.chars().count() == 1;
    match ids.get(content.as_str()) {
        Some(&id) if alone && vocab.letters().contains(&letter) => {
            Ok(Some(Gap { letter, min_length, id }))
        }
        _ => Err(here.fail(format!(
            "{content:?} must be a token, one character at which the pre-tokenizer splits, and \
             the letter that it replaces one of the vocabulary"
        ))),
    }
}

pub(super) fn templates(
    pointer: &JsonPointer,
    value: Option<&Value>,
    size: usize,
) -> Result<(Vec<Slot>, Vec<Slot>)> {
    let Some((pointer, object)) = only_step(pointer, value, "processors")? else {
        return Ok((vec![Slot::First(0)], vec![Slot::First(0), Slot::Second(1)]));
    };
    let kind = object.get("type").unwrap_or(&Value::Null);
    let checked = |pointer: &JsonPointer, value: Option<&Value>| {
        let id = pointer.id(value)?;
        if usize::from(id) < size { Ok(id) } else { Err(pointer.fail("no token has this id")) }
    };
    match kind.as_str() {
        Some("BertProcessing") => {
            let id = |key| {
                let here = pointer.at(key);
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
                let here = pointer.at(key);
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
                            let listed = pointer.at("special_tokens").at(name).at("ids");
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
                    return Err(here.fail("each sequence must occur in the template once"));
                }
                Ok(slots)
            };
            Ok((read("single", 1, 0)?, read("pair", 1, 1)?))
        }
        _ => Err(pointer.at("type").unsupported(
            kind,
            "null, TemplateProcessing, BertProcessing",
            "Write a TemplateProcessing with the same tokens.",
        )),
    }
}

//! Reading a `vocab.txt` of k-mers: one token a line, the line's number from 0 is its id.
//!
//! Two kinds exist. DNABERT's holds the special tokens of BERT and all k-mers, which overlap in a
//! text. The Nucleotide Transformer's also holds single letters, for what is left over between
//! k-mers that do not overlap.

use std::path::Path;

use rustc_hash::FxHashMap;

use crate::kmer::Kmers;
use crate::tokenizer::{Definition, Model, Slot};
use crate::tokenizer_file::pointer::JsonPointer;
use crate::{Result, TokenId};

/// Whether a text is a list of tokens and not JSON.
pub fn is_one(text: &str) -> bool {
    let begin = text.trim_start();
    begin.starts_with('<') || (begin.starts_with('[') && begin.lines().next() == Some("[PAD]"))
}

pub fn parse(path: &Path, text: String) -> Result<Definition> {
    let pointer = |line: &str| JsonPointer { path: path.to_owned(), pointer: line.to_owned() };
    let tokens: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut ids: FxHashMap<&str, TokenId> = FxHashMap::default();
    for (token, line) in tokens.iter().zip(0_usize..) {
        let here = pointer(&(line + 1).to_string());
        let id = TokenId::try_from(line).map_err(|_| here.fail("there are more than 65,536"))?;
        if ids.insert(token, id).is_some() {
            return Err(here.fail(format!("{token:?} occurs for the second time")));
        }
    }
    let special = |names: [&str; 2]| names.iter().find_map(|name| ids.get(name).copied());
    let needed = |names: [&str; 2]| {
        let message = || format!("a line with {} or {} is needed", names[0], names[1]);
        special(names).ok_or_else(|| pointer("").fail(message()))
    };
    let kmers = Kmers::new(|token| ids.get(token).copied()).map_err(|m| pointer("").fail(m))?;
    let known = kmers.count() + tokens.iter().filter(|t| t.starts_with(['[', '<'])).count();
    if known != tokens.len() {
        let message = format!("{} tokens are neither special nor k-mers", tokens.len() - known);
        return Err(pointer("").fail(message));
    }
    let unknown = Some(needed(["[UNK]", "<unk>"])?);
    let start = Slot::Special(needed(["[CLS]", "<cls>"])?, 0);
    let (single, pair) = if kmers.overlap() {
        let end = needed(["[SEP]", "[SEP]"])?;
        let single = vec![start, Slot::First(0), Slot::Special(end, 0)];
        let second = [Slot::Second(1), Slot::Special(end, 1)];
        (single.clone(), [&single[..], &second].concat())
    } else {
        (vec![start, Slot::First(0)], Vec::new())
    };
    Ok(Definition { text, tokens, unknown, single, pair, model: Model::Kmers(kmers) })
}

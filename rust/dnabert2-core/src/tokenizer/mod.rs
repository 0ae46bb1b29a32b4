//! From text to ids: added tokens, words, letters, exact BPE, template.
//!
//! The steps are those of Hugging Face `tokenizers` for the files that [`TokenizerJson`] accepts,
//! and give the same ids. Runs of letters go to the encoder; every other character is one unknown
//! token, or nothing when it is white space between words.

mod batch;
mod runs;
mod split;

use std::path::Path;
use std::sync::Arc;

use crate::encode::Scratch;
use crate::tokenizer::runs::RunEncoder;
use crate::tokenizer::split::Part;
use crate::tokenizer_json::{Slot, TokenizerJson};
use crate::{Error, Result, TokenId};

/// What happens to letters that the vocabulary does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// Each becomes the unknown token.
    Unk,
    /// They only end the run of letters before them; no token stands for them.
    Split,
    /// The first one is an [`Error::UnknownLetter`].
    Error,
}

/// How text is read before it is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Lower-case letters count as their upper-case ones (soft-masked genomes) where the
    /// vocabulary has no lower case; otherwise they are unknown, as Hugging Face has it.
    pub fold_case: bool,
    /// What happens to letters outside the vocabulary.
    pub unknown: Unknown,
}

impl Default for Policy {
    fn default() -> Self {
        Self { fold_case: true, unknown: Unknown::Unk }
    }
}

/// Which sequence of a pair is shortened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truncation {
    /// The longer one first, then both evenly.
    LongestFirst,
    /// Only the first.
    OnlyFirst,
    /// Only the second.
    OnlySecond,
}

/// Options of one call.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Put the template's special tokens around the sequence.
    pub special_tokens: bool,
    /// Most tokens of the result, special ones included.
    pub max_length: Option<usize>,
    /// Which sequence of a pair gives way.
    pub truncation: Truncation,
    /// Drop tokens at the start instead of at the end.
    pub from_left: bool,
}

impl Default for Options {
    fn default() -> Self {
        let truncation = Truncation::LongestFirst;
        Self { special_tokens: true, max_length: None, truncation, from_left: false }
    }
}

/// One sequence or pair with everything known about its tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoding {
    /// Ids.
    pub ids: Vec<TokenId>,
    /// 0 for the first sequence, 1 for the second, as the template says.
    pub type_ids: Vec<u32>,
    /// Start and end in characters of the sequence; (0, 0) for special tokens.
    pub offsets: Vec<(usize, usize)>,
}

impl Encoding {
    fn truncate(&mut self, length: usize, from_left: bool) {
        let excess = self.ids.len().saturating_sub(length);
        if from_left {
            self.ids.drain(..excess);
            self.offsets.drain(..excess);
        } else {
            self.ids.truncate(length);
            self.offsets.truncate(length);
        }
    }
}

const NO_LETTER: u8 = u8::MAX;

/// A tokenizer ready to encode; cheap to share between threads.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    file: TokenizerJson,
    runs: Arc<RunEncoder>,
    policy: Policy,
    /// Rank of the letter that a byte stands for.
    code: [u8; 256],
    /// Letters that each id stands for.
    bases: Vec<usize>,
    /// Bytes with which an added token begins.
    begins_added: [bool; 256],
}

impl Tokenizer {
    /// Open a `tokenizer.json`.
    ///
    /// # Errors
    /// As [`TokenizerJson::open`].
    pub fn open(path: &Path, policy: Policy) -> Result<Self> {
        TokenizerJson::open(path).map(|file| Self::new(file, policy))
    }

    /// Prepare an already parsed file.
    #[must_use]
    pub fn new(file: TokenizerJson, policy: Policy) -> Self {
        let mut code = [NO_LETTER; 256];
        for (&letter, rank) in file.vocab.letters().iter().zip(0..NO_LETTER) {
            code[usize::from(letter)] = rank;
        }
        if policy.fold_case {
            for letter in b'a'..=b'z' {
                let folded = code[usize::from(letter.to_ascii_uppercase())];
                let slot = &mut code[usize::from(letter)];
                if *slot == NO_LETTER {
                    *slot = folded;
                }
            }
        }
        let spells = |token: &str| token.bytes().all(|b| file.vocab.letters().contains(&b));
        let mut bases: Vec<usize> =
            file.tokens.iter().map(|token| if spells(token) { token.len() } else { 0 }).collect();
        bases[usize::from(file.unknown)] = 1;
        let mut begins_added = [false; 256];
        for (content, _) in &file.added {
            begins_added[usize::from(content.as_bytes()[0])] = true;
        }
        let runs = Arc::new(RunEncoder::new(&file.vocab));
        Self { file, runs, policy, code, bases, begins_added }
    }

    /// The parsed file behind this tokenizer.
    #[must_use]
    pub fn file(&self) -> &TokenizerJson {
        &self.file
    }

    /// How text is read.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// Number of ids.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.file.tokens.len()
    }

    /// Encode a text or a pair with type ids and offsets.
    ///
    /// # Errors
    /// [`Error::UnknownLetter`] under [`Unknown::Error`]; [`Error::InvalidArgument`] when
    /// `max_length` leaves no room for the special tokens or the sequence to shorten is too short.
    pub fn encode(&self, text: &[u8], pair: Option<&[u8]>, options: &Options) -> Result<Encoding> {
        let mut scratch = Scratch::default();
        let mut read = |text: &[u8]| {
            let mut part = Encoding::default();
            self.split(text, |piece, start| match piece {
                Part::Token { id, letters } => {
                    part.ids.push(id);
                    part.offsets.push((start, start + letters));
                }
                Part::Run(run) => {
                    let mut at = start;
                    self.encode_run(run, 1, &mut scratch, |ids| {
                        part.ids.extend_from_slice(ids);
                        part.offsets.extend(ids.iter().map(|&id| {
                            let begin = at;
                            at += self.bases_of(id);
                            (begin, at)
                        }));
                    });
                }
            })?;
            Ok::<_, Error>(part)
        };
        let mut first = read(text)?;
        let mut second = pair.map(read).transpose()?.unwrap_or_default();
        let template = if pair.is_some() { &self.file.pair } else { &self.file.single };
        if let Some(room) = room(template, options)? {
            let (m, n) = shares(first.ids.len(), second.ids.len(), pair.is_some(), room, options)?;
            first.truncate(m, options.from_left);
            second.truncate(n, options.from_left);
        }
        let mut whole = Encoding::default();
        for slot in template {
            let (part, type_id) = match *slot {
                Slot::Special(id, type_id) if options.special_tokens => {
                    (&Encoding { ids: vec![id], type_ids: vec![], offsets: vec![(0, 0)] }, type_id)
                }
                Slot::Special(..) => continue,
                Slot::First(type_id) => (&first, type_id),
                Slot::Second(type_id) => (&second, type_id),
            };
            whole.ids.extend(&part.ids);
            whole.offsets.extend(&part.offsets);
            whole.type_ids.resize(whole.ids.len(), type_id);
        }
        Ok(whole)
    }

    /// The text behind `ids`: `unknown` stands for each unknown token, other special tokens
    /// vanish, `separator` stands between tokens.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an id that no token has.
    pub fn decode(&self, ids: &[TokenId], unknown: &str, separator: &str) -> Result<String> {
        let mut text = String::new();
        for &id in ids {
            let token = self.token(id)?;
            let token = match self.bases_of(id) {
                0 => continue,
                _ if id == self.file.unknown => unknown,
                _ => token,
            };
            if !text.is_empty() && !token.is_empty() {
                text.push_str(separator);
            }
            text.push_str(token);
        }
        Ok(text)
    }

    /// A token by its id.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an id that no token has.
    pub fn token(&self, id: TokenId) -> Result<&str> {
        let size = self.file.tokens.len();
        self.file.tokens.get(usize::from(id)).map(String::as_str).ok_or_else(|| {
            Error::InvalidArgument { name: "ids", message: format!("{id}: ids are below {size}") }
        })
    }

    /// How many letters of the sequence a token stands for: 1 for the unknown token, 0 for the
    /// other special tokens and for ids outside the vocabulary.
    #[must_use]
    pub fn bases_of(&self, id: TokenId) -> usize {
        self.bases.get(usize::from(id)).copied().unwrap_or(0)
    }

    /// Whether a token is special: the unknown one, or not spelled by the vocabulary's letters.
    #[must_use]
    pub fn is_special(&self, id: TokenId) -> bool {
        id == self.file.unknown || self.bases_of(id) == 0
    }
}

/// Tokens that the sequences of a template may fill, if there is a limit.
fn room(template: &[Slot], options: &Options) -> Result<Option<usize>> {
    let special = template.iter().filter(|slot| matches!(slot, Slot::Special(..))).count();
    let special = if options.special_tokens { special } else { 0 };
    let Some(limit) = options.max_length else { return Ok(None) };
    limit.checked_sub(special).map(Some).ok_or_else(|| Error::InvalidArgument {
        name: "max_length",
        message: format!("{limit} leaves no room for {special} special tokens"),
    })
}

/// How many tokens of each sequence of a pair stay, by the rule of Hugging Face `tokenizers`.
fn shares(
    first: usize,
    second: usize,
    is_pair: bool,
    room: usize,
    options: &Options,
) -> Result<(usize, usize)> {
    let excess = (first + second).saturating_sub(room);
    if excess == 0 {
        return Ok((first, second));
    }
    if room == 0 {
        return Ok((0, 0));
    }
    if !is_pair && options.truncation != Truncation::OnlySecond {
        return Ok((first - excess, 0));
    }
    let give = |length: usize| {
        length.checked_sub(excess).filter(|&left| left > 0).ok_or_else(|| Error::InvalidArgument {
            name: "truncation",
            message: format!("{excess} tokens must go, but that sequence has only {length}"),
        })
    };
    match options.truncation {
        Truncation::OnlyFirst => Ok((give(first)?, second)),
        Truncation::OnlySecond => Ok((first, give(second)?)),
        Truncation::LongestFirst => {
            let short = first.min(second);
            // Both are cut only when the shorter one alone takes more than half.
            let short = if 2 * short > room { room / 2 } else { short };
            let long = room - short;
            Ok(if first <= second { (short, long) } else { (long, short) })
        }
    }
}

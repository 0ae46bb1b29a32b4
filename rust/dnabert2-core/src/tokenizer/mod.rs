//! From text to ids: added tokens, words, letters, pieces, template.
//!
//! The steps are those of Hugging Face `tokenizers` for the files that [`TokenizerFile`] accepts,
//! and give the same ids. Runs of letters go to the encoder; every other character is one unknown
//! token, or nothing when it is white space between words.

mod batch;
mod decode;
mod dispatch;
mod pretokenize;

use std::path::Path;
use std::sync::Arc;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;

use crate::encode::Scratch;
use crate::kmer::Kmers;
use crate::tokenizer::dispatch::{Run, with_dropout};
use crate::tokenizer::pretokenize::{Part, Reader};
use crate::tokenizer_file::{Matching, Model, Slot, TokenizerFile};
use crate::{Error, Result, TokenId};

pub use decode::Replaced;

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
    /// Leave out merges at random (see [`encode_with_dropout`](crate::encode::encode_with_dropout)).
    pub dropout: Option<Dropout>,
}

/// How merges are left out. The draws depend on the seed and the sequence's place in the batch only.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    /// Share of merges left out, 0 to 1.
    pub rate: f64,
    /// Start of the draws.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        let truncation = Truncation::LongestFirst;
        let (special_tokens, max_length, from_left, dropout) = (true, None, false, None);
        Self { special_tokens, max_length, truncation, from_left, dropout }
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

/// A tokenizer ready to encode; cheap to share between threads.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    text: String,
    tokens: Vec<String>,
    unknown: TokenId,
    single: Vec<Slot>,
    pair: Vec<Slot>,
    rule: Rule,
    policy: Policy,
    /// Letters that each id stands for.
    bases: Vec<usize>,
}

/// How letters become tokens.
#[derive(Debug, Clone)]
enum Rule {
    Pieces(Arc<Reader>),
    Kmers(Kmers),
}

impl Tokenizer {
    /// Open a tokenizer file.
    ///
    /// # Errors
    /// As [`TokenizerFile::open`].
    pub fn open(path: &Path, policy: Policy) -> Result<Self> {
        TokenizerFile::open(path).map(|file| Self::new(file, policy))
    }

    /// Prepare an already parsed file.
    #[must_use]
    pub fn new(file: TokenizerFile, policy: Policy) -> Self {
        let TokenizerFile { text, tokens, unknown, single, pair, model } = file;
        let lengths = |letters: &[u8]| -> Vec<usize> {
            let spells = |token: &&String| token.bytes().all(|byte| letters.contains(&byte));
            tokens.iter().map(|token| Some(token).filter(spells).map_or(0, String::len)).collect()
        };
        let mut bases = match &model {
            Model::Pieces(pieces) => lengths(pieces.vocab.letters()),
            Model::Kmers(_) => lengths(b"ACGTN"),
        };
        bases[usize::from(unknown)] = 1;
        let rule = match model {
            Model::Pieces(pieces) => Rule::Pieces(Arc::new(Reader::new(*pieces, policy))),
            Model::Kmers(kmers) => Rule::Kmers(kmers),
        };
        Self { text, tokens, unknown, single, pair, rule, policy, bases }
    }

    /// Text of the file behind this tokenizer.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Every token by id.
    #[must_use]
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// Id of the unknown token.
    #[must_use]
    pub fn unknown(&self) -> TokenId {
        self.unknown
    }

    /// How text is read.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// How pieces are matched; `None` for k-mers, which are not.
    #[must_use]
    pub fn matching(&self) -> Option<Matching> {
        match &self.rule {
            Rule::Pieces(reader) => Some(reader.pieces.matching),
            Rule::Kmers(_) => None,
        }
    }

    /// Number of ids.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.tokens.len()
    }

    /// Encode a text or a pair with type ids and offsets; `index` is its place in a batch.
    ///
    /// # Errors
    /// [`Error::UnknownLetter`] under [`Unknown::Error`]; [`Error::InvalidArgument`] when
    /// `max_length` leaves no room for the special tokens or the sequence to shorten is too short.
    pub fn encode(
        &self,
        text: &[u8],
        pair: Option<&[u8]>,
        index: usize,
        options: &Options,
    ) -> Result<Encoding> {
        let mut scratch = Scratch::default();
        let mut draw = self.draw(options, index)?;
        let mut read = |text: &[u8]| {
            let mut part = Encoding::default();
            self.split(text, self.policy.unknown, |piece, start| match piece {
                Part::Token { id, letters } => {
                    part.ids.push(id);
                    part.offsets.push((start, start + letters));
                }
                Part::Run(run) => {
                    let mut at = start;
                    self.encode_run(run, 1, &mut scratch, &mut draw, |ids| {
                        part.ids.extend_from_slice(ids);
                        part.offsets.extend(ids.iter().map(|&id| {
                            let begin = at;
                            at += self.bases_of(id);
                            (begin, at)
                        }));
                    });
                }
            })
            .map_err(|error| at_sequence(error, index))?;
            Ok::<_, Error>(part)
        };
        let mut first = read(text)?;
        let mut second = pair.map(read).transpose()?.unwrap_or_default();
        let template = if pair.is_some() { &self.pair } else { &self.single };
        if template.is_empty() {
            let message = "this vocabulary has no way to join a pair".into();
            return Err(Error::InvalidArgument { name: "pair", message });
        }
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

    /// Encode one run of letters, a long one on several threads; `emit` gets the ids, in one piece or
    /// several.
    fn encode_run(
        &self,
        run: Run<'_>,
        threads: usize,
        scratch: &mut Scratch,
        draw: &mut Option<(f64, Xoshiro256PlusPlus)>,
        mut emit: impl FnMut(&[TokenId]),
    ) {
        let Rule::Pieces(reader) = &self.rule else { return };
        if let Some(draw) = draw {
            return emit(&with_dropout(&reader.pieces, &reader.code, run, draw));
        }
        let Reader { pieces, code, runs, .. } = &**reader;
        runs.encode(pieces, code, run, threads, scratch, emit);
    }

    /// Rate and draws of one sequence, when merges are to be left out.
    fn draw(
        &self,
        options: &Options,
        sequence: usize,
    ) -> Result<Option<(f64, Xoshiro256PlusPlus)>> {
        let Some(Dropout { rate, seed }) = options.dropout else { return Ok(None) };
        let wrong = |message: String| Error::InvalidArgument { name: "dropout", message };
        if self.matching() != Some(Matching::Bpe) {
            return Err(wrong("only byte-pair encoding has merges to leave out".into()));
        }
        if !(0.0..=1.0).contains(&rate) {
            return Err(wrong(format!("{rate} is not between 0 and 1")));
        }
        // An odd multiplier parts the seeds of neighbouring sequences; seeding then mixes all bits.
        let seed = seed.wrapping_add((sequence as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        Ok(Some((rate, Xoshiro256PlusPlus::seed_from_u64(seed))))
    }
}

/// The error of one text as that of a batch.
fn at_sequence(error: Error, sequence: usize) -> Error {
    match error {
        Error::UnknownLetter { letter, position, .. } => {
            Error::UnknownLetter { sequence, letter, position }
        }
        other => other,
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

//! The tokenizer, and how it encodes one sequence or pair.

use std::sync::Arc;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;

use crate::encode::Scratch;
use crate::error::Origin;
use crate::policy::{Policy, Unknown};
use crate::tokenizer::definition::{Added, Definition, Matching, Model, Slot};
use crate::tokenizer::dispatch::{Run, with_dropout};
use crate::tokenizer::options::{Dropout, Options, kept_lengths, room};
use crate::tokenizer::pretokenize::{Part, Reader, Rule};
use crate::{Error, Result, TokenId};

/// One sequence or pair with ids, type ids and offsets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoding {
    /// Ids.
    pub ids: Vec<TokenId>,
    /// 0 for the first sequence, 1 for the second, or as in the template.
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
    pub(super) text: String,
    pub(super) tokens: Vec<String>,
    pub(super) unknown: Option<TokenId>,
    pub(super) single: Vec<Slot>,
    pub(super) pair: Vec<Slot>,
    pub(super) rule: Rule,
    pub(super) policy: Policy,
    /// Number of letters of each id.
    pub(super) bases: Vec<usize>,
    special: Vec<bool>,
}

impl Tokenizer {
    /// Prepare the tokenizer of a file.
    #[must_use]
    pub fn new(definition: Definition, policy: Policy) -> Self {
        let Definition { text, tokens, unknown, single, pair, model } = definition;
        let lengths = |letters: &[u8]| -> Vec<usize> {
            let spells = |token: &&String| token.bytes().all(|byte| letters.contains(&byte));
            tokens.iter().map(|token| Some(token).filter(spells).map_or(0, String::len)).collect()
        };
        let mut bases = match &model {
            Model::Pieces(pieces) => lengths(pieces.vocab.letters()),
            Model::Kmers(_) => lengths(b"ACGTN"),
        };
        if let Some(unknown) = unknown {
            bases[usize::from(unknown)] = 1;
        }
        let mut special: Vec<bool> = bases.iter().map(|&letters| letters == 0).collect();
        if let Some(unknown) = unknown {
            special[usize::from(unknown)] = true;
        }
        if let Model::Pieces(pieces) = &model {
            for Added { content, id, .. } in pieces.added.iter().filter(|added| !added.special) {
                bases[usize::from(*id)] = content.chars().count();
            }
        }
        // Hugging Face joins what is around an unknown letter then: an error is better than other ids.
        let without_token = policy.unknown == Unknown::Unk && unknown.is_none();
        let unknown_policy = if without_token { Unknown::Error } else { policy.unknown };
        let policy = Policy { unknown: unknown_policy, ..policy };
        let rule = match model {
            Model::Pieces(pieces) => Rule::Pieces(Arc::new(Reader::new(*pieces, policy))),
            Model::Kmers(kmers) => Rule::Kmers(kmers),
        };
        Self { text, tokens, unknown, single, pair, rule, policy, bases, special }
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

    /// Id of the unknown token, if there is one.
    #[must_use]
    pub fn unknown(&self) -> Option<TokenId> {
        self.unknown
    }

    /// How text is read.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// How pieces are matched; `None` for k-mers.
    #[must_use]
    pub fn matching(&self) -> Option<Matching> {
        match &self.rule {
            Rule::Pieces(reader) => Some(reader.pieces.matching),
            Rule::Kmers(_) => None,
        }
    }

    /// A token by its id.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an id outside the vocabulary.
    pub fn token(&self, id: TokenId) -> Result<&str> {
        let size = self.tokens.len();
        self.tokens.get(usize::from(id)).map(String::as_str).ok_or_else(|| Error::InvalidArgument {
            name: "ids",
            message: format!("must be below {size} (got {id})"),
        })
    }

    /// Number of letters of the sequence that a token covers: 1 for the unknown token, 0 for tokens that
    /// decoding leaves out and for ids outside the vocabulary.
    #[must_use]
    pub fn bases_of(&self, id: TokenId) -> usize {
        self.bases.get(usize::from(id)).copied().unwrap_or(0)
    }

    /// Whether a token is special: the unknown one, or one that does not consist of letters.
    #[must_use]
    pub fn is_special(&self, id: TokenId) -> bool {
        self.special.get(usize::from(id)).copied().unwrap_or(true)
    }

    /// Number of ids.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.tokens.len()
    }

    /// Encode a text or a pair with type ids and offsets; `index` is its index in a batch, counted
    /// from [`Options::first`].
    ///
    /// # Errors
    /// [`Error::UnknownLetter`] under [`Unknown::Error`]; [`Error::InvalidArgument`] when
    /// `max_length` is below the number of special tokens or the sequence to shorten is too short.
    pub fn encode(
        &self,
        text: &[u8],
        pair: Option<&[u8]>,
        index: usize,
        options: &Options,
    ) -> Result<Encoding> {
        let mut scratch = Scratch::default();
        let index = options.first + index;
        let mut draw = self.draw(options, index)?;
        let mut read = |text: &[u8], origin: Origin| {
            let mut part = Encoding::default();
            self.split(text, self.policy.unknown, |piece, start| match piece {
                Part::Token { id, letters, .. } => {
                    part.ids.push(id);
                    part.offsets.push((start, start + letters));
                }
                Part::Unknown { id, letters } => {
                    part.ids.resize(part.ids.len() + letters, id);
                    part.offsets.extend((start..start + letters).map(|at| (at, at + 1)));
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
            .map_err(|error| at_origin(error, origin))?;
            Ok::<_, Error>(part)
        };
        let mut first = read(text, Origin::Sequence(index))?;
        let second = pair.map(|text| read(text, Origin::Pair(index)));
        let mut second = second.transpose()?.unwrap_or_default();
        let template = if pair.is_some() { &self.pair } else { &self.single };
        if template.is_empty() {
            let message = "the tokenizer file has no template for pairs".into();
            return Err(Error::InvalidArgument { name: "pair", message });
        }
        if let Some(room) = room(template, options)? {
            let (m, n) =
                kept_lengths(first.ids.len(), second.ids.len(), pair.is_some(), room, options)?;
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

    /// Call `emit(part, position)` for every part of a text, positions in characters.
    pub(super) fn split<'a>(
        &self,
        text: &'a [u8],
        unknown: Unknown,
        emit: impl FnMut(Part<'a>, usize),
    ) -> Result<()> {
        // Without an unknown token its id is not used, but to count characters.
        let id = self.unknown.unwrap_or_default();
        self.rule.split(text, Policy { unknown, ..self.policy }, id, emit)
    }

    /// Encode one run of letters, a long one on several threads; `emit` receives the ids, in one or more
    /// pieces.
    pub(super) fn encode_run(
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

    /// Rate and random numbers of one sequence, if merges are dropped.
    pub(super) fn draw(
        &self,
        options: &Options,
        sequence: usize,
    ) -> Result<Option<(f64, Xoshiro256PlusPlus)>> {
        let Some(Dropout { rate, seed }) = options.dropout else { return Ok(None) };
        let wrong = |message: String| Error::InvalidArgument { name: "dropout", message };
        if !(0.0..=1.0).contains(&rate) {
            return Err(wrong(format!("must be between 0 and 1 (got {rate})")));
        }
        if rate == 0.0 {
            return Ok(None);
        }
        if self.matching() != Some(Matching::Bpe) {
            return Err(wrong("requires byte-pair encoding, the only one with merges".into()));
        }
        // An odd multiplier separates the seeds of neighbouring sequences; seeding then mixes all bits.
        let seed = seed.wrapping_add((sequence as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        Ok(Some((rate, Xoshiro256PlusPlus::seed_from_u64(seed))))
    }
}

/// Turn the error of one text into that of a batch.
pub(super) fn at_sequence(error: Error, sequence: usize) -> Error {
    at_origin(error, Origin::Sequence(sequence))
}

fn at_origin(error: Error, origin: Origin) -> Error {
    match error {
        Error::UnknownLetter { letter, position, .. } => {
            Error::UnknownLetter { origin, letter, position }
        }
        other => other,
    }
}

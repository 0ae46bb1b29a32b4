//! Many texts at once: runs of several texts fill the lanes of the encoder together.

use std::ops::Range;
use std::sync::Mutex;

use crate::encode::{LONG, Scratch, TOGETHER};
use crate::parallel::{count, lock, parallel_map};
use crate::tokenizer::definition::Slot;
use crate::tokenizer::dispatch::Run;
use crate::tokenizer::encoding::{Tokenizer, at_sequence};
use crate::tokenizer::options::{Options, room};
use crate::tokenizer::pretokenize::{Part, Rule};
use crate::{Ragged, Result, TokenId};

/// Minimum letters encoded together; further runs are added until they fill all columns.
const MIN_GROUP: usize = 1 << 16;

/// Maximum letters encoded together.
const MAX_GROUP: usize = 32 * MIN_GROUP;

/// Bytes of text that one thread takes at a time.
const SHARE: usize = 1 << 20;

/// A share of this number of bytes is mainly one long text.
const GIANT: usize = 8 * SHARE;

impl Tokenizer {
    /// Encode texts on `threads` threads (0: every core). Results and errors do not depend on the number
    /// of threads.
    ///
    /// # Errors
    /// As [`encode`](Self::encode); [`Error::UnknownLetter`](crate::Error::UnknownLetter) names the sequence.
    pub fn encode_batch<T: AsRef<[u8]> + Sync>(
        &self,
        texts: &[T],
        options: &Options,
        threads: usize,
    ) -> Result<Ragged> {
        let shares = shares(texts);
        let encode = |texts, first, threads| {
            let mut ids = Ragged::default();
            let options = Options { first: options.first + first, ..*options };
            self.encode_some(texts, &options, threads, &mut Scratch::default(), &mut ids)?;
            Ok(ids)
        };
        if count(threads) == 1 || shares.len() < 2 {
            return encode(texts, 0, threads);
        }
        // Every thread takes shares, but all threads together encode a giant.
        let (giants, others): (Vec<_>, Vec<_>) = shares.into_iter().partition(|(_, b)| *b >= GIANT);
        let mut parts = Vec::with_capacity(giants.len() + others.len());
        for (share, _) in giants {
            let part = encode(&texts[share.clone()], share.start, threads);
            parts.push((share.start, part));
        }
        parts.extend(parallel_map(
            threads,
            &others,
            || (),
            |(), (share, _)| (share.start, encode(&texts[share.clone()], share.start, 1)),
        ));
        parts.sort_unstable_by_key(|(start, _)| *start);
        let parts = parts.into_iter().map(|(_, part)| part).collect::<Result<_>>()?;
        Ok(joined(parts, threads))
    }

    /// Encode texts on the calling thread, in buffers that are reused.
    ///
    /// # Errors
    /// As [`encode_batch`](Self::encode_batch); the ids are then undefined.
    pub fn encode_into<T: AsRef<[u8]>>(
        &self,
        texts: &[T],
        options: &Options,
        scratch: &mut Scratch,
        ids: &mut Ragged,
    ) -> Result<()> {
        self.encode_some(texts, options, 1, scratch, ids)
    }

    fn encode_some<T: AsRef<[u8]>>(
        &self,
        texts: &[T],
        options: &Options,
        threads: usize,
        scratch: &mut Scratch,
        ids: &mut Ragged,
    ) -> Result<()> {
        ids.clear();
        let mut batch = Batch::new(&self.single, options, ids)?;
        // A token usually has four bases or more; memory that is not used costs nothing.
        let letters: usize = texts.iter().map(|text| text.as_ref().len()).sum();
        batch.done.values.reserve(letters / 4 + 4 * texts.len());
        batch.done.offsets.reserve(texts.len());
        let first = options.first;
        let drops_merges = self.draw(options, first)?.is_some();
        if let (Rule::Kmers(kmers), Some(unknown)) = (&self.rule, self.unknown) {
            for (text, index) in texts.iter().zip(first..) {
                batch.begin();
                let values = &mut batch.done.values;
                let done = kmers.encode(text.as_ref(), self.policy, unknown, values);
                done.map_err(|error| at_sequence(error, index))?;
                batch.end();
            }
            return Ok(());
        }
        if drops_merges {
            for (text, index) in texts.iter().zip(first..) {
                let mut draw = self.draw(options, index)?;
                batch.begin();
                let values = &mut batch.done.values;
                let done = self.split(text.as_ref(), self.policy.unknown, |part, _| match part {
                    Part::Token { id, .. } => values.push(id),
                    Part::Unknown { id, letters } => values.resize(values.len() + letters, id),
                    Part::Run(run) => self.encode_run(run, 1, scratch, &mut draw, |ids| {
                        values.extend_from_slice(ids);
                    }),
                });
                done.map_err(|error| at_sequence(error, index))?;
                batch.end();
            }
            return Ok(());
        }
        let mut group = Group::default();
        for (text, index) in texts.iter().zip(first..) {
            group.steps.push(Step::Begin);
            self.split(text.as_ref(), self.policy.unknown, |part, _| match part {
                Part::Token { id, .. } => group.steps.push(Step::Tokens(id, 1)),
                Part::Unknown { id, letters } => group.steps.push(Step::Tokens(id, letters)),
                Part::Run(run) => {
                    group.steps.push(Step::Run);
                    group.runs.push(run);
                    group.letters += run.letters.len();
                }
            })
            .map_err(|error| at_sequence(error, index))?;
            group.steps.push(Step::End);
            let filled = group.letters >= MIN_GROUP && group.runs.len().is_multiple_of(TOGETHER);
            if filled || group.letters >= MAX_GROUP {
                self.flush(&mut group, threads, scratch, &mut batch);
            }
        }
        self.flush(&mut group, threads, scratch, &mut batch);
        Ok(())
    }

    fn flush(
        &self,
        group: &mut Group<'_>,
        threads: usize,
        scratch: &mut Scratch,
        batch: &mut Batch<'_>,
    ) {
        let Rule::Pieces(reader) = &self.rule else { return };
        let mut steps = group.steps.drain(..);
        let together = group.runs.iter().all(|run| run.bases && run.letters.len() < LONG);
        let automaton =
            if together { reader.runs.automaton(&reader.pieces, group.letters) } else { None };
        if let Some(automaton) = automaton {
            let runs: Vec<&[u8]> = group.runs.iter().map(|run| run.letters).collect();
            automaton.encode_runs(&runs, scratch, |ids| batch.take(&mut steps, ids));
        } else {
            for run in &group.runs {
                batch.take(&mut steps, &[]);
                self.encode_run(*run, threads, scratch, &mut None, |ids| {
                    batch.done.values.extend_from_slice(ids);
                });
            }
        }
        batch.take(&mut steps, &[]);
        drop(steps);
        group.runs.clear();
        group.letters = 0;
    }
}

/// A step of writing the output; each [`Step::Run`] takes the ids of the next run.
enum Step {
    Begin,
    Tokens(TokenId, usize),
    Run,
    End,
}

#[derive(Default)]
struct Group<'a> {
    steps: Vec<Step>,
    runs: Vec<Run<'a>>,
    letters: usize,
}

/// The output, with the special tokens around each sequence.
struct Batch<'a> {
    done: &'a mut Ragged,
    before: Vec<TokenId>,
    after: Vec<TokenId>,
    room: Option<usize>,
    from_left: bool,
    /// Index of the first id of the current sequence's own letters.
    begin: usize,
}

impl<'a> Batch<'a> {
    fn new(template: &[Slot], options: &Options, done: &'a mut Ragged) -> Result<Self> {
        let position = template.iter().position(|slot| !matches!(slot, Slot::Special(..)));
        let (before, after) = template.split_at(position.unwrap_or(template.len()));
        let special = |slots: &[Slot]| -> Vec<TokenId> {
            let ids = slots.iter().filter_map(|slot| match slot {
                Slot::Special(id, _) if options.special_tokens => Some(*id),
                _ => None,
            });
            ids.collect()
        };
        Ok(Self {
            done,
            before: special(before),
            after: special(after),
            room: room(template, options)?,
            from_left: options.from_left,
            begin: 0,
        })
    }

    /// Carry out steps up to the next run, to which these ids belong, or to the end.
    fn take(&mut self, steps: &mut impl Iterator<Item = Step>, ids: &[TokenId]) {
        for step in steps {
            match step {
                Step::Begin => self.begin(),
                Step::Tokens(id, count) => {
                    self.done.values.resize(self.done.values.len() + count, id);
                }
                Step::Run => {
                    self.done.values.extend_from_slice(ids);
                    return;
                }
                Step::End => self.end(),
            }
        }
    }

    fn begin(&mut self) {
        self.done.values.extend_from_slice(&self.before);
        self.begin = self.done.values.len();
    }

    fn end(&mut self) {
        let values = &mut self.done.values;
        if let Some(room) = self.room {
            let excess = (values.len() - self.begin).saturating_sub(room);
            if self.from_left {
                values.drain(self.begin..self.begin + excess);
            } else {
                values.truncate(values.len() - excess);
            }
        }
        values.extend_from_slice(&self.after);
        self.done.close();
    }
}

/// All batches in one; the threads share the copying.
fn joined(parts: Vec<Ragged>, threads: usize) -> Ragged {
    let tokens = parts.iter().map(|part| part.values.len()).sum();
    let mut offsets = Vec::with_capacity(parts.iter().map(Ragged::len).sum::<usize>() + 1);
    offsets.push(0);
    let mut base = 0;
    for part in &parts {
        offsets.extend(part.offsets[1..].iter().map(|offset| base + offset));
        base += part.values.len() as u64;
    }
    let mut values = vec![0; tokens];
    let mut rest = &mut values[..];
    let mut targets = Vec::with_capacity(parts.len());
    for part in parts {
        let (target, more) = rest.split_at_mut(part.values.len());
        targets.push(Mutex::new((target, part)));
        rest = more;
    }
    parallel_map(
        threads,
        &targets,
        || (),
        |(), target| {
            let (target, part) = &mut *lock(target);
            target.copy_from_slice(&part.values);
        },
    );
    drop(targets);
    Ragged { values, offsets }
}

/// Consecutive texts of about [`SHARE`] bytes together, with their number of bytes.
fn shares<T: AsRef<[u8]>>(texts: &[T]) -> Vec<(Range<usize>, usize)> {
    let (mut shares, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (text, index) in texts.iter().zip(0..) {
        bytes += text.as_ref().len();
        if bytes >= SHARE {
            shares.push((start..index + 1, bytes));
            (start, bytes) = (index + 1, 0);
        }
    }
    if start < texts.len() {
        shares.push((start..texts.len(), bytes));
    }
    shares
}

//! Many merges settled by one look at the text.
//!
//! A sample tells what the next merges probably are. The whole text is encoded as if they were made,
//! and its pieces and pairs are counted once. From these counts those of every earlier stage follow: as
//! long as a piece is not made, each of it stands for its two parts, which are neighbours, and what
//! neighbours the piece neighbours one of them. So the counts are taken back to the stage before the
//! first guess, where the most frequent pair is the next merge for certain. If that was guessed, the
//! counts of the next stage are known as well, and so on, up to the first merge that nobody guessed.
//!
//! A guess may come in another place than its own: the text is the same if it changes places with
//! merges that can never want the same piece of it.

use std::cmp::Reverse;
use std::sync::Mutex;

use rustc_hash::FxHashMap;

use crate::encode::Scratch;
use crate::threads::share_out;
use crate::train::Work;
use crate::train::generation::{Pair, lock};
use crate::train::part::{Part, PieceEncoder};
use crate::vocab::Piece;
use crate::{Result, TokenId};

/// Merges guessed for one look: some more than a sample foretells, so that a swap at the end does no harm.
const GUESSES: usize = 100;

/// Most entries of a table with one for every pair; with more pairs than that they are hashed.
const MOST_ENTRIES: usize = 1 << 17;

/// Of so many stretches of the text one is the sample, where memory allows.
pub(super) const EVERY: usize = 16;

/// Slots from which on the first merges are made by a look.
const MANY: usize = 1 << 20;

/// Merges up to which a look is worth more than a generation.
const FEW: usize = 20;

/// What a look found out.
pub(super) enum Settled {
    /// There may be more to merge; this many pieces are in the text.
    More { pieces: u64 },
    /// No pair is frequent enough, or there are merges enough.
    All,
}

/// Make the first merges of a long text, for each few of which a generation would look at nearly every
/// base. Returns whether there are more to make.
pub(super) fn begin(
    work: &mut Work,
    parts: &mut [Part],
    report: &mut impl FnMut(&[Pair]) -> Result<()>,
) -> Result<bool> {
    let slots: usize = parts.iter().map(Part::slots).sum();
    if slots < MANY || work.merges.len() > FEW || work.lengths.len() == work.most {
        return Ok(true);
    }
    Ok(matches!(look_ahead(work, parts, EVERY, report)?, Settled::More { .. }))
}

/// Settle at least one merge by a look at the text; one piece in `every` is the sample.
pub(super) fn look_ahead(
    work: &mut Work,
    parts: &mut [Part],
    every: usize,
    report: &mut impl FnMut(&[Pair]) -> Result<()>,
) -> Result<Settled> {
    let guesses = guess(work, parts, every)?;
    let (counts, slots) = count(work, &guesses, parts)?;
    let made = confirm(work, &guesses, counts, report)?;
    // A guess that was wrong still stands for its parts.
    let mut parts_of = vec![1_u64; slots.len() - guesses.len()];
    for (&(left, right), is_made) in guesses.iter().zip(&made.guesses) {
        let both = parts_of[left as usize] + parts_of[right as usize];
        parts_of.push(if *is_made { 1 } else { both });
    }
    let pieces = slots.iter().zip(parts_of).map(|(times, parts)| times * parts).sum();
    Ok(if made.all { Settled::All } else { Settled::More { pieces } })
}

/// The merges that a sample of the text would have next.
fn guess(work: &Work, parts: &mut [Part], every: usize) -> Result<Vec<Pair>> {
    let parts: Vec<_> = parts.iter_mut().map(Mutex::new).collect();
    let sample = |(): &mut (), part: &Mutex<&mut Part>| lock(part).sample(every);
    let samples = share_out(work.threads, &parts, || (), sample);
    let samples: Vec<Part> = samples.into_iter().collect::<Result<_>>()?;
    let known = work.merges.len();
    let mut rehearsal =
        Work { most: work.most.min(work.lengths.len() + GUESSES), least: 1, ..work.clone() };
    rehearsal.in_memory(
        samples.into_iter().filter(|part| !part.is_empty()).collect(),
        &mut |_| Ok(()),
    )?;
    Ok(rehearsal.merges.split_off(known))
}

/// How often everything occurs in the text, weighted, at some stage of the guesses.
struct Counts {
    pairs: FxHashMap<Pair, u64>,
    /// By piece.
    pieces: Vec<u64>,
}

/// Count with all guesses merged: weighted, and pieces alone without weights.
fn count(work: &Work, guesses: &[Pair], parts: &mut [Part]) -> Result<(Counts, Vec<u64>)> {
    let mut ahead = work.clone();
    for &pair in guesses {
        ahead.push(pair);
    }
    let number = ahead.lengths.len();
    let vocab = ahead.vocab()?;
    let encoder = PieceEncoder::new(&vocab);
    let parts: Vec<_> = parts.iter_mut().map(Mutex::new).collect();
    let counted = share_out(work.threads, &parts, Scratch::default, |scratch, part| {
        let mut part = lock(part);
        let mut tally = Tally::new(number);
        part.read(|windows| {
            encoder.encode(windows, scratch, |pieces, ends| tally.add(pieces, ends));
            Ok(())
        })?;
        Ok((part.weight, tally))
    });
    let mut counts = Counts { pairs: FxHashMap::default(), pieces: vec![0; number] };
    let mut slots = vec![0; number];
    for part in counted {
        let (weight, tally) = part?;
        for (piece, times) in tally.pieces.iter().enumerate() {
            counts.pieces[piece] += times * weight;
            slots[piece] += times;
        }
        for (pair, times) in tally.pairs() {
            *counts.pairs.entry(pair).or_default() += times * weight;
        }
    }
    Ok((counts, slots))
}

/// Counts of one part.
struct Tally {
    pieces: Vec<u64>,
    /// An entry for every pair, the left piece's together; none where there would be too many.
    table: Vec<u64>,
    hashed: FxHashMap<Pair, u64>,
    left: Option<TokenId>,
}

impl Tally {
    fn new(pieces: usize) -> Self {
        let entries = pieces * pieces;
        let table = vec![0; if entries <= MOST_ENTRIES { entries } else { 0 }];
        Self { pieces: vec![0; pieces], table, hashed: FxHashMap::default(), left: None }
    }

    /// Count pieces; whether a window ends behind them.
    fn add(&mut self, pieces: &[TokenId], ends: bool) {
        for &piece in pieces {
            self.pieces[usize::from(piece)] += 1;
            let Some(left) = self.left.replace(piece) else { continue };
            if self.table.is_empty() {
                *self.hashed.entry((left.into(), piece.into())).or_default() += 1;
            } else {
                self.table[usize::from(left) * self.pieces.len() + usize::from(piece)] += 1;
            }
        }
        if ends {
            self.left = None;
        }
    }

    fn pairs(&self) -> impl Iterator<Item = (Pair, u64)> {
        let pieces = self.pieces.len();
        let piece = |number: usize| Piece::try_from(number).unwrap_or(Piece::MAX);
        let table = self.table.iter().enumerate().filter(|(_, times)| **times > 0);
        let table =
            table.map(move |(at, &times)| ((piece(at / pieces), piece(at % pieces)), times));
        table.chain(self.hashed.iter().map(|(&pair, &times)| (pair, times)))
    }
}

/// What the counts of a look settled.
struct Confirmed {
    /// Whether each guess was made.
    guesses: Vec<bool>,
    /// Whether there is nothing more to merge.
    all: bool,
}

/// Make the merges that the counts settle. Pieces have the guesses' numbers here; those that are made
/// get their own.
fn confirm(
    work: &mut Work,
    guesses: &[Pair],
    mut counts: Counts,
    report: &mut impl FnMut(&[Pair]) -> Result<()>,
) -> Result<Confirmed> {
    let known = work.lengths.len();
    let piece = |number: usize| Piece::try_from(number).unwrap_or(Piece::MAX);
    let mut own: Vec<Piece> = (0..known + guesses.len()).map(piece).collect();
    let mut waiting: Vec<(Piece, Pair)> =
        (known..).map(piece).zip(guesses.iter().copied()).collect();
    let (mut lengths, most_letters) = (work.lengths.clone(), work.most_letters);
    for pair in guesses {
        lengths.push(lengths[pair.0 as usize] + lengths[pair.1 as usize]);
    }
    let allowed = |pair: &Pair| lengths[pair.0 as usize] + lengths[pair.1 as usize] <= most_letters;
    // The highest count only falls from stage to stage, so at none it is below that of the last.
    let pairs = counts.pairs.iter().filter(|(pair, _)| allowed(pair));
    let floor = pairs.map(|(_, &times)| times).max().unwrap_or(1);
    let confirmed = |waiting: &[(Piece, Pair)], all| {
        let made = |piece| waiting.iter().all(|(other, _)| *other != piece);
        Confirmed { guesses: (known..).map(piece).take(guesses.len()).map(made).collect(), all }
    };
    loop {
        let mut undone = counts.take_back(&waiting);
        let high =
            |(pair, times): (&Pair, &u64)| (*times >= floor && allowed(pair)).then_some(*pair);
        let mut candidates: Vec<Pair> = counts.pairs.iter().filter_map(high).collect();
        loop {
            let rank = |pair: &Pair| {
                let times = counts.pairs.get(pair).copied().unwrap_or(0);
                (times, Reverse((own[pair.0 as usize], own[pair.1 as usize])))
            };
            let top = candidates.iter().copied().max_by_key(rank);
            let Some(top) = top.filter(|top| rank(top).0 >= work.least) else {
                return Ok(confirmed(&waiting, true));
            };
            let made = piece(work.lengths.len());
            work.push((own[top.0 as usize], own[top.1 as usize]));
            report(&work.merges)?;
            let place = waiting.iter().position(|(_, pair)| *pair == top);
            let Some(place) = place
                .filter(|&place| waiting[..place].iter().all(|(_, pair)| !may_overlap(top, *pair)))
            else {
                return Ok(confirmed(&waiting, false));
            };
            own[waiting.remove(place).0 as usize] = made;
            if work.lengths.len() == work.most {
                return Ok(confirmed(&waiting, true));
            }
            if place > 0 {
                while let Some(step) = undone.pop() {
                    counts.redo(step);
                }
                break; // the stages from here on are others
            }
            let Some(step) = undone.pop() else { break };
            candidates.extend(step.gone.iter().map(|(pair, _)| *pair).filter(allowed));
            counts.redo(step);
        }
    }
}

/// Whether two merges can want the same piece of a text, so that their order matters.
fn may_overlap(one: Pair, other: Pair) -> bool {
    one.0 == other.1 || one.1 == other.0
}

/// How the counts changed when a merge was taken back.
struct Undone {
    piece: Piece,
    parts: Pair,
    times: u64,
    /// Pairs of the piece, with their counts.
    gone: Vec<(Pair, u64)>,
    /// What became of them.
    come: Vec<(Pair, u64)>,
}

impl Counts {
    /// Take back merges, the last first. Returns what is needed to redo them, the first merge last.
    fn take_back(&mut self, merges: &[(Piece, Pair)]) -> Vec<Undone> {
        // A pair goes with the later of its pieces.
        let mut turn = vec![0; self.pieces.len()];
        for (&(piece, _), number) in merges.iter().zip(1..) {
            turn[piece as usize] = number;
        }
        let turn = |pair: Pair| -> usize { turn[pair.0 as usize].max(turn[pair.1 as usize]) };
        let mut of_turn: Vec<Vec<Pair>> = vec![Vec::new(); merges.len() + 1];
        for &pair in self.pairs.keys().filter(|pair| turn(**pair) > 0) {
            of_turn[turn(pair)].push(pair);
        }
        let mut undone = Vec::new();
        for &(piece, parts) in merges.iter().rev() {
            let pairs = of_turn.pop().unwrap_or_default();
            let gone: Vec<(Pair, u64)> = pairs
                .into_iter()
                .filter_map(|pair| Some((pair, self.pairs.remove(&pair)?)))
                .collect();
            let last = |left: Piece| if left == piece { parts.1 } else { left };
            let first = |right: Piece| if right == piece { parts.0 } else { right };
            let apart = |&((left, right), times): &(Pair, u64)| ((last(left), first(right)), times);
            let times = std::mem::take(&mut self.pieces[piece as usize]);
            let come: Vec<_> = gone.iter().map(apart).chain([(parts, times)]).collect();
            self.pieces[parts.0 as usize] += times;
            self.pieces[parts.1 as usize] += times;
            for &(pair, times) in come.iter().filter(|(_, times)| *times > 0) {
                let count = self.pairs.entry(pair).or_default();
                if *count == 0 && turn(pair) > 0 {
                    of_turn[turn(pair)].push(pair);
                }
                *count += times;
            }
            undone.push(Undone { piece, parts, times, gone, come });
        }
        undone
    }

    fn redo(&mut self, step: Undone) {
        for (pair, times) in step.come {
            if let Some(count) = self.pairs.get_mut(&pair) {
                *count -= times;
            }
        }
        self.pairs.extend(step.gone);
        self.pieces[step.parts.0 as usize] -= step.times;
        self.pieces[step.parts.1 as usize] -= step.times;
        self.pieces[step.piece as usize] = step.times;
    }
}

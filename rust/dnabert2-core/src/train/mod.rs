//! Training of byte-pair encoding, exactly as Hugging Face's `BpeTrainer` decides.
//!
//! The rule: count neighbouring pieces (in a run AAA, AA counts twice); merge the most frequent pair
//! everywhere, from left to right, ties going to the smaller (left, right) ranks; repeat. Windows
//! never join. Counts are 64-bit.
//!
//! The whole input lies in one array with one slot a base. A piece stands at its first slot and
//! again, marked, at its last, so both neighbours are found without links. Every pair keeps the
//! list of positions at which it arose; positions that a later merge has broken are recognised when
//! they are visited. Memory is about 4 bytes a base plus 4 for each listed position.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::FxHashMap;

use crate::dna::{BASES, base_runs};
use crate::vocab::{Piece, Vocab};
use crate::{Error, Result, TokenId};

type Pair = (Piece, Piece);

/// Border between two windows.
const BORDER: u32 = u32::MAX;
/// Marks the last slot of a piece of several bases.
const LAST: u32 = 1 << 31;

/// Collects windows of sequence, then makes the merges.
///
/// ```
/// let mut trainer = dnabert2_core::train::BpeTrainer::new(None);
/// trainer.add(b"ACACACGT")?;
/// let vocab = trainer.train(5 + 4 + 2, 1, 5, |_| Ok(()))?;
/// assert_eq!(vocab.texts()[4..], [b"AC".to_vec(), b"ACAC".to_vec()]);
/// # Ok::<(), dnabert2_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct BpeTrainer {
    window_bp: Option<usize>,
    slots: Vec<u32>,
    bases: u64,
    skipped: u64,
}

impl BpeTrainer {
    /// Start empty; runs of bases are cut every `window_bp` bases, or never.
    #[must_use]
    pub fn new(window_bp: Option<usize>) -> Self {
        Self { window_bp, slots: vec![BORDER], bases: 0, skipped: 0 }
    }

    /// Add one sequence: its runs of A, C, G, T in either case. Other letters end a run.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] beyond 2^31 bases in all, which this method cannot hold.
    pub fn add(&mut self, sequence: &[u8]) -> Result<()> {
        let before = self.bases;
        for (_, run) in base_runs(sequence) {
            for window in run.chunks(self.window_bp.unwrap_or(run.len())) {
                self.slots.extend(window.iter().map(|&base| code(base)));
                self.slots.push(BORDER);
            }
            self.bases += run.len() as u64;
        }
        self.skipped += sequence.len() as u64 - (self.bases - before);
        if self.slots.len() >= LAST as usize {
            let message = "more than 2^31 bases; train on a sample of the sequences".into();
            return Err(Error::InvalidArgument { name: "sequences", message });
        }
        Ok(())
    }

    /// Bases that were added.
    #[must_use]
    pub fn bases(&self) -> u64 {
        self.bases
    }

    /// Letters other than A, C, G, T that were passed over.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Make merges until the vocabulary, `special` tokens included, has `vocab_size` entries or no
    /// pair occurs `min_frequency` times. `report` hears the number of pieces after every merge and
    /// may stop the work.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when `vocab_size` has no room for the letters or no base was
    /// added; whatever `report` returns.
    pub fn train(
        mut self,
        vocab_size: usize,
        min_frequency: u64,
        special: TokenId,
        mut report: impl FnMut(usize) -> Result<()>,
    ) -> Result<Vocab> {
        let (least, most) = (usize::from(special) + BASES.len(), usize::from(TokenId::MAX) + 1);
        if !(least..=most).contains(&vocab_size) {
            let message = format!("{vocab_size} is not between {least} and {most}");
            return Err(Error::InvalidArgument { name: "vocab_size", message });
        }
        if self.bases == 0 {
            let message = "no A, C, G or T in the input: nothing to train on".into();
            return Err(Error::InvalidArgument { name: "sequences", message });
        }
        let mut pairs = Pairs::default();
        for (at, pair) in self.slots.windows(2).enumerate() {
            if pair[0] != BORDER && pair[1] != BORDER {
                pairs.add((pair[0], pair[1]), at);
            }
        }
        let mut heap: BinaryHeap<_> = pairs.counts.iter().map(|(&p, &n)| (n, Reverse(p))).collect();
        let mut lengths = vec![1_usize; BASES.len()];
        let mut merges: Vec<Pair> = Vec::new();
        while usize::from(special) + lengths.len() < vocab_size {
            let Some((count, Reverse(pair))) = heap.pop() else { break };
            let now = pairs.counts.get(&pair).copied().unwrap_or(0);
            if now != count {
                if now > 0 {
                    heap.push((now, Reverse(pair)));
                }
                continue;
            }
            if count < min_frequency.max(1) {
                break;
            }
            let piece = Piece::try_from(lengths.len()).unwrap_or(Piece::MAX);
            lengths.push(lengths[pair.0 as usize] + lengths[pair.1 as usize]);
            merges.push(pair);
            for new in self.merge(pair, piece, &lengths, &mut pairs) {
                if let Some(&count) = pairs.counts.get(&new) {
                    heap.push((count, Reverse(new)));
                }
            }
            report(lengths.len())?;
        }
        let ids = (special..=TokenId::MAX).take(lengths.len()).collect();
        Vocab::new(&BASES, &merges, ids)
    }

    /// Replace `pair` by `piece` everywhere; returns the pairs that arose.
    fn merge(
        &mut self,
        pair: Pair,
        piece: Piece,
        lengths: &[usize],
        pairs: &mut Pairs,
    ) -> Vec<Pair> {
        let mut arose = rustc_hash::FxHashSet::default();
        let [a, joined] = [pair.0, piece].map(|p| lengths[p as usize]);
        let slots = &mut self.slots;
        for at in pairs.positions.remove(&pair).unwrap_or_default() {
            let at = at as usize;
            if slots[at] != pair.0 || slots[at + a] != pair.1 {
                continue; // a merge since then took one of the two
            }
            let before = slots[at - 1] & !LAST;
            let after = slots[at + joined];
            if slots[at - 1] != BORDER {
                pairs.remove((before, pair.0));
                pairs.add((before, piece), at - lengths[before as usize]);
                arose.insert((before, piece));
            }
            if after != BORDER {
                pairs.remove((pair.1, after));
                pairs.add((piece, after), at);
                arose.insert((piece, after));
            }
            slots[at + a] = LAST; // no piece begins here any more
            slots[at] = piece;
            slots[at + joined - 1] = piece | LAST;
        }
        pairs.counts.remove(&pair);
        arose.into_iter().collect()
    }
}

/// How often every pair occurs, and where it arose.
#[derive(Default)]
struct Pairs {
    counts: FxHashMap<Pair, u64>,
    positions: FxHashMap<Pair, Vec<u32>>,
}

impl Pairs {
    fn add(&mut self, pair: Pair, at: usize) {
        *self.counts.entry(pair).or_default() += 1;
        let at = u32::try_from(at).expect("`BpeTrainer::add` keeps the input below 2^31 slots");
        self.positions.entry(pair).or_default().push(at);
    }

    fn remove(&mut self, pair: Pair) {
        if let Some(count) = self.counts.get_mut(&pair) {
            *count -= 1;
        }
    }
}

fn code(base: u8) -> u32 {
    // A, C, G, T are 0b00, 0b01, 0b11, 0b10 in bits 1 and 2 of their ASCII codes.
    [0, 1, 3, 2][usize::from(base >> 1 & 3)]
}

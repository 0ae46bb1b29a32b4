//! Which pieces may be adjacent: all pairs at once.
//!
//! [`Vocab::adjacent`] undoes merges for one pair: it undoes the piece of the two that was made later,
//! searches for a merge across the border, and continues with the remaining pair. The larger rank of
//! that pair is smaller. So a table filled in the order of the larger rank answers each pair with one
//! look-up: row `k` is the row of `k`'s inner part, without the few pairs that merge in time.

use crate::vocab::{Piece, Vocab};

/// Rows of bits.
#[derive(Debug, Clone)]
struct Bits {
    words: usize,
    data: Vec<u64>,
}

impl Bits {
    fn new(rows: usize, columns: usize) -> Self {
        let words = columns.div_ceil(64);
        Self { words, data: vec![0; rows * words] }
    }

    fn row(&self, row: usize) -> &[u64] {
        &self.data[row * self.words..][..self.words]
    }

    fn get(&self, row: usize, column: usize) -> bool {
        self.data[row * self.words + column / 64] >> (column % 64) & 1 == 1
    }

    fn set(&mut self, row: usize, column: usize) {
        self.data[row * self.words + column / 64] |= 1 << (column % 64);
    }

    fn clear(&mut self, row: usize, column: usize) {
        self.data[row * self.words + column / 64] &= !(1 << (column % 64));
    }

    fn copy_row(&mut self, from: usize, to: usize) {
        let start = from * self.words;
        self.data.copy_within(start..start + self.words, to * self.words);
    }
}

/// For every piece, the pieces that may precede it, as bits in an order that the caller defines.
#[derive(Debug, Clone)]
pub struct PairTable {
    before: Bits,
}

impl PairTable {
    /// Fill the table; `position[p]` is the bit of piece `p`, a permutation.
    pub fn new(vocab: &Vocab, position: &[usize]) -> Self {
        let count = vocab.len();
        let letters = vocab.letters().len();
        // `after[l]` has bit r, `before[r]` has bit position[l], if undoing the later of the two
        // pieces down to letters finds no merge across the border. Whether the two themselves
        // merge is checked last, because it matters only for the whole pair.
        let (mut after, mut before) = (Bits::new(count, count), Bits::new(count, count));
        let (mut by_left, mut by_right) = (vec![Vec::new(); count], vec![Vec::new(); count]);
        for (&(left, right), made) in vocab.merges().iter().zip(letters..) {
            by_left[left as usize].push((right as usize, made));
            by_right[right as usize].push((left as usize, made));
        }
        for k in 0..count {
            if let Some(made_from) = k.checked_sub(letters) {
                let (left, right) = vocab.merges()[made_from];
                let (left, right) = (left as usize, right as usize);
                // (k, r) with r < k: undo k, its right part faces r. A merge before k counts.
                after.copy_row(right, k);
                for &(r, _) in by_left[right].iter().filter(|&&(_, made)| made < k) {
                    after.clear(k, r);
                }
                // (l, k) with l < k: undo k, its left part faces l. Equal merges are made from left to
                // right, so the merge that makes k itself counts too.
                before.copy_row(left, k);
                for &(l, _) in by_right[left].iter().filter(|&&(_, made)| made <= k) {
                    before.clear(k, position[l]);
                }
                if after.get(k, left) {
                    after.set(k, k);
                    before.set(k, position[k]);
                } else {
                    after.clear(k, k);
                    before.clear(k, position[k]);
                }
            } else {
                for (other, &position) in position[..=k].iter().enumerate() {
                    after.set(k, other);
                    before.set(k, position);
                }
            }
            for (other, &position_of_other) in position[..k].iter().enumerate() {
                if after.get(k, other) {
                    before.set(other, position[k]);
                }
                if before.get(k, position_of_other) {
                    after.set(other, k);
                }
            }
        }
        for &(left, right) in vocab.merges() {
            before.clear(right as usize, position[left as usize]);
        }
        Self { before }
    }

    /// Whether `left` may precede `right`, in a table whose bits are in the order of pieces.
    pub fn adjacent(&self, left: Piece, right: Piece) -> bool {
        self.before.get(right as usize, left as usize)
    }

    /// Bits of the pieces that may precede `piece`.
    pub fn before(&self, piece: Piece) -> &[u64] {
        self.before.row(piece as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{BpeTrainer, InputConfig, InputStats, Options};

    #[test]
    fn every_pair_is_as_played_backwards() {
        let mut trainer = BpeTrainer::new(InputConfig::default());
        let text = b"ACACAAAAAATTTGTGTACACACGTACGGGGTTTATATCCAACCAA".repeat(3);
        trainer.add(&text, 1, &mut InputStats::default()).expect("bases");
        let vocab = trainer
            .train(&Options { vocab_size: 60, ..Options::default() }, &[], |_| Ok(()))
            .expect("enough to merge");
        let position: Vec<usize> = (0..vocab.len()).rev().collect();
        let table = PairTable::new(&vocab, &position);
        for (right, _) in (0..).zip(&position) {
            for (left, position) in (0..).zip(&position) {
                let bit = table.before(right)[position / 64] >> (position % 64) & 1 == 1;
                assert_eq!(bit, vocab.adjacent(left, right), "{left} before {right}");
            }
        }
    }
}

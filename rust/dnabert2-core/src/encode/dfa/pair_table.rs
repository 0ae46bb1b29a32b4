//! Which pieces may be adjacent: all pairs at once.
//!
//! [`Vocab::adjacent`] undoes merges for one pair: it undoes the piece of the two that was made later,
//! searches for a merge across the border, and continues with the remaining pair. The larger rank of
//! that pair is smaller. So a table filled in the order of the larger rank answers each pair with one
//! look-up: row `k` is the row of `k`'s inner part, without the few pairs that merge in time.
//!
//! A row holds its pairs with earlier pieces. The pairs with later ones are the columns of the mirrored
//! table, which are turned into rows 64 by 64.

use crate::vocab::{Piece, Vocab};

/// Rows of bits.
#[derive(Debug, Clone)]
struct Bits {
    words: usize,
    data: Vec<u64>,
}

impl Bits {
    /// A square of zeros.
    fn new(size: usize) -> Self {
        let words = size.div_ceil(64);
        // Whole blocks of rows, so that every block can be transposed.
        Self { words, data: vec![0; 64 * words * words] }
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

    /// Rows `64 * block..64 * block + 64` of word `word`, transposed: one word for each column.
    fn transposed(&self, block: usize, word: usize) -> [u64; 64] {
        let mut square = [0; 64];
        for (row, words) in
            square.iter_mut().zip(self.data[64 * block * self.words..].chunks(self.words))
        {
            *row = words[word];
        }
        transpose(&mut square);
        square
    }

    /// Add bits to word `word` of rows `64 * block..64 * block + 64`.
    fn add(&mut self, block: usize, word: usize, bits: &[u64; 64]) {
        let rows = self.data[64 * block * self.words..].chunks_mut(self.words);
        for (row, &bits) in rows.zip(bits) {
            row[word] |= bits;
        }
    }
}

/// Transpose 64 rows of 64 bits in place (H. S. Warren, Hacker's Delight, section 7-3).
fn transpose(rows: &mut [u64; 64]) {
    let (mut width, mut low) = (32, u64::from(u32::MAX));
    while width > 0 {
        let mut upper = 0;
        while upper < 64 {
            let swapped = (rows[upper] >> width ^ rows[upper + width]) & low;
            rows[upper] ^= swapped << width;
            rows[upper + width] ^= swapped;
            upper = (upper + width + 1) & !width;
        }
        width /= 2;
        low ^= low << width;
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
        // `after[l]` has bit r, `before[r]` has bit l, if undoing the later of the two pieces down to
        // letters finds no merge across the border. Whether the two themselves merge is checked last,
        // because it matters only for the whole pair.
        let (mut after, mut before) = (Bits::new(count), Bits::new(count));
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
                copy_earlier(&mut after, &before, right, k);
                for &(r, _) in by_left[right].iter().filter(|&&(_, made)| made < k) {
                    after.clear(k, r);
                }
                // (l, k) with l < k: undo k, its left part faces l. Equal merges are made from left to
                // right, so the merge that makes k itself counts too.
                copy_earlier(&mut before, &after, left, k);
                for &(l, _) in by_right[left].iter().filter(|&&(_, made)| made <= k) {
                    before.clear(k, l);
                }
                if after.get(k, left) {
                    after.set(k, k);
                    before.set(k, k);
                }
            } else {
                for other in 0..=k {
                    after.set(k, other);
                    before.set(k, other);
                }
            }
            if k % 64 == 63 || k + 1 == count {
                let block = k / 64;
                for earlier in 0..=block {
                    let later_after = before.transposed(block, earlier);
                    let later_before = after.transposed(block, earlier);
                    after.add(earlier, block, &later_after);
                    before.add(earlier, block, &later_before);
                }
            }
        }
        for &(left, right) in vocab.merges() {
            after.clear(left as usize, right as usize);
        }
        // Rows by position, then transposed: bit `position[l]` of row r.
        for (l, &position) in position.iter().enumerate() {
            let (from, to) = (l * after.words, position * before.words);
            before.data[to..to + after.words]
                .copy_from_slice(&after.data[from..from + after.words]);
        }
        let mut placed = after;
        placed.data.fill(0);
        for block in 0..placed.words {
            for word in 0..placed.words {
                placed.add(word, block, &before.transposed(block, word));
            }
        }
        Self { before: placed }
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

/// Copy the pairs of piece `from` with the pieces before `k` to row `k`. Those made later than `from`
/// in the block of `k` are still columns of the mirrored table.
fn copy_earlier(rows: &mut Bits, mirrored: &Bits, from: usize, k: usize) {
    let (block, start) = (k / 64, from * rows.words);
    rows.data.copy_within(start..=start + block, k * rows.words);
    for other in (from + 1).max(64 * block)..k {
        if mirrored.get(other, from) {
            rows.set(k, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{BpeTrainer, InputConfig, InputStats, Options};

    #[test]
    fn transposing_swaps_rows_and_columns() {
        let rows: [u64; 64] =
            std::array::from_fn(|i| (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut turned = rows;
        transpose(&mut turned);
        for (i, row) in rows.iter().enumerate() {
            for (j, column) in turned.iter().enumerate() {
                assert_eq!(row >> j & 1, column >> i & 1, "{i}, {j}");
            }
        }
    }

    #[test]
    fn every_pair_is_as_played_backwards() {
        let repeats = b"ACACAAAAAATTTGTGTACACACGTACGGGGTTTATATCCAACCAA".repeat(3);
        let mut draw = 1_u64;
        let mut letter = || {
            draw = draw.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            b"AACGT"[(draw >> 33) as usize % 5]
        };
        let drawn: Vec<u8> = (0..6_000).map(|_| letter()).collect();
        // One block of 64 pieces; then several, and the last is not whole.
        for (text, vocab_size) in [(repeats, 60), (drawn, 300)] {
            compare_with_merges(&text, vocab_size);
        }
    }

    fn compare_with_merges(text: &[u8], vocab_size: usize) {
        let mut trainer = BpeTrainer::new(InputConfig::default());
        trainer.add(text, 1, &mut InputStats::default()).expect("bases");
        let vocab = trainer
            .train(&Options { vocab_size, ..Options::default() }, &[], |_| Ok(()))
            .expect("enough to merge");
        assert_eq!(vocab.len().div_ceil(64), vocab_size.div_ceil(64));
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

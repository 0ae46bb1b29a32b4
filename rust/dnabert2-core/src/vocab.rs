//! The merge table of byte-pair encoding, as the algorithms use it.
//!
//! A *piece* is a text that BPE can produce: first the letters, then one piece for every merge, in the
//! order in which the merges are made. These ranks, unlike the ids of a file, make "made earlier" the
//! same as "smaller number", which the theory of the encoder needs. Ids are looked up at the end.

use rustc_hash::FxHashMap;

use crate::{Error, Result, TokenId};

/// Rank of a piece: letters first, then merges in the order they are made.
pub type Piece = u32;

/// Maximum letters of a piece. Longer pieces occur in no genome, a few of them would fill the memory,
/// and the automata store lengths in 16 bits.
pub const MAX_LETTERS: usize = u16::MAX as usize;

/// Letters and merges of a BPE vocabulary, with the id of every piece.
#[derive(Debug, Clone)]
pub struct Vocab {
    letters: Vec<u8>,
    merges: Vec<(Piece, Piece)>,
    by_pair: FxHashMap<(Piece, Piece), Piece>,
    /// A bit is set for every pair that merges and for one in sixteen others: most look-ups end here.
    sieve: Vec<u64>,
    texts: Vec<Vec<u8>>,
    ids: Vec<TokenId>,
}

impl Vocab {
    /// Build from single-byte `letters` and `merges` between earlier pieces, with the id of every
    /// piece in the same order.
    ///
    /// # Errors
    /// [`Error::Vocab`] when a merge names a later piece or makes one of more than [`MAX_LETTERS`]
    /// letters, when two merges or letters give the same text, or when a piece's text does not encode
    /// to the piece itself. In the last case the merges cannot come from BPE training, and exact
    /// longest-match encoding is not possible.
    ///
    /// # Panics
    /// When the number of ids is not the number of letters and merges.
    pub fn new(letters: &[u8], merges: &[(Piece, Piece)], ids: Vec<TokenId>) -> Result<Self> {
        let mut vocab = Self {
            letters: letters.to_vec(),
            merges: merges.to_vec(),
            by_pair: FxHashMap::default(),
            sieve: vec![0; (merges.len() / 4 + 1).next_power_of_two()],
            texts: letters.iter().map(|&letter| vec![letter]).collect(),
            ids,
        };
        assert_eq!(vocab.ids.len(), letters.len() + merges.len(), "one id for every piece");
        for (&(left, right), piece) in merges.iter().zip(letters.len()..) {
            let fail = |message: String| {
                let token = format!("merge {}", piece - letters.len());
                Err(Error::Vocab { token, message })
            };
            let [Some(start), Some(end)] = [left, right].map(|p| vocab.texts.get(p as usize))
            else {
                return fail("it joins a later token; list merges in training order".into());
            };
            if start.len() + end.len() > MAX_LETTERS {
                return fail(format!("it makes a token of more than {MAX_LETTERS} characters"));
            }
            vocab.texts.push([&start[..], &end[..]].concat());
            vocab.by_pair.insert((left, right), rank(piece));
            let (word, bit) = vocab.sieve_bit(left, right);
            vocab.sieve[word] |= bit;
        }
        vocab.check()?;
        Ok(vocab)
    }

    fn check(&self) -> Result<()> {
        let fail = |text: &[u8], message: &str| Error::Vocab {
            token: String::from_utf8_lossy(text).into_owned(),
            message: message.into(),
        };
        let mut seen = rustc_hash::FxHashSet::default();
        for text in &self.texts {
            if !seen.insert(&text[..]) {
                return Err(fail(text, "two merges make it; remove one of them"));
            }
        }
        for (&(left, right), piece) in self.merges.iter().zip(self.letters.len()..) {
            if !self.adjacent_before(left, right, rank(piece)) {
                let message =
                    "its text does not encode to it; the merges are not from BPE training";
                return Err(fail(&self.texts[piece], message));
            }
        }
        Ok(())
    }

    /// Number of pieces.
    #[must_use]
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there are no pieces.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The letters, in rank order.
    #[must_use]
    pub fn letters(&self) -> &[u8] {
        &self.letters
    }

    /// The part of the vocabulary over these letters, which encodes their texts in the same way. `None`
    /// when one of the letters is missing.
    #[must_use]
    pub fn restricted_to(&self, letters: &[u8]) -> Option<Self> {
        if !letters.iter().all(|letter| self.letters.contains(letter)) {
            return None;
        }
        let kept: Vec<usize> = (0..self.len())
            .filter(|&piece| self.texts[piece].iter().all(|letter| letters.contains(letter)))
            .collect();
        let now = |piece: Piece| rank(kept.partition_point(|&k| k < piece as usize));
        let merges: Vec<_> = kept
            .iter()
            .filter_map(|&piece| self.merges.get(piece.checked_sub(self.letters.len())?))
            .map(|&(left, right)| (now(left), now(right)))
            .collect();
        let letters: Vec<u8> =
            self.letters.iter().copied().filter(|l| letters.contains(l)).collect();
        let ids = kept.iter().map(|&piece| self.ids[piece]).collect();
        Self::new(&letters, &merges, ids).ok()
    }

    /// The two parts of every merge, in the order the merges are made.
    #[must_use]
    pub fn merges(&self) -> &[(Piece, Piece)] {
        &self.merges
    }

    /// Text of every piece, in rank order.
    #[must_use]
    pub fn texts(&self) -> &[Vec<u8>] {
        &self.texts
    }

    /// Id of a piece.
    #[must_use]
    pub fn id(&self, piece: Piece) -> TokenId {
        self.ids[piece as usize]
    }

    /// The piece that the merge of two pieces makes, if there is one.
    #[must_use]
    pub fn merge(&self, left: Piece, right: Piece) -> Option<Piece> {
        let (word, bit) = self.sieve_bit(left, right);
        if self.sieve[word] & bit == 0 {
            return None;
        }
        self.by_pair.get(&(left, right)).copied()
    }

    /// Word and bit of a pair in the sieve.
    fn sieve_bit(&self, left: Piece, right: Piece) -> (usize, u64) {
        let mixed = (u64::from(left) << 32 | u64::from(right)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        ((mixed >> 38) as usize & (self.sieve.len() - 1), 1 << (mixed >> 32 & 63))
    }

    /// Whether BPE can leave `left` and `right` adjacent: encoding their joint text returns the two. A
    /// sequence of pieces is an encoding exactly when all its neighbours may be adjacent
    /// (van Antwerpen and Neubeck, README of the `bpe` crate, 2024).
    #[must_use]
    pub fn adjacent(&self, left: Piece, right: Piece) -> bool {
        self.adjacent_before(left, right, Piece::MAX)
    }

    /// Whether no merge before `limit` reaches across the border of two pieces while they are
    /// made from letters.
    ///
    /// Undo the merges. Just before the later of the two pieces was made, that piece's inner part was
    /// at the border; an earlier merge across the border would have destroyed it. Equal merges are made
    /// from left to right, so the right piece counts as the later one of two equals, and a border merge
    /// of the same rank as the right piece comes first.
    fn adjacent_before(&self, left: Piece, right: Piece, limit: Piece) -> bool {
        let (mut left, mut right, mut limit) = (left, right, limit);
        loop {
            if self.merge(left, right).is_some_and(|across| across < limit) {
                return false;
            }
            let later = left.max(right) as usize;
            if later < self.letters.len() {
                return true;
            }
            let (inner_left, inner_right) = self.merges[later - self.letters.len()];
            // Selected without a branch: which of the two is later cannot be predicted.
            let undo_left = left > right;
            limit = if undo_left { left } else { right + 1 };
            right = if undo_left { right } else { inner_left };
            left = if undo_left { inner_right } else { left };
        }
    }
}

fn rank(index: usize) -> Piece {
    Piece::try_from(index).expect("a vocabulary has fewer than 2^32 pieces")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_training_cannot_make() {
        // A+B, then (AB)+B and A+(BB) would both spell ABB.
        let twice = Vocab::new(b"AB", &[(0, 1), (1, 1), (2, 1), (0, 3)], vec![0, 1, 2, 3, 4, 5]);
        assert!(twice.is_err_and(|e| e.to_string().contains("two merges")));
        // AB is made before BB, so the text ABB never shows the pair A, BB.
        let never = Vocab::new(b"AB", &[(0, 1), (1, 1), (0, 3)], vec![0, 1, 2, 3, 4]);
        assert!(never.is_err_and(|e| e.to_string().contains("does not encode to it")));
        let doubling: Vec<_> = (0..16).map(|piece| (piece, piece)).collect();
        let long = Vocab::new(b"A", &doubling, vec![0; 17]);
        assert!(
            long.is_err_and(|e| e.to_string().contains("merge 15\": it makes a token of more"))
        );
        let later = Vocab::new(b"AB", &[(0, 7)], vec![0, 1, 2]);
        assert!(later.is_err_and(|e| e.to_string().contains("later token")));
    }

    #[test]
    fn equal_letters_pair_from_the_left() {
        let vocab = Vocab::new(b"A", &[(0, 0)], vec![0, 1]).expect("AA is a sound merge");
        assert!(vocab.adjacent(1, 0)); // AAA is AA A ...
        assert!(!vocab.adjacent(0, 1)); // ... and never A AA
        assert!(vocab.adjacent(1, 1));
    }
}

//! Exact BPE for any alphabet, by longest match with a check of neighbours.
//!
//! An encoding is the only split of the text into pieces in which every two neighbours may stand
//! together ([`Vocab::adjacent`]). So walk from left to right and take the longest piece that
//! matches; when it may not follow the piece before it, take the next shorter one; when none is
//! left, this position cannot be a border of the encoding: remember that, step back over the piece
//! before and try its next shorter prefix. Each position is ruled out at most once, which keeps the
//! walk linear in practice and exact always.

use crate::vocab::{Piece, Vocab};

const NONE: u32 = u32::MAX;

/// A vocabulary prepared for longest-match encoding.
///
/// ```
/// use dnabert2_core::{encode::GeneralEncoder, vocab::Vocab};
/// // AC, then AA: "AAC" is A AC although AA matches first, because AC is merged before AA.
/// let vocab = Vocab::new(b"AC", &[(0, 1), (0, 0)], vec![5, 6, 7, 8])?;
/// let (encoder, mut pieces) = (GeneralEncoder::new(&vocab), Vec::new());
/// encoder.encode(&vocab, &[0, 0, 1], &mut pieces);
/// assert_eq!(pieces, [0, 2]);
/// # Ok::<(), dnabert2_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct GeneralEncoder {
    letters: usize,
    /// Child of trie node `n` by letter `c` at `n * letters + c`; 0 (the root) means none.
    children: Vec<u32>,
    /// Piece that ends at a trie node.
    piece: Vec<Piece>,
    /// Longest proper prefix of a piece that is a piece itself.
    shorter: Vec<Piece>,
    lengths: Vec<u32>,
}

impl GeneralEncoder {
    /// Prepare the trie of all pieces.
    ///
    /// # Panics
    /// Never: a [`Vocab`] spells its pieces by its letters.
    #[must_use]
    pub fn new(vocab: &Vocab) -> Self {
        let letters = vocab.letters().len();
        let mut trie = Self {
            letters,
            children: vec![0; letters],
            piece: vec![NONE],
            shorter: Vec::with_capacity(vocab.len()),
            lengths: vocab.texts().iter().map(|text| index(text.len())).collect(),
        };
        let code = |byte| vocab.letters().iter().position(|&letter| letter == byte);
        for (text, rank) in vocab.texts().iter().zip(0..) {
            let mut node = 0;
            for &byte in text {
                let slot = node * letters + code(byte).expect("pieces are spelled by letters");
                if trie.children[slot] == 0 {
                    trie.children[slot] = index(trie.piece.len());
                    trie.children.resize(trie.children.len() + letters, 0);
                    trie.piece.push(NONE);
                }
                node = trie.children[slot] as usize;
            }
            trie.piece[node] = rank;
        }
        for text in vocab.texts() {
            let codes: Vec<u8> =
                text.iter().filter_map(|&b| code(b).and_then(|c| c.try_into().ok())).collect();
            trie.shorter.push(trie.longest_match(&codes[..codes.len() - 1]));
        }
        trie
    }

    /// Longest piece that `codes` begins with, [`NONE`] for empty input.
    fn longest_match(&self, codes: &[u8]) -> Piece {
        let (mut node, mut best) = (0, NONE);
        for &code in codes {
            node = self.children[node * self.letters + usize::from(code)] as usize;
            if node == 0 {
                break;
            }
            if self.piece[node] != NONE {
                best = self.piece[node];
            }
        }
        best
    }

    /// Append the encoding of `codes` (letter ranks) to `out`.
    ///
    /// # Panics
    /// When a code is not below the number of letters.
    pub fn encode(&self, vocab: &Vocab, codes: &[u8], out: &mut Vec<Piece>) {
        let floor = out.len();
        let mut ruled_out = vec![0_u64; codes.len() / 64 + 1];
        let mut at = 0;
        let mut next = self.longest_match(codes);
        while at < codes.len() {
            let end = at + self.lengths[next as usize] as usize;
            let reachable = ruled_out[end / 64] >> (end % 64) & 1 == 0;
            let before = if out.len() > floor { out.last().copied() } else { None };
            if reachable && before.is_none_or(|before| vocab.adjacent(before, next)) {
                out.push(next);
                at = end;
                next = self.longest_match(&codes[at..]);
                continue;
            }
            next = self.shorter[next as usize];
            if next == NONE {
                ruled_out[at / 64] |= 1 << (at % 64);
                next = out.pop().expect("the letters alone spell every text");
                at -= self.lengths[next as usize] as usize;
            }
        }
    }
}

fn index(value: usize) -> u32 {
    u32::try_from(value).expect("tries and pieces stay below 2^32")
}

//! The pieces of a vocabulary as a trie over letter ranks, to find the longest one at a position.

use crate::vocab::{Piece, Vocab};

/// No piece.
pub(super) const NONE: Piece = Piece::MAX;

/// Maximum entries of the table of first letters.
const HEADS: usize = 1 << 12;

/// All pieces, any alphabet.
#[derive(Debug)]
pub struct Trie {
    letters: usize,
    /// Child of node `n` by letter `c` at `n * letters + c`; 0 (the root) means none.
    children: Vec<u32>,
    /// Piece that ends at a node.
    piece: Vec<Piece>,
    /// The node after `head` letters from the root, for every choice of letters (0 when there is none),
    /// and the longest piece on the way.
    heads: Vec<(u32, Piece)>,
    head: usize,
    shorter: Vec<Piece>,
    lengths: Vec<u32>,
}

impl Trie {
    /// Make the trie.
    ///
    /// # Panics
    /// Never: the letters of a [`Vocab`] spell its pieces.
    #[must_use]
    pub fn new(vocab: &Vocab) -> Self {
        let letters = vocab.letters().len();
        let mut trie = Self {
            letters,
            children: vec![0; letters],
            piece: vec![NONE],
            heads: Vec::new(),
            head: 0,
            shorter: Vec::with_capacity(vocab.len()),
            lengths: vocab.texts().iter().map(|text| index(text.len())).collect(),
        };
        let code = |byte| vocab.letters().iter().zip(0_u8..).find(|(l, _)| **l == byte);
        let codes = |text: &Vec<u8>| -> Vec<u8> {
            text.iter().map(|&b| code(b).expect("pieces are spelled by letters").1).collect()
        };
        for (text, piece) in vocab.texts().iter().zip(0..) {
            let mut node = 0;
            for code in codes(text) {
                let slot = node * letters + usize::from(code);
                if trie.children[slot] == 0 {
                    trie.children[slot] = index(trie.piece.len());
                    trie.children.resize(trie.children.len() + letters, 0);
                    trie.piece.push(NONE);
                }
                node = trie.children[slot] as usize;
            }
            trie.piece[node] = piece;
        }
        for text in vocab.texts() {
            let codes = codes(text);
            trie.shorter.push(trie.longest(&codes[..codes.len() - 1]));
        }
        let mut heads = vec![(0, NONE)];
        while heads.len() * letters <= HEADS && letters > 1 {
            let grown = heads.iter().enumerate().flat_map(|(from, &(node, best))| {
                let root = from == 0 && trie.head == 0;
                (0..letters).map(move |letter| (node, best, letter, root))
            });
            heads = grown
                .map(|(node, best, letter, root)| match (node, root) {
                    (0, false) => (0, best),
                    _ => trie.step(node, letter, best),
                })
                .collect();
            trie.head += 1;
        }
        trie.heads = heads;
        trie
    }

    fn step(&self, node: u32, letter: usize, best: Piece) -> (u32, Piece) {
        let child = self.children[node as usize * self.letters + letter];
        let piece = self.piece[child as usize];
        (child, if child == 0 || piece == NONE { best } else { piece })
    }

    /// Append the leftmost longest pieces of `codes` (letter ranks) to `out`.
    ///
    /// # Panics
    /// When a code is not below the number of letters.
    pub fn encode_longest(&self, codes: &[u8], out: &mut Vec<Piece>) {
        let mut at = 0;
        while at < codes.len() {
            let piece = self.longest(&codes[at..]);
            out.push(piece);
            at += self.length(piece);
        }
    }

    /// Longest piece that `codes` begins with, [`NONE`] for empty input.
    pub(super) fn longest(&self, codes: &[u8]) -> Piece {
        let (mut node, mut best, mut rest) = (0, NONE, codes);
        if let Some((head, tail)) = codes.split_at_checked(self.head).filter(|(h, _)| !h.is_empty())
        {
            let slot = head.iter().fold(0, |slot, &code| slot * self.letters + usize::from(code));
            (node, best) = self.heads[slot];
            if node == 0 {
                return best;
            }
            rest = tail;
        }
        for &code in rest {
            (node, best) = self.step(node, usize::from(code), best);
            if node == 0 {
                break;
            }
        }
        best
    }

    /// Longest piece that is a proper prefix of `piece`, [`NONE`] for a letter.
    pub(super) fn shorter(&self, piece: Piece) -> Piece {
        self.shorter[piece as usize]
    }

    /// Letters of a piece.
    pub(super) fn length(&self, piece: Piece) -> usize {
        self.lengths[piece as usize] as usize
    }
}

fn index(value: usize) -> u32 {
    u32::try_from(value).expect("tries and pieces stay below 2^32")
}

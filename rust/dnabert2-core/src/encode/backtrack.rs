//! Exact BPE for any alphabet, by longest match with backtracking.
//!
//! **The idea.** An encoding is the only split of a text into pieces in which every two neighbours may be
//! adjacent ([`Vocab::adjacent`]). So the walk goes from left to right and takes the longest piece that
//! matches. If that piece may not follow the previous one, the next shorter piece is taken. If none is
//! left, no piece of the encoding ends at this position: the position is marked, the walk steps back
//! over the previous piece, and tries its next shorter prefix.
//!
//! **Cost.** Each position is marked at most once, so the walk is linear in practice. Adjacency is
//! checked about twice per piece. After enough letters the answers for all pairs are stored in one table,
//! if it fits the cache.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::encode::dfa::pair_table::PairTable;
use crate::encode::trie::{NONE, Trie};
use crate::vocab::{Piece, Vocab};

/// Maximum pieces of a vocabulary whose table is filled: 8 MB.
const MAX_TABLE_PIECES: usize = 8_192;

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
#[derive(Debug)]
pub struct GeneralEncoder {
    trie: Trie,
    pairs: OnceLock<PairTable>,
    /// Letters encoded so far.
    seen: AtomicUsize,
}

impl GeneralEncoder {
    /// Prepare the trie of all pieces.
    #[must_use]
    pub fn new(vocab: &Vocab) -> Self {
        Self { trie: Trie::new(vocab), pairs: OnceLock::new(), seen: AtomicUsize::new(0) }
    }

    /// Append the encoding of `codes` (letter ranks) to `out`. `vocab` must be the one passed to
    /// [`new`](Self::new).
    ///
    /// # Panics
    /// When a code is not below the number of letters.
    pub fn encode(&self, vocab: &Vocab, codes: &[u8], out: &mut Vec<Piece>) {
        let pairs = self.pairs(vocab, codes.len());
        let adjacent = |left: Piece, right: Piece| match pairs {
            Some(pairs) => pairs.adjacent(left, right),
            None => vocab.adjacent(left, right),
        };
        let floor = out.len();
        let mut ruled_out = vec![0_u64; codes.len() / 64 + 1];
        let mut at = 0;
        let mut next = self.trie.longest(codes);
        while at < codes.len() {
            let end = at + self.trie.length(next);
            let reachable = ruled_out[end / 64] >> (end % 64) & 1 == 0;
            let before = if out.len() > floor { out.last().copied() } else { None };
            if reachable && before.is_none_or(|before| adjacent(before, next)) {
                out.push(next);
                at = end;
                next = self.trie.longest(&codes[at..]);
                continue;
            }
            next = self.trie.shorter(next);
            if next == NONE {
                ruled_out[at / 64] |= 1 << (at % 64);
                next = out.pop().expect("the letters alone spell every text");
                at -= self.trie.length(next);
            }
        }
    }

    /// The table, once filling it is faster than encoding `letters` more without it.
    fn pairs(&self, vocab: &Vocab, letters: usize) -> Option<&PairTable> {
        if vocab.len() > MAX_TABLE_PIECES {
            return None;
        }
        let seen = self.seen.fetch_add(letters, Ordering::Relaxed) + letters;
        let min_letters = vocab.len() * vocab.len() / 10;
        let fill = || PairTable::new(vocab, &(0..vocab.len()).collect::<Vec<_>>());
        if seen < min_letters { None } else { Some(self.pairs.get_or_init(fill)) }
    }
}

//! Slow, obvious twins of the fast paths.

use std::collections::BTreeMap;

use dnabert2_core::vocab::{Piece, Vocab};

/// Letter ranks of a text of bases.
pub fn codes(text: &str) -> Vec<u8> {
    let rank = |base| b"ACGT".iter().zip(0..).find(|&(&b, _)| b == base).map(|(_, rank)| rank);
    text.bytes().map(|base| rank(base).expect("a base")).collect()
}

/// BPE as it is defined: among all mergeable neighbours take the earliest merge, leftmost first.
pub fn encode_naively(vocab: &Vocab, codes: &[u8]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = codes.iter().map(|&code| Piece::from(code)).collect();
    loop {
        let candidates = (1..pieces.len())
            .filter_map(|i| vocab.merge(pieces[i - 1], pieces[i]).map(|joined| (joined, i)));
        let Some((joined, i)) = candidates.min() else { return pieces };
        pieces[i - 1] = joined;
        pieces.remove(i);
    }
}

/// BPE training as it is defined, on windows of letter ranks: count all neighbours, merge the most
/// frequent pair (ties to the smaller one) from left to right, count again.
pub fn train_naively(windows: &[Vec<u8>], merges: usize, min_count: u64) -> Vec<(Piece, Piece)> {
    let mut windows: Vec<Vec<Piece>> =
        windows.iter().map(|w| w.iter().map(|&c| Piece::from(c)).collect()).collect();
    let mut made = Vec::new();
    for rank in (4..).take(merges) {
        let mut counts: BTreeMap<(Piece, Piece), u64> = BTreeMap::new();
        for window in &windows {
            for pair in window.windows(2) {
                *counts.entry((pair[0], pair[1])).or_default() += 1;
            }
        }
        let best = counts.iter().max_by_key(|&(&pair, &count)| (count, std::cmp::Reverse(pair)));
        let Some((&pair, _)) = best.filter(|&(_, &count)| count >= min_count) else { break };
        made.push(pair);
        for window in &mut windows {
            let mut joined = Vec::new();
            let mut at = 0;
            while at < window.len() {
                if at + 1 < window.len() && (window[at], window[at + 1]) == pair {
                    joined.push(rank);
                    at += 2;
                } else {
                    joined.push(window[at]);
                    at += 1;
                }
            }
            *window = joined;
        }
    }
    made
}

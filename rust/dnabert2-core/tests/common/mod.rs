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

/// Whether a piece's text is that of these letters.
fn spells(vocab: &Vocab, piece: Piece, codes: &[u8]) -> bool {
    vocab.texts()[piece as usize].iter().eq(codes.iter().map(|&c| &vocab.letters()[usize::from(c)]))
}

/// From left to right, the longest piece at each position.
pub fn longest_naively(vocab: &Vocab, codes: &[u8]) -> Vec<Piece> {
    let (mut pieces, mut at) = (Vec::new(), 0);
    while at < codes.len() {
        let fits = |&(text, piece): &(&Vec<u8>, Piece)| {
            codes[at..].get(..text.len()).is_some_and(|codes| spells(vocab, piece, codes))
        };
        let matching = vocab.texts().iter().zip(0..).filter(fits);
        let (text, piece) = matching.max_by_key(|(text, _)| text.len()).expect("letters");
        pieces.push(piece);
        at += text.len();
    }
    pieces
}

/// The longest piece anywhere, the earlier made, the leftmost; then what is left on both sides.
pub fn longest_first_naively(vocab: &Vocab, codes: &[u8]) -> Vec<Piece> {
    if codes.is_empty() {
        return Vec::new();
    }
    let mut best: Option<(usize, Piece, usize)> = None;
    for (piece, text) in (0..).zip(vocab.texts()) {
        let length = text.len();
        let start = codes.windows(length).position(|window| spells(vocab, piece, window));
        if let Some(start) = start
            && best.is_none_or(|(longest, ..)| length > longest)
        {
            best = Some((length, piece, start));
        }
    }
    let (length, piece, start) = best.expect("letters are pieces");
    let left = longest_first_naively(vocab, &codes[..start]);
    let right = longest_first_naively(vocab, &codes[start + length..]);
    [left, vec![piece], right].concat()
}

/// BPE training as it is defined, on windows of letter ranks: count all neighbours, merge the most
/// frequent pair (ties to the smaller one, none of more than `max_letters`) from left to right, count
/// again.
pub fn train_naively(
    windows: &[Vec<u8>],
    merges: usize,
    min_count: u64,
    max_letters: usize,
) -> Vec<(Piece, Piece)> {
    let mut lengths = vec![1; 4];
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
        let length = |pair: &(Piece, Piece)| lengths[pair.0 as usize] + lengths[pair.1 as usize];
        counts.retain(|pair, _| length(pair) <= max_letters);
        let best = counts.iter().max_by_key(|&(&pair, &count)| (count, std::cmp::Reverse(pair)));
        let Some((&pair, _)) = best.filter(|&(_, &count)| count >= min_count) else { break };
        made.push(pair);
        lengths.push(length(&pair));
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

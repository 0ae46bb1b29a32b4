//! Exact BPE over four letters as a finite automaton.
//!
//! **The idea.** An encoding is the only split of a text into pieces in which every two neighbours may
//! be adjacent (see [`Vocab::adjacent`]). So a suffix of an encoding is itself an encoding, and every
//! suffix of a text has exactly one first piece. The text is read from right to left. When a letter is
//! put in front, the new suffix begins with the piece `t` for which (1) `t` ends where some suffix
//! already read begins, and (2) `t` may precede that suffix's first piece. With the first piece of every
//! suffix, the encoding is read off from left to right: take the first piece of the whole, skip it, take
//! the first piece of the rest.
//!
//! **The state.** An open suffix is one at which an incomplete piece could end. For each open suffix, a
//! state stores the node of the trie of reversed pieces that the letters since then lead to, and which of
//! the pieces below that node may precede the suffix's first piece. Two first pieces that allow the same
//! pieces below a node form one *class* there. A state is the list of these (node, class), longest first,
//! with the piece that was found last. The letters read determine the nodes, so the automaton is finite
//! and small: 11 thousand states for the published vocabulary.
//!
//! **The proof obligation** is that two equal lists stay equal. The class at a child node is a part of the
//! class at its parent (fewer pieces below), and the piece found next depends only on bits of the classes.
//! The tests compare the automaton with merging by definition, on every text up to a length for small
//! vocabularies, and on random and repetitive texts for large ones.
//!
//! **Cost.** All pairs come from one table ([`PairTable`]). Its columns are in trie order, so the pieces
//! below a node are a range of bits, and a class is identified by the words of that range.

use rustc_hash::FxHashMap;

use crate::encode::dfa::pack::code;
use crate::encode::dfa::pair_table::PairTable;
use crate::encode::dfa::table::{Machine, State};
use crate::vocab::{Piece, Vocab};

const NONE: u32 = u32::MAX;
/// Node of the empty text.
const ROOT: u32 = 0;
/// Maximum letters of a piece that is compiled: the depth of the trie and of the recursion that builds it.
const MAX_LETTERS: usize = 2_048;
/// Maximum classes in all states together. A vocabulary of long nested pieces needs far more than any
/// trained vocabulary.
const MAX_CLASSES: usize = 1 << 26;
/// A class that allows no piece: its suffix need not be stored.
const DEAD: u32 = 0;

#[derive(Debug, Clone, Copy)]
struct Node {
    children: [u32; 4],
    /// Positions (in sorted order of reversed texts) of the pieces below this node: first the one that
    /// ends here, if any, then the longer ones.
    low: usize,
    high: usize,
    ends_here: bool,
}

/// The trie of reversed pieces, and pieces by their position in its order.
struct Trie {
    nodes: Vec<Node>,
    pieces: Vec<Piece>,
}

impl Trie {
    fn new(vocab: &Vocab) -> Self {
        let reversed = |piece: &Piece| {
            vocab.texts()[*piece as usize].iter().rev().map(|&b| code(b)).collect::<Vec<_>>()
        };
        let mut pieces: Vec<Piece> = (0..).take(vocab.len()).collect();
        pieces.sort_by_cached_key(reversed);
        let texts: Vec<Vec<u8>> = pieces.iter().map(reversed).collect();
        let mut trie = Self { nodes: Vec::new(), pieces };
        trie.grow(&texts, 0, 0, texts.len());
        trie
    }

    /// Add the node of depth `depth` above `texts[low..high]`; returns its number.
    fn grow(&mut self, texts: &[Vec<u8>], depth: usize, low: usize, high: usize) -> u32 {
        let number = self.nodes.len();
        let ends_here = texts[low].len() == depth;
        self.nodes.push(Node { children: [NONE; 4], low, high, ends_here });
        let mut from = low + usize::from(ends_here);
        while from < high {
            let letter = texts[from][depth];
            let to = from + texts[from..high].partition_point(|text| text[depth] == letter);
            let child = self.grow(texts, depth + 1, from, to);
            self.nodes[number].children[usize::from(letter)] = child;
            from = to;
        }
        u32::try_from(number).expect("a trie of pieces is small")
    }
}

/// Classes found so far: node, the first piece that represents the class (`None`: the empty suffix,
/// which every piece may precede), and the class at each child, once it is computed.
struct Classes<'a> {
    trie: &'a Trie,
    pairs: &'a PairTable,
    everything: Vec<u64>,
    seen: FxHashMap<(u32, Box<[u64]>), u32>,
    of: Vec<(u32, Option<Piece>)>,
    children: Vec<[u32; 4]>,
    /// The class at the root of each first piece, once it is computed.
    at_root: Vec<u32>,
}

impl<'a> Classes<'a> {
    fn new(trie: &'a Trie, pairs: &'a PairTable) -> Self {
        let everything = vec![u64::MAX; trie.pieces.len().div_ceil(64)];
        // Class 0 is DEAD.
        let (of, children) = (vec![(NONE, None)], vec![[DEAD; 4]]);
        let at_root = vec![NONE; trie.pieces.len()];
        Self { trie, pairs, everything, seen: FxHashMap::default(), of, children, at_root }
    }

    fn bits(&self, piece: Option<Piece>) -> &[u64] {
        piece.map_or(&self.everything, |piece| self.pairs.before(piece))
    }

    /// The class of a first piece at a node: the pieces below that it allows.
    fn at(&mut self, node: u32, piece: Option<Piece>) -> u32 {
        let Node { low, high, ends_here, .. } = self.trie.nodes[node as usize];
        let below = range(self.bits(piece), low + usize::from(ends_here), high);
        if below.iter().all(|&word| word == 0) {
            return DEAD;
        }
        let next = u32::try_from(self.of.len()).expect("classes are few");
        let class = *self.seen.entry((node, below)).or_insert(next);
        if class == next {
            self.of.push((node, piece));
            self.children.push([NONE; 4]);
        }
        class
    }

    /// The class of a suffix that begins with a piece, before another letter.
    fn begin(&mut self, first: Piece) -> u32 {
        if self.at_root[first as usize] == NONE {
            self.at_root[first as usize] = self.at(ROOT, Some(first));
        }
        self.at_root[first as usize]
    }

    /// The class after one more letter, and the piece that this letter completes, if it may precede.
    fn follow(&mut self, class: u32, letter: usize) -> (u32, Option<Piece>) {
        let (node, piece) = self.of[class as usize];
        let child = self.trie.nodes[node as usize].children[letter];
        if child == NONE {
            return (DEAD, None);
        }
        let Node { low, ends_here, .. } = self.trie.nodes[child as usize];
        let found = ends_here && self.bits(piece)[low / 64] >> (low % 64) & 1 == 1;
        if self.children[class as usize][letter] == NONE {
            self.children[class as usize][letter] = self.at(child, piece);
        }
        (self.children[class as usize][letter], found.then(|| self.trie.pieces[low]))
    }
}

/// Bits `low..high`, shifted down to bit 0.
fn range(bits: &[u64], low: usize, high: usize) -> Box<[u64]> {
    let word = |at: usize| {
        let (index, shift) = (at / 64, at % 64);
        let upper = bits.get(index + 1).copied().unwrap_or(0);
        bits[index] >> shift | (upper << 1) << (63 - shift)
    };
    (low..high)
        .step_by(64)
        .map(|at| word(at) & if high - at < 64 { (1 << (high - at)) - 1 } else { u64::MAX })
        .collect()
}

/// Compile the letters A, C, G, T of a vocabulary and the pieces over them. `None` when there are more
/// than [`State::CAP`] states, or the pieces are too long.
///
/// # Panics
/// When the vocabulary has letters other than these four.
#[must_use]
pub fn compile<S: State>(vocab: &Vocab) -> Option<Machine<S>> {
    if vocab.texts().iter().any(|text| text.len() > MAX_LETTERS) {
        return None;
    }
    let trie = Trie::new(vocab);
    let mut position = vec![0; vocab.len()];
    for (at, &piece) in trie.pieces.iter().enumerate() {
        position[piece as usize] = at;
    }
    let pairs = PairTable::new(vocab, &position);
    let mut classes = Classes::new(&trie, &pairs);

    // Key of a state: the classes of its open suffixes, longest first, then the piece.
    let start: Box<[u32]> = Box::new([classes.at(ROOT, None), NONE]);
    let mut number: FxHashMap<Box<[u32]>, usize> = FxHashMap::default();
    let mut keys = vec![start.clone()];
    number.insert(start, 0);
    let mut step = Vec::new();
    let (mut at, mut kept) = (0, 0);
    while at < keys.len() {
        let key = keys[at].clone();
        let (open, _) = key.split_at(key.len() - 1);
        for letter in 0..4 {
            let mut next = Vec::with_capacity(key.len() + 1);
            let mut first = None;
            for &class in open {
                let (following, found) = classes.follow(class, letter);
                if following != DEAD {
                    next.push(following);
                }
                first = first.or(found);
            }
            let first = first.expect("every text has an encoding");
            next.push(classes.begin(first));
            next.retain(|&class| class != DEAD);
            next.push(first);
            let next = next.into_boxed_slice();
            let fresh = keys.len();
            let state = *number.entry(next.clone()).or_insert(fresh);
            if state == fresh {
                kept += next.len();
                keys.push(next);
            }
            step.push(state);
        }
        if keys.len() > S::CAP || kept > MAX_CLASSES {
            return None;
        }
        at += 1;
    }
    let first = keys.iter().map(|key| match key[key.len() - 1] {
        NONE => (0, 0),
        piece => (vocab.texts()[piece as usize].len(), vocab.id(piece)),
    });
    Some(Machine::new(&step, first))
}

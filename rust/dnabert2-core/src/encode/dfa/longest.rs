//! Leftmost longest match as an automaton like that of exact BPE.
//!
//! The first piece of every suffix is the longest piece that the suffix begins with, whatever follows.
//! Read from right to left, it is the longest reversed piece that ends here: the automaton of Aho and
//! Corasick (1975) over the reversed pieces. Its states are the nodes of their trie. A state's first
//! piece is its own, or else that of the longest proper suffix that is a node.

use std::collections::VecDeque;

use crate::encode::dfa::pack::code;
use crate::encode::dfa::table::{Machine, State};
use crate::vocab::{Piece, Vocab};

const NONE: usize = usize::MAX;

/// Compile the letters A, C, G, T of a vocabulary and the pieces over them for leftmost longest match.
/// `None` when there are more than [`State::CAP`] states.
///
/// # Panics
/// When the vocabulary has letters other than these four.
#[must_use]
pub fn compile_longest<S: State>(vocab: &Vocab) -> Option<Machine<S>> {
    let mut children = vec![[NONE; 4]];
    let mut first: Vec<Option<Piece>> = vec![None];
    for (text, piece) in vocab.texts().iter().zip(0..) {
        let mut node = 0;
        for &letter in text.iter().rev() {
            let letter = usize::from(code(letter));
            if children[node][letter] == NONE {
                children[node][letter] = children.len();
                children.push([NONE; 4]);
                first.push(None);
            }
            node = children[node][letter];
        }
        first[node] = Some(piece);
    }
    if children.len() > S::CAP {
        return None;
    }
    // Breadth first, so that the steps of shorter suffixes are complete; `shorter[n]` is the longest
    // proper suffix of node n that is a node. A step without a child goes where the shorter suffix goes.
    let mut shorter = vec![0; children.len()];
    let mut waiting = VecDeque::from([0]);
    while let Some(node) = waiting.pop_front() {
        let beyond = if node == 0 { [0; 4] } else { children[shorter[node]] };
        for (child, beyond) in children[node].iter_mut().zip(beyond) {
            if *child == NONE {
                *child = beyond;
            } else {
                shorter[*child] = beyond;
                first[*child] = first[*child].or(first[beyond]);
                waiting.push_back(*child);
            }
        }
    }
    let first = first.iter().map(|piece| {
        piece.map_or((0, 0), |piece| (vocab.texts()[piece as usize].len(), vocab.id(piece)))
    });
    Some(Machine::new(&children.concat(), first))
}

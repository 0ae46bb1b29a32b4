//! Text to pieces: exact byte-pair encoding, and two kinds of longest match.

mod backtrack;
mod dfa;
mod dropout;
mod longest_first;
mod scratch;
mod trie;

pub use backtrack::GeneralEncoder;
pub use dfa::{Automaton, LONG, Machine, TOGETHER, code, is_all_bases};
pub use dropout::encode_with_dropout;
pub(crate) use dropout::uniform;
pub use longest_first::LongestFirst;
pub use scratch::Scratch;
pub use trie::Trie;

//! Text to pieces: exact byte-pair encoding, and the two ways of longest match.

mod automaton;
mod columns;
mod compile;
mod dropout;
mod general;
mod long;
mod longest;
mod longest_first;
mod machine;
mod pack;
mod pairs;
mod scan;
mod trie;

pub use automaton::Automaton;
pub use columns::TOGETHER;
pub use dropout::encode_with_dropout;
pub(crate) use dropout::uniform;
pub use general::GeneralEncoder;
pub use long::LONG;
pub use longest_first::LongestFirst;
pub use machine::Machine;
pub use pack::{code, is_all_bases};
pub use scan::Scratch;
pub use trie::Trie;

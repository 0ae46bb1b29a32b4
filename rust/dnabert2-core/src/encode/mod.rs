//! Text to pieces: exact byte-pair encoding.

mod automaton;
mod general;
mod long;
mod pack;
mod pairs;
mod scan;

pub use automaton::{Automaton, STATE_CAP, State};
pub use general::GeneralEncoder;
pub use long::{LONG, encode_long};
pub use pack::{code, is_all_bases};
pub use scan::{Scratch, encode_runs};

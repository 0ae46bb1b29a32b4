//! Text to pieces: exact byte-pair encoding.

mod general;

pub use general::GeneralEncoder;

//! From text to ids: added tokens, words, letters, pieces, template.
//!
//! The steps are those of Hugging Face `tokenizers` for the files that
//! [`tokenizer_file`](crate::tokenizer_file) accepts, with the same ids. The encoder reads runs of letters.
//! Every other character is one unknown token, or dropped when it is white space between words.

mod batch;
mod decode;
mod definition;
mod dispatch;
mod encoding;
mod options;
mod pretokenize;

pub use definition::{Added, Definition, Gap, Matching, Model, Pieces, Slot};
pub use encoding::{Encoding, Tokenizer};
pub use options::{Dropout, Options, Truncation};

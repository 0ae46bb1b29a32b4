//! Any text as a tokenizer file: refused or read, and what is read encodes without a panic.
#![no_main]

use std::path::Path;

use dnabert2_core::Tokenizer;
use dnabert2_core::policy::Policy;
use dnabert2_core::tokenizer::Options;
use dnabert2_core::tokenizer_file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes).into_owned();
    if let Ok(file) = tokenizer_file::parse(Path::new("fuzz"), text) {
        let tokenizer = Tokenizer::new(file, Policy::default());
        let texts = ["", "ACGTNNNNNNNNNNNNacgt - _\u{3000}[MASK]AAAA"];
        let _ = tokenizer.encode_batch(&texts, &Options::default(), 1);
    }
});

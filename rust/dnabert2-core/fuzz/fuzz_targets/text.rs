//! Any bytes as sequence: never a panic, the same ids in a batch as alone, offsets in order.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use dnabert2_core::Tokenizer;
use dnabert2_core::policy::Policy;
use dnabert2_core::tokenizer::Options;
use dnabert2_core::tokenizer_file;
use libfuzzer_sys::fuzz_target;

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../python/dnabert2_fast/data/dnabert2.tokenizer.json"
    );
    let file = tokenizer_file::open(Path::new(path)).expect("it is part of the package");
    Tokenizer::new(file, Policy::default())
});

fuzz_target!(|texts: Vec<Vec<u8>>| {
    let options = Options::default();
    let batch = TOKENIZER.encode_batch(&texts, &options, 2).expect("any letter is allowed");
    for (index, text) in texts.iter().enumerate() {
        let alone = TOKENIZER.encode(text, None, 0, &options).expect("any letter is allowed");
        assert_eq!(alone.ids, batch.get(index));
        let spans = &alone.offsets[1..alone.offsets.len() - 1];
        assert!(spans.windows(2).all(|two| two[0].1 <= two[1].0), "{spans:?}");
    }
});

//! Packed streams joined in any way are read as what they hold; damaged, as that or as an error.
#![no_main]

use std::io::{Cursor, Write};
use std::path::Path;

use dnabert2_core::io::compression::of_the_core;
use dnabert2_core::io::input::Input;
use flate2::Compression;
use flate2::write::GzEncoder;
use libfuzzer_sys::fuzz_target;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(text).and_then(|()| packed.finish()).expect("memory")
}

fn bgzip(text: &[u8], last: bool) -> Vec<u8> {
    let mut packed = noodles_bgzf::io::Writer::new(Vec::new());
    packed.write_all(text).and_then(|()| packed.flush()).expect("memory");
    if last { packed.finish().expect("memory") } else { packed.get_ref().clone() }
}

fn zstd(text: &[u8]) -> Vec<u8> {
    zstd::encode_all(text, 1).expect("memory")
}

/// A frame that readers of zstd skip.
fn skipped(text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("short").to_le_bytes();
    [&[0x53, 0x2a, 0x4d, 0x18], &length[..], text].concat()
}

/// The content, or `None` after an error.
fn content(bytes: Vec<u8>) -> Option<Vec<u8>> {
    let mut input = Input::read(Path::new("x"), Cursor::new(bytes), of_the_core).ok()?;
    let mut text = Vec::new();
    while let Some(block) = input.next_block().ok()? {
        text.extend_from_slice((*block).as_ref());
    }
    Some(text)
}

fuzz_target!(|input: (bool, Vec<(u8, &[u8])>, Option<(u16, u8)>)| {
    let (is_gzip, pieces, change) = input;
    let mut file = if is_gzip { bgzip(b">", true) } else { zstd(b">") };
    let mut text = b">".to_vec(); // hence no other kind of file
    for (kind, piece) in pieces {
        let (packed, counts) = match (is_gzip, kind % 3) {
            (true, 0) => (gzip(piece), true),
            (true, kind) => (bgzip(piece, kind == 1), true),
            (false, 0) => (skipped(piece), false),
            (false, _) => (zstd(piece), true),
        };
        file.extend(packed);
        text.extend(if counts { piece } else { &[] });
    }
    if text.contains(&b'\r') {
        return; // some are line ends, which come out as others
    }
    assert!(content(file.clone()).is_some_and(|read| read == text));
    // gzip has checksums; zstd from here has none.
    if let Some((at, change)) = change
        && is_gzip
        && change != 0
    {
        let at = usize::from(at) % file.len();
        file[at] ^= change;
        let _ = content(file);
    }
});

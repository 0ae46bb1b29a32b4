//! Any bytes as a sequence file, compressed or not: never a panic, the same records however they are read.
#![no_main]

use std::io::{Cursor, Read};
use std::path::Path;

use dnabert2_core::Result;
use dnabert2_core::io::compression::of_the_core;
use dnabert2_core::io::fasta::{FastaReader, FastaRecord};
use dnabert2_core::io::input::Input;
use libfuzzer_sys::fuzz_target;

/// Reads at most this many bytes at a time.
struct Trickle(Cursor<Vec<u8>>, usize);

impl Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.1.min(buffer.len());
        self.0.read(&mut buffer[..length])
    }
}

fn reader(bytes: &[u8], block: usize, rna: bool) -> Option<FastaReader> {
    let trickle = Trickle(Cursor::new(bytes.to_vec()), block);
    let input = Input::read(Path::new("x"), trickle, of_the_core).ok()?;
    FastaReader::new(input, rna).ok()
}

fuzz_target!(|input: (u8, bool, &[u8])| {
    let (step, rna, bytes) = input;
    let step = usize::from(step) + 1;
    let Some(whole) = reader(bytes, usize::MAX, rna) else { return };
    let mut sound = true;
    let whole: Vec<FastaRecord> =
        whole.map_while(|record| record.inspect_err(|_| sound = false).ok()).collect();
    let Some(pieces) = reader(bytes, step, rna) else {
        assert!(!sound, "it was readable before");
        return; // the damage is found before the first letters, see below
    };
    let mut records = Vec::new();
    assert_eq!(read(pieces, step, &mut records).is_ok(), sound);
    // How much of a damaged stream is decompressed before the error depends on the blocks.
    let common = if sound { usize::MAX } else { records.len().min(whole.len()) };
    assert!(records.iter().take(common).eq(whole.iter().take(common)));
    let wrong = |letter: &u8| letter.is_ascii_whitespace() || letter.is_ascii_digit() || *letter == 0;
    assert!(!records.iter().flat_map(|record| &record.sequence).any(wrong));
});

fn read(mut reader: FastaReader, step: usize, records: &mut Vec<FastaRecord>) -> Result<()> {
    while let Some(name) = reader.next_record()? {
        let name = name.to_owned();
        let mut sequence = Vec::new();
        while reader.read_letters(&mut sequence, step)? > 0 {}
        records.push(FastaRecord { name, sequence });
    }
    Ok(())
}

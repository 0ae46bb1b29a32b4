//! Files of every packing, cut, joined and damaged, by the one way in which they are opened.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use dnabert2_core::Result;
use dnabert2_core::io::compression::of_the_core;
use dnabert2_core::io::fasta::FastaReader;
use dnabert2_core::io::input::Input;
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

const TEXT: &[u8] = b">a\nACGT\nACGT\n>b\nTTTT\n";

/// Gives some bytes at a time and cannot go back, as a pipe.
struct Pipe(io::Cursor<Vec<u8>>, usize);

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.1.min(buffer.len());
        self.0.read(&mut buffer[..length])
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(text).expect("memory");
    packed.finish().expect("memory")
}

fn bgzip(text: &[u8]) -> Vec<u8> {
    let mut packed = noodles_bgzf::io::Writer::new(Vec::new());
    for some in text.chunks(7) {
        packed.write_all(some).and_then(|()| packed.flush()).expect("memory");
    }
    packed.finish().expect("memory")
}

fn zstd(text: &[u8]) -> Vec<u8> {
    zstd::encode_all(text, 1).expect("memory")
}

/// A frame that readers of zstd skip.
fn skipped(length: u8) -> Vec<u8> {
    let head = [0x5e, 0x2a, 0x4d, 0x18, length, 0, 0, 0];
    head.into_iter().chain((0..length).map(|_| 7)).collect()
}

/// The records as text, what ended them, and the warnings.
fn read(bytes: &[u8], step: usize) -> (String, Option<String>, Vec<String>) {
    let pipe = Pipe(io::Cursor::new(bytes.to_vec()), step);
    let opened = Input::read(Path::new("x.fa"), pipe, of_the_core)
        .and_then(|input| FastaReader::new(input, false));
    let mut reader = match opened {
        Ok(reader) => reader,
        Err(error) => return (String::new(), Some(error.to_string()), Vec::new()),
    };
    let mut text = String::new();
    let outcome: Result<()> = reader.try_for_each(|record| {
        let record = record?;
        text.extend([&record.name, " ", &String::from_utf8_lossy(&record.sequence), " "]);
        Ok(())
    });
    (text, outcome.err().map(|error| error.to_string()), reader.notices().take())
}

#[test]
fn streams_joined_in_any_way_are_read() {
    let (begin, end) = TEXT.split_at(9);
    let mut files = vec![
        TEXT.to_vec(),
        [b"\xef\xbb\xbf", TEXT].concat(),
        [b"\r\n \n", TEXT].concat(),
        TEXT.iter().map(|&byte| if byte == b'\n' { b'\r' } else { byte }).collect(),
        [skipped(4), zstd(begin), skipped(0), skipped(9), zstd(end), skipped(1)].concat(),
        [gzip(TEXT), vec![0; 700]].concat(),
        [bgzip(TEXT), vec![0; 70]].concat(),
    ];
    for kinds in 0..8 {
        let pack = |number, text| if kinds >> number & 1 == 0 { gzip(text) } else { bgzip(text) };
        files.push([pack(0, begin), pack(1, end), pack(2, b"")].concat());
    }
    for (number, file) in files.iter().enumerate() {
        for step in [1, 3, 17, 64, 1 << 20] {
            let want = ("a ACGTACGT b TTTT ".to_owned(), None, Vec::new());
            assert_eq!(read(file, step), want, "file {number}, step {step}");
        }
    }
}

#[test]
fn bgzip_that_lacks_its_last_block_is_warned_of() {
    let whole = bgzip(TEXT);
    let cut = &whole[..whole.len() - 28];
    for step in [1, 1 << 20] {
        let (text, error, notices) = read(cut, step);
        assert_eq!((text.as_str(), error), ("a ACGTACGT b TTTT ", None));
        assert!(notices.len() == 1 && notices[0].contains("x.fa: lacks the EOF marker"));
    }
    for missing in [1, 27, 29, 40] {
        let (_, error, _) = read(&whole[..whole.len() - missing], 999);
        let error = error.expect("cut off");
        assert!(error.contains("bgzip stream is damaged or ends early"), "{error}");
    }
}

/// A damaged byte anywhere: an error, or a byte that does not count.
#[test]
fn damage_is_never_passed_over() {
    for file in [gzip(TEXT), bgzip(TEXT), [bgzip(TEXT), gzip(TEXT)].concat()] {
        let whole = read(&file, 999);
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 0x55;
            let (text, error, notices) = read(&damaged, 999);
            assert!(error.is_some() || text == whole.0, "{at}: {text} {notices:?}");
        }
    }
}

#[test]
fn what_is_sound_is_not_called_damaged() {
    let cases = [
        ([gzip(TEXT), b"index of RAZF".to_vec()].concat(), "trailing garbage ignored"),
        ([bgzip(TEXT), b"index of RAZF".to_vec()].concat(), "trailing garbage ignored"),
        ([zstd(TEXT), b"more".to_vec()].concat(), "bytes that are not zstd follow"),
        (b"\x28\xb5\x2f\xfd\x00\xa8aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".to_vec(), "--long=31"),
        (b"\xfd7zXZ\0 and more".to_vec(), "xz -dc"),
        (b"BZh91AY&SY and more".to_vec(), "bzip2 -dc"),
        (b"PK\x03\x04 and more".to_vec(), "unzip"),
        (b"\x43\x27\x41\x1a and more".to_vec(), "twoBitToFa"),
        (b"CRAM\x03 and more".to_vec(), "samtools fasta"),
        (bgzip(b"BAM\x01 and more"), "samtools fasta"),
        (gzip(b"BCF\x02 and more"), "bcftools view"),
        (b"version https://git-lfs.github.com/spec/v1\n".to_vec(), "git lfs pull"),
        (b"@HD\tVN:1.6\n".to_vec(), "is SAM"),
        (b"LOCUS       X 10 bp\n".to_vec(), "is GenBank"),
        (b"\xff\xfe>\0a\0".to_vec(), "UTF-16"),
    ];
    for (bytes, message) in cases {
        let error = read(&bytes, 5).1.expect("refused");
        assert!(error.contains(message) && !error.contains("damaged"), "{error}");
    }
}

#[test]
fn urls_are_not_paths() {
    for path in ["https://x.org/g.fa", "s3:/bucket/g.fa"] {
        let error = Input::open(Path::new(path)).err().expect("refused");
        assert!(error.to_string().contains("is a URL"), "{error}");
    }
    let error = Input::open(Path::new("none/g.fa")).err().expect("not there");
    assert!(error.to_string().contains("No such file"), "{error}");
}

#[test]
fn a_file_is_read_as_its_pipe() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x");
    for bytes in [TEXT.to_vec(), gzip(TEXT), bgzip(TEXT), zstd(TEXT)] {
        fs::write(&path, &bytes).expect("a file");
        let records = FastaReader::open(&path).expect("FASTA").map(|record| record.expect("sound"));
        assert_eq!(records.map(|record| record.name).collect::<Vec<_>>(), ["a", "b"]);
    }
}

proptest! {
    /// Any bytes behind the head of any packing: the same end however they arrive, and no panic.
    #[test]
    fn no_bytes_make_it_panic(
        kind in 0_usize..9,
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        cut in 0_usize..60,
        changed in any::<Option<prop::sample::Index>>(),
        step in 1_usize..90,
    ) {
        let sound = [
            TEXT.to_vec(), gzip(TEXT), bgzip(TEXT), zstd(TEXT), [skipped(3), zstd(TEXT)].concat(),
            [bgzip(TEXT), gzip(TEXT)].concat(), [gzip(TEXT), bgzip(TEXT)].concat(),
            [b"\xef\xbb\xbf", TEXT].concat(), Vec::new(),
        ];
        let mut file = sound[kind].clone();
        file.truncate(file.len().saturating_sub(cut));
        if let Some(at) = changed && !file.is_empty() {
            let at = at.index(file.len());
            file[at] ^= 0x41;
        }
        file.extend(&bytes);
        prop_assert_eq!(read(&file, step).1.is_some(), read(&file, 1 << 20).1.is_some());
    }
}

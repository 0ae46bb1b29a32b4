//! Sequence files against a plain reader, however they are cut into blocks.

use std::io;
use std::path::Path;

use dnabert2_core::io::fasta::{FastaReader, FastaRecord};
use dnabert2_core::io::input::Input;
use dnabert2_core::io::source::{Block, ReaderSource, Source};
use proptest::prelude::*;

/// Blocks of a few bytes.
struct Trickle(Vec<u8>, usize);

impl Source for Trickle {
    fn next_block(&mut self) -> io::Result<Option<Block>> {
        let length = self.1.min(self.0.len());
        let block: Vec<u8> = self.0.drain(..length).collect();
        Ok(if block.is_empty() { None } else { Some(Box::new(block)) })
    }
}

fn reader(text: &str, block: usize) -> FastaReader {
    let source = Trickle(text.as_bytes().to_vec(), block);
    FastaReader::new(Input::of(Path::new("x.fa"), Box::new(source)), false).expect("sequence")
}

fn record(name: &str, sequence: &str) -> FastaRecord {
    FastaRecord { name: name.into(), sequence: sequence.into() }
}

fn fasta() -> impl Strategy<Value = (String, Vec<FastaRecord>)> {
    let lines = prop::collection::vec("[ACGTNacgtn \\r\t]{0,9}[ACGTN -]|", 0..5);
    let width = prop_oneof![1_usize..8, 50_usize..100];
    let even = ("[ACGTNacgtn]{0,300}", width).prop_map(|(letters, width)| {
        letters.as_bytes().chunks(width).map(|line| String::from_utf8_lossy(line).into()).collect()
    });
    let lines = prop_oneof![lines, even];
    let one = ("[a-z]{1,4}", "| [a-z >@]{0,6}", lines);
    let broken = prop_oneof![Just("\n"), Just("\r\n")];
    (prop::collection::vec(one, 1..5), broken, any::<bool>()).prop_map(|(records, end, last)| {
        let (mut text, mut want) = (String::new(), Vec::new());
        for (name, rest, lines) in records {
            text.extend([">", &name, &rest, end]);
            for line in &lines {
                text.extend([line.as_str(), end]);
            }
            let letters: String = lines.concat().split_ascii_whitespace().collect();
            want.push(record(&name, &letters));
        }
        if !last && want.last().is_some_and(|record| !record.sequence.is_empty()) {
            text.truncate(text.trim_end().len());
        }
        (text, want)
    })
}

proptest! {
    #[test]
    fn fasta_is_read_as_it_was_written(
        (text, want) in fasta(), block in prop_oneof![1_usize..20, 20_usize..400], max in prop_oneof![1_usize..30, 100_usize..200],
    ) {
        let records: Vec<_> = reader(&text, block).map(|record| record.expect("sound")).collect();
        prop_assert_eq!(&records, &want);
        // Some letters at a time, and none of every other record.
        let (mut reader, mut number) = (reader(&text, block), 0);
        while let Some(name) = reader.next_record().expect("sound") {
            prop_assert_eq!(name, &want[number].name);
            let mut letters = Vec::new();
            loop {
                if number % 2 == 1 {
                    break; // what is left is passed over
                }
                let before = letters.len();
                let count = reader.read_letters(&mut letters, max).expect("sound");
                prop_assert!(count == letters.len() - before && count <= max);
                if count == 0 {
                    prop_assert_eq!(&letters, &want[number].sequence);
                    break;
                }
            }
            number += 1;
        }
        prop_assert_eq!(number, want.len());
    }

    #[test]
    fn a_letter_is_found_in_its_line(
        (text, want) in fasta(), block in 1_usize..40, which in any::<prop::sample::Index>(),
    ) {
        // Name, line and letter, record by record.
        let mut letters: Vec<(String, Vec<(u64, char)>)> = Vec::new();
        for (line, number) in text.split('\n').zip(1..) {
            if let Some(header) = line.strip_prefix('>') {
                let name = header.split_ascii_whitespace().next().unwrap_or_default();
                letters.push((name.into(), Vec::new()));
            } else if let Some((_, found)) = letters.last_mut() {
                let kept = line.chars().filter(|letter| !letter.is_ascii_whitespace());
                found.extend(kept.map(|letter| (number, letter)));
            }
        }
        let total = want.iter().map(|record| record.sequence.len()).sum::<usize>();
        if total > 0 {
            let mut at = which.index(total);
            let (name, (_, letter)) = letters
                .iter()
                .find_map(|(name, own)| {
                    let found = own.get(at).map(|letter| (name, *letter));
                    at -= if found.is_none() { own.len() } else { 0 };
                    found
                })
                .expect("within the total");
            let plain = letters.iter().find_map(|(other, own)| {
                let (line, found) = *own.get(at).filter(|_| other == name)?;
                found.eq_ignore_ascii_case(&letter).then_some(line)
            });
            let found = reader(&text, block).find_line(name, letter, at).expect("sound");
            prop_assert_eq!(found, plain);
            let beyond = reader(&text, block).find_line(name, letter, total);
            prop_assert_eq!(beyond.expect("sound"), None);
        }
    }

    #[test]
    fn fastq_is_read_as_it_was_written(
        reads in prop::collection::vec(("[a-z]{1,3}", "[ACGTN]{0,12}"), 1..6), block in 1_usize..9,
    ) {
        let mut text = String::new();
        for (name, read) in &reads {
            text.extend(["@", name, " x\n", read, "\n+", name, "\n", &"@".repeat(read.len()), "\n"]);
        }
        let records: Vec<_> = reader(&text, block).map(|record| record.expect("sound")).collect();
        let want: Vec<_> = reads.iter().map(|(name, read)| record(name, read)).collect();
        prop_assert_eq!(records, want);
    }

    #[test]
    fn wrapped_fastq_is_read_as_it_was_written(
        reads in prop::collection::vec(("[a-z]{1,3}", "[ACGTN]{0,30}", "[!-~]{30}"), 1..6),
        width in 1_usize..12,
        block in 1_usize..9,
    ) {
        let wrapped = |text: &str| -> String {
            let lines = text.as_bytes().chunks(width).map(String::from_utf8_lossy);
            lines.flat_map(|line| [line, "\n".into()]).collect()
        };
        let mut text = String::new();
        for (name, read, qualities) in &reads {
            text.extend(["@", name, "\n", &wrapped(read), "+\n", &wrapped(&qualities[..read.len()])]);
        }
        let records: Vec<_> = reader(&text, block).map(|record| record.expect("sound")).collect();
        let want: Vec<_> = reads.iter().map(|(name, read, _)| record(name, read)).collect();
        prop_assert_eq!(records, want);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), block in 1_usize..9) {
        for first in [b">", b"@"] {
            let text = [first, bytes.as_slice()].concat();
            let source = Trickle(text, block);
            let reader = FastaReader::new(Input::of(Path::new("x"), Box::new(source)), false);
            for record in reader.expect("begins well") {
                let _ = record; // some are errors
            }
        }
    }
}

#[test]
fn a_last_line_of_qualities_may_begin_like_a_header() {
    let records: Vec<_> = reader("@a\nACGT\n+\nII\n@I\n@b\nAC\n+\n@I\n", 3).collect();
    let records: Vec<_> = records.into_iter().map(|one| one.expect("sound")).collect();
    assert_eq!(records, [record("a", "ACGT"), record("b", "AC")]);
}

#[test]
fn errors_name_record_and_line() {
    for (text, message) in [
        (
            "@a\nAC\n+\nIII\n",
            ":4: record \"a\": 2 letters and 3 qualities: the FASTQ record is damaged",
        ),
        ("@a\nAC\n+\nII\nACGT\n", ":5: record \"a\": a record does not begin with '@'"),
        (
            "@a\nAC\nII\n",
            ":4: record \"a\": the file ends in the middle of a record; copy or download it again",
        ),
        ("@a\nAC\nII\n@b\nA\n", ":4: record \"a\": a FASTQ record lacks its '+' line"),
        (
            "@a\nACGT\n+\nII\n@bc\nA\n+\nI\n",
            ":5: record \"a\": 4 letters and 2 qualities: the FASTQ record is damaged",
        ),
        (
            "@a\nACGT\n+\nII\n",
            ":4: record \"a\": 4 letters and 2 qualities: the FASTQ record is damaged",
        ),
        (
            "@a\nAC\n+\nI",
            ":4: record \"a\": the file ends in the middle of a record; copy or download it again",
        ),
        (
            "@a\nAC",
            ":2: record \"a\": the file ends in the middle of a record; copy or download it again",
        ),
        (">a\nAC\n>b", ":3: record \"a\": the file ends in the middle of a header"),
    ] {
        let error = reader(text, 3).find_map(Result::err).expect("an error");
        assert_eq!(error.to_string(), format!("x.fa{message}"));
    }
    let name = "n".repeat(1 << 17);
    let error = reader(&format!(">{name}\nAC\n"), 999).find_map(Result::err).expect("an error");
    assert!(error.to_string().contains("a record's name has more than 65536 bytes"));
}

#[test]
fn records_read_whole_have_a_limit() {
    for (max, fits) in [(8, true), (7, false)] {
        let mut reader = reader(">a\nACGT\nACGT\n>b\nA\n", 3);
        reader.limit_records(max);
        let first = reader.next().expect("there is a record");
        assert_eq!(first.is_ok(), fits);
        if let Err(error) = first {
            assert!(error.to_string().contains("has more than 7 letters"), "{error}");
            assert!(reader.next().is_none());
        }
    }
}

#[test]
fn a_nul_byte_is_no_letter() {
    let among_even_lines = ">a\nACGT\nACGT\nACGT\nA\0GT\nACGT\n";
    for block in 1..40 {
        for (text, line) in [(">a\nAC\0GT\n", 2), (">a\0\nACGT\n", 1), (among_even_lines, 5)] {
            let read: Vec<_> = reader(text, block).collect();
            let last = read.last().and_then(|last| last.as_ref().err()).map(ToString::to_string);
            let last = last.expect("an error");
            assert!(
                last.contains("NUL byte") && last.contains(&format!("x.fa:{line}: ")),
                "{last}"
            );
        }
    }
}

#[test]
fn white_space_is_no_letter_wherever_it_is() {
    let tens = ">a\nACGTACGTAC ACGTACGTAC\nACGTACGTAC ACGTACGTAC\nACGTACGTAC\n";
    let trailing = ">a\nACGTACGTACA  \nCGTACGTACAC\r\r\nGTACGTACACG\t\n\nTACGTACACGTACGTAC\n";
    let oldest = "\n \n>a\nACGTACGTACACGTACGTACACGTACGTACACGTACGTACACGTACGTAC";
    for block in 1..40 {
        for text in [tens, trailing, oldest] {
            let read: Vec<_> = reader(text, block).map(|record| record.expect("sound")).collect();
            assert_eq!(read, [record("a", &"ACGTACGTAC".repeat(5))], "{block} {text:?}");
        }
    }
}

#[test]
fn digits_are_named_by_their_line() {
    let text = ">a\nACGT\nACGT\nACGT\n1 AC\n";
    let fastq = "@a\nACGT\nII9I\n";
    for block in 1..20 {
        for (text, message) in [
            (
                text,
                ":5: record \"a\": a line of letters has the digit '1'; remove the numbers of GenBank-like lines, or make it FASTA with any2fasta",
            ),
            (
                fastq,
                ":3: record \"a\": a line of letters has the digit '9'; the '+' line of the record may be missing",
            ),
        ] {
            let error = reader(text, block).find_map(Result::err).expect("an error").to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}

#[test]
fn u_is_read_as_t_for_rna() {
    let text = ">a T in a header\nACGU\nacgu\n";
    let open = |text: &str, rna| {
        let source = Box::new(ReaderSource::new(io::Cursor::new(text.as_bytes().to_vec())));
        FastaReader::new(Input::of(Path::new("x.fa"), source), rna).expect("sequence")
    };
    let (mut dna, mut rna) = (open(text, false), open(text, true));
    assert!(dna.notices().take()[0].contains("x.fa: has U and no T"));
    assert!(rna.notices().take().is_empty());
    assert!(dna.next().is_some_and(|read| read.expect("sound").sequence == b"ACGUacgu"));
    assert!(rna.next().is_some_and(|read| read.expect("sound").sequence == b"ACGTacgt"));
    // A protein, and DNA with one damaged letter.
    for text in [">a\nMKVLUAERNDQ\n", ">a\nACGUACGT\n", "@a T\nACGT\n+\nUUUU\n"] {
        assert!(open(text, false).notices().take().is_empty(), "{text}");
    }
}

/// Lines that look even, again and again, and are not: each is looked at a few times at most.
#[test]
fn uneven_lines_take_no_longer() {
    let text = ">a\n".to_owned() + &"AAA\nA\nA\n".repeat(400_000);
    let source = Box::new(ReaderSource::new(io::Cursor::new(text.into_bytes())));
    let reader = FastaReader::new(Input::of(Path::new("x.fa"), source), false).expect("sequence");
    let started = std::time::Instant::now();
    let read: Vec<_> = reader.map(|record| record.expect("sound").sequence.len()).collect();
    assert_eq!(read, [2_000_000]);
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

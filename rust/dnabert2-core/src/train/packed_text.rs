//! Windows in their original form, four bases per byte, in memory or in an unnamed file.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::dna::BASES;
use crate::encode::{Automaton, GeneralEncoder, Scratch};
use crate::train::partition::Partition;
use crate::train::slots::Slot;
use crate::vocab::Vocab;
use crate::{Error, Result, TokenId};

/// Bytes per allocation while input is added, so that no large buffer is ever copied.
const CHUNK: usize = 1 << 20;

/// Bases per span of a sample.
const SAMPLED_BP: usize = 1_000;

/// Bases that are read together: enough windows of usual length to encode side by side.
const TOGETHER: usize = 1 << 16;

/// The four letters of each byte.
const FOUR: [[u8; 4]; 256] = {
    let mut four = [[0; 4]; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut at = 0;
        while at < 4 {
            four[byte][at] = BASES[byte >> (2 * at) & 3];
            at += 1;
        }
        byte += 1;
    }
    four
};

/// The windows of one partition.
#[derive(Debug)]
pub(super) struct PackedText {
    pub weight: u64,
    store: Store,
    /// Bases of the last byte written, which may contain fewer than four.
    last: Vec<u8>,
    /// Bases of every window.
    windows: Vec<u32>,
    slots: usize,
}

#[derive(Debug)]
enum Store {
    Memory(Vec<Vec<u8>>),
    Disk { file: BufWriter<File>, folder: PathBuf },
}

impl PackedText {
    pub fn new(weight: u64) -> Self {
        let store = Store::Memory(Vec::new());
        Self { weight, store, last: Vec::new(), windows: Vec::new(), slots: 1 }
    }

    /// Write to a file from now on. The text must be empty, or in a file already.
    pub fn spill_to(&mut self, folder: &Path) -> Result<()> {
        if matches!(self.store, Store::Memory(_)) {
            let file = tempfile::tempfile_in(folder).map_err(Error::io(folder))?;
            let file = BufWriter::with_capacity(CHUNK, file);
            self.store = Store::Disk { file, folder: folder.to_owned() };
        }
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// Number of slots for the bases and borders.
    pub fn slots(&self) -> usize {
        self.slots
    }

    pub fn push(&mut self, mut window: &[u8]) -> Result<()> {
        self.slots += window.len() + 1;
        self.windows.push(u32::try_from(window.len()).expect("the trainer refuses longer windows"));
        while !self.last.is_empty() && !window.is_empty() {
            self.last.push(window[0]);
            window = &window[1..];
            if self.last.len() == 4 {
                let byte = pack(&self.last);
                self.store.write(std::iter::once(byte))?;
                self.last.clear();
            }
        }
        let (whole, rest) = window.as_chunks::<4>();
        self.store.write(whole.iter().map(|four| pack(four)))?;
        self.last.extend_from_slice(rest);
        Ok(())
    }

    /// Call `each` with all windows as letters, several at a time.
    pub fn read(&mut self, mut each: impl FnMut(&[&[u8]]) -> Result<()>) -> Result<()> {
        let mut windows = self.windows.iter().map(|&bases| bases as usize).peekable();
        let mut letters = Vec::new();
        let mut cut = |letters: &mut Vec<u8>| {
            let mut rest = &letters[..];
            let mut whole = Vec::new();
            while let Some(bases) = windows.next_if(|&bases| bases <= rest.len()) {
                let (window, later) = rest.split_at(bases);
                whole.push(window);
                rest = later;
            }
            if whole.is_empty() {
                return Ok(());
            }
            each(&whole)?;
            let read = letters.len() - rest.len();
            letters.drain(..read);
            Ok::<_, Error>(())
        };
        let mut unpack = |bytes: &[u8]| {
            bytes.chunks(TOGETHER / 4).try_for_each(|bytes| {
                letters.extend(bytes.iter().flat_map(|&byte| FOUR[usize::from(byte)]));
                cut(&mut letters)
            })
        };
        match &mut self.store {
            Store::Memory(chunks) => chunks.iter().try_for_each(|chunk| unpack(chunk))?,
            Store::Disk { file, folder } => {
                file.flush().map_err(Error::io(folder))?;
                let mut file = BufReader::with_capacity(CHUNK, file.get_ref());
                file.rewind().map_err(Error::io(folder))?;
                let mut bytes = vec![0; CHUNK];
                loop {
                    let read = file.read(&mut bytes).map_err(Error::io(folder))?;
                    if read == 0 {
                        break;
                    }
                    unpack(&bytes[..read])?;
                }
            }
        }
        letters.extend(self.last.to_ascii_uppercase());
        cut(&mut letters)
    }

    /// One in `stride` spans of the windows, in memory.
    pub fn sample(&mut self, stride: usize) -> Result<Self> {
        let mut sample = Self::new(self.weight);
        let mut number = 0_usize;
        self.read(|windows| {
            for span in windows.iter().flat_map(|window| window.chunks(SAMPLED_BP)) {
                if number.is_multiple_of(stride) {
                    sample.push(span)?;
                }
                number += 1;
            }
            Ok(())
        })?;
        Ok(sample)
    }

    /// The windows as pieces.
    pub fn partition<T: Slot>(mut self, encoder: &PieceEncoder<'_>) -> Result<Partition<T>> {
        let mut slots = vec![T::new(T::BORDER)];
        let mut scratch = Scratch::default();
        let weight = self.weight;
        self.read(|windows| {
            encoder.encode(windows, &mut scratch, |pieces, ends| {
                slots.extend(pieces.iter().map(|&piece| T::new(piece.into())));
                if ends {
                    slots.push(T::new(T::BORDER));
                }
            });
            Ok(())
        })?;
        Ok(Partition::new(weight, slots, encoder.vocab.len()))
    }
}

impl Store {
    fn write(&mut self, mut bytes: impl Iterator<Item = u8>) -> Result<()> {
        match self {
            Self::Memory(chunks) => {
                while let Some(byte) = bytes.next() {
                    let full = chunks.last().is_none_or(|chunk| chunk.len() == chunk.capacity());
                    if full {
                        chunks.push(Vec::with_capacity(CHUNK));
                    }
                    if let Some(chunk) = chunks.last_mut() {
                        chunk.push(byte);
                        let room = chunk.capacity() - chunk.len();
                        chunk.extend(bytes.by_ref().take(room));
                    }
                }
                Ok(())
            }
            Self::Disk { file, folder } => {
                let packed: Vec<u8> = bytes.collect();
                file.write_all(&packed).map_err(Error::io(folder))
            }
        }
    }
}

/// Encodes windows into pieces, by the automaton where there is one.
pub(super) struct PieceEncoder<'a> {
    pub vocab: &'a Vocab,
    automaton: Option<Automaton>,
    general: GeneralEncoder,
}

impl<'a> PieceEncoder<'a> {
    /// Prepare a vocabulary whose pieces are their own ids.
    pub fn new(vocab: &'a Vocab) -> Self {
        Self { vocab, automaton: Automaton::bpe(vocab), general: GeneralEncoder::new(vocab) }
    }

    /// Encode windows; `emit` gets their pieces in order, and whether a window ends there.
    pub fn encode(
        &self,
        windows: &[&[u8]],
        scratch: &mut Scratch,
        mut emit: impl FnMut(&[TokenId], bool),
    ) {
        match (&self.automaton, windows) {
            // A long window is encoded in spans.
            (Some(automaton), [window]) => {
                automaton.encode_run(window, 1, scratch, |pieces| emit(pieces, false));
                emit(&[], true);
            }
            (Some(automaton), windows) => {
                automaton.encode_runs(windows, scratch, |pieces| emit(pieces, true));
            }
            (None, windows) => {
                let (mut pieces, mut ids) = (Vec::new(), Vec::new());
                for window in windows {
                    let codes: Vec<u8> = window.iter().map(|&base| code(base)).collect();
                    pieces.clear();
                    self.general.encode(self.vocab, &codes, &mut pieces);
                    ids.clear();
                    ids.extend(pieces.iter().map(|&piece| self.vocab.id(piece)));
                    emit(&ids, true);
                }
            }
        }
    }
}

/// Four bases in a byte, the first in the lowest bits.
fn pack(four: &[u8]) -> u8 {
    four.iter().rev().fold(0, |byte, &base| byte << 2 | code(base))
}

/// Rank of a base: A, C, G, T have 0, 1, 3, 2 in bits 1 and 2 of their ASCII codes.
fn code(base: u8) -> u8 {
    let bits = base >> 1 & 3;
    bits ^ bits >> 1
}

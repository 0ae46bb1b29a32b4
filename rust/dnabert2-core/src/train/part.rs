//! Windows as they came in, four bases a byte, in memory or in a file without a name.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::dna::BASES;
use crate::encode::{Automaton, GeneralEncoder, Scratch};
use crate::train::region::Region;
use crate::train::slots::Slot;
use crate::vocab::{Piece, Vocab};
use crate::{Error, Result};

/// Bytes kept together while the input comes in, so that nothing large is ever copied.
const CHUNK: usize = 1 << 20;

/// Bases that a sample takes together.
const SAMPLED_BP: usize = 1_000;

/// Windows of one region to be.
#[derive(Debug)]
pub(super) struct Part {
    pub weight: u64,
    store: Store,
    /// Bases of the last byte written, which may hold fewer than four.
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

impl Part {
    pub fn new(weight: u64) -> Self {
        let store = Store::Memory(Vec::new());
        Self { weight, store, last: Vec::new(), windows: Vec::new(), slots: 1 }
    }

    /// Write to a file from here on; nothing must be there yet, or a file is already.
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

    /// Slots that the bases and borders take.
    pub fn slots(&self) -> usize {
        self.slots
    }

    pub fn push(&mut self, mut window: &[u8]) -> Result<()> {
        self.slots += window.len() + 1;
        self.windows.push(u32::try_from(window.len()).unwrap_or(u32::MAX));
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

    /// Call `each` with every window, as letters.
    pub fn read(&mut self, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut buffer = Vec::new();
        let mut windows = self.windows.iter().map(|&bases| bases as usize);
        let mut wanted = windows.next().unwrap_or(0);
        let mut take = |letters: &[u8]| {
            let mut letters = letters;
            while buffer.len() + letters.len() >= wanted && wanted > 0 {
                let (now, later) = letters.split_at(wanted - buffer.len());
                buffer.extend_from_slice(now);
                each(&buffer)?;
                buffer.clear();
                letters = later;
                wanted = windows.next().unwrap_or(0);
            }
            buffer.extend_from_slice(letters);
            Ok::<_, Error>(())
        };
        let mut letters = Vec::new();
        let mut unpack = |bytes: &[u8]| {
            letters.clear();
            for &byte in bytes {
                letters.extend((0..4).map(|place| BASES[usize::from(byte >> (2 * place) & 3)]));
            }
            take(&letters)
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
        let last = self.last.to_ascii_uppercase();
        take(&last)
    }

    /// One in `every` stretches of the windows, in memory.
    pub fn sample(&mut self, every: usize) -> Result<Self> {
        let mut sample = Self::new(self.weight);
        let mut number = 0_usize;
        self.read(|window| {
            for stretch in window.chunks(SAMPLED_BP) {
                if number.is_multiple_of(every) {
                    sample.push(stretch)?;
                }
                number += 1;
            }
            Ok(())
        })?;
        Ok(sample)
    }

    /// The windows as pieces.
    pub fn region<T: Slot>(mut self, encoder: &PieceEncoder<'_>) -> Result<Region<T>> {
        let letters = encoder.vocab.len() == BASES.len();
        let mut slots = Vec::with_capacity(if letters { self.slots } else { 0 });
        slots.push(T::new(T::BORDER));
        let chunks = match &mut self.store {
            Store::Memory(chunks) if letters => Some(std::mem::take(chunks)),
            _ => None,
        };
        if let Some(chunks) = chunks {
            self.unpack(chunks, &mut slots);
        } else {
            let mut scratch = Scratch::default();
            self.read(|window| {
                encoder.encode(window, &mut scratch, |piece| slots.push(T::new(piece)));
                slots.push(T::new(T::BORDER));
                Ok(())
            })?;
        }
        Ok(Region::new(self.weight, slots, encoder.vocab.len()))
    }

    /// Letters only: each chunk goes when it was read.
    fn unpack<T: Slot>(&self, chunks: Vec<Vec<u8>>, slots: &mut Vec<T>) {
        let mut windows = self.windows.iter().map(|&bases| bases as usize);
        let mut left = windows.next().unwrap_or(0);
        let mut take = |mut codes: &[u8]| {
            while !codes.is_empty() {
                let (now, later) = codes.split_at(left.min(codes.len()));
                slots.extend(now.iter().map(|&code| T::new(code.into())));
                left -= now.len();
                if left == 0 {
                    slots.push(T::new(T::BORDER));
                    left = windows.next().unwrap_or(0);
                }
                codes = later;
            }
        };
        let mut codes = Vec::new();
        for chunk in chunks {
            codes.clear();
            codes.extend(chunk.iter().flat_map(|byte| [0, 2, 4, 6].map(|shift| byte >> shift & 3)));
            take(&codes);
        }
        take(&self.last.iter().map(|&base| code(base)).collect::<Vec<_>>());
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

/// Encodes windows into pieces, by the machine where there is one.
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

    pub fn encode(&self, window: &[u8], scratch: &mut Scratch, mut emit: impl FnMut(Piece)) {
        if let Some(automaton) = &self.automaton {
            automaton.encode_run(window, 1, scratch, |ids| {
                for &id in ids {
                    emit(id.into());
                }
            });
        } else {
            let codes: Vec<u8> = window.iter().map(|&base| code(base)).collect();
            let mut pieces = Vec::new();
            self.general.encode(self.vocab, &codes, &mut pieces);
            pieces.into_iter().for_each(emit);
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

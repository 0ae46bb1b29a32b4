//! Windows that occur many times, counted so that each is stored once.
//!
//! Oligonucleotides, amplicons and tables of short sequences repeat. A window that occurs `n` times is
//! stored once per bit of `n`, with a power of two as its weight, so that few weights occur. Genomes do
//! not repeat: after a first lot without repeats, windows are stored as they come.

use rustc_hash::FxHashMap;

/// Maximum bytes of the windows that are being counted.
const MAX_BYTES: usize = 1 << 22;

/// Bytes per window besides its bases.
const ENTRY: usize = 64;

/// Windows that wait, with the number of times that each occurs.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    counts: FxHashMap<Box<[u8]>, u64>,
    bytes: usize,
    occurrences: u64,
    /// Whether a lot had few repeats.
    rare: bool,
}

impl Repeats {
    /// Whether a window is counted; the others are stored at once.
    pub fn takes(&self, window: &[u8]) -> bool {
        !self.rare && window.len() <= MAX_BYTES / 64
    }

    /// Count a window. Returns whether the lot is full, and must be taken.
    pub fn add(&mut self, window: &[u8], times: u64) -> bool {
        self.occurrences += times;
        if let Some(count) = self.counts.get_mut(window) {
            *count += times;
            return false;
        }
        self.counts.insert(window.into(), times);
        self.bytes += window.len() + ENTRY;
        self.bytes >= MAX_BYTES
    }

    /// All windows of the lot, with the weights that each is stored with.
    pub fn take(
        &mut self,
    ) -> impl Iterator<Item = (Box<[u8]>, impl Iterator<Item = u64> + use<>)> + use<> {
        let counts = std::mem::take(&mut self.counts);
        self.rare |= self.occurrences < 2 * counts.len() as u64;
        (self.bytes, self.occurrences) = (0, 0);
        counts.into_iter().map(|(window, count)| (window, powers(count)))
    }
}

/// The powers of two that make up a number.
fn powers(number: u64) -> impl Iterator<Item = u64> + use<> {
    (0..u64::BITS).map(|bit| 1 << bit).filter(move |power| number & power != 0)
}

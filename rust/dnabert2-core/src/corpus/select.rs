//! Which windows stay in the corpus, and in which split.

use rustc_hash::FxHashSet;
use xxhash_rust::xxh3::xxh3_64;

use crate::corpus::report::FileReport;
use crate::corpus::settings::{OtherLetters, Settings, Split, Unit};
use crate::dna::count_bases;

/// Windows that stay together when the corpus is split, so that a held-out span of genome is longer than
/// what overlapping windows or both strands share.
const BLOCK_WINDOWS: u64 = 64;

/// Offset between the held-out blocks of one unit and the next, as a fraction of the distance between
/// two: the golden ratio spreads units of a few windows evenly.
const SHIFT: f64 = 0.618_033_988_749_894_9;

/// Hashes of the windows that a corpus has.
pub type Seen = FxHashSet<u64>;

/// Selects windows, one after the other.
pub struct WindowFilter<'a> {
    settings: &'a Settings,
    keep: f64,
    phase: f64,
    seen: &'a mut Seen,
    /// Windows of each split still to be skipped, as they are in shards that exist.
    done: [u64; 2],
    fitting: u64,
    chosen: u64,
    /// Counts of the current file so far.
    pub report: FileReport,
}

impl<'a> WindowFilter<'a> {
    pub fn new(settings: &'a Settings, unit: &Unit, seen: &'a mut Seen) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "only the fraction counts")]
        let phase = (0.5 + unit.number as f64 * SHIFT).fract();
        let (fitting, chosen, report) = (0, 0, FileReport::default());
        Self { settings, keep: unit.keep, phase, seen, done: unit.done, fitting, chosen, report }
    }

    /// The window's split; `None` when it is left out, or in a shard that exists.
    pub fn select(&mut self, window: &[u8]) -> Option<Split> {
        let rule = &self.settings.rule;
        if rule.other_letters != OtherLetters::Split {
            let bases = count_bases(window, rule.fold_case);
            if rule.other_letters == OtherLetters::Drop && bases < window.len() {
                self.report.with_other_letters += 1;
                return None;
            }
            if bases < rule.min_bp {
                self.report.too_short += 1;
                return None;
            }
        } else if window.len() < rule.min_bp {
            self.report.too_short += 1;
            return None;
        }
        self.fitting += 1;
        if !steps(self.fitting, self.keep, 0.5) {
            self.report.left_out += 1;
            return None;
        }
        if self.settings.deduplicate && !self.seen.insert(hash(window, rule.fold_case)) {
            self.report.duplicates += 1;
            return None;
        }
        let block = self.chosen / BLOCK_WINDOWS + 1;
        let held_out = steps(block, self.settings.valid_fraction, self.phase);
        let split = if held_out { Split::Valid } else { Split::Train };
        self.chosen += 1;
        self.report.windows += 1;
        let done = &mut self.done[split as usize];
        if *done == 0 {
            return Some(split);
        }
        *done = done.saturating_sub(1 + u64::from(rule.both_strands));
        None
    }
}

/// True if item `number`, counted from 1, is in an evenly spaced share of all items. The first such item
/// comes after `1 - phase` of the distance between two.
fn steps(number: u64, share: f64, phase: f64) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "numbers stay far below 2^53")]
    let so_far = |number: u64| (number as f64 * share + phase).floor();
    so_far(number) > so_far(number - 1)
}

fn hash(window: &[u8], fold_case: bool) -> u64 {
    if fold_case && window.iter().any(u8::is_ascii_lowercase) {
        return xxh3_64(&window.to_ascii_uppercase());
    }
    xxh3_64(window)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_spread_evenly() {
        for (share, of_thousand, apart) in
            [(0.0, 0, 0), (0.05, 50, 20), (0.3, 300, 4), (1.0, 1000, 1)]
        {
            for phase in [0.0, 0.5, 0.9] {
                let taken: Vec<_> = (1..=1000).filter(|&n| steps(n, share, phase)).collect();
                assert!(taken.len().abs_diff(of_thousand) <= 1);
                assert!(taken.windows(2).all(|pair| pair[1] - pair[0] <= apart));
            }
        }
    }
}

//! The four bases: which bytes they are, and their complements.

/// The bases in code-point order; their index is their 2-bit code in this crate.
pub const BASES: [u8; 4] = *b"ACGT";

/// Whether a byte is A, C, G or T in either case.
///
/// ```
/// assert!(dnabert2_core::dna::is_base(b'g') && !dnabert2_core::dna::is_base(b'N'));
/// ```
#[must_use]
pub fn is_base(byte: u8) -> bool {
    matches!(byte & !0x20, b'A' | b'C' | b'G' | b'T')
}

/// Return the number of bytes that are bases; in upper case only unless `fold_case`.
///
/// ```
/// assert_eq!(dnabert2_core::dna::count_bases(b"NACgt", false), 2);
/// ```
#[must_use]
pub fn count_bases(letters: &[u8], fold_case: bool) -> usize {
    let mask = if fold_case { !0x20 } else { !0 };
    let is_base = |byte: u8| {
        let is = |letter| u8::from(byte & mask == letter);
        is(b'A') | is(b'C') | is(b'G') | is(b'T')
    };
    // A byte counts up to 255, and sixteen of them at once.
    let count = |some: &[u8]| some.iter().map(|&byte| is_base(byte)).fold(0, u8::wrapping_add);
    letters.chunks(255).map(|some| usize::from(count(some))).sum()
}

/// Complement of a base or of an IUPAC code for several, case kept; every other byte is returned
/// unchanged.
#[must_use]
pub fn complement(byte: u8) -> u8 {
    let paired = match byte & !0x20 {
        b'A' => b'T',
        b'C' => b'G',
        b'G' => b'C',
        b'T' | b'U' => b'A',
        b'R' => b'Y',
        b'Y' => b'R',
        b'K' => b'M',
        b'M' => b'K',
        b'B' => b'V',
        b'V' => b'B',
        b'D' => b'H',
        b'H' => b'D',
        _ => return byte,
    };
    paired | (byte & 0x20)
}

/// The other strand, read in its own direction.
///
/// ```
/// assert_eq!(dnabert2_core::dna::reverse_complement(b"AACGnRk"), b"mYnCGTT");
/// ```
#[must_use]
pub fn reverse_complement(sequence: &[u8]) -> Vec<u8> {
    sequence.iter().rev().map(|&byte| complement(byte)).collect()
}

/// Maximal runs of bases in a sequence, as `(start, bases)`; other letters separate them, and
/// lower-case bases too unless `fold_case`.
///
/// ```
/// let runs: Vec<_> = dnabert2_core::dna::base_runs(b"NACNNgt", true).collect();
/// assert_eq!(runs, [(1, &b"AC"[..]), (5, &b"gt"[..])]);
/// ```
pub fn base_runs(sequence: &[u8], fold_case: bool) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + run_length(&sequence[at..], fold_case, false);
        let length = run_length(&sequence[start..], fold_case, true);
        at = start + length;
        (length > 0).then(|| (start, &sequence[start..at]))
    })
}

/// Return the number of letters at the start that are bases, or that are not.
fn run_length(letters: &[u8], fold_case: bool, bases: bool) -> usize {
    const WIDTH: usize = 32;
    let mask = if fold_case { !0x20 } else { !0 };
    let is_base = |byte: u8| {
        let is = |letter| u8::from(byte & mask == letter);
        is(b'A') | is(b'C') | is(b'G') | is(b'T')
    };
    let wanted = u8::from(bases);
    // Most runs are long: whole chunks are compared, then the letters of the first that differs.
    let continues = |chunk: &&[u8; WIDTH]| chunk.map(is_base) == [wanted; WIDTH];
    let whole = WIDTH * letters.as_chunks().0.iter().take_while(continues).count();
    let rest = &letters[whole..];
    whole + rest.iter().position(|&byte| is_base(byte) != wanted).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_are_those_of_a_plain_loop(
            parts in prop::collection::vec(("[ACGT]|[acgt]|[N-]", 1_usize..80), 0..6), fold_case: bool,
        ) {
            let text: String = parts.iter().map(|(letter, times)| letter.repeat(*times)).collect();
            let mut wanted: Vec<(usize, Vec<u8>)> = Vec::new();
            for (at, byte) in text.bytes().enumerate() {
                if is_base(byte) && (fold_case || byte.is_ascii_uppercase()) {
                    match wanted.last_mut() {
                        Some((start, run)) if *start + run.len() == at => run.push(byte),
                        _ => wanted.push((at, vec![byte])),
                    }
                }
            }
            let got: Vec<_> = base_runs(text.as_bytes(), fold_case).map(|(s, r)| (s, r.to_vec())).collect();
            prop_assert_eq!(got, wanted);
        }
    }
}

//! Letters to pairs of 2-bit codes, and whether they are all bases.
//!
//! The loops are written so that the compiler vectorises them. On x86-64 a second copy is compiled for
//! AVX2 and chosen at run time; it recognises bases by a table in a register.

/// 2-bit code of a base in either case: a property of its ASCII bits, hence not the rank order.
#[must_use]
pub const fn code(base: u8) -> u8 {
    base >> 1 & 3
}

/// Whether `text` contains only A, C, G, T (in either case when `fold_case`).
#[must_use]
pub fn is_all_bases(text: &[u8], fold_case: bool) -> bool {
    dispatch::is_all_bases(text, fold_case)
}

/// Write the codes of `text`, two per byte, `left + 4 * right`. A text of odd length is shifted one
/// letter to the right: the first byte then contains its first letter as the right one.
///
/// # Panics
/// When the length of `pairs` is not `text.len().div_ceil(2)`.
pub fn pack(text: &[u8], pairs: &mut [u8]) {
    assert_eq!(pairs.len(), text.len().div_ceil(2), "one byte for two letters");
    let odd = text.len() % 2;
    if odd == 1 {
        pairs[0] = code(text[0]) << 2;
    }
    dispatch::pack_even(&text[odd..], &mut pairs[odd..]);
}

#[expect(clippy::inline_always, reason = "compiled once for each processor feature")]
#[inline(always)]
fn pack_even(text: &[u8], pairs: &mut [u8]) {
    for (two, pair) in text.as_chunks::<2>().0.iter().zip(pairs) {
        let codes = u16::from_le_bytes(*two) >> 1 & 0x0303;
        *pair = ((codes | codes >> 6) & 15) as u8;
    }
}

#[inline(always)]
fn all_bases(text: &[u8], fold_case: bool) -> bool {
    const WIDTH: usize = 32;
    let mask = if fold_case { !0x20 } else { !0 };
    let strange = |byte: u8| {
        let base = byte & mask;
        let not = |letter| u8::from(base != letter);
        not(b'A') & not(b'C') & not(b'G') & not(b'T')
    };
    let Some(last) = text.last_chunk::<WIDTH>() else {
        return text.iter().all(|&byte| strange(byte) == 0);
    };
    // Whole chunks, and the last letters once more instead of a remainder.
    let mut seen = last.map(strange);
    for chunk in text.as_chunks::<WIDTH>().0 {
        for (seen, &byte) in seen.iter_mut().zip(chunk) {
            *seen |= strange(byte);
        }
    }
    seen == [0; WIDTH]
}

#[cfg(target_arch = "x86_64")]
mod dispatch {
    use std::arch::x86_64::{
        __m256i, _mm256_and_si256, _mm256_cmpeq_epi8, _mm256_movemask_epi8, _mm256_set1_epi8,
        _mm256_shuffle_epi8,
    };

    use bytemuck::cast;

    #[target_feature(enable = "avx2")]
    fn pack_avx2(text: &[u8], pairs: &mut [u8]) {
        super::pack_even(text, pairs);
    }

    /// A base is what the table has at its lower four bits; a byte above 127 finds 0 there.
    #[target_feature(enable = "avx2")]
    fn all_bases_avx2(text: &[u8], fold_case: bool) -> bool {
        const WIDTH: usize = size_of::<__m256i>();
        const TABLE: [u8; 16] = *b"\xffA\0CT\0\0G\0\0\0\0\0\0\0\0";
        let Some(last) = text.last_chunk::<WIDTH>() else {
            return super::all_bases(text, fold_case);
        };
        let table: __m256i = cast([TABLE; 2]);
        let mask = _mm256_set1_epi8(if fold_case { !0x20 } else { !0 });
        let is_base = |bytes: &[u8; WIDTH]| {
            let letters = _mm256_and_si256(cast(*bytes), mask);
            _mm256_cmpeq_epi8(_mm256_shuffle_epi8(table, letters), letters)
        };
        // Whole chunks, and the last letters once more instead of a remainder.
        let mut seen = is_base(last);
        for chunk in text.as_chunks::<WIDTH>().0 {
            seen = _mm256_and_si256(seen, is_base(chunk));
        }
        _mm256_movemask_epi8(seen) == -1
    }

    #[expect(unsafe_code, reason = "calls code for a processor feature that was just detected")]
    pub fn pack_even(text: &[u8], pairs: &mut [u8]) {
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            unsafe { pack_avx2(text, pairs) }
        } else {
            super::pack_even(text, pairs);
        }
    }

    #[expect(unsafe_code, reason = "calls code for a processor feature that was just detected")]
    pub fn is_all_bases(text: &[u8], fold_case: bool) -> bool {
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            unsafe { all_bases_avx2(text, fold_case) }
        } else {
            super::all_bases(text, fold_case)
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod dispatch {
    pub(super) use super::{all_bases as is_all_bases, pack_even};
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One strange byte anywhere is seen, whatever it is, in texts around the width of a register.
    #[test]
    fn every_strange_byte_is_seen() {
        for length in [1, 31, 32, 33, 64, 70] {
            for (at, byte, fold_case) in (0..length).flat_map(|at| {
                (0..=255).flat_map(move |byte| [(at, byte, false), (at, byte, true)])
            }) {
                let mut text = b"ACGT".repeat(20)[..length].to_vec();
                text[at] = byte;
                let wanted = b"ACGT".contains(&byte) || fold_case && b"acgt".contains(&byte);
                assert_eq!(is_all_bases(&text, fold_case), wanted, "{byte} at {at} of {length}");
                // What processors without AVX2 run.
                assert_eq!(all_bases(&text, fold_case), wanted, "{byte} at {at} of {length}");
            }
        }
    }

    #[test]
    fn two_letters_a_byte() {
        for length in 0..200 {
            let text: Vec<u8> = b"ACGTTGCAAtgc".iter().copied().cycle().take(length).collect();
            let padded = [vec![b'A'; length % 2], text.clone()].concat();
            let want: Vec<u8> =
                padded.chunks(2).map(|two| code(two[0]) + 4 * code(two[1])).collect();
            let mut pairs = vec![0; length.div_ceil(2)];
            pack(&text, &mut pairs);
            assert_eq!(pairs, want);
            pairs.fill(0);
            pack_even(&text[length % 2..], &mut pairs[length % 2..]);
            assert_eq!(pairs[length % 2..], want[length % 2..]);
        }
    }
}

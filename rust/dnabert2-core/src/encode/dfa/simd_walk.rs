//! The walks of `walk.rs` for 64 runs at a time, on processors with AVX-512.
//!
//! **The idea.** Both walks wait for look-ups, and a gather does sixteen of them. Runs are the columns of
//! a matrix, aligned at their right ends. Row `r` contains the states of every run's suffixes of `2r + 1`
//! and `2r + 2` letters, in the upper and lower half of a word, as the two-letter table returns them. So
//! no write is scattered: a row is stored as it is gathered. A run shorter than the others continues over
//! the bytes before it, in its own column, in rows that are never read.

/// Runs that are walked together.
pub const TOGETHER: usize = 64;

#[cfg(target_arch = "x86_64")]
pub use gathers::{encode_runs, encode_span};

#[cfg(not(target_arch = "x86_64"))]
pub use crate::encode::dfa::walk::encode_runs;

#[cfg(not(target_arch = "x86_64"))]
pub fn encode_span(
    _: &crate::encode::dfa::table::Machine<u16>,
    _: &[u8],
    _: std::ops::Range<usize>,
    _: &mut crate::encode::scratch::Scratch,
) -> Option<crate::encode::dfa::long::Block<u16>> {
    None
}

#[cfg(target_arch = "x86_64")]
mod gathers {
    use std::arch::x86_64::{
        __m128i, __m512i, _mm_unpackhi_epi16, _mm_unpacklo_epi16, _mm256_setzero_si256,
        _mm512_add_epi32, _mm512_and_si512, _mm512_cmpgt_epi32_mask, _mm512_cvtepi32_epi16,
        _mm512_i32gather_epi32, _mm512_mask_add_epi32, _mm512_mask_i32gather_epi32,
        _mm512_max_epi32, _mm512_or_si512, _mm512_set1_epi32, _mm512_setzero_si512,
        _mm512_slli_epi32, _mm512_srli_epi32, _mm512_srlv_epi32, _mm512_sub_epi32,
    };

    use std::array::from_fn;
    use std::ops::Range;

    use bytemuck::cast;

    use crate::TokenId;
    use crate::encode::dfa::long::{Block, LEAD};
    use crate::encode::dfa::pack::pack;
    use crate::encode::dfa::table::Machine;
    use crate::encode::dfa::walk;
    use crate::encode::scratch::{Scratch, grow};

    /// Registers of sixteen lanes: while one waits for its gather, the others continue.
    const REGISTERS: usize = 4;
    const COLUMNS: usize = super::TOGETHER;
    const _: () = assert!(COLUMNS == 16 * REGISTERS);

    /// Letters of a group: its rows take two bytes each.
    const MAX_LETTERS: usize = 1 << 21;

    const COLUMN_BITS: u32 = COLUMNS.ilog2();

    /// Minimum letters of a piece of a span, because the letters on both sides are walked too.
    const MIN_PIECE: usize = 4 * LEAD;

    /// Columns whose ids are transposed together: their ids fill a register.
    const EIGHT: usize = 8;

    /// Pairs that are read at once, and the number of bytes required before the first run.
    const FOUR: usize = 4;

    /// Encode runs of bases; `emit` receives the ids of each run, in order.
    ///
    /// Every byte must be a base in either case; others give meaningless ids.
    pub fn encode_runs(
        machine: &Machine<u16>,
        runs: &[&[u8]],
        scratch: &mut Scratch,
        mut emit: impl FnMut(&[TokenId]),
    ) {
        let mut rest = runs;
        if is_x86_feature_detected!("avx512f") {
            // Runs before `rest` that are too uneven for this walk are left to the walk by lanes.
            let mut waiting = 0;
            for (number, group) in runs.as_chunks::<COLUMNS>().0.iter().enumerate() {
                if !even(group) {
                    continue;
                }
                let first = number * COLUMNS;
                walk::encode_runs(machine, &runs[waiting..first], scratch, &mut emit);
                encode_group(machine, group, scratch, &mut emit);
                waiting = first + COLUMNS;
            }
            rest = &runs[waiting..];
        }
        walk::encode_runs(machine, rest, scratch, emit);
    }

    /// Whether the longest run has at most twice the average number of letters: this walk needs the
    /// longest run's time for each run, and half the time of the walk by lanes.
    fn even(runs: &[&[u8]; COLUMNS]) -> bool {
        let lengths = runs.map(<[u8]>::len);
        let (total, longest) = (lengths.iter().sum::<usize>(), lengths.into_iter().max());
        longest.is_some_and(|longest| longest * COLUMNS <= 2 * total && total <= MAX_LETTERS)
    }

    fn encode_group(
        machine: &Machine<u16>,
        runs: &[&[u8]; COLUMNS],
        scratch: &mut Scratch,
        mut emit: impl FnMut(&[TokenId]),
    ) {
        let lengths = find_states(machine, runs, scratch);
        let Scratch { rows, ids, transposed, .. } = scratch;
        let (_, counts) = read_off(machine, &lengths, &[0; COLUMNS], rows, ids);
        each_column(ids, &counts, transposed, &mut emit);
    }

    /// Encode a span of a run, cut into one piece per column, as if the run ended [`LEAD`] letters to
    /// the right of every piece, and a token began `LEAD` letters to the left of it (see `long.rs`).
    /// `None` when neighbours do not agree, or the span is too short.
    pub fn encode_span(
        machine: &Machine<u16>,
        text: &[u8],
        span: Range<usize>,
        scratch: &mut Scratch,
    ) -> Option<Block<u16>> {
        if span.len() < COLUMNS * MIN_PIECE || !is_x86_feature_detected!("avx512f") {
            return None;
        }
        let border = |number: usize| span.start + span.len() * number / COLUMNS;
        let last = |number: usize| text.len().min(border(number + 1) + LEAD);
        let runs = from_fn(|n| &text[border(n).saturating_sub(LEAD)..last(n)]);
        let lengths = find_states(machine, &runs, scratch);
        let Scratch { rows, ids, transposed, .. } = scratch;
        // Letters from the begin and from the end of each piece to the end of its column.
        let from_begin = from_fn(|n| small(last(n) - border(n)));
        let from_end = from_fn(|n| small(last(n) - border(n + 1)));
        let (begins, _) = read_off(machine, &lengths, &from_begin, rows, ids);
        let (ends, counts) = read_off(machine, &begins, &from_end, rows, ids);
        let state = |number: usize, letters: u32| match letters as usize {
            0 => machine.start(),
            letters => {
                let two: [u16; 2] = cast(rows[(letters - 1) / 2 * COLUMNS + number]);
                two[letters % 2]
            }
        };
        let agree = |n: usize| {
            state(n - 1, from_end[n - 1]) == state(n, from_begin[n])
                && from_end[n - 1] - ends[n - 1] == from_begin[n] - begins[n]
        };
        if !(1..COLUMNS).all(agree) {
            return None;
        }
        let mut found = Vec::with_capacity(counts.iter().map(|&count| count as usize).sum());
        each_column(ids, &counts, transposed, |ids| found.extend_from_slice(ids));
        Some(Block {
            right: state(COLUMNS - 1, from_end[COLUMNS - 1]),
            left: state(0, from_begin[0]),
            begin: last(0) - begins[0] as usize,
            end: last(COLUMNS - 1) - ends[COLUMNS - 1] as usize,
            ids: found,
        })
    }

    fn small(letters: usize) -> u32 {
        u32::try_from(letters).expect("a group is small")
    }

    /// Call `give` with the ids of each column. Ids are stored in rows and transposed in squares of eight.
    fn each_column(
        ids: &[TokenId],
        counts: &[u32; COLUMNS],
        transposed: &mut Vec<TokenId>,
        mut give: impl FnMut(&[TokenId]),
    ) {
        for (counts, first) in counts.as_chunks::<EIGHT>().0.iter().zip((0..).step_by(EIGHT)) {
            let longest = counts.iter().fold(0, |longest, &count| longest.max(count));
            let rows = (longest as usize).next_multiple_of(EIGHT);
            grow(transposed, EIGHT * rows);
            for row in (0..rows).step_by(EIGHT) {
                let at = |n| (row + n) * COLUMNS + first;
                let square = from_fn(|n| from_fn(|column| ids[at(n)..][..EIGHT][column]));
                for (column, eight) in transpose(square).into_iter().enumerate() {
                    transposed[column * rows + row..][..EIGHT].copy_from_slice(&eight);
                }
            }
            for (column, &count) in counts.iter().enumerate() {
                give(&transposed[column * rows..][..count as usize]);
            }
        }
    }

    /// Return the columns of a square as rows.
    #[expect(unsafe_code, reason = "calls code for a processor feature")]
    fn transpose(square: [[TokenId; EIGHT]; EIGHT]) -> [[TokenId; EIGHT]; EIGHT] {
        #[target_feature(enable = "sse2")]
        fn deal(cards: [__m128i; EIGHT]) -> [__m128i; EIGHT] {
            from_fn(|n| match (cards[n / 2], cards[n / 2 + EIGHT / 2]) {
                (upper, lower) if n % 2 == 0 => _mm_unpacklo_epi16(upper, lower),
                (upper, lower) => _mm_unpackhi_epi16(upper, lower),
            })
        }
        // Like cards dealt alternately from both halves of a deck: each deal rotates the bits of an
        // index by one.
        // SAFETY: every processor of x86-64 has SSE2.
        cast(unsafe { deal(deal(deal(cast(square)))) })
    }

    /// Pack the runs and walk left. Returns the letters of each.
    fn find_states(
        machine: &Machine<u16>,
        runs: &[&[u8]; COLUMNS],
        scratch: &mut Scratch,
    ) -> [u32; COLUMNS] {
        let Scratch { pairs, rows, ids, .. } = scratch;
        let slots = runs.map(|run| run.len().div_ceil(2));
        let total = FOUR + slots.iter().sum::<usize>();
        let longest = runs.iter().map(|run| run.len()).max().unwrap_or(0);
        grow(pairs, total);
        grow(rows, longest.div_ceil(2 * FOUR) * FOUR * COLUMNS);
        grow(ids, longest.next_multiple_of(EIGHT) * COLUMNS);
        let (mut ends, mut lengths, mut end) = ([0; COLUMNS], [0; COLUMNS], FOUR);
        for (column, (run, slots)) in runs.iter().zip(slots).enumerate() {
            pack(run, &mut pairs[end..end + slots]);
            end += slots;
            ends[column] = small(end);
            lengths[column] = small(run.len());
        }
        fill_rows(machine, &pairs[..total], &ends, rows, longest);
        lengths
    }

    #[expect(unsafe_code, reason = "calls code for a processor feature that was just detected")]
    fn fill_rows(
        machine: &Machine<u16>,
        pairs: &[u8],
        ends: &[u32; COLUMNS],
        rows: &mut [u32],
        longest: usize,
    ) {
        assert!(is_x86_feature_detected!("avx512f"), "detected before");
        let rows = &mut rows.as_chunks_mut().0[..longest.div_ceil(2 * FOUR) * FOUR];
        assert!(ends.iter().all(|&end| (FOUR..=pairs.len()).contains(&(end as usize))));
        // SAFETY: the processor has AVX-512; every end lies in the pairs, four bytes from their start.
        unsafe { walk_left(machine, pairs, ends, rows) };
    }

    /// Read tokens off every run, from `left` remaining letters until at most `until` remain. Returns the
    /// letters that remain, and the number of tokens.
    #[expect(unsafe_code, reason = "calls code for a processor feature that was just detected")]
    fn read_off(
        machine: &Machine<u16>,
        left: &[u32; COLUMNS],
        until: &[u32; COLUMNS],
        rows: &[u32],
        ids: &mut [TokenId],
    ) -> ([u32; COLUMNS], [u32; COLUMNS]) {
        assert!(is_x86_feature_detected!("avx512f"), "detected before");
        let rows = rows.as_chunks().0;
        assert!(left.iter().all(|&letters| letters as usize <= 2 * rows.len()));
        // SAFETY: the processor has AVX-512; there is a row for every two letters that are left.
        unsafe { walk_right(machine, left, until, rows, ids.as_chunks_mut().0) }
    }

    fn registers(values: [u32; COLUMNS]) -> [__m512i; REGISTERS] {
        cast(values)
    }

    /// Fill the rows with states, from the right ends to the left.
    ///
    /// # Safety
    /// Every end is at least 4 and at most the number of pairs.
    #[target_feature(enable = "avx512f")]
    #[expect(unsafe_code, reason = "gathers take a pointer")]
    unsafe fn walk_left(
        machine: &Machine<u16>,
        pairs: &[u8],
        ends: &[u32; COLUMNS],
        rows: &mut [[u32; COLUMNS]],
    ) {
        let table = machine.doubles().as_ptr().cast();
        let (low, four_bits) = (_mm512_set1_epi32(0xffff), _mm512_set1_epi32(15));
        let (zero, four) = (_mm512_setzero_si512(), _mm512_set1_epi32(4));
        let mut at = registers(*ends);
        let mut states = [zero; REGISTERS];
        for rows in rows.as_chunks_mut::<FOUR>().0 {
            // The four pairs before `at`; a run that is complete reads any four.
            at = at.map(|at| _mm512_max_epi32(_mm512_sub_epi32(at, four), zero));
            // SAFETY: 0 <= at <= pairs.len() - 4.
            let mut read =
                at.map(|at| unsafe { _mm512_i32gather_epi32::<1>(at, pairs.as_ptr().cast()) });
            for row in rows {
                let mut words = [zero; REGISTERS];
                for n in 0..REGISTERS {
                    let pair = _mm512_and_si512(_mm512_srli_epi32::<24>(read[n]), four_bits);
                    read[n] = _mm512_slli_epi32::<8>(read[n]);
                    let index = _mm512_or_si512(_mm512_slli_epi32::<4>(states[n]), pair);
                    // SAFETY: the table has 16 entries of four bytes for every state of 16 bits.
                    words[n] = unsafe { _mm512_i32gather_epi32::<4>(index, table) };
                    states[n] = _mm512_and_si512(words[n], low);
                }
                *row = cast(words);
            }
        }
    }

    /// [`read_off`]: the `k`-th id of every run goes into row `k`.
    ///
    /// # Safety
    /// `rows` has a row for every two letters that are left.
    #[target_feature(enable = "avx512f")]
    #[expect(unsafe_code, reason = "gathers take a pointer")]
    unsafe fn walk_right(
        machine: &Machine<u16>,
        left: &[u32; COLUMNS],
        until: &[u32; COLUMNS],
        rows: &[[u32; COLUMNS]],
        ids: &mut [[TokenId; COLUMNS]],
    ) -> ([u32; COLUMNS], [u32; COLUMNS]) {
        let (firsts, words) = (machine.firsts().as_ptr().cast(), rows.as_ptr().cast());
        let (zero, one) = (_mm512_setzero_si512(), _mm512_set1_epi32(1));
        let (low, mut columns) = (_mm512_set1_epi32(0xffff), [0; COLUMNS]);
        columns.iter_mut().zip(0..).for_each(|(column, number)| *column = number);
        let columns = registers(columns);
        let (mut left, mut counts) = (registers(*left), [zero; REGISTERS]);
        let until = registers(*until);
        for row in ids {
            let live: [_; REGISTERS] = from_fn(|n| _mm512_cmpgt_epi32_mask(left[n], until[n]));
            if live == [0; REGISTERS] {
                break;
            }
            let mut found = [_mm256_setzero_si256(); REGISTERS];
            for n in 0..REGISTERS {
                let (mask, letters) = (live[n], left[n]);
                let number = _mm512_srli_epi32::<1>(_mm512_sub_epi32(letters, one));
                let index = _mm512_add_epi32(_mm512_slli_epi32::<COLUMN_BITS>(number), columns[n]);
                // SAFETY: masked lanes are not read; others have 0 < letters <= 2 * rows.len().
                let two = unsafe { _mm512_mask_i32gather_epi32::<4>(zero, mask, index, words) };
                // The upper half for an odd number of letters, else the lower one.
                let shift = _mm512_slli_epi32::<4>(_mm512_and_si512(letters, one));
                let state = _mm512_and_si512(_mm512_srlv_epi32(two, shift), low);
                // SAFETY: firsts has an entry of four bytes for every state of 16 bits.
                let first = unsafe { _mm512_mask_i32gather_epi32::<4>(zero, mask, state, firsts) };
                left[n] = _mm512_sub_epi32(letters, _mm512_srli_epi32::<16>(first));
                counts[n] = _mm512_mask_add_epi32(counts[n], mask, counts[n], one);
                found[n] = _mm512_cvtepi32_epi16(first);
            }
            *row = cast(found);
        }
        (cast(left), cast(counts))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::ops::Range;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use proptest::prelude::*;

    use super::{encode_runs, encode_span};
    use crate::TokenId;
    use crate::encode::dfa::build::compile;
    use crate::encode::dfa::long::encode_long;
    use crate::encode::dfa::table::Machine;
    use crate::encode::dfa::walk;
    use crate::encode::scratch::Scratch;
    use crate::tokenizer_file;

    fn published() -> Machine<u16> {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../python/dnabert2_fast/data/dnabert2.tokenizer.json"
        );
        let file = tokenizer_file::open(path.as_ref()).expect("it is here");
        let vocab = file.vocab().expect("it has pieces").restricted_to(b"ACGT");
        compile(&vocab.expect("four letters")).expect("few states")
    }

    fn all(
        runs: &[&[u8]],
        encode: impl FnOnce(&[&[u8]], &mut Vec<Vec<TokenId>>),
    ) -> Vec<Vec<TokenId>> {
        let mut ids = Vec::new();
        encode(runs, &mut ids);
        ids
    }

    /// Columns give the ids of the lanes for all lengths, with buffers that were used before.
    #[test]
    fn columns_are_lanes() {
        let machine = published();
        let (one, other) = (RefCell::default(), RefCell::default());
        let lengths = prop_oneof![0..9_usize, 90..110_usize, 200..1200_usize, 1000..1001_usize];
        let groups = proptest::collection::vec((lengths, 0..80_usize), 0..4);
        proptest!(|(groups in groups, mut seed in any::<u64>(), jitter in 0..20_usize)| {
            let mut next = || {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
                (seed >> 33) as usize
            };
            let mut texts = Vec::new();
            for (length, count) in groups {
                for _ in 0..count {
                    let length = length + next() % (jitter + 1);
                    texts.push((0..length).map(|_| b"ACGT"[next() % 4]).collect::<Vec<u8>>());
                }
            }
            let runs: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
            let got = all(&runs, |runs, ids| {
                encode_runs(&machine, runs, &mut one.borrow_mut(), |some| ids.push(some.to_vec()));
            });
            let wanted = all(&runs, |runs, ids| {
                walk::encode_runs(&machine, runs, &mut other.borrow_mut(), |some| ids.push(some.to_vec()));
            });
            prop_assert_eq!(got, wanted);
        });
    }

    /// A long text by SIMD gives the ids of the lanes, also in repeats, where estimates fail.
    #[test]
    fn spans_are_lanes() {
        let machine = published();
        let mut seed = 1_u64;
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            (seed >> 33) as usize
        };
        for (letters, repeated) in
            [(40_000, 0), (65_537, 3), (250_001, 0), (600_000, 50_000), (600_001, 1), (400_000, 0)]
        {
            let mut text: Vec<u8> = (0..letters).map(|_| b"ACGTacgt"[next() % 8]).collect();
            for at in 0..repeated {
                text[letters / 3 + at] = b"AACGT"[at % 5];
                text[letters / 2 + at] = b'T';
            }
            let (mut got, mut wanted) = (Vec::new(), Vec::new());
            let tried = AtomicUsize::new(0);
            let by_simd = |span: Range<usize>, scratch: &mut Scratch| {
                let block = encode_span(&machine, &text, span, scratch);
                tried.fetch_add(usize::from(block.is_some()), Relaxed);
                block
            };
            encode_long(&machine, &text, 2, by_simd, |ids| got.extend_from_slice(ids));
            encode_long(&machine, &text, 1, |_, _| None, |ids| wanted.extend_from_slice(ids));
            assert!(got == wanted, "{letters} letters, {repeated} repeated");
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("avx512f") {
                assert!(tried.into_inner() > 0, "some blocks go by SIMD");
            }
        }
    }
}

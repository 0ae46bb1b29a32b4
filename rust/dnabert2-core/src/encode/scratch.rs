//! Buffers of the encoders, reused from call to call.

use crate::TokenId;

/// Buffers of the walks, reused from call to call.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Letters, two per byte.
    pub(super) pairs: Vec<u8>,
    pub(super) states: States,
    pub(super) ids: Vec<TokenId>,
    /// States of texts in columns (`simd_walk.rs`).
    #[cfg(target_arch = "x86_64")]
    pub(super) rows: Vec<u32>,
    /// Ids of some of these texts, one text after the other.
    #[cfg(target_arch = "x86_64")]
    pub(super) transposed: Vec<TokenId>,
}

/// States of a text, of either width.
#[derive(Debug, Default)]
pub struct States {
    pub(super) narrow: Vec<u16>,
    pub(super) wide: Vec<u32>,
}

/// Make a buffer at least this long. Old contents stay; entries that were not written since are never read.
pub(super) fn grow<T: Copy + Default>(buffer: &mut Vec<T>, length: usize) {
    if buffer.len() < length {
        buffer.resize(length, T::default());
    }
}

//! The text under training: one slot per piece, shrinking as pieces merge.
//!
//! A merge leaves gaps. The new piece is written to its first slot and again, marked, to its last, so
//! that both neighbours are found without links; slots between are marked zeros. [`compact`] closes
//! the gaps. Slots are as narrow as the pieces' numbers allow.

use crate::vocab::Piece;

/// A slot of 8, 16 or 32 bits: a piece, a marked piece, or a border between windows.
pub(super) trait Slot: Copy + Eq + Send + Sync {
    /// Set in slots at which no piece begins.
    const MARK: u32;
    /// Between two windows, and at both ends.
    const BORDER: u32;
    /// Limit of the pieces' numbers.
    const LIMIT: u32 = Self::MARK - 1;

    fn new(value: u32) -> Self;
    fn get(self) -> u32;
}

macro_rules! narrow_slot {
    ($($kind:ty),*) => {$(
        impl Slot for $kind {
            const MARK: u32 = 1 << (<$kind>::BITS - 1);
            const BORDER: u32 = <$kind>::MAX as u32;

            #[expect(clippy::cast_possible_truncation, reason = "pieces are below LIMIT")]
            fn new(value: u32) -> Self {
                value as $kind
            }

            fn get(self) -> u32 {
                self.into()
            }
        }
    )*};
}

narrow_slot!(u8, u16);

impl Slot for u32 {
    const MARK: u32 = 1 << 31;
    const BORDER: u32 = u32::MAX;

    fn new(value: u32) -> Self {
        value
    }

    fn get(self) -> u32 {
        self
    }
}

/// Close the gaps.
pub(super) fn compact<T: Slot>(slots: &mut Vec<T>) {
    let mut kept = 0;
    for at in 0..slots.len() {
        let slot = slots[at];
        slots[kept] = slot;
        // Added without a branch: which slots go is close to random.
        kept += usize::from((slot.get() < T::MARK) | (slot.get() == T::BORDER));
    }
    slots.truncate(kept);
}

/// Copy into wider slots; there must be no gaps.
pub(super) fn widen<T: Slot, U: Slot>(slots: &[T]) -> Vec<U> {
    let value = |slot: u32| if slot == T::BORDER { U::BORDER } else { slot };
    slots.iter().map(|slot| U::new(value(slot.get()))).collect()
}

/// Neighbours of the piece that begins at `at`, `None` at a border: the one before it with its first
/// slot, and the one after it; `span` are its own slots.
pub(super) fn neighbours<T: Slot>(
    slots: &[T],
    at: u32,
    span: u32,
    spans: &[u32],
) -> (Option<(Piece, u32)>, Option<Piece>) {
    let before = slots[at as usize - 1].get();
    let before = (before != T::BORDER).then(|| {
        let piece = before & !T::MARK;
        (piece, at - spans[piece as usize])
    });
    let after = slots[at as usize + span as usize].get();
    (before, (after != T::BORDER).then_some(after))
}

//! Sequences of unequal length as one flat array and one array of offsets.

/// Id of a token. Shards and numpy store it as an unsigned 16-bit number, so a vocabulary has at
/// most 65,536 entries.
pub type TokenId = u16;

/// A batch of id sequences: sequence `i` is `values[offsets[i]..offsets[i + 1]]`.
///
/// ```
/// use dnabert2_core::Ragged;
/// let mut batch = Ragged::default();
/// batch.push(&[1, 5, 2]);
/// batch.push(&[1, 2]);
/// assert_eq!(batch.len(), 2);
/// assert_eq!(batch.get(1), &[1, 2]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ragged {
    /// All ids, one sequence after the other.
    pub values: Vec<TokenId>,
    /// `len() + 1` entries: the first is 0, the last `values.len()`.
    pub offsets: Vec<u64>,
}

impl Default for Ragged {
    fn default() -> Self {
        Self { values: Vec::new(), offsets: vec![0] }
    }
}

impl Ragged {
    /// Number of sequences.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there are no sequences.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ids of sequence `index`.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len).
    #[must_use]
    pub fn get(&self, index: usize) -> &[TokenId] {
        let at =
            |i: usize| usize::try_from(self.offsets[i]).expect("offsets fit the address space");
        &self.values[at(index)..at(index + 1)]
    }

    /// Remove all sequences, and keep the memory.
    pub fn clear(&mut self) {
        self.values.clear();
        self.offsets.truncate(1);
    }

    /// Append one sequence.
    pub fn push(&mut self, ids: &[TokenId]) {
        self.values.extend_from_slice(ids);
        self.close();
    }

    /// End the sequence whose ids were appended directly to `values`.
    pub fn close(&mut self) {
        self.offsets.push(self.values.len() as u64);
    }
}

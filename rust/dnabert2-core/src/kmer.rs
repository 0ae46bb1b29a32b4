//! Tokens of k letters: overlapping, as in DNABERT, or adjacent, as in the Nucleotide Transformer.
//!
//! **Overlapping.** One token begins at every letter but the last k - 1. A k-mer with a letter other
//! than A, C, G, T is one unknown token (Ji et al., 2021).
//!
//! **Adjacent.** Between letters that are not A, C, G, T, k-mers follow each other from the left, and
//! the remaining letters are tokens of one letter; N has its own token (Dalla-Torre et al., 2023). At
//! other letters the published tokenizer raises an error; here each is an unknown token.

use crate::dna::BASES;
use crate::encode::{code, is_all_bases};
use crate::error::Origin;
use crate::policy::{Policy, ReplacedCounts, Unknown};
use crate::{Error, Result, TokenId};

/// Maximum letters of a k-mer: 4^8 k-mers would leave no 16-bit ids for special tokens.
const MAX_K: usize = 7;

/// K-mers that are read together when they contain bases only.
const CHUNK_OF_KMERS: usize = 256;

/// A vocabulary of all k-mers.
#[derive(Debug, Clone)]
pub struct Kmers {
    k: usize,
    /// Id of every k-mer by its letters' codes, the leftmost in the highest bits.
    ids: Vec<TokenId>,
    singles: Option<Singles>,
}

/// Tokens of one letter.
#[derive(Debug, Clone)]
struct Singles {
    bases: [TokenId; 4],
    n: Option<TokenId>,
}

impl Kmers {
    /// Find the k-mers in a vocabulary: `id` looks a token up.
    ///
    /// # Errors
    /// A message about the token that is missing.
    pub fn new(id: impl Fn(&str) -> Option<TokenId>) -> std::result::Result<Self, String> {
        let k = (2..=MAX_K)
            .find(|&k| id(&"A".repeat(k)).is_some())
            .ok_or_else(|| format!("has no k-mer that repeats A 2 to {MAX_K} times"))?;
        let mut ids = Vec::with_capacity(1 << (2 * k));
        for number in 0..1_usize << (2 * k) {
            let letter = |at: usize| char::from(letter(number >> (2 * (k - 1 - at)) & 3));
            let kmer: String = (0..k).map(letter).collect();
            ids.push(id(&kmer).ok_or_else(|| format!("the k-mer {kmer} is missing"))?);
        }
        let single = |letter: u8| id(char::from(letter).encode_utf8(&mut [0; 4]));
        let bases: Vec<TokenId> = (0..4).filter_map(|code| single(letter(code))).collect();
        let singles = match <[TokenId; 4]>::try_from(bases) {
            Ok(bases) => Some(Singles { bases, n: single(b'N') }),
            Err(none) if none.is_empty() => None,
            Err(_) => return Err("contains some of A, C, G, T, but not all".into()),
        };
        Ok(Self { k, ids, singles })
    }

    /// Letters of a token.
    #[must_use]
    pub fn k(&self) -> usize {
        self.k
    }

    /// Whether tokens overlap.
    #[must_use]
    pub fn overlap(&self) -> bool {
        self.singles.is_none()
    }

    /// Number of tokens that consist of letters.
    #[must_use]
    pub fn count(&self) -> usize {
        let singles = self.singles.as_ref().map_or(0, |s| 4 + usize::from(s.n.is_some()));
        self.ids.len() + singles
    }

    /// Append the ids of a text to `out`.
    ///
    /// # Errors
    /// [`Error::UnknownLetter`] under [`Unknown::Error`].
    pub fn encode(
        &self,
        text: &[u8],
        policy: Policy,
        unknown: TokenId,
        out: &mut Vec<TokenId>,
    ) -> Result<()> {
        out.reserve(if self.overlap() { text.len() } else { text.len() / self.k + self.k });
        let mut walk = Walk::new(self, text, policy, unknown);
        // Bases that must have been read before the tight loop can start.
        let ready = if self.overlap() { self.k - 1 } else { 0 };
        while walk.next < text.len() {
            let rest = &text[walk.next..];
            let chunk = &rest[..rest.len().min(CHUNK_OF_KMERS * self.k)];
            if walk.bases == ready && is_all_bases(chunk, policy.fold_case) {
                walk.bases_only(chunk, out);
            } else {
                // The end of the tight loop, or one letter at a time.
                let to = walk.next + if walk.bases == ready { chunk.len() } else { 1 };
                walk.letters(to, &mut |id, _, _| out.push(id))?;
            }
        }
        walk.left_over(&mut |id, _, _| out.push(id));
        Ok(())
    }

    /// Call `emit` with every token of a text and the letters that it covers, `start..end`.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_spans(
        &self,
        text: &[u8],
        policy: Policy,
        unknown: TokenId,
        mut emit: impl FnMut(TokenId, usize, usize),
    ) -> Result<()> {
        let mut walk = Walk::new(self, text, policy, unknown);
        walk.letters(text.len(), &mut emit)?;
        walk.left_over(&mut emit);
        Ok(())
    }

    /// Count the letters of a text that are read as others or are not in this vocabulary.
    pub(crate) fn replaced(&self, text: &[u8], policy: Policy, counts: &mut ReplacedCounts) {
        let has_n = self.singles.as_ref().is_some_and(|singles| singles.n.is_some());
        let known =
            |letter: char| matches!(letter, 'A' | 'C' | 'G' | 'T') || letter == 'N' && has_n;
        for letter in String::from_utf8_lossy(text).chars().filter(|&letter| !known(letter)) {
            if policy.fold_case && known(letter.to_ascii_uppercase()) {
                counts.folded += 1;
            } else {
                *counts.unknown.entry(letter).or_default() += 1;
            }
        }
    }
}

/// A text being read.
struct Walk<'a> {
    kmers: &'a Kmers,
    text: &'a [u8],
    policy: Policy,
    /// Id of letters outside the vocabulary, if any.
    unknown: Option<TokenId>,
    /// Next byte, and its position in letters.
    next: usize,
    at: usize,
    /// The previous k bases.
    kmer: usize,
    /// Bases since the last token or other letter; overlapping tokens leave k - 1 of them.
    bases: usize,
}

impl<'a> Walk<'a> {
    fn new(kmers: &'a Kmers, text: &'a [u8], policy: Policy, unknown: TokenId) -> Self {
        let unknown = Some(unknown).filter(|_| policy.unknown == Unknown::Unk);
        Self { kmers, text, policy, unknown, next: 0, at: 0, kmer: 0, bases: 0 }
    }

    /// Read any bytes up to `to`.
    fn letters(&mut self, to: usize, emit: &mut impl FnMut(TokenId, usize, usize)) -> Result<()> {
        let Self { kmers, text, policy, unknown, .. } = *self;
        let (k, overlap, mask) = (kmers.k, kmers.overlap(), kmers.ids.len() - 1);
        let n = kmers.singles.as_ref().and_then(|singles| singles.n);
        while self.next < to {
            let byte = text[self.next];
            self.next += 1;
            let letter = if policy.fold_case { byte & !0x20 } else { byte };
            if BASES.contains(&letter) {
                self.kmer = (self.kmer << 2 | usize::from(code(letter))) & mask;
                self.bases += 1;
                self.at += 1;
                if self.bases >= k {
                    emit(kmers.ids[self.kmer], self.at - k, self.at);
                    self.bases = if overlap { k - 1 } else { 0 };
                    continue;
                }
            } else {
                if byte & 0xC0 == 0x80 {
                    continue; // continues a character
                }
                let n = n.filter(|_| letter == b'N');
                if policy.unknown == Unknown::Error && n.is_none() {
                    let letter = String::from_utf8_lossy(text).chars().nth(self.at);
                    let letter = letter.unwrap_or(char::REPLACEMENT_CHARACTER);
                    return Err(Error::UnknownLetter {
                        origin: Origin::Sequence(0),
                        letter,
                        position: self.at,
                    });
                }
                self.left_over(emit);
                self.at += 1;
                if let Some(id) = n.or(unknown).filter(|_| !overlap) {
                    emit(id, self.at - 1, self.at);
                }
            }
            // A k-mer with an unknown letter ends here.
            if let Some(id) = unknown.filter(|_| overlap && self.at >= k) {
                emit(id, self.at - k, self.at);
            }
        }
        Ok(())
    }

    /// Read `chunk`, which begins at the next byte, contains only bases, and follows enough bases for
    /// overlapping k-mers.
    fn bases_only(&mut self, chunk: &[u8], out: &mut Vec<TokenId>) {
        let number = |n: usize, base: &u8| n << 2 | usize::from(code(*base));
        if self.kmers.overlap() {
            let (ids, mask) = (&self.kmers.ids[..], self.kmers.ids.len() - 1);
            let mut kmer = self.kmer;
            out.extend(chunk.iter().map(|base| {
                kmer = number(kmer, base) & mask;
                ids[kmer]
            }));
            self.kmer = kmer;
        } else {
            let kmers = chunk.chunks_exact(self.kmers.k);
            let rest = kmers.remainder();
            out.extend(kmers.map(|kmer| self.kmers.ids[kmer.iter().fold(0, number)]));
            (self.kmer, self.bases) = (rest.iter().fold(0, number), rest.len());
        }
        self.next += chunk.len();
        self.at += chunk.len();
    }

    /// Emit the last bases, when they are too few for a k-mer.
    fn left_over(&mut self, emit: &mut impl FnMut(TokenId, usize, usize)) {
        if let Some(singles) = &self.kmers.singles {
            for back in (1..=self.bases).rev() {
                let code = self.kmer >> (2 * (back - 1)) & 3;
                emit(singles.bases[code], self.at - back, self.at - back + 1);
            }
        }
        self.bases = 0;
    }
}

fn letter(code_of_letter: usize) -> u8 {
    BASES
        .into_iter()
        .find(|&base| usize::from(code(base)) == code_of_letter)
        .expect("codes are below 4")
}

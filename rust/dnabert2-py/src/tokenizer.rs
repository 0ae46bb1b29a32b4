//! The tokenizer and its trainer, as Python sees them.

use std::path::PathBuf;
use std::sync::Arc;

use dnabert2_core::tokenizer::{Options, Policy, Truncation, Unknown};
use dnabert2_core::tokenizer_json::TokenizerJson;
use dnabert2_core::train::BpeTrainer;
use dnabert2_core::{Error, Ragged, TokenId};
use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::PyType;

use crate::error::{Result, tell};

/// One sequence from Python, its bytes borrowed.
#[derive(FromPyObject)]
pub enum Text {
    /// A `str`.
    Str(PyBackedStr),
    /// A `bytes`.
    Bytes(PyBackedBytes),
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Str(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// Ids, type ids, and the start and end of every token.
type EncodingArrays<'py> =
    (Bound<'py, PyArray1<TokenId>>, Bound<'py, PyArray1<i64>>, Bound<'py, PyArray2<i64>>);

/// Values and offsets of a batch.
pub type RaggedArrays<'py> = (Bound<'py, PyArray1<TokenId>>, Bound<'py, PyArray1<i64>>);

/// Hand a batch to numpy; the ids are moved, not copied.
pub fn to_numpy(py: Python<'_>, batch: Ragged) -> RaggedArrays<'_> {
    (
        PyArray1::from_vec(py, batch.values),
        PyArray1::from_iter(py, batch.offsets.into_iter().map(signed)),
    )
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).expect("positions fit 63 bits")
}

/// The Rust tokenizer behind `dnabert2_fast.Tokenizer`.
#[pyclass(frozen, module = "dnabert2_fast._native")]
pub struct Tokenizer {
    pub(crate) inner: Arc<dnabert2_core::Tokenizer>,
}

#[pymethods]
impl Tokenizer {
    /// Read a tokenizer.json file.
    #[classmethod]
    fn open(
        _cls: &Bound<'_, PyType>,
        py: Python<'_>,
        path: PathBuf,
        case: &str,
        unknown: &str,
    ) -> Result<Self> {
        let policy = policy(case, unknown)?;
        let inner = py.detach(|| dnabert2_core::Tokenizer::open(&path, policy))?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Read the text of a tokenizer.json; `source` names it in messages.
    #[classmethod]
    fn parse(
        _cls: &Bound<'_, PyType>,
        py: Python<'_>,
        text: String,
        source: PathBuf,
        case: &str,
        unknown: &str,
    ) -> Result<Self> {
        let policy = policy(case, unknown)?;
        let file = py.detach(|| TokenizerJson::parse(&source, text))?;
        Ok(Self { inner: Arc::new(dnabert2_core::Tokenizer::new(file, policy)) })
    }

    /// Text of the tokenizer.json.
    #[getter]
    fn json(&self) -> &str {
        &self.inner.file().text
    }

    /// All tokens by id.
    #[getter]
    fn vocabulary(&self) -> Vec<String> {
        self.inner.file().tokens.clone()
    }

    /// Id of the unknown token.
    #[getter]
    fn unknown_id(&self) -> TokenId {
        self.inner.file().unknown
    }

    /// Letters that each id stands for, shape (`vocab_size`,).
    fn bases<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        let count = self.inner.vocab_size();
        let bases =
            (0..count).map(|id| TokenId::try_from(id).map_or(0, |id| self.inner.bases_of(id)));
        PyArray1::from_iter(py, bases.map(|n| signed(n as u64)))
    }

    /// Whether each id is special, shape (`vocab_size`,).
    fn special<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<bool>> {
        let ids = (0..self.inner.vocab_size()).filter_map(|id| TokenId::try_from(id).ok());
        PyArray1::from_iter(py, ids.map(|id| self.inner.is_special(id)))
    }

    /// Encode one sequence or pair.
    #[expect(clippy::too_many_arguments, reason = "the options of one call, flat for Python")]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        sequence: Text,
        pair: Option<Text>,
        special_tokens: bool,
        max_length: Option<usize>,
        truncation: &str,
        truncation_side: &str,
    ) -> Result<EncodingArrays<'py>> {
        let options = options(special_tokens, max_length, truncation, truncation_side)?;
        let pair = pair.as_ref().map(AsRef::as_ref);
        let whole = py.detach(|| self.inner.encode(sequence.as_ref(), pair, &options))?;
        let ends = whole.offsets.iter().flat_map(|&(start, end)| [start, end]);
        let offsets = PyArray1::from_iter(py, ends.map(|at| signed(at as u64)));
        Ok((
            PyArray1::from_vec(py, whole.ids),
            PyArray1::from_iter(py, whole.type_ids.into_iter().map(i64::from)),
            offsets.reshape([whole.offsets.len(), 2])?,
        ))
    }

    /// Encode many sequences.
    fn encode_batch<'py>(
        &self,
        py: Python<'py>,
        sequences: Vec<Text>,
        special_tokens: bool,
        max_length: Option<usize>,
        truncation_side: &str,
        threads: usize,
    ) -> Result<RaggedArrays<'py>> {
        let options = options(special_tokens, max_length, "longest_first", truncation_side)?;
        let batch = py.detach(|| self.inner.encode_batch(&sequences, &options, threads))?;
        Ok(to_numpy(py, batch))
    }

    /// Encode stretches `starts[i]..ends[i]` of one text in memory.
    #[expect(clippy::too_many_arguments, reason = "the options of one call, flat for Python")]
    fn encode_spans<'py>(
        &self,
        py: Python<'py>,
        text: PyReadonlyArray1<'py, u8>,
        starts: PyReadonlyArray1<'py, i64>,
        ends: PyReadonlyArray1<'py, i64>,
        special_tokens: bool,
        max_length: Option<usize>,
        truncation_side: &str,
        threads: usize,
    ) -> Result<RaggedArrays<'py>> {
        let options = options(special_tokens, max_length, "longest_first", truncation_side)?;
        let text = text.as_slice().map_err(PyErr::from)?;
        let spans = starts.as_array().into_iter().zip(ends.as_array());
        let stretch = |(&start, &end): (&i64, &i64)| {
            let (start, end) = (usize::try_from(start).ok()?, usize::try_from(end).ok()?);
            text.get(start..end)
        };
        let texts: Vec<&[u8]> = spans.map(stretch).collect::<Option<_>>().ok_or_else(|| {
            let message = "an offset lies outside the text".into();
            Error::InvalidArgument { name: "sequences", message }
        })?;
        let batch = py.detach(|| self.inner.encode_batch(&texts, &options, threads))?;
        Ok(to_numpy(py, batch))
    }

    /// Text of ids.
    fn decode(
        &self,
        ids: PyReadonlyArray1<'_, TokenId>,
        unknown: &str,
        separator: &str,
    ) -> Result<String> {
        let ids = ids.as_slice().map_err(PyErr::from)?;
        Ok(self.inner.decode(ids, unknown, separator)?)
    }
}

/// Train a vocabulary; returns the text of its tokenizer.json, and the bases used and passed over.
///
/// `sequences` is an iterable of str or bytes. `report` is called with the number of merges made.
#[pyfunction]
pub fn train_tokenizer(
    py: Python<'_>,
    sequences: &Bound<'_, PyAny>,
    vocab_size: usize,
    window_bp: Option<usize>,
    min_frequency: u64,
    threads: usize,
    report: &Bound<'_, PyAny>,
) -> Result<(String, u64, u64)> {
    let mut trainer = BpeTrainer::new(window_bp);
    for sequence in sequences.try_iter()? {
        let text: Text = sequence?.extract()?;
        trainer.add(text.as_ref())?;
    }
    let (bases, skipped) = (trainer.bases(), trainer.skipped());
    let report = report.clone().unbind();
    let special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"];
    let mut raised = None;
    let outcome = py.detach(|| {
        trainer.train(vocab_size, min_frequency, 5, threads, |pieces| {
            tell(&report, pieces, &mut raised)
        })
    });
    if let Some(error) = raised {
        return Err(error.into());
    }
    Ok((TokenizerJson::from_trained(&outcome?, special), bases, skipped))
}

fn policy(case: &str, unknown: &str) -> Result<Policy> {
    let fold_case = choose("case", case, &[("upper", true), ("compat", false)])?;
    let ways = [("unk", Unknown::Unk), ("split", Unknown::Split), ("error", Unknown::Error)];
    Ok(Policy { fold_case, unknown: choose("unknown", unknown, &ways)? })
}

fn options(
    special_tokens: bool,
    max_length: Option<usize>,
    truncation: &str,
    side: &str,
) -> Result<Options> {
    let ways = [
        ("longest_first", Truncation::LongestFirst),
        ("only_first", Truncation::OnlyFirst),
        ("only_second", Truncation::OnlySecond),
    ];
    let truncation = choose("truncation", truncation, &ways)?;
    let from_left = choose("truncation_side", side, &[("left", true), ("right", false)])?;
    Ok(Options { special_tokens, max_length, truncation, from_left })
}

fn choose<T: Copy>(name: &'static str, value: &str, allowed: &[(&str, T)]) -> Result<T> {
    allowed.iter().find(|(known, _)| *known == value).map(|&(_, choice)| choice).ok_or_else(|| {
        let names: Vec<String> = allowed.iter().map(|(known, _)| format!("{known:?}")).collect();
        let message = format!("{value:?} is not one of {}", names.join(", "));
        Error::InvalidArgument { name, message }.into()
    })
}

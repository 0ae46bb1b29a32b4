//! The tokenizer of the core as a Python class.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use dnabert2_core::parallel::parallel_map;
use dnabert2_core::policy::{Policy, Unknown};
use dnabert2_core::tokenizer::{Definition, Dropout, Encoding, Matching, Options, Truncation};
use dnabert2_core::tokenizer_file::{self, with_matching};
use dnabert2_core::{Error, Ragged, TokenId};
use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyString, PyType};

use crate::error::Result;

/// One sequence from Python, its bytes borrowed.
pub enum Text {
    /// A `str`.
    Str(PyBackedStr),
    /// A `bytes`.
    Bytes(PyBackedBytes),
}

impl<'a, 'py> FromPyObject<'a, 'py> for Text {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if object.is_instance_of::<PyString>() {
            return Ok(Self::Str(object.extract()?));
        }
        object.extract().map(Self::Bytes).map_err(|_| {
            let kind = object.get_type().name().map_or_else(|_| "?".into(), |n| n.to_string());
            PyTypeError::new_err(format!("a sequence is str or bytes, not {kind}"))
        })
    }
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Str(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// Options of a call of the encoder.
#[pyclass(frozen, module = "dnabert2_fast._native")]
pub struct EncodeOptions(Options);

#[pymethods]
impl EncodeOptions {
    #[new]
    #[pyo3(signature = (
        *,
        special_tokens = true,
        max_length = None,
        truncation = "longest_first",
        truncation_side = "right",
        dropout = None,
        seed = 0,
        first = 0,
    ))]
    fn new(
        special_tokens: bool,
        max_length: Option<usize>,
        truncation: &str,
        truncation_side: &str,
        dropout: Option<f64>,
        seed: u64,
        first: usize,
    ) -> Result<Self> {
        let ways = [
            ("longest_first", Truncation::LongestFirst),
            ("only_first", Truncation::OnlyFirst),
            ("only_second", Truncation::OnlySecond),
        ];
        let sides = [("left", true), ("right", false)];
        Ok(Self(Options {
            special_tokens,
            max_length,
            truncation: choose("truncation", truncation, &ways)?,
            from_left: choose("truncation_side", truncation_side, &sides)?,
            dropout: dropout.map(|rate| Dropout { rate, seed }),
            first,
        }))
    }
}

/// A batch with type ids and the start and end of every token.
#[pyclass(frozen, get_all, module = "dnabert2_fast._native")]
pub struct DetailedBatch {
    ids: Py<PyArray1<TokenId>>,
    /// Of the sequences in `ids`.
    offsets: Py<PyArray1<i64>>,
    type_ids: Py<PyArray1<i64>>,
    /// Of every token, shape (tokens, 2).
    spans: Py<PyArray2<i64>>,
}

/// Values and offsets of a batch.
pub type RaggedArrays<'py, T = TokenId> = (Bound<'py, PyArray1<T>>, Bound<'py, PyArray1<i64>>);

/// Hand a batch to numpy; the ids are moved, not copied.
pub fn to_numpy(py: Python<'_>, batch: Ragged) -> RaggedArrays<'_> {
    (
        PyArray1::from_vec(py, batch.values),
        PyArray1::from_iter(py, batch.offsets.into_iter().map(signed)),
    )
}

pub fn signed(value: u64) -> i64 {
    i64::try_from(value).expect("positions fit 63 bits")
}

/// The Rust tokenizer behind `dnabert2_fast.Tokenizer`.
#[pyclass(frozen, module = "dnabert2_fast._native")]
pub struct Tokenizer {
    pub(crate) inner: Arc<dnabert2_core::Tokenizer>,
}

#[pymethods]
impl Tokenizer {
    /// Read a tokenizer file.
    #[classmethod]
    #[pyo3(signature = (path, *, case, unknown, matching))]
    fn open(
        _cls: &Bound<'_, PyType>,
        py: Python<'_>,
        path: PathBuf,
        case: &str,
        unknown: &str,
        matching: Option<&str>,
    ) -> Result<Self> {
        Self::prepare(py, case, unknown, matching, || tokenizer_file::open(&path))
    }

    /// Read the text of a tokenizer file; `source` names it in messages.
    #[classmethod]
    #[pyo3(signature = (text, source, *, case, unknown, matching))]
    fn parse(
        _cls: &Bound<'_, PyType>,
        py: Python<'_>,
        text: String,
        source: PathBuf,
        case: &str,
        unknown: &str,
        matching: Option<&str>,
    ) -> Result<Self> {
        Self::prepare(py, case, unknown, matching, || tokenizer_file::parse(&source, text))
    }

    /// Text of the tokenizer file.
    #[getter]
    fn text(&self) -> &str {
        self.inner.text()
    }

    /// All tokens by id.
    #[getter]
    fn vocabulary(&self) -> Vec<String> {
        self.inner.tokens().to_vec()
    }

    /// Id of the unknown token, if there is one.
    #[getter]
    fn unknown_id(&self) -> Option<TokenId> {
        self.inner.unknown()
    }

    /// How pieces are matched; None for k-mers.
    #[getter]
    fn matching(&self) -> Option<&'static str> {
        let matching = self.inner.matching()?;
        MATCHING.iter().find(|(_, way)| *way == matching).map(|(name, _)| *name)
    }

    /// Whether each id is special, shape (`vocab_size`,).
    fn special<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<bool>> {
        let ids =
            (0..self.inner.vocab_size()).map(|id| TokenId::try_from(id).expect("ids have 16 bits"));
        PyArray1::from_iter(py, ids.map(|id| self.inner.is_special(id)))
    }

    /// Encode many sequences or pairs, with type ids and spans.
    fn encode_detailed(
        &self,
        py: Python<'_>,
        sequences: Vec<Text>,
        pairs: Option<Vec<Text>>,
        options: &EncodeOptions,
        threads: usize,
    ) -> Result<DetailedBatch> {
        let options = options.0;
        let count = sequences.len();
        if let Some(pairs) = pairs.as_ref().filter(|pairs| pairs.len() != count) {
            let message = format!("must be one per sequence (got {} for {count})", pairs.len());
            return Err(Error::InvalidArgument { name: "pairs", message }.into());
        }
        let encodings = py.detach(|| {
            let items: Vec<usize> = (0..count).collect();
            let encode = |(): &mut (), &i: &usize| {
                let pair = pairs.as_ref().map(|pairs| pairs[i].as_ref());
                self.inner.encode(sequences[i].as_ref(), pair, i, &options)
            };
            let done = parallel_map(threads, &items, || (), encode);
            done.into_iter().collect::<dnabert2_core::Result<Vec<Encoding>>>()
        })?;
        let mut batch = Ragged::default();
        for encoding in &encodings {
            batch.push(&encoding.ids);
        }
        let tokens = batch.values.len();
        let (ids, offsets) = to_numpy(py, batch);
        let type_ids = encodings.iter().flat_map(|e| e.type_ids.iter().map(|&id| i64::from(id)));
        let type_ids = PyArray1::from_iter(py, type_ids);
        let spans = encodings.iter().flat_map(|e| &e.offsets).flat_map(|&(a, b)| [a, b]);
        let spans = PyArray1::from_iter(py, spans.map(|at| signed(at as u64)));
        Ok(DetailedBatch {
            ids: ids.unbind(),
            offsets: offsets.unbind(),
            type_ids: type_ids.unbind(),
            spans: spans.reshape([tokens, 2])?.unbind(),
        })
    }

    /// Encode many sequences.
    fn encode_batch<'py>(
        &self,
        py: Python<'py>,
        sequences: Vec<Text>,
        options: &EncodeOptions,
        threads: usize,
    ) -> Result<RaggedArrays<'py>> {
        let options = options.0;
        let batch = py.detach(|| self.inner.encode_batch(&sequences, &options, threads))?;
        Ok(to_numpy(py, batch))
    }

    /// Encode the spans `starts[i]..ends[i]` of one text in memory.
    fn encode_spans<'py>(
        &self,
        py: Python<'py>,
        text: PyReadonlyArray1<'py, u8>,
        starts: PyReadonlyArray1<'py, i64>,
        ends: PyReadonlyArray1<'py, i64>,
        options: &EncodeOptions,
        threads: usize,
    ) -> Result<RaggedArrays<'py>> {
        let options = options.0;
        let text = text.as_slice().map_err(PyErr::from)?;
        let spans = starts.as_array().into_iter().zip(ends.as_array());
        let span = |(&start, &end): (&i64, &i64)| {
            let (start, end) = (usize::try_from(start).ok()?, usize::try_from(end).ok()?);
            text.get(start..end)
        };
        let texts: Vec<&[u8]> = spans.map(span).collect::<Option<_>>().ok_or_else(|| {
            let message = "an offset is outside the text".into();
            Error::InvalidArgument { name: "sequences", message }
        })?;
        let batch = py.detach(|| self.inner.encode_batch(&texts, &options, threads))?;
        Ok(to_numpy(py, batch))
    }

    /// Counts of lower-case letters read as upper-case ones, and of letters outside the vocabulary.
    fn replaced(&self, py: Python<'_>, sequences: Vec<Text>) -> (u64, BTreeMap<char, u64>) {
        let counts = py.detach(|| self.inner.replaced(&sequences));
        (counts.folded, counts.unknown)
    }

    /// Start and end of every token, shape (tokens, 2), from the ids of one sequence.
    fn offsets<'py>(
        &self,
        py: Python<'py>,
        ids: PyReadonlyArray1<'_, TokenId>,
    ) -> Result<Bound<'py, PyArray2<i64>>> {
        let spans = self.inner.offsets(ids.as_slice().map_err(PyErr::from)?)?;
        let flat = spans.iter().flat_map(|&(start, end)| [start, end]);
        let flat = PyArray1::from_iter(py, flat.map(|at| signed(at as u64)));
        Ok(flat.reshape([spans.len(), 2])?)
    }

    /// Texts of many sequences of ids, one after the other, and their borders; N replaces an unknown token.
    fn decode_batch<'py>(
        &self,
        py: Python<'py>,
        ids: PyReadonlyArray1<'_, TokenId>,
        offsets: PyReadonlyArray1<'_, i64>,
    ) -> Result<RaggedArrays<'py, u8>> {
        let ids = ids.as_slice().map_err(PyErr::from)?;
        let offsets = offsets.as_slice().map_err(PyErr::from)?;
        let (mut text, mut borders) = (Vec::new(), vec![0]);
        for pair in offsets.windows(2) {
            let (start, end) = (usize::try_from(pair[0]).ok(), usize::try_from(pair[1]).ok());
            let row = start.zip(end).and_then(|(start, end)| ids.get(start..end));
            let row = row.ok_or_else(|| {
                let message = "an offset lies outside the ids".into();
                Error::InvalidArgument { name: "offsets", message }
            })?;
            text.extend_from_slice(self.inner.decode(row, "N", "")?.as_bytes());
            borders.push(signed(text.len() as u64));
        }
        Ok((PyArray1::from_vec(py, text), PyArray1::from_vec(py, borders)))
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

impl Tokenizer {
    fn prepare(
        py: Python<'_>,
        case: &str,
        unknown: &str,
        matching: Option<&str>,
        read: impl FnOnce() -> dnabert2_core::Result<Definition> + Send,
    ) -> Result<Self> {
        let policy = policy(case, unknown)?;
        let matching = matching.map(|name| choose("matching", name, &MATCHING)).transpose()?;
        let inner = py.detach(|| {
            let file = read()?;
            let file = match matching {
                Some(matching) => with_matching(file, matching)?,
                None => file,
            };
            Ok::<_, Error>(dnabert2_core::Tokenizer::new(file, policy))
        })?;
        Ok(Self { inner: Arc::new(inner) })
    }
}

const MATCHING: [(&str, Matching); 3] = [
    ("bpe", Matching::Bpe),
    ("longest", Matching::Longest),
    ("longest-first", Matching::LongestFirst),
];

fn policy(case: &str, unknown: &str) -> Result<Policy> {
    let fold_case = choose("case", case, &[("upper", true), ("compat", false)])?;
    let ways = [("unk", Unknown::Unk), ("split", Unknown::Split), ("error", Unknown::Error)];
    Ok(Policy { fold_case, unknown: choose("unknown", unknown, &ways)? })
}

pub fn choose<T: Copy>(name: &'static str, value: &str, allowed: &[(&str, T)]) -> Result<T> {
    allowed.iter().find(|(known, _)| *known == value).map(|&(_, choice)| choice).ok_or_else(|| {
        let names: Vec<String> = allowed.iter().map(|(known, _)| format!("{known:?}")).collect();
        let message = format!("must be one of {} (got {value:?})", names.join(", "));
        Error::InvalidArgument { name, message }.into()
    })
}

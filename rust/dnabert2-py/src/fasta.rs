//! Files that are open, and the reader of sequence files, as Python classes.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use dnabert2_core::Error;
use dnabert2_core::dna::count_bases;
use dnabert2_core::error::Origin;
use dnabert2_core::io::compression::{Packing, Raw, trailing};
use dnabert2_core::io::notices::Notices;
use dnabert2_core::io::source::{Block, ReadAhead, Source};
use dnabert2_core::io::{fasta, input};
use dnabert2_core::parallel::lock;
use pyo3::exceptions::{PyException, PyMemoryError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{IntoPyDict, PyBytes, PyString};

use crate::error::{InputWarning, Result, call_report};

/// Maximum bytes of a decompressed block.
const BLOCK: usize = 1 << 19;

/// Bytes that are decompressed at once: few, as what does not fit into a block is copied.
const PACKED: usize = 1 << 16;

/// Minimum letters of a record for which memory may run out.
const HUGE: usize = 1 << 26;

/// Maximum bytes of memory that is kept from one record to the next.
const KEPT: usize = 1 << 20;

/// Letters between two reports.
pub const REPORT_BP: usize = 1 << 22;

/// Open a file. Python's libraries decompress gzip (by ISA-L, twice as fast as the core's library),
/// bzip2 and xz.
pub fn open(path: &Path) -> dnabert2_core::Result<input::Input> {
    input::Input::open_with(path, decompressor)
}

/// Give Python's warnings what the core has warned of; an exception where they are errors.
pub fn warn(py: Python<'_>, notices: &Notices) -> PyResult<()> {
    for message in notices.take() {
        let message = std::ffi::CString::new(message).unwrap_or_default();
        PyErr::warn(py, &py.get_type::<InputWarning>(), &message, 1)?;
    }
    Ok(())
}

fn decompressor(packing: Packing, raw: Raw) -> std::result::Result<Box<dyn Source>, Raw> {
    let (module, class) = match packing {
        Packing::Gzip => ("isal.igzip_lib", "IgzipDecompressor"),
        Packing::Bzip2 => ("bz2", "BZ2Decompressor"),
        Packing::Xz => ("lzma", "LZMADecompressor"),
        Packing::Plain | Packing::Bgzip | Packing::Zstd => return Err(raw),
    };
    let found = attached(|py| {
        let module = py.import(module)?;
        let class = module.getattr(class)?;
        if packing != Packing::Gzip {
            return Ok(class.unbind());
        }
        let flags = [("flag", module.getattr("DECOMP_GZIP")?)].into_py_dict(py)?;
        let partial = py.import("functools")?.getattr("partial")?;
        Ok::<_, PyErr>(partial.call((class,), Some(&flags))?.unbind())
    });
    match found {
        Ok(make) => Ok(Box::new(Streams { packing, raw, make, stream: None, left: Vec::new() })),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            Ok(Box::new(Stopped(Some(error))))
        }
        Err(_) => Err(raw),
    }
}

/// Call Python on any thread. An interrupt is an error of the kind `Interrupted` that contains the
/// exception; other exceptions are errors with its text.
fn attached<T>(work: impl FnOnce(Python<'_>) -> PyResult<T>) -> io::Result<T> {
    let called = Python::try_attach(|py| {
        work(py).map_err(|error| {
            if error.is_instance_of::<PyException>(py) && !error.is_instance_of::<PyMemoryError>(py)
            {
                io::Error::other(error.to_string())
            } else {
                io::Error::new(io::ErrorKind::Interrupted, error)
            }
        })
    });
    // None: the interpreter is ending, and no code reads on.
    called.unwrap_or_else(|| Err(io::ErrorKind::Interrupted.into()))
}

/// The source of a file whose opening was interrupted.
struct Stopped(Option<io::Error>);

impl Source for Stopped {
    fn next_block(&mut self) -> io::Result<Option<Block>> {
        self.0.take().map_or(Ok(None), Err)
    }
}

/// Streams of one packing, one after the other, by a class like `bz2.BZ2Decompressor`.
struct Streams {
    packing: Packing,
    raw: Raw,
    /// Makes a decompressor.
    make: Py<PyAny>,
    stream: Option<Py<PyAny>>,
    /// What was read behind the last stream.
    left: Vec<u8>,
}

/// What a decompressor has given.
struct Given {
    block: PyBackedBytes,
    needs_input: bool,
    /// What it has not used, at its end.
    left: Option<Vec<u8>>,
}

impl Source for Streams {
    fn next_block(&mut self) -> io::Result<Option<Block>> {
        let mut input = Vec::new();
        let mut needs_input = false;
        loop {
            if self.stream.is_none() {
                if !self.find_stream()? {
                    return Ok(None);
                }
                input = std::mem::take(&mut self.left);
            } else if needs_input {
                input = self.read()?;
                if input.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            let given = attached(|py| self.decompress(py, &input))?;
            input.clear();
            needs_input = given.needs_input;
            if let Some(left) = given.left {
                (self.left, self.stream) = (left, None);
            }
            if !given.block.is_empty() {
                return Ok(Some(Box::new(given.block)));
            }
        }
    }
}

impl Streams {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(PACKED);
        self.raw.by_ref().take(PACKED as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Begin the next stream, past padding with zeros; false at the end of the file.
    fn find_stream(&mut self) -> io::Result<bool> {
        loop {
            let zeros = self.left.iter().take_while(|&&byte| byte == 0).count();
            self.left.drain(..zeros);
            if self.left.len() >= 6 {
                break;
            }
            let more = self.read()?;
            if more.is_empty() {
                break;
            }
            self.left.extend(more);
        }
        if self.left.is_empty() {
            return Ok(false);
        }
        let found = Packing::of(&self.left);
        if found != self.packing && (found, self.packing) != (Packing::Bgzip, Packing::Gzip) {
            return Err(trailing(self.packing));
        }
        self.stream = Some(attached(|py| self.make.call0(py))?);
        Ok(true)
    }

    fn decompress(&self, py: Python<'_>, input: &[u8]) -> PyResult<Given> {
        let stream = self.stream.as_ref().expect("a stream has begun").bind(py);
        let block = stream.call_method1("decompress", (PyBytes::new(py, input), BLOCK))?;
        let ended = stream.getattr("eof")?.extract::<bool>()?;
        Ok(Given {
            block: block.extract()?,
            needs_input: ended || stream.getattr("needs_input")?.extract()?,
            left: if ended { Some(stream.getattr("unused_data")?.extract()?) } else { None },
        })
    }
}

/// A file that is open, decompressed; read once, either as bytes or by a `FastaReader`.
#[pyclass(frozen, module = "dnabert2_fast._native")]
pub struct Input {
    packing: &'static str,
    head: Vec<u8>,
    inner: Mutex<Option<input::Input>>,
}

#[pymethods]
impl Input {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> Result<Self> {
        let mut input = py.detach(|| open(&path))?;
        let (packing, head) = (input.packing.name(), std::mem::take(&mut input.head));
        Ok(Self { packing, head, inner: Mutex::new(Some(input)) })
    }

    /// Name of the compression, empty when there is none.
    #[getter]
    fn packing(&self) -> &'static str {
        self.packing
    }

    /// The first bytes of the content.
    #[getter]
    fn head<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.head)
    }

    /// The next bytes of the content, none at the end.
    fn read<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>> {
        let block = py.detach(|| self.with(input::Input::next_block))?;
        if let Some(block) = block {
            return Ok(PyBytes::new(py, (*block).as_ref()));
        }
        self.with(|input| Ok(input.notices.clone())).map(|notices| warn(py, &notices))??;
        Ok(PyBytes::new(py, b""))
    }
}

impl Input {
    fn with<T>(
        &self,
        work: impl FnOnce(&mut input::Input) -> dnabert2_core::Result<T>,
    ) -> dnabert2_core::Result<T> {
        work(lock(&self.inner).as_mut().ok_or_else(read_already)?)
    }

    /// A reader of its records, decompressed on a thread of its own.
    pub fn reader(&self, rna: bool) -> dnabert2_core::Result<fasta::FastaReader> {
        let mut input = lock(&self.inner).take().ok_or_else(read_already)?;
        input.source = Box::new(ReadAhead::new(input.source));
        fasta::FastaReader::new(input, rna)
    }
}

fn read_already() -> Error {
    Error::InvalidArgument { name: "input", message: "it has been read already".into() }
}

/// Iterator over `(name, sequence)`.
#[pyclass(frozen, module = "dnabert2_fast._native")]
pub struct FastaReader(Mutex<Reading>);

struct Reading {
    reader: fasta::FastaReader,
    /// Memory for a record, which is used again.
    letters: Vec<u8>,
}

#[pymethods]
impl FastaReader {
    #[new]
    #[pyo3(signature = (input, *, max_letters, rna))]
    fn new(py: Python<'_>, input: &Input, max_letters: usize, rna: bool) -> Result<Self> {
        let mut reader = py.detach(|| input.reader(rna))?;
        reader.limit_records(max_letters);
        warn(py, reader.notices())?;
        Ok(Self(Mutex::new(Reading { reader, letters: Vec::new() })))
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> Result<Option<(String, Bound<'py, PyAny>)>> {
        let read = || {
            let reading = &mut *lock(&self.0);
            let mut letters = std::mem::take(&mut reading.letters);
            let name = reading.reader.read_record(&mut letters)?;
            Ok::<_, Error>(name.map(|name| (name.to_owned(), letters)))
        };
        let Some((name, letters)) = py.detach(read)? else {
            let notices = lock(&self.0).reader.notices().clone();
            warn(py, &notices)?;
            return Ok(None);
        };
        // Letters are ASCII; anything else is shown as a replacement character, one a byte.
        let codec = match std::str::from_utf8(&letters) {
            Ok(text) if text.len() < HUGE => {
                let text = PyString::new(py, text).into_any();
                if letters.capacity() <= KEPT {
                    lock(&self.0).letters = letters;
                }
                return Ok(Some((name, text)));
            }
            Ok(_) => "utf-8",
            Err(_) => "ascii",
        };
        // When memory is exhausted, these raise a Python error and do not panic.
        let copy = PyBytes::new_with(py, letters.len(), |bytes| {
            bytes.copy_from_slice(&letters);
            Ok(())
        })?;
        drop(letters);
        Ok(Some((name, copy.call_method1("decode", (codec, "replace"))?)))
    }
}

/// The message about a letter of a record that is not in the vocabulary; `position` is 0-based.
#[pyfunction]
#[pyo3(signature = (path, record, letter, position))]
pub fn unknown_letter(
    py: Python<'_>,
    path: PathBuf,
    record: String,
    letter: char,
    position: usize,
) -> String {
    let origin = Origin::Record { path, line: None, name: record };
    py.detach(|| with_line(Error::UnknownLetter { origin, letter, position }).to_string())
}

/// Add its line to an unknown letter of a file that can be read again.
pub fn with_line(error: Error) -> Error {
    let Error::UnknownLetter { origin: Origin::Record { path, name, .. }, letter, position } =
        error
    else {
        return error;
    };
    let find = || {
        let reader = fasta::FastaReader::new(open(&path)?, false)?;
        reader.find_line(&name, letter, position)
    };
    // A table or a damaged file has no line, and a pipe cannot be read again.
    let line = match path.is_file().then(find) {
        Some(Err(error)) if error.is_interrupt() => return error,
        found => found.and_then(dnabert2_core::Result::ok).flatten(),
    };
    Error::UnknownLetter { origin: Origin::Record { path, line, name }, letter, position }
}

/// Count the bases of a sequence file; `report` receives the number of letters since its last call.
#[pyfunction]
#[pyo3(name = "count_bases", signature = (path, *, fold_case, rna, report))]
pub fn count_file(
    py: Python<'_>,
    path: PathBuf,
    fold_case: bool,
    rna: bool,
    report: Py<PyAny>,
) -> Result<u64> {
    let mut raised = None;
    let outcome = py.detach(|| {
        let mut input = open(&path)?;
        input.source = Box::new(ReadAhead::new(input.source));
        let mut reader = fasta::FastaReader::new(input, rna)?;
        let (mut bases, mut letters, mut text) = (0_u64, 0, Vec::new());
        while reader.next_record()?.is_some() {
            while reader.read_letters(&mut text, BLOCK)? > 0 {
                bases += count_bases(&text, fold_case) as u64;
                letters += text.len();
                text.clear();
                if letters >= REPORT_BP {
                    call_report(&report, std::mem::take(&mut letters), &mut raised)?;
                }
            }
        }
        call_report(&report, letters, &mut raised)?;
        Ok::<_, Error>(bases)
    });
    if let Some(error) = raised {
        return Err(error.into());
    }
    Ok(outcome?)
}

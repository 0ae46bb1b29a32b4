//! Core errors as the exception classes that `dnabert2_fast.errors` declares.

use std::io;

use dnabert2_core::Error;
use dnabert2_core::error::Origin;
use pyo3::exceptions::{PyKeyboardInterrupt, PyOSError, PyValueError};
use pyo3::prelude::*;

pyo3::import_exception!(dnabert2_fast.errors, CorpusError);
pyo3::import_exception!(dnabert2_fast.errors, FastaError);
pyo3::import_exception!(dnabert2_fast.errors, InputWarning);
pyo3::import_exception!(dnabert2_fast.errors, TokenizerError);

/// A core error, or one that Python code raised meanwhile.
pub enum Failure {
    /// From the core.
    Core(Error),
    /// From Python: a signal handler or a callback.
    Python(PyErr),
}

/// Call Python's `report` with a number, and check for Ctrl-C. An exception raised there is stored in
/// `raised`, and stops the core.
pub fn call_report<N>(
    report: &Py<PyAny>,
    number: N,
    raised: &mut Option<PyErr>,
) -> dnabert2_core::Result<()>
where
    N: for<'a> IntoPyObject<'a>,
{
    Python::attach(|py| {
        let called = report.call1(py, (number,)).and_then(|_| py.check_signals());
        called.map_err(|error| {
            *raised = Some(error);
            Error::Interrupted
        })
    })
}

/// Result of every function that Python calls.
pub type Result<T> = std::result::Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        let error = match failure {
            Failure::Core(error) => error,
            Failure::Python(error) => return error,
        };
        let text = error.to_string();
        match error {
            Error::Io { source, .. } if source.kind() == io::ErrorKind::Interrupted => {
                let raised = source.into_inner().and_then(|inner| inner.downcast::<PyErr>().ok());
                raised.map_or_else(|| PyKeyboardInterrupt::new_err(()), |raised| *raised)
            }
            // errno, message and file name, so that Python picks FileNotFoundError and the like.
            Error::Io { path, source } => match source.raw_os_error() {
                Some(code) => {
                    // "No such file or directory (os error 2)": Python adds the number itself.
                    let text = source.to_string();
                    let text = text.split(" (os error").next().unwrap_or_default().to_owned();
                    PyOSError::new_err((code, text, path))
                }
                None => PyOSError::new_err(text),
            },
            Error::Fasta { .. } => FastaError::new_err(text),
            Error::UnknownLetter { origin: Origin::Sequence(sequence), letter, position } => {
                let error = TokenizerError::new_err(text);
                // Callers that have the sequence's name read these.
                Python::attach(|py| {
                    let value = error.value(py);
                    value.setattr("sequence", sequence)?;
                    value.setattr("letter", letter)?;
                    value.setattr("position", position)
                })
                .map_or_else(|failed| failed, |()| error)
            }
            Error::Vocab { .. } | Error::TokenizerFile { .. } | Error::UnknownLetter { .. } => {
                TokenizerError::new_err(text)
            }
            Error::Shard { .. } => CorpusError::new_err(text),
            Error::Interrupted => PyKeyboardInterrupt::new_err(()),
            _ => PyValueError::new_err(text),
        }
    }
}

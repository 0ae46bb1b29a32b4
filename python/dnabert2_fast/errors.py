"""The exceptions of this package; the Rust extension raises the same classes.

Every message names the file or the argument, what is wrong with it, and the remedy.
"""

__all__ = [
    "BackendUnavailableError",
    "CheckpointError",
    "CorpusError",
    "DataError",
    "DivergedError",
    "Dnabert2Error",
    "FastaError",
    "InputWarning",
    "TokenizerError",
]


class Dnabert2Error(Exception):
    """Base class of all errors that this package raises on purpose."""


class FastaError(Dnabert2Error, ValueError):
    """A sequence file is not readable FASTA or FASTQ; names the file, record and line."""


class TokenizerError(Dnabert2Error, ValueError):
    """A tokenizer file or vocabulary is not valid; names the file and position."""


class CorpusError(Dnabert2Error, ValueError):
    """A corpus is damaged, incomplete, or was built with another tokenizer."""


class CheckpointError(Dnabert2Error, ValueError):
    """A model folder or weights file cannot be loaded; names the file and the keys."""


class DataError(Dnabert2Error, ValueError):
    """A table, BED or VCF file is not as expected; names the file, line and column."""


class InputWarning(Dnabert2Error, UserWarning):
    """An input file is readable but suspect: it is cut off, or RNA.

    ``warnings.simplefilter("error", InputWarning)`` makes it an error; so does ``--strict`` on the
    command line.
    """


class BackendUnavailableError(Dnabert2Error, RuntimeError):
    """The requested attention backend cannot run; names the reason and the remedy."""


class DivergedError(Dnabert2Error, RuntimeError):
    """A value is NaN or infinite, or a training loss rose far above its earlier level.

    Names the last good checkpoint, or what to try.
    """

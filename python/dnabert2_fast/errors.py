"""The exceptions of this package, declared once; the Rust extension raises these same classes.

Every message names the file or argument, what is wrong with it, and what to do about it.
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
    """Base of every error that this package raises on purpose."""


class FastaError(Dnabert2Error, ValueError):
    """A sequence file is not readable FASTA or FASTQ; names the file, record and line."""


class TokenizerError(Dnabert2Error, ValueError):
    """A tokenizer file or a vocabulary breaks a rule; names the place in the file."""


class CorpusError(Dnabert2Error, ValueError):
    """A corpus folder or shard is damaged, incomplete, or was made with another tokenizer."""


class CheckpointError(Dnabert2Error, ValueError):
    """A model folder or weights file cannot be loaded; names the file and the keys."""


class DataError(Dnabert2Error, ValueError):
    """A labelled table (CSV) is not what was asked for; names the file, row and column."""


class InputWarning(Dnabert2Error, UserWarning):
    """A file can be read and may not be what it should be: cut off at a block border, or RNA.

    ``warnings.simplefilter("error", InputWarning)`` makes it an error; so does ``--strict`` on the
    command line.
    """


class BackendUnavailableError(Dnabert2Error, RuntimeError):
    """An attention backend was asked for by name and cannot run; names reason and remedy."""


class DivergedError(Dnabert2Error, RuntimeError):
    """Numbers are none (NaN, infinite), or a training's loss is far above what it was.

    Names the last good checkpoint, or what to try.
    """

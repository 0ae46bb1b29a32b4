"""Random access to the bases of a genome: an indexed FASTA file, or sequences in memory.

Chromosomes are found with and without the prefix: ``chr20`` and ``20``, ``chrM`` and ``MT``.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from dnabert2_fast._internal.atomic import atomic_path
from dnabert2_fast._internal.extras import needs
from dnabert2_fast._internal.streams import require_file
from dnabert2_fast.errors import DataError, InputWarning
from dnabert2_fast.io.content import open_bytes, open_input
from dnabert2_fast.io.fasta import read_fasta, records_of

__all__ = ["Reference"]

VERSIONED = re.compile(r"[A-Z]{1,6}_?[0-9]+\.[0-9]+")  # an accession of GenBank or RefSeq
UNPACK = {"gzip": "gunzip -c", "zstd": "zstd -dc", "bzip2": "bzip2 -dc", "xz": "xz -dc"}

# The empty block that every whole bgzip file ends with (SAM specification, 4.1.2).
BGZIP_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")

HEAD = 1 << 16  # bytes in which line ends are searched for

MITOCHONDRIAL = ("chrM", "MT", "M", "chrMT")


class Reference:
    """Bases by position, 0-based half-open, in upper case.

    Parameters
    ----------
    source : path or mapping of str to str
        A FASTA file, plain or bgzip, read with pysam, not a pipe; or sequences by name. An index
        (``.fai``, for bgzip also ``.gzi``) beside the file is used. A missing one is written
        beside the file or, if that folder is read-only, into a temporary folder.
    rna : bool
        Read U as T.

    Raises
    ------
    DataError
        When the file's compression allows no random access, or it cannot be indexed.
    FastaError
        When the fetched bases contain a digit.
    FileNotFoundError
        When the file does not exist.

    Examples
    --------
    >>> genome = Reference({"chr20": "ACGTacgtNN", "MT": "GATTACA"})
    >>> genome.resolve("20"), genome.resolve("chrM"), genome.resolve("21")
    ('chr20', 'MT', None)
    >>> genome.fetch("chr20", -3, 6), genome.length("chr20")
    ('ACGTAC', 10)
    """

    def __init__(
        self, source: str | os.PathLike[str] | Mapping[str, str], *, rna: bool = False
    ) -> None:
        self._rna = rna
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._file: Any = None
        self._records: Mapping[str, str] = {}
        self._source = source
        if isinstance(source, Mapping):
            self._records = source
            self._lengths = {name: len(text) for name, text in source.items()}
        else:
            self._file = self._open(Path(source))
            self._lengths = dict(zip(self._file.references, self._file.lengths, strict=True))

    @property
    def source(self) -> Path | str:
        """File of the reference, or a hash of sequences given as strings."""
        if not isinstance(self._source, Mapping):
            return self.path
        digest = hashlib.sha256()
        for name, text in self._source.items():
            digest.update(f"{name} {len(text)} {text}".encode())
        return digest.hexdigest()

    @property
    def path(self) -> Path:
        """The file; ``the reference`` for sequences in memory."""
        return Path("the reference" if isinstance(self._source, Mapping) else self._source)

    @property
    def label(self) -> str:
        """Name in messages and headers: that of the file."""
        return self.path.name

    @property
    def lengths(self) -> dict[str, int]:
        """Length of every record in bases, in the order of the file."""
        return self._lengths

    def length(self, name: str) -> int:
        """Return the length of a record in bases.

        Parameters
        ----------
        name : str
            Its name in the reference.

        Returns
        -------
        int
        """
        return self._lengths[name]

    def resolve(self, name: str) -> str | None:
        """Return the reference's name for a chromosome, or None.

        ``chr20`` matches ``20``, and ``chrM`` matches ``MT``. An accession matches with or without
        its version, also within an NCBI name such as ``gi|1|ref|NC_000001.1|``.

        Parameters
        ----------
        name : str
            Its name in another file.

        Returns
        -------
        str or None
            None when the reference has no record of that name.

        Examples
        --------
        >>> Reference({"gi|1|ref|NC_000001.1|": "ACGT"}).resolve("NC_000001")
        'gi|1|ref|NC_000001.1|'
        """
        if name in self._lengths:
            return name
        others = [name.removeprefix("chr") if name.startswith("chr") else f"chr{name}"]
        if name in MITOCHONDRIAL:
            others.extend(MITOCHONDRIAL)
        if VERSIONED.fullmatch(name):
            others.append(name.rpartition(".")[0])  # of a reference without versions
        found = next((other for other in others if other in self._lengths), None)
        return found or self._by_accession.get(name)

    @cached_property
    def _by_accession(self) -> dict[str, str]:
        """Records by the accession in their name, with and without version where unique."""
        found: dict[str, set[str]] = {}
        for record in self._lengths:
            for accession in filter(VERSIONED.fullmatch, record.split("|")):
                for alias in (accession, accession.rpartition(".")[0]):
                    found.setdefault(alias, set()).add(record)
        return {alias: min(records) for alias, records in found.items() if len(records) == 1}

    def fetch(self, name: str, start: int, end: int) -> str:
        """Return bases of a record in upper case.

        Parameters
        ----------
        name : str
            Its name in the reference.
        start, end : int
            0-based half-open; positions outside the record are left out.

        Returns
        -------
        str
        """
        start, end = max(start, 0), min(end, self._lengths[name])
        if start >= end:
            return ""
        if self._file is None:
            bases = self._records[name][start:end]
        else:
            bases = self._file.fetch(name, start, end)
            if not bases.isalpha():
                self._require_letters(bases)
        bases = bases.upper()
        return bases.replace("U", "T") if self._rna else bases

    def _require_letters(self, bases: str) -> None:
        """Raise for digits the error of reading the whole file, which names the line."""
        if any(letter.isspace() for letter in bases):
            raise _blanks(self._source)
        if any(letter in "0123456789" for letter in bases):
            for _ in read_fasta(Path(os.fspath(self._source))):  # type: ignore[arg-type]
                pass

    def _open(self, path: Path) -> Any:
        with needs("an indexed FASTA file"):
            import pysam

        require_file(path, "bases are looked up in it by position")
        opened = open_input(path)
        packing = opened.packing
        if packing not in ("", "bgzip"):
            plain, unpack = path.with_suffix("").name, UNPACK[packing]
            raise DataError(
                f"{path}: is compressed by {'plain ' * (packing == 'gzip')}{packing}, in which no "
                "position can be looked up. Decompress it, or compress it with bgzip: "
                f"{unpack} {path.name} | bgzip > {plain}.bgz"
            )
        records_of(opened, rna=self._rna)  # raises for files of other kinds, warns of RNA
        packed = packing == "bgzip"
        if packed:
            _warn_if_cut_off(path)
        folder, endings = path.parent, [".fai", ".gzi"][: 1 + packed]
        if not all(path.with_name(path.name + ending).exists() for ending in endings):
            folder = self._index(path, endings)
        elif (path.with_name(f"{path.name}.fai")).stat().st_mtime < path.stat().st_mtime:
            warnings.warn(
                f"{path}.fai: is older than {path.name}. Delete it if the sequences have changed.",
                stacklevel=3,
            )
        index, *blocks = (folder / f"{path.name}{ending}" for ending in endings)
        try:
            # Bytes, because pysam encodes text as UTF-8.
            opened = pysam.FastaFile(
                os.fsencode(path),
                filepath_index=os.fsencode(index),
                filepath_index_compressed=next(map(os.fsencode, blocks), None),
            )
            _require_even_lines(opened, index, path)
            return opened
        except (ValueError, OSError) as error:
            raise DataError(
                f"{path}: cannot be read with its index ({error}). Delete {index}."
            ) from None

    def _index(self, path: Path, endings: list[str]) -> Path:
        """Create the index; returns its folder."""
        import pysam

        _require_plain_text(path, packed=len(endings) == 2)
        _require_distinct_names(path)
        self._temporary = tempfile.TemporaryDirectory(prefix="dnabert2_fast")
        folder = Path(self._temporary.name)
        made = [folder / f"{path.name}{ending}" for ending in (".fai", ".gzi")]
        files = [os.fsencode(file) for file in (path, *made)]
        # htslib would print a second message on standard error.
        loud = pysam.set_verbosity(0)
        try:
            pysam.faidx(files[0], b"--fai-idx", files[1], b"--gzi-idx", files[2])
        except pysam.SamtoolsError:
            raise DataError(
                f"{path}: cannot be indexed as FASTA: all lines of a record must have one length. "
                f"Find the first other line with `samtools faidx {path.name}`."
            ) from None
        finally:
            pysam.set_verbosity(loud)
        if not os.access(path.parent, os.W_OK):
            return folder
        for index in made[: len(endings)]:
            with atomic_path(path.with_name(index.name)) as beside:
                shutil.copyfile(index, beside)
        return path.parent


def _require_plain_text(path: Path, *, packed: bool) -> None:
    """Raise `DataError` for a format that `read_fasta` reads and htslib does not."""
    with gzip.open(path) if packed else path.open("rb") as handle:
        head = handle.read(HEAD)
    if head.startswith(codecs.BOM_UTF8):
        what, repair = "begins with a byte-order mark", "tail -c +4"
    elif b"\r" in head and b"\n" not in head:
        what, repair = "has lines that end with CR alone", r"tr '\r' '\n'"
    else:
        return
    command = f"{repair} < {path.name} > NEW"
    if packed:
        command = f"bgzip -dc {path.name} | {repair} | bgzip > NEW"
    raise DataError(
        f"{path}: {what}, so no position can be looked up in it. Write a new file: {command}"
    )


def _require_distinct_names(path: Path) -> None:
    """Raise `DataError` when two records have one name: htslib would ignore the second."""
    seen: set[bytes] = set()
    with open_bytes(path) as handle:
        for line in handle:
            if line.startswith(b">"):
                name = line[1:].split(None, 1)[0] if line[1:].strip() else b""
                if name in seen:
                    shown = name.decode("utf-8", "replace")
                    raise DataError(
                        f"{path}: two records have the name {shown}. Rename one of them."
                    )
                seen.add(name)


def _warn_if_cut_off(path: Path) -> None:
    with path.open("rb") as handle:
        handle.seek(-min(len(BGZIP_END), path.stat().st_size), os.SEEK_END)
        whole = handle.read() == BGZIP_END
    if not whole:
        warnings.warn(
            f"{path}: lacks the EOF marker, the last block of a bgzip file, so it may be cut off. "
            "Compare its size with the original's.",
            InputWarning,
            stacklevel=4,
        )


def _require_even_lines(opened: Any, index: Path, path: Path) -> None:
    """Raise `DataError` for blanks within lines, which shift positions.

    htslib counts only letters, and computes positions as if they were contiguous.
    """
    for line in index.read_text("utf-8", "surrogateescape").splitlines():
        name, length, _, bases, width = line.split("\t")[:5]
        others = int(width) - int(bases)
        if others > 1:  # of one line; two are usually the line break of Windows
            end = int(length) if others > 2 else min(int(length), int(bases))
            if any(letter.isspace() for letter in opened.fetch(name, 0, end)):
                raise _blanks(path)


def _blanks(path: object) -> DataError:
    return DataError(
        f"{path}: has blanks within lines of letters, so no position can be looked up in it. "
        "Remove them: sed '/^>/!s/[[:blank:]]//g'"
    )

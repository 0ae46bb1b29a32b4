"""Manifests: tables of genome files and their species."""

from __future__ import annotations

import csv
import os
import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from dnabert2_fast.errors import DataError, InputWarning
from dnabert2_fast.io.content import open_bytes

__all__ = ["SourceFile", "read_manifest", "species_by_path"]

COLUMNS = ("path", "species", "group", "weight", "max_bp")


class SourceFile(NamedTuple):
    r"""A sequence file and its species.

    Attributes
    ----------
    path : Path or str
        A str if it is a URI, which `dnabert2_fast.ray` reads.
    species, group : str
        Empty if unknown.
    weight : float
        Relative number of draws of the species' windows in training; 1 for others.
    max_bp : int, optional
        Species with more bases are subsampled to this number, evenly.

    Examples
    --------
    >>> import tempfile
    >>> from dnabert2_fast import Tokenizer, build_corpus
    >>> from dnabert2_fast.corpus import CorpusConfig
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "x.fa").write_text(">a\n" + "ACGTTGCA" * 50)
    >>> one = SourceFile(folder / "x.fa", species="yeast", weight=2.0)
    >>> tok = Tokenizer.from_pretrained("dnabert2")
    >>> corpus = build_corpus([one], folder / "corpus", tok, CorpusConfig(window_bp=100))
    >>> list(corpus.by_species), corpus.where(0).species
    (['yeast'], 'yeast')
    """

    path: Path | str
    species: str = ""
    group: str = ""
    weight: float = 1.0
    max_bp: int | None = None


def read_manifest(path: str | os.PathLike[str]) -> list[SourceFile]:
    r"""Read a table of files, one per line.

    Parameters
    ----------
    path : path
        TSV or CSV with a header: column ``path`` (relative to the table's folder), and if wanted
        ``species``, ``group``, ``weight``, ``max_bp``; others are ignored. ``weight`` and
        ``max_bp`` belong to a species: all its lines must agree. A line without species may have
        its own weight.

    Returns
    -------
    list of SourceFile
        One per line, in order.

    Raises
    ------
    DataError
        When it is damaged or lines contradict each other; names file and line.

    Warns
    -----
    InputWarning
        When a column is ignored whose name resembles one that is read, such as ``wieght``.

    Examples
    --------
    >>> import tempfile
    >>> table = Path(tempfile.mkdtemp(), "genomes.tsv")
    >>> _ = table.write_text("path\tspecies\tmax_bp\nhs.fa.gz\thuman\t1000000\n")
    >>> [(str(item.path)[-8:], item.species, item.max_bp) for item in read_manifest(table)]
    [('hs.fa.gz', 'human', 1000000)]
    """
    path = Path(path)
    inputs: list[SourceFile] = []
    of_species: dict[str, SourceFile] = {}
    try:
        with open_bytes(path) as handle:
            text = handle.read().decode("utf-8")
        if "\0" in text:
            raise DataError(
                f"{path}: is not a table (got a NUL byte). Save it as TSV or CSV in UTF-8."
            )
        rows = csv.DictReader(
            text.splitlines(), delimiter="\t" if "\t" in text else ",", restkey=""
        )
        if "path" not in (rows.fieldnames or ()):
            names = ", ".join(rows.fieldnames or ())
            raise DataError(
                f"{path}:1: has no column 'path' (got {names or 'none'}). Name it in the header."
            )
        _warn_of_unknown(path, rows.fieldnames or ())
        for row in rows:
            where = f"{path}:{rows.line_num}"
            item = _input(path.parent, row, where)
            first = of_species.setdefault(item.species, item)
            if item.species and (first.weight, first.max_bp) != (item.weight, item.max_bp):
                raise DataError(
                    f"{where}: weight and max_bp of {item.species} differ from an earlier line "
                    f"(got {item.weight:g} and {item.max_bp}, expected {first.weight:g} and "
                    f"{first.max_bp}). Make them equal in all lines of a species."
                )
            inputs.append(item)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path}: is not a table ({error}). Save it as TSV or CSV in UTF-8."
        ) from None
    if not inputs:
        raise DataError(f"{path}: has a header but no rows. Add one row per file.")
    return inputs


def _warn_of_unknown(path: Path, names: Sequence[str]) -> None:
    """Name the columns that are ignored although their names resemble ones that are read."""
    for name in names:
        close = get_close_matches(name.strip().lower(), COLUMNS, n=1, cutoff=0.75)
        if name not in COLUMNS and close and close[0] not in names:
            warnings.warn(
                f"{path}:1: ignored the column {name!r}. Rename it to {close[0]}, or remove it.",
                InputWarning,
                stacklevel=3,
            )


def _input(folder: Path, row: dict[str, str | None], where: str) -> SourceFile:
    cells = {name: value.strip() for name, value in row.items() if name and value}
    if not cells.get("path"):
        raise DataError(f"{where}: has an empty path. Add the path of a file, or delete the line.")
    try:
        weight = float(cells.get("weight") or 1)
        max_bp = int(cells["max_bp"].replace("_", "")) if cells.get("max_bp") else None
    except ValueError:
        got = f"got {cells.get('weight', '')!r} and {cells.get('max_bp', '')!r}"
        raise DataError(
            f"{where}: weight must be a number, and max_bp a whole number ({got}). "
            "Correct the line."
        ) from None
    if not 0 <= weight < float("inf") or (max_bp is not None and max_bp < 1):
        raise DataError(
            f"{where}: weight must be a finite number >= 0, and max_bp at least 1 "
            f"(got {weight:g} and {max_bp}). Correct the line."
        )
    species, group = cells.get("species", ""), cells.get("group", "")
    if max_bp is not None and not species:
        raise DataError(
            f"{where}: has a max_bp without a species (got {max_bp}). Add a species, or leave "
            "max_bp empty."
        )
    path = cells["path"]
    return SourceFile(path if "://" in path else folder / path, species, group, weight, max_bp)


def species_by_path(path: str | os.PathLike[str]) -> dict[str, str]:
    r"""Return the species of every file in a manifest, by path.

    Parameters
    ----------
    path : path
        Manifest; see `read_manifest`.

    Returns
    -------
    dict of str to str
        Empty for files without a species.

    Examples
    --------
    >>> import tempfile
    >>> table = Path(tempfile.mkdtemp(), "genomes.tsv")
    >>> _ = table.write_text("path\tspecies\n/data/hs.fa.gz\thuman\n")
    >>> species_by_path(table)
    {'/data/hs.fa.gz': 'human'}
    """
    return {str(item.path): item.species for item in read_manifest(path)}

"""The plan of a corpus: settings, inputs, and the units of the build.

A unit is some consecutive files of one species and weight. It fills shards of its own, so units can
be built in any order, on any machine, and a stopped build resumes. The folder of a plan, next to
the future corpus, holds the finished parts.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from dnabert2_fast import _native
from dnabert2_fast._internal.atomic import atomic_json, resolved
from dnabert2_fast._internal.checks import check_at_least, check_between, check_seed
from dnabert2_fast._internal.progress import progress
from dnabert2_fast._internal.settings import require_same
from dnabert2_fast._internal.streams import require_file
from dnabert2_fast._internal.strict_json import parse_json
from dnabert2_fast.corpus.format import encoded_with
from dnabert2_fast.errors import CorpusError
from dnabert2_fast.io.arguments import file_list, printable
from dnabert2_fast.io.manifest import SourceFile
from dnabert2_fast.tokenizer import Tokenizer

__all__ = ["CorpusConfig", "CorpusPlan"]

UNIT_BYTES = 1 << 28
"""A unit takes files of one species until it has this many bytes."""


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """Settings of a corpus: how windows are cut and chosen.

    Parameters
    ----------
    window_bp
        Length of a window in bases. Default: each run (or record, see other_letters) is a window.
    min_window_bp
        Draw each window's length uniformly from this to window_bp, by seed; windows are adjacent.
    stride_bp
        Bases from one window's start to the next; by default the length of the window.
    min_bp
        Windows with fewer bases are dropped; by default a tenth of the (minimum) length.
    both_strands
        Follow each window with its reverse complement.
    other_letters
        split: letters other than A, C, G, T end a run, and windows are cut from runs; drop: windows
        are cut from whole records, and those with such letters are dropped; keep: they are kept.
    deduplicate
        Drop a window that has the same letters as an earlier one; takes 16 bytes of memory per
        window.
    valid_fraction
        Share held out as split "valid", in blocks of 64 windows spread evenly.
    shard_tokens
        Approximate number of tokens per shard file.
    seed
        Start of the draws.
    rna
        Read U as T.

    Examples
    --------
    >>> CorpusConfig(window_bp=700, min_window_bp=100, both_strands=True).resolved()["min_bp"]
    10
    """

    window_bp: int | None = 1000
    min_window_bp: int | None = None
    stride_bp: int | None = None
    min_bp: int | None = None
    both_strands: bool = False
    other_letters: Literal["split", "drop", "keep"] = "split"
    deduplicate: bool = False
    valid_fraction: float = 0.05
    shard_tokens: int = 1 << 22
    seed: int = 0
    rna: bool = False

    def __post_init__(self) -> None:
        for name in ("window_bp", "min_window_bp", "stride_bp", "min_bp", "shard_tokens"):
            check_at_least(name, getattr(self, name), 1)
        check_between("valid_fraction", self.valid_fraction, 0, 1)
        check_seed(self.seed)
        if self.window_bp and self.min_bp and self.min_bp > self.window_bp:
            raise ValueError(
                f"min_bp: must be at most window_bp, {self.window_bp} (got {self.min_bp})."
            )
        if self.min_window_bp is not None:
            if self.window_bp is None or self.min_window_bp > self.window_bp:
                raise ValueError(
                    f"min_window_bp: must be at most window_bp, {self.window_bp} "
                    f"(got {self.min_window_bp})."
                )
            if self.stride_bp is not None:
                raise ValueError(
                    "stride_bp: must be omitted with min_window_bp, whose windows are adjacent."
                )

    def resolved(self) -> dict[str, Any]:
        """Return all settings, with the defaults of those that are None.

        Returns
        -------
        dict
        """
        length = self.min_window_bp or self.window_bp
        return {
            **asdict(self),
            "stride_bp": self.stride_bp or self.window_bp or 1,
            "min_bp": max(1, (length or 10) // 10) if self.min_bp is None else self.min_bp,
        }


class CorpusPlan:
    """The work of `build_corpus` as units, which several machines can share.

    Parameters
    ----------
    files : iterable of paths or SourceFile
        FASTA or FASTQ, compressed or not; `read_manifest` adds their species.
    out : path
        Folder of the future corpus.
    tokenizer : Tokenizer
    config : CorpusConfig
    stamps : list of list of int, optional
        Size in bytes and modification time of each file, if the file system cannot provide them.

    Attributes
    ----------
    units : list of list of int
        Positions of the files of each unit.

    Raises
    ------
    OSError
        When a file does not exist.
    """

    def __init__(
        self,
        files: Iterable[str | os.PathLike[str] | SourceFile] | os.PathLike[str],
        out: str | os.PathLike[str],
        tokenizer: Tokenizer,
        config: CorpusConfig,
        *,
        stamps: list[list[int]] | None = None,
    ) -> None:
        self.out = resolved(out)
        self.tokenizer = tokenizer
        self.inputs = [
            file if isinstance(file, SourceFile) else SourceFile(Path(file))
            for file in file_list(files)
        ]
        if not self.inputs:
            raise ValueError("files: give at least one.")
        self._stamps = stamps or [_stamp(Path(item.path)) for item in self.inputs]
        self.names = _names([Path(item.path) for item in self.inputs])
        self.resolved = {**encoded_with(tokenizer), **config.resolved()}
        self.units = self._units()

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that determines the corpus, as ``corpus.json`` records it."""
        inputs = [
            {**item._asdict(), "path": name, "bytes": stamp[0]}
            for item, name, stamp in zip(self.inputs, self.names, self._stamps, strict=True)
        ]
        return {**self.resolved, "inputs": inputs}

    @property
    def folder(self) -> Path:
        """Working folder of the build, removed once the corpus exists."""
        return self.out.with_name(f".{self.out.name}.building")

    def unit_folder(self, unit: int) -> Path:
        """Return the folder in which a unit is built.

        Parameters
        ----------
        unit : int
            Number of the unit.

        Returns
        -------
        pathlib.Path
        """
        return self.folder / f"unit-{unit:05d}"

    def part(self, part: int, parts: int) -> list[int]:
        """Return the numbers of the units of part 1, 2, ... `parts`.

        Parameters
        ----------
        part : int
            Number of the part, from 1.
        parts : int
            Number of parts.

        Returns
        -------
        list of int
        """
        check_between("part", part, 1, parts)
        return list(range(part - 1, len(self.units), parts))

    def prepare(self) -> list[float]:
        """Create the plan's folder, or check that it belongs to this plan.

        Returns
        -------
        list of float
            Share of the windows to keep, for each unit.

        Raises
        ------
        CorpusError
            When another build was begun there, or a file has changed since.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "plan.json"
        with locked(self.folder, wait=True):
            if path.exists():
                return self.shares_of(path.read_bytes(), self.folder)
            shares = [1.0] * len(self.units)
            if any(item.max_bp is not None for item in self.inputs):
                with progress(None, "counting bases", "letters") as bar:
                    shares = self.shares(lambda path: self.count_bases(path, bar.update))
            atomic_json(path, self.contents(shares))
        return shares

    def contents(self, shares: list[float]) -> dict[str, Any]:
        """Return the contents of ``plan.json``: settings, state of the files, shares.

        Parameters
        ----------
        shares : list of float
            Share of the windows to keep, for each unit.

        Returns
        -------
        dict
        """
        return {"settings": self.settings, "stamps": self._stamps, "shares": shares}

    def shares_of(self, contents: bytes, folder: Path | str) -> list[float]:
        """Return the shares in a folder's ``plan.json``; raise if it is another plan's.

        Parameters
        ----------
        contents : bytes
            The file.
        folder : path
            Its folder, for errors.

        Returns
        -------
        list of float
            Share of the windows to keep, for each unit.

        Raises
        ------
        CorpusError
            When it is of another plan or damaged, or a file has changed since.
        """
        try:
            stored = parse_json(contents)
            require_same(folder, stored["settings"], self.settings, CorpusError)
            for item, old, new in zip(self.inputs, stored["stamps"], self._stamps, strict=True):
                if old != new:
                    raise _changed(item, folder)
            shares: list[float] = stored["shares"]
        except CorpusError:
            raise
        except (KeyError, TypeError, AttributeError) as error:
            raise CorpusError(f"{folder}/plan.json: damaged: {error!r}. Delete {folder}") from None
        except ValueError as error:
            raise CorpusError(f"{folder}/plan.json: {error}. Delete {folder}") from None
        return shares

    def is_being_built(self) -> bool:
        """Return whether another process is building in the plan's folder.

        Returns
        -------
        bool
        """
        try:
            for folder in (self.folder, *self.folder.glob("unit-*")):
                with locked(folder):
                    pass
        except FileNotFoundError:
            return False
        except CorpusError:
            return True
        return False

    def check_unchanged(self, unit: int) -> None:
        """Raise `CorpusError` when a file of the unit has changed since the plan was made.

        Parameters
        ----------
        unit : int
            Number of the unit.

        Raises
        ------
        CorpusError
            When a file has another size or modification time.
        """
        for number in self.units[unit]:
            if _stamp(Path(self.inputs[number].path)) != self._stamps[number]:
                raise _changed(self.inputs[number], self.folder)

    def _units(self) -> list[list[int]]:
        units: list[list[int]] = []
        last, size = None, 0
        for number, item in enumerate(self.inputs):
            whose = item[1:]  # all values except the path belong to the unit
            if whose != last or size >= UNIT_BYTES:
                units.append([])
                last, size = whose, 0
            units[-1].append(number)
            size += self._stamps[number][0]
        return units

    def count_bases(self, path: Path, report: Callable[[int], object]) -> int:
        """Count the bases of a file; letters are read as the tokenizer reads them.

        Parameters
        ----------
        path : pathlib.Path
            FASTA or FASTQ.
        report : callable
            Receives the number of letters read so far.

        Returns
        -------
        int
        """
        fold_case, rna = self.resolved["case"] == "upper", self.resolved["rna"]
        return _native.count_bases(path, fold_case=fold_case, rna=rna, report=report)

    def shares(self, bases_of: Callable[[Path], int]) -> list[float]:
        """Return the share of each unit's windows that fits in its species' `max_bp`.

        Parameters
        ----------
        bases_of : callable
            Returns the bases of a file.

        Returns
        -------
        list of float
            One per unit, above 0 and at most 1.
        """
        bases: Counter[str] = Counter()
        for item in self.inputs:
            if item.max_bp is not None:
                bases[item.species] += bases_of(Path(item.path))
        firsts = [self.inputs[unit[0]] for unit in self.units]
        return [
            min(1.0, item.max_bp / max(1, bases[item.species])) if item.max_bp else 1.0
            for item in firsts
        ]

    def moved(self, out: Path, inputs: dict[int, Path]) -> CorpusPlan:
        """Return the same plan with copies instead of some files, for a build elsewhere.

        Parameters
        ----------
        out : pathlib.Path
            Output folder of the copy.
        inputs : dict of int to pathlib.Path
            Copies of files, by the number of the file.

        Returns
        -------
        CorpusPlan
        """
        plan = copy(self)
        plan.out, plan.inputs, plan._stamps = out, list(self.inputs), list(self._stamps)
        for number, path in inputs.items():
            plan.inputs[number] = self.inputs[number]._replace(path=path)
            plan._stamps[number] = _stamp(path)
        return plan


def _changed(item: SourceFile, folder: Path | str) -> CorpusError:
    return CorpusError(
        f"{item.path}: has changed since the build began. Delete {folder} to start again."
    )


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a folder against other processes; the lock ends with the process.

    Raises
    ------
    CorpusError
        When another process holds it, unless this one is to wait.
    """
    with (folder / "lock").open("wb") as handle:
        try:
            _lock(handle.fileno(), wait)
        except OSError:
            raise CorpusError(
                f"{folder}: another process is building it. Wait for it, or choose another folder."
            ) from None
        yield


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int, wait: bool) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int, wait: bool) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _stamp(path: Path) -> list[int]:
    require_file(path, "a build reads its files again when it resumes")
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _names(paths: list[Path]) -> list[str]:
    """Return the shortest distinct names of files: base names, or paths from the common folder.

    Bytes that are not UTF-8 are escaped, because names are text in Parquet and JSON.
    """
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        common = os.path.commonpath([path.absolute().parent for path in paths])
        names = [path.absolute().relative_to(common).as_posix() for path in paths]
    return [printable(name) for name in names]

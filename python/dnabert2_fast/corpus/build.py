"""Build a corpus: each unit independently, then merge them.

A unit's folder holds its shards and a journal: one line per complete shard, and a last line for the
unit. A build that was killed resumes from the journal and writes the same bytes.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dnabert2_fast import _native
from dnabert2_fast._internal.arrow import numbers, strings
from dnabert2_fast._internal.atomic import full_disk_of
from dnabert2_fast._internal.progress import Progress, progress
from dnabert2_fast._internal.settings import require_same
from dnabert2_fast._internal.strict_json import parse_json
from dnabert2_fast.corpus.format import (
    ORIGIN,
    SPLITS,
    about,
    shard_files,
    write_contents,
    write_origins,
)
from dnabert2_fast.corpus.plan import CorpusConfig, CorpusPlan, locked
from dnabert2_fast.corpus.read import Corpus
from dnabert2_fast.errors import CorpusError
from dnabert2_fast.io.manifest import SourceFile
from dnabert2_fast.tokenizer import Tokenizer

__all__ = [
    "build_corpus",
    "build_planned",
    "build_units",
    "finished_corpus",
    "kept_if_begun",
    "merge_units",
    "not_in_corpus",
]

JOURNAL = "journal.jsonl"
SHARD = {"name", "split", "sequences", "tokens", "bytes", "xxh3", "origins_xxh3"}
# Counts of each file in the journal and in ``corpus.json``, named as in `_native.FileCounts`.
FILE_COUNTS = (
    "records",
    "bases",
    "other_letters",
    "windows",
    "too_short",
    "with_other_letters",
    "left_out",
    "duplicates",
)


def build_corpus(
    files: Iterable[str | os.PathLike[str] | SourceFile] | os.PathLike[str],
    out: str | os.PathLike[str],
    tokenizer: Tokenizer | str | os.PathLike[str],
    config: CorpusConfig | None = None,
    *,
    threads: int = 0,
    **settings: Any,
) -> Corpus:
    r"""Cut genomes into windows, encode them, and write a corpus folder.

    The same call resumes a stopped build, and the corpus is the same to the byte. An existing
    corpus is returned if it was built from the same input with the same settings.

    Parameters
    ----------
    files : iterable of paths or SourceFile
        FASTA or FASTQ, compressed or not; windows keep the order of files and records.
        `read_manifest` makes a list with species, groups, weights and caps.
    out : path
        Folder to create; it appears when it is complete.
    tokenizer : Tokenizer, or str or path
        Or a name as for `Tokenizer.from_pretrained`.
    config : CorpusConfig, optional
        How windows are cut, chosen and stored. Memory grows with the longest window, by about 6
        bytes per base.
    threads : int
        Threads; 0 means one per core. The bytes written do not depend on it.
    **settings
        Fields of `CorpusConfig` by name, such as ``window_bp=1000``, instead of those of `config`.

    Returns
    -------
    Corpus
        Split ``"train"``.

    Raises
    ------
    CorpusError
        When `out` contains something else or another build, a file has changed since the build
        began, or the input has no window.
    FastaError, OSError
        When a file is not readable; complete shards are kept.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "x.fa").write_text(">a\nACGTACGTNNTTTTTTTTTT\n")
    >>> tok = Tokenizer.from_pretrained("dnabert2")
    >>> corpus = build_corpus([folder / "x.fa"], folder / "c", tok, valid_fraction=0, min_bp=1)
    >>> len(corpus), corpus.where(1).start
    (2, 10)
    """
    config = dataclasses.replace(config or CorpusConfig(), **settings)
    if not isinstance(tokenizer, Tokenizer):
        tokenizer = Tokenizer.from_pretrained(tokenizer)
    return build_planned(CorpusPlan(files, out, tokenizer, config), threads=threads)


def build_planned(plan: CorpusPlan, *, threads: int = 0) -> Corpus:
    """Build all units of a plan and merge them, as `build_corpus` does."""
    finished = finished_corpus(plan)
    if finished is not None:
        return finished
    with kept_if_begun(plan):
        build_units(plan, range(len(plan.units)), threads=threads)
    return merge_units(plan)


@contextmanager
def kept_if_begun(plan: CorpusPlan) -> Iterator[None]:
    """Delete the plan's folder when the block fails before any shard is complete.

    Another process may be building there: then the folder stays.
    """
    try:
        yield
    except BaseException as error:
        if not any(plan.folder.glob(f"unit-*/{JOURNAL}")) and not plan.is_being_built():
            shutil.rmtree(plan.folder, ignore_errors=True)
        elif isinstance(error, KeyboardInterrupt):
            error.add_note(f"finished shards are kept in {plan.folder}")
        raise


def finished_corpus(plan: CorpusPlan) -> Corpus | None:
    """Return the plan's corpus if it exists; raise if `out` holds anything else."""
    if not plan.out.exists() or (plan.out.is_dir() and not any(plan.out.iterdir())):
        return None
    corpus = Corpus.open(plan.out)
    require_same(plan.out, corpus.settings, plan.settings, CorpusError)
    shutil.rmtree(plan.folder, ignore_errors=True)  # the last step of a build that was killed
    return corpus


def build_units(plan: CorpusPlan, units: Iterable[int], *, threads: int = 0) -> None:
    """Build those of the given units that are not complete.

    Raises
    ------
    CorpusError
        When another process is building one of them, or `deduplicate` is set and not all units are
        given; also as `build_corpus`.
    """
    units = list(units)
    if plan.resolved["deduplicate"] and units != list(range(len(plan.units))):
        raise CorpusError(
            "deduplicate: must be False for several parts. Build the corpus in one part."
        )
    if finished_corpus(plan) is not None:
        return
    build_with_shares(plan, units, plan.prepare(), threads=threads)


def build_with_shares(
    plan: CorpusPlan, units: Iterable[int], shares: list[float], *, threads: int
) -> None:
    """Build units; the shares of windows to keep are known."""
    builder = native_builder(plan.tokenizer, plan.resolved, about(plan.resolved), threads)
    with progress(None, "building corpus", "letters") as bar:
        for number in units:
            folder = plan.unit_folder(number)
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder), full_disk_of(folder):
                _build_unit(plan, number, shares[number], builder, bar)


def native_builder(
    tokenizer: Tokenizer, resolved: dict[str, Any], metadata: str, threads: int
) -> _native.CorpusBuilder:
    """Return a builder of the Rust core; `metadata` is JSON text for the shards."""
    return _native.CorpusBuilder(
        tokenizer._native,
        window_bp=resolved["window_bp"],
        min_window_bp=resolved["min_window_bp"],
        stride_bp=resolved["stride_bp"],
        min_bp=resolved["min_bp"],
        both_strands=resolved["both_strands"],
        other_letters=resolved["other_letters"],
        fold_case=resolved["case"] == "upper",
        rna=resolved["rna"],
        seed=resolved["seed"],
        valid_fraction=resolved["valid_fraction"],
        deduplicate=resolved["deduplicate"],
        shard_tokens=resolved["shard_tokens"],
        threads=threads,
        about=metadata,
    )


def _build_unit(
    plan: CorpusPlan, number: int, share: float, builder: _native.CorpusBuilder, bar: Progress
) -> None:
    folder = plan.unit_folder(number)
    journal = _Journal(folder)
    if journal.read is None:
        journal.repair()
    elif not plan.resolved["deduplicate"]:
        return
    inputs = [plan.inputs[i] for i in plan.units[number]]
    names = [plan.names[i] for i in plan.units[number]]
    bar.note(unit=f"{number + 1}/{len(plan.units)}", file=names[0])

    def keep_origins(shard: int, origins: _native.Origins) -> None:
        write_origins(folder / shard_files(shard)[1], _origins(origins, names, inputs[0]))

    def note_shard(shard: _native.Shard) -> None:
        origins = folder / shard_files(len(journal.shards))[1]
        journal.add(
            {
                "name": shard.name,
                "split": shard.split,
                "sequences": shard.sequences,
                "tokens": shard.tokens,
                "bytes": shard.bytes,
                "xxh3": shard.xxh3,
                "origins_xxh3": _native.checksum(origins),
            }
        )

    counts = builder.build(
        number=number,
        folder=folder,
        files=[Path(item.path) for item in inputs],
        keep=share,
        done=journal.done(),
        shards=len(journal.shards),
        report=bar.update,
        keep_origins=keep_origins,
        note_shard=note_shard,
    )
    plan.check_unchanged(number)
    if journal.read is None:
        journal.end([{name: getattr(file, name) for name in FILE_COUNTS} for file in counts])


class _Journal:
    """The complete shards of a unit on disk."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL
        self.shards: list[dict[str, Any]] = []
        self.read: list[dict[str, int]] | None = None
        for line in self._lines():
            if "read" in line:
                self.read = line["read"]
            elif line.keys() == SHARD:
                self.shards.append(line)
            else:
                break  # damaged: the following shards are built again

    def _lines(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        lines = self._path.read_text(encoding="utf-8").split("\n")[:-1]  # the last may be cut off
        found = []
        for line in lines:
            try:
                found.append(dict(parse_json(line)))
            except (ValueError, TypeError):
                break
        return found

    def repair(self) -> None:
        """Forget the first damaged shard and all shards after it."""
        folder = self._path.parent
        for number, shard in enumerate(self.shards):
            files = [folder / name for name in shard_files(number)]
            sums = [shard["xxh3"], shard["origins_xxh3"]]
            if not all(path.exists() for path in files) or [*map(_native.checksum, files)] != sums:
                del self.shards[number:]
                break
        if not self._path.exists():
            return
        text = "".join(json.dumps(shard) + "\n" for shard in self.shards)
        temporary = self._path.with_suffix(".part")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(self._path)

    def done(self) -> list[int]:
        """Return the number of finished windows of each split; all once the unit is complete."""
        if self.read is not None:
            return [2**64 - 1, 2**64 - 1]
        return [sum(s["sequences"] for s in self.shards if s["split"] == x) for x in SPLITS]

    def add(self, shard: dict[str, Any]) -> None:
        self.shards.append(shard)
        self._append(shard)

    def end(self, read: list[dict[str, int]]) -> None:
        self.read = read
        self._append({"read": read})

    def _append(self, line: dict[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(line) + "\n")


def merge_units(plan: CorpusPlan) -> Corpus:
    """Merge the units of a plan into a corpus; all must be built.

    Raises
    ------
    CorpusError
        When a unit is not built, or no unit has a window.
    """
    finished = finished_corpus(plan)
    if finished is not None:
        return finished
    if not plan.folder.is_dir():
        raise CorpusError(f"{plan.out}: no part is built. Build them with --part first.")
    plan.prepare()
    whole = plan.folder / "whole"
    whole.mkdir(exist_ok=True)
    with locked(plan.folder), full_disk_of(plan.folder):
        write_merged(plan, whole, _move_into(whole))
        if plan.out.is_dir():
            plan.out.rmdir()  # an empty folder that was there before
        whole.rename(plan.out)
    shutil.rmtree(plan.folder)
    return Corpus.open(plan.out)


def _move_into(whole: Path) -> Callable[[Path, str, str], None]:
    def move(folder: Path, old: str, new: str) -> None:
        # A merge that was killed has moved some already.
        if (folder / old).exists() or not (whole / new).exists():
            (folder / old).replace(whole / new)

    return move


def write_merged(
    plan: CorpusPlan, folder: Path, move: Callable[[Path, str, str], None]
) -> list[str]:
    """Move the units' files into the corpus, write the other files, and return their names.

    `move` is called with each file of a unit: the unit's folder, its name there and in the corpus.
    """
    shards: list[dict[str, Any]] = []
    read = []
    journals = [_Journal(plan.unit_folder(number)) for number in range(len(plan.units))]
    for number, journal in enumerate(journals):
        if journal.read is None:
            parts = f"unit {number + 1} of {len(plan.units)}"
            raise CorpusError(
                f"{plan.unit_folder(number)}: {parts} is not complete. Build it again."
            )
    for number, (files, journal) in enumerate(zip(plan.units, journals, strict=True)):
        first = plan.inputs[files[0]]
        whose = {"species": first.species, "group": first.group, "weight": first.weight}
        for at, shard in enumerate(journal.shards):
            for old, new in zip(shard_files(at), shard_files(len(shards)), strict=True):
                move(plan.unit_folder(number), old, new)
            shards.append({**shard, "name": shard_files(len(shards))[0], **whose})
        names = [plan.names[i] for i in files]
        read += [{"path": n, **counts} for n, counts in zip(names, journal.read or [], strict=True)]
    if not shards:
        shutil.rmtree(plan.folder, ignore_errors=True)
        left_out = "; ".join(not_in_corpus(file, plan.resolved) or "empty" for file in read[:3])
        raise CorpusError(
            f"{', '.join(plan.names)}: no window has {plan.resolved['min_bp']} bases (min_bp): "
            f"{left_out}. Lower min_bp or give longer sequences."
        )
    return write_contents(folder, plan.tokenizer, plan.settings, read, shards)


def not_in_corpus(file: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Return the parts of an input file that the corpus lacks; empty if none.

    Parameters
    ----------
    file : mapping
        An entry of ``read`` of ``corpus.json``.
    settings : mapping
        ``settings`` of ``corpus.json``.
    """
    whys = {
        "too_short": f"with fewer than {settings['min_bp']} bases (min_bp)",
        "with_other_letters": "with other letters (other_letters=drop)",
        "left_out": "beyond the maximum of the species (max_bp)",
        "duplicates": "with the letters of an earlier one (deduplicate)",
    }
    parts = [f"{file[name]:,} windows {why}" for name, why in whys.items() if file[name]]
    if file["other_letters"] and settings["other_letters"] != "keep":
        counts = sorted(file["other_letters"].items(), key=lambda item: -item[1])
        listed = ", ".join(f"{letter!r} {count:,}" for letter, count in counts[:8])
        more = f" and {len(counts) - 8} more kinds" if len(counts) > 8 else ""
        parts.insert(0, f"letters other than A, C, G, T: {listed}{more}")
    return "; ".join(parts)


def _origins(origins: _native.Origins, files: list[str], whose: SourceFile) -> pa.Table:
    first = np.zeros_like(origins.file)
    columns = [
        _chosen(origins.file, files),
        _chosen(origins.record, origins.names),
        numbers(origins.start),
        numbers(origins.end),
        numbers(origins.strand),
        _chosen(first, [whose.species]),
        _chosen(first, [whose.group]),
    ]
    return pa.Table.from_arrays(columns, schema=ORIGIN)


def _chosen(indices: npt.NDArray[np.uint32], names: list[str]) -> pa.DictionaryArray:
    positions = {name: position for position, name in enumerate(dict.fromkeys(names))}
    if len(positions) < len(names):
        # For a dictionary with a name twice, Arrow writes uninitialised memory to Parquet.
        indices = np.array([positions[name] for name in names], np.uint32)[indices]
        names = list(positions)
    return pa.DictionaryArray.from_arrays(numbers(indices.view(np.int32)), strings(names))

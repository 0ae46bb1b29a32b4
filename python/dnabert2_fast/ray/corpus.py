"""Build a corpus over Ray, one task per unit; the bytes equal those of `build_corpus`.

A task runs again when its worker died; in a shared folder it resumes after the last complete shard.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from pyarrow import fs

from dnabert2_fast._internal.settings import require_same
from dnabert2_fast._internal.streams import refuse_url
from dnabert2_fast.corpus.build import (
    JOURNAL,
    build_units,
    build_with_shares,
    finished_corpus,
    kept_if_begun,
    merge_units,
    write_merged,
)
from dnabert2_fast.corpus.format import CONTENTS, read_contents
from dnabert2_fast.corpus.plan import CorpusConfig, CorpusPlan
from dnabert2_fast.corpus.read import Corpus
from dnabert2_fast.errors import CorpusError
from dnabert2_fast.io.arguments import file_list
from dnabert2_fast.io.manifest import SourceFile
from dnabert2_fast.ray.storage import (
    Storage,
    copy_file,
    naming_originals,
    stamp_of,
    storage_of,
    uri_of,
)
from dnabert2_fast.ray.tasks import each
from dnabert2_fast.tokenizer import Tokenizer

__all__ = ["build_corpus"]


def build_corpus(
    files: Iterable[str | os.PathLike[str] | SourceFile] | os.PathLike[str],
    out: str | os.PathLike[str],
    tokenizer: Tokenizer | str | os.PathLike[str],
    config: CorpusConfig | None = None,
    *,
    threads: int = 0,
    num_cpus: int = 1,
    **settings: Any,
) -> Corpus:
    """Build a corpus with the tasks of a Ray cluster.

    Call ``ray.init`` first to choose the cluster. The corpus equals that of
    `dnabert2_fast.build_corpus`, byte by byte.

    Parameters
    ----------
    files : iterable of paths, URIs, or SourceFile
        All local if `out` is, else any mixture.
    out : path or URI
        Folder of the corpus. At a URI, a corpus is complete once its ``corpus.json`` exists.
    tokenizer : Tokenizer, or str or path
        As in `dnabert2_fast.build_corpus`.
    config : CorpusConfig, optional
        As in `dnabert2_fast.build_corpus`; `deduplicate` is refused, because duplicates are found
        by one process only.
    threads : int
        Threads of each task; 0 is `num_cpus`. The bytes written do not depend on it.
    num_cpus : int
        Processors that Ray reserves for each task.
    **settings
        As in `dnabert2_fast.build_corpus`.

    Returns
    -------
    Corpus
        Split ``"train"``. At a URI only its counts and settings can be read, because its files
        cannot be memory-mapped: copy the folder to read windows.

    Raises
    ------
    FastaError, CorpusError
        As `dnabert2_fast.build_corpus`; other errors of tasks as Ray reports them.
    """
    config = dataclasses.replace(config or CorpusConfig(), **settings)
    if config.deduplicate:
        raise CorpusError("deduplicate: must be False with Ray. Use build_corpus.")
    if not isinstance(tokenizer, Tokenizer):
        tokenizer = Tokenizer.from_pretrained(tokenizer)
    share = _Share(threads or num_cpus, num_cpus)
    inputs = [
        file if isinstance(file, SourceFile) else SourceFile(file) for file in file_list(files)
    ]
    if uri_of(out) is not None:
        contents = _build_remotely(inputs, out, tokenizer, config, share)
        return Corpus(Path(out), "train", contents)
    for item in inputs:
        refuse_url(item.path)
    # Workers may have another working directory.
    inputs = [item._replace(path=Path(item.path).absolute()) for item in inputs]
    plan = CorpusPlan(inputs, Path(out).absolute(), tokenizer, config)
    finished = finished_corpus(plan)
    if finished is not None:
        return finished
    with kept_if_begun(plan):
        each(
            range(len(plan.units)),
            lambda unit: build_units(plan, [unit], threads=share.threads),
            "building corpus",
            num_cpus=share.num_cpus,
        )
    return merge_units(plan)


class _Share(NamedTuple):
    """The share of a machine that a task may use."""

    threads: int
    num_cpus: int


def _build_remotely(
    inputs: list[SourceFile],
    out: str | os.PathLike[str],
    tokenizer: Tokenizer,
    config: CorpusConfig,
    share: _Share,
) -> dict[str, Any]:
    """Build a corpus at a URI; returns the contents of its ``corpus.json``."""
    locations = [storage_of(item.path) for item in inputs]
    plan = CorpusPlan(
        [item._replace(path=Path(path)) for item, (_, path) in zip(inputs, locations, strict=True)],
        Path("corpus"),
        tokenizer,
        config,
        stamps=[stamp_of(*location) for location in locations],
    )
    storage, home = storage_of(out)
    if storage.get_file_info(f"{home}/{CONTENTS}").type != fs.FileType.NotFound:
        return _finished_at(storage, home, plan)
    shares = _prepare(plan, locations, (storage, f"{home}/.building"), share.num_cpus)

    def build(unit: int) -> int:
        return _build_unit(
            plan, unit, shares, locations, (storage, f"{home}/.building"), share.threads
        )

    try:
        each(range(len(plan.units)), build, "building corpus", num_cpus=share.num_cpus)
    except KeyboardInterrupt as error:
        error.add_note(f"finished units are kept in {uri_of(out)}/.building")
        raise
    with tempfile.TemporaryDirectory() as scratch:
        local = plan.moved(Path(scratch, "corpus"), {})
        for unit in range(len(plan.units)):
            folder = local.unit_folder(unit)
            folder.mkdir(parents=True)
            there = f"{home}/.building/{folder.name}/{JOURNAL}"
            copy_file((storage, there), (fs.LocalFileSystem(), str(folder / JOURNAL)))

        def move(folder: Path, old: str, new: str) -> None:
            there = f"{home}/.building/{folder.name}/{old}"
            # A merge that was stopped has moved some already.
            if storage.get_file_info(there).type != fs.FileType.NotFound:
                storage.move(there, f"{home}/{new}")

        for name in write_merged(local, Path(scratch), move):
            copy_file((fs.LocalFileSystem(), f"{scratch}/{name}"), (storage, f"{home}/{name}"))
        contents = read_contents(Path(scratch))
    storage.delete_dir(f"{home}/.building")
    return contents


def _finished_at(storage: fs.FileSystem, home: str, plan: CorpusPlan) -> dict[str, Any]:
    """Return the contents of a finished corpus; raise if it is another plan's.

    The last step of a build that was killed is done here.
    """
    there = storage, f"{home}/{CONTENTS}"
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch, CONTENTS)
        copy_file(there, (fs.LocalFileSystem(), str(here)))
        with naming_originals({here: there}):
            contents = read_contents(here.parent)
    require_same(home, contents["settings"], plan.settings, CorpusError)
    if storage.get_file_info(f"{home}/.building").type != fs.FileType.NotFound:
        storage.delete_dir(f"{home}/.building")
    return contents


def _prepare(
    plan: CorpusPlan, locations: list[Storage], building: Storage, num_cpus: int
) -> list[float]:
    """Store the plan, or check that the stored one is equal; returns each unit's share."""
    storage, folder = building
    path = f"{folder}/plan.json"
    if storage.get_file_info(path).type != fs.FileType.NotFound:
        with storage.open_input_stream(path) as stored:
            return plan.shares_of(stored.read(), folder)
    capped = [number for number, item in enumerate(plan.inputs) if item.max_bp is not None]

    def count(number: int) -> int:
        return _count(plan, number, locations[number])

    counts = each(capped, count, "counting bases", num_cpus=num_cpus)
    bases = {plan.inputs[number].path: count for number, count in counts.items()}
    shares = plan.shares(lambda path: int(bases[path]))
    storage.create_dir(folder, recursive=True)
    with storage.open_output_stream(path) as stored:
        stored.write(json.dumps(plan.contents(shares)).encode())
    return shares


def _build_unit(
    plan: CorpusPlan,
    unit: int,
    shares: list[float],
    locations: list[Storage],
    building: Storage,
    threads: int,
) -> int:
    """Build a unit on this machine's disk and store it, its journal last."""
    storage, home = building
    home = f"{home}/{plan.unit_folder(unit).name}"
    if storage.get_file_info(f"{home}/{JOURNAL}").type != fs.FileType.NotFound:
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        inputs = {number: Path(scratch, str(number)) for number in plan.units[unit]}
        for number, path in inputs.items():
            copy_file(locations[number], (fs.LocalFileSystem(), str(path)))
        local = plan.moved(Path(scratch, "corpus"), inputs)
        with naming_originals({path: locations[number] for number, path in inputs.items()}):
            build_with_shares(local, [unit], shares, threads=threads)
        storage.create_dir(home, recursive=True)
        folder = local.unit_folder(unit)
        shards = sorted(path.name for path in folder.glob("shard-*"))
        for name in [*shards, JOURNAL]:
            copy_file((fs.LocalFileSystem(), str(folder / name)), (storage, f"{home}/{name}"))
    return len(shards)


def _count(plan: CorpusPlan, number: int, location: Storage) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "input")
        copy_file(location, (fs.LocalFileSystem(), str(path)))
        with naming_originals({path: location}):
            return plan.count_bases(path, lambda _: None)

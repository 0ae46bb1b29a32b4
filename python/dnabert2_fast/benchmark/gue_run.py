"""The benchmark: systems x sets x seeds, with one result file each, so that a stopped run resumes.

Runs with a result file are skipped. The report is rewritten after every set from all files.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from dnabert2_fast._internal.atomic import atomic_json, require_writable, resolved
from dnabert2_fast._internal.checks import check_at_least, check_between, check_positive, check_utf8
from dnabert2_fast._internal.progress import progress
from dnabert2_fast._internal.settings import require_same
from dnabert2_fast._internal.strict_json import read_object
from dnabert2_fast.benchmark.config import GueConfig
from dnabert2_fast.benchmark.flops import REFERENCE, published_cost
from dnabert2_fast.benchmark.gue_report import write_report
from dnabert2_fast.benchmark.sets import GueSet, find_set, sets_of
from dnabert2_fast.benchmark.summary import Result, read_results
from dnabert2_fast.benchmark.systems import (
    Case,
    CnnSystem,
    KmerSystem,
    ModelSystem,
    System,
    tokens_of,
)
from dnabert2_fast.errors import CheckpointError, DataError
from dnabert2_fast.finetuning.config import MAX_SEED
from dnabert2_fast.finetuning.labels import read_splits
from dnabert2_fast.tokenizer import Tokenizer

__all__ = ["GueResult", "gue"]

VERSION = 1


class GueResult(NamedTuple):
    """The result of a benchmark run.

    Attributes
    ----------
    folder : Path
        With ``report.md``, ``scores.csv``, plots and ``results/``.
    results : list of Result
        All results in the folder, earlier ones included.
    skipped : dict of str to str
        Sets that were requested and not run, with the reason.
    """

    folder: Path
    results: list[Result]
    skipped: dict[str, str]


def gue(config: GueConfig) -> GueResult:
    r"""Run everything without a result, and report on all results.

    Parameters
    ----------
    config : GueConfig

    Returns
    -------
    GueResult

    Raises
    ------
    DataError
        When no set is found, or a table is damaged.
    CheckpointError
        When a model cannot be loaded, or a result of other settings or data exists.
    ValueError
        When a setting is out of range, or a task does not exist.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "prom" / "prom_core_tata").mkdir(parents=True)
    >>> rows = ["sequence,label", *["ACGTTGCA,0", "TTTTAATT,1", "ACGGTGCA,0", "TTAAATTT,1"] * 3]
    >>> for split in ("train", "dev", "test"):
    ...     path = folder / "prom" / "prom_core_tata" / f"{split}.csv"
    ...     _ = path.write_text("\n".join(rows))
    >>> result = gue(GueConfig(
    ...     str(folder), str(folder / "report"), tasks=("prom/prom_core_tata",), systems=("kmers",)
    ... ))
    >>> len(result.results), result.skipped, (result.folder / "report.md").exists()
    (1, {}, True)
    """
    systems = _systems(config)
    out = resolved(config.out)
    check_utf8("out", out)
    if not out.is_dir():  # finished runs are only read
        require_writable(out, folder=True)
    found: list[tuple[GueSet, Path]] = []
    skipped: dict[str, str] = {}
    for one in sets_of(config.tasks):
        folder, why = find_set(config.data, one)
        if folder is None:
            skipped[one.name] = why
        else:
            found.append((one, folder))
    if not found:
        raise DataError(
            f"{config.data}: contains none of the sets with train, dev and test. Give the folder "
            "that contains EMP, mouse, prom, ..."
        )
    seeds = range(config.seed, config.seed + config.seeds)
    runs = sum(len(seeds) if system.seeded else 1 for system in systems)
    with progress(runs * len(found), "GUE", "runs") as bar:
        for one, folder in found:
            case = _case(one, folder)
            for system in systems:
                if isinstance(system, ModelSystem):
                    system.require_readable()
            fingerprint = _fingerprint(folder)
            reference = _reference_flops(case)
            for system in systems:
                for seed in seeds if system.seeded else seeds[:1]:
                    bar.note(set=one.name, system=system.name, seed=seed)
                    _once(system, case, seed, out, fingerprint, reference)
                    bar.update()
            write_report(out, skipped)
    return GueResult(out, read_results(out), skipped)


def _systems(config: GueConfig) -> list[System]:
    for name in ("seeds", "batch_tokens", "epochs"):
        check_at_least(name, getattr(config, name), 1)
    check_positive("learning_rate", config.learning_rate)
    check_between("seed", config.seed, 0, MAX_SEED - config.seeds + 1)
    systems: list[System] = [KmerSystem()]
    if "cnn" in config.systems:
        systems.append(CnnSystem(config.device))
    if "model" in config.systems:
        systems += [
            ModelSystem(
                model,
                mode,
                config.epochs,
                config.learning_rate,
                config.batch_tokens,
                config.device,
                config.attention,
                config.pooling,
            )
            for model in config.model
            for mode in config.modes
        ]
    names = [system.name for system in systems]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"model: {twice} occurs twice. Copy or link folders with the same name.")
    return systems


def _case(one: GueSet, folder: Path) -> Case:
    task, tables = read_splits(folder, "multiclass")
    if task.pairs != one.pairs:
        wanted = "two sequences" if one.pairs else "one sequence"
        raise DataError(f"{folder}: {one.name} must have {wanted} per row.")
    return Case(one, folder, task, tables)


def _fingerprint(folder: Path) -> str:
    """Return a checksum of the tables, to distinguish results of other rows."""
    total = hashlib.sha256()
    for path in sorted(folder.glob("*.csv*")):
        total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()


def _reference_flops(case: Case) -> float:
    """Return the FLOPs of the published DNABERT-2 for a test row of this set."""
    return published_cost(REFERENCE).flops(tokens_of(Tokenizer.from_pretrained("dnabert2"), case))


def _once(
    system: System, case: Case, seed: int, out: Path, fingerprint: str, reference: float
) -> None:
    path = out / "results" / _slug(case.spec.name) / _slug(system.name) / f"seed-{seed}.json"
    decided: dict[str, Any] = {
        "version": VERSION,
        "system": system.name,
        "set": case.spec.name,
        "seed": seed,
        "data_sha256": fingerprint,
        "settings": system.settings(case),
    }
    if path.exists():
        _require_same(path, decided)
        return
    work = out / "unfinished" / _slug(case.spec.name) / _slug(system.name) / f"seed-{seed}"
    outcome = system.run(case, seed, work)
    content = {
        **decided,
        "rows": {split: len(table.labels) for split, table in case.tables.items()},
        **outcome._asdict(),
        "reference_flops": reference,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_json(path, content)
    # Only the scores are kept; weights of every run would fill a disk.
    shutil.rmtree(work, ignore_errors=True)
    for folder in (work.parent, work.parent.parent, out / "unfinished"):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _require_same(path: Path, decided: dict[str, Any]) -> None:
    try:
        stored, asked = (
            {"version": run["version"], "data_sha256": run["data_sha256"], **run["settings"]}
            for run in (read_object(path), decided)
        )
    except (ValueError, KeyError, TypeError):
        raise CheckpointError(f"{path}: damaged. Delete it to run it again.") from None
    require_same(path, stored, asked)


def _slug(name: str) -> str:
    """Return a name as a folder name.

    >>> _slug("EMP/H3"), _slug("mini frozen")
    ('EMP-H3', 'mini-frozen')
    """
    return "".join(c if c.isalnum() or c in "._" else "-" for c in name)

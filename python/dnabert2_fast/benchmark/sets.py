"""The sets of GUE and GUE+ by name: their tasks, metrics, and training in the paper.

Names are the folders of the published archive. Lengths and classes are from the paper's tables of
the benchmark, epochs and updates from its public fine-tuning scripts.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from dnabert2_fast.finetuning.labels import SPLITS

__all__ = ["SETS", "TASKS", "GueSet", "GueTask", "find_set", "sets_of", "whole_set"]

Metric = Literal["mcc", "f1"]


class GueTask(NamedTuple):
    """A task of the benchmark, with one or more sets.

    Attributes
    ----------
    name : str
        As in the paper's tables.
    title, species : str
    benchmark : {"GUE", "GUE+"}
    """

    name: str
    title: str
    species: str
    benchmark: Literal["GUE", "GUE+"]


@dataclass(frozen=True)
class GueSet:
    """A set of GUE or GUE+, and how it is trained and scored.

    Parameters
    ----------
    name : str
        Folder of the published archive.
    task : str
        Name of its `GueTask`.
    classes : int
    length_bp : int
        Length of a sequence; of both sequences of a pair together.
    epochs : int
        Number of passes over the training rows.
    updates : int or None
        Number of optimizer steps, if the paper's scripts set steps and not epochs.
    metric : {"mcc", "f1"}
        Matthews correlation, or F1 averaged over classes.
    pairs : bool
        Whether a row has two sequences.
    aliases : tuple of str
        Folders of this set in other copies of the benchmark.
    learning_rate : float
        Maximum rate of full fine-tuning.
    batch_size : int
        Sequences per update.
    """

    name: str
    task: str
    classes: int
    length_bp: int
    epochs: int
    updates: int | None = None
    metric: Metric = "mcc"
    pairs: bool = False
    aliases: tuple[str, ...] = ()
    learning_rate: float = 3e-5
    batch_size: int = 32

    def epochs_for(self, rows: int) -> int:
        """Return the number of full passes over a training table of this size.

        >>> whole_set("EMP/H3").epochs_for(11_971), whole_set("mouse/2").epochs_for(2_620)
        (3, 13)
        """
        if self.updates is None:
            return self.epochs
        return max(1, math.ceil(self.updates / math.ceil(rows / self.batch_size)))


TASKS = (
    GueTask("EMP", "Epigenetic Marks Prediction", "Yeast", "GUE"),
    GueTask("TF-M", "Transcription Factor Prediction", "Mouse", "GUE"),
    GueTask("CVC", "Covid Variant Classification", "Virus", "GUE"),
    GueTask("TF-H", "Transcription Factor Prediction", "Human", "GUE"),
    GueTask("PD", "Promoter Detection", "Human", "GUE"),
    GueTask("CPD", "Core Promoter Detection", "Human", "GUE"),
    GueTask("SSP", "Splice Site Prediction", "Human", "GUE"),
    GueTask("SC-F", "Species Classification", "Fungi", "GUE+"),
    GueTask("SC-V", "Species Classification", "Virus", "GUE+"),
    GueTask("EPI", "Enhancer Promoter Interaction", "Human", "GUE+"),
)
"""In the order of the paper's table of averages."""

_MARKS = (
    *("H3", "H3K14ac", "H3K36me3", "H3K4me1", "H3K4me2", "H3K4me3"),
    *("H3K79me3", "H3K9ac", "H4", "H4ac"),
)


def _promoters(task: str, stem: str, length_bp: int) -> list[GueSet]:
    epochs = {"all": 4, "notata": 4, "tata": 10}
    names = [f"{stem}_{kind}" for kind in epochs]
    return [
        GueSet(f"prom/{name}", task, 2, length_bp, passes, aliases=(name,))
        for name, passes in zip(names, epochs.values(), strict=True)
    ]


SETS: tuple[GueSet, ...] = (
    *(GueSet(f"EMP/{m}", "EMP", 2, 500, 3, aliases=(f"emp_{m}",)) for m in _MARKS),
    # The scripts stop after 1,000 updates, within an epoch.
    *(GueSet(f"mouse/{i}", "TF-M", 2, 100, 5, 1000, aliases=(f"mouse_{i}",)) for i in range(5)),
    GueSet("virus/covid", "CVC", 9, 1000, 8, metric="f1", aliases=("virus_covid",)),
    *(GueSet(f"tf/{i}", "TF-H", 2, 100, 3, aliases=(f"human_tf_{i}",)) for i in range(5)),
    *_promoters("PD", "prom_300", 300),
    *_promoters("CPD", "prom_core", 70),
    GueSet("splice/reconstructed", "SSP", 3, 400, 5, aliases=("splice_reconstructed",)),
    # For GUE+ no epochs are published; the authors give rate and batch in an issue of their code.
    GueSet("fungi/species", "SC-F", 25, 5000, 3, aliases=("fungi_species_20",), learning_rate=2e-5),
    GueSet(
        "virus/species", "SC-V", 20, 10000, 3, aliases=("virus_species_40",), learning_rate=2e-5
    ),
    *(GueSet(f"EPI/{i}", "EPI", 2, 5000, 3, pairs=True, learning_rate=2e-5) for i in range(6)),
)
"""The 28 sets of GUE, then the 8 of GUE+."""


def whole_set(name: str) -> GueSet:
    """Return the set with a name or alias.

    Raises
    ------
    ValueError
        When the set does not exist.
    """
    for one in SETS:
        if name in (one.name, *one.aliases):
            return one
    raise ValueError(
        "tasks: must be sets such as EMP/H3 or mouse/0, tasks such as TF-M, GUE or GUE+ "
        f'(got "{name}").'
    )


def sets_of(names: Sequence[str]) -> list[GueSet]:
    """Return sets by their names, by tasks or benchmarks, in order of the paper; default all.

    >>> [one.name for one in sets_of(["PD", "mouse/3"])]
    ['mouse/3', 'prom/prom_300_all', 'prom/prom_300_notata', 'prom/prom_300_tata']
    >>> len(sets_of(["GUE"])), len(sets_of([]))
    (28, 36)
    """
    if not names:
        return list(SETS)
    tasks = {task.name: task for task in TASKS}
    chosen = set()
    for name in names:
        inside = [one.name for one in SETS if name in (one.task, tasks[one.task].benchmark)] or [
            whole_set(name).name
        ]
        chosen.update(inside)
    return [one for one in SETS if one.name in chosen]


def find_set(data: str | os.PathLike[str], one: GueSet) -> tuple[Path | None, str]:
    """Return the folder of a set, or None and why it cannot be run.

    Parameters
    ----------
    data : path
        Folder of the benchmark: the archive as unpacked, or the folder GUE in it.
    one : GueSet
    """
    folders = [
        Path(data, *top, name)
        for top in ((), ("GUE",), ("GUE_plus",), ("GUE+",))
        for name in (one.name, *one.aliases)
    ]
    folder = next((found for found in folders if found.is_dir()), None)
    if folder is None:
        return None, "no such folder"
    missing = [
        split
        for split in SPLITS
        if not any((folder / f"{split}.csv{end}").exists() for end in ("", ".gz"))
    ]
    if missing:
        return None, f"no {missing[0]}.csv"
    return folder, ""

"""Training tables from a genome: windows around labelled regions, or around a signal.

Dev and test are other chromosomes than train, so that no window overlaps one of another table. If
too few chromosomes have regions, the tables are spans of the genome, one after the other.
"""

from __future__ import annotations

import csv
import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from dnabert2_fast._internal.atomic import atomic_folder, atomic_json
from dnabert2_fast._internal.checks import check_choice, check_utf8
from dnabert2_fast._internal.extras import needs
from dnabert2_fast._internal.settings import require_same
from dnabert2_fast._internal.streams import require_file
from dnabert2_fast._internal.strict_json import read_object
from dnabert2_fast.errors import DataError
from dnabert2_fast.finetuning.config import FinetuneConfig
from dnabert2_fast.finetuning.labels import SPLITS
from dnabert2_fast.finetuning.rows import Row, write_rows
from dnabert2_fast.finetuning.windows import has_bases
from dnabert2_fast.io.reference import Reference
from dnabert2_fast.io.regions import Span, read_spans
from dnabert2_fast.io.strand import reverse_complement

__all__ = ["make_tables"]

RECORD = "tables.json"
SHARES = {"train": 0.8, "dev": 0.1, "test": 0.1}
MIN_SHARE = 0.05  # of the regions, in dev and in test, when chromosomes are split
MIN_WINDOW = 16
CANDIDATES = 100  # windows that are tried for each negative
GC_TOLERANCE = 0.02
BACKGROUND = "background"


class _Example(NamedTuple):
    """A window with its label and table."""

    contig: str
    start: int
    end: int
    strand: str
    sequence: str
    label: str
    split: str

    @property
    def name(self) -> str:
        return f"{self.contig}:{self.start}-{self.end}({self.strand})"


class _Area(NamedTuple):
    """A span of the genome whose windows belong to one table."""

    contig: str
    start: int
    end: int
    split: str


class _Labels(NamedTuple):
    """The label of each region, the names of the classes, and whether negatives are needed."""

    values: list[str]
    names: tuple[str, ...] = ()
    one_class: bool = False


def make_tables(config: FinetuneConfig) -> str:
    """Write the tables of `config.data` from a genome unless they exist; returns a line of counts.

    Raises
    ------
    DataError
        When an input is damaged, too small, or does not match the genome, or the folder contains
        something else.
    ValueError
        When options are missing.
    """
    if config.regions is None or config.reference is None:
        raise ValueError("regions: requires --reference, the genome of the regions as FASTA.")
    check_choice("label", config.label, ("name", "score"))
    if config.task == "regression" and config.label == "name" and config.signal is None:
        raise ValueError("task: regression requires numbers. Set --label score, or --signal.")
    folder, settings = Path(config.data), _settings(config)
    if (folder / RECORD).exists():
        try:
            record = read_object(folder / RECORD)
        except ValueError as error:
            raise DataError(f"{folder / RECORD}: {error}. Delete {folder}.") from None
        require_same(folder, record["settings"], settings, DataError)
        return _line(folder, record)
    if folder.exists() and any(folder.iterdir()):
        raise DataError(
            f"{folder}: exists already, and --regions writes new tables there. Choose another "
            "folder for --data, or delete it."
        )
    genome = Reference(config.reference, rna=config.rna)
    spans = read_spans(config.regions, genome)
    if not spans:
        raise DataError(f"{config.regions}: has no regions. Give a BED file with at least three.")
    left_out: Counter[str] = Counter()
    spans, labels = _labelled(spans, config, left_out)
    window_bp = config.window_bp or round(median(span.end - span.start for span in spans))
    if window_bp < MIN_WINDOW:
        raise ValueError(
            f"window_bp: must be at least {MIN_WINDOW} (got {window_bp}, the median of the "
            "regions). Set --window-bp."
        )
    windows = [_window(span, genome, window_bp) for span in spans]
    areas, split_by = _areas(windows, genome)
    examples = _examples(windows, labels, areas, genome, left_out)
    if labels.one_class:
        taken = _Taken([*spans, *windows])
        examples += _negatives(examples, areas, taken, genome, np.random.default_rng(config.seed))
    record = {"settings": settings, "window_bp": window_bp, "split_by": split_by}
    record["areas"] = {s: [tuple(area[:3]) for area in areas if area.split == s] for s in SPLITS}
    record["counts"] = _counts(examples, labels.names)
    record["gc"] = _mean_gc(examples, labels.names)
    record["left_out"] = dict(left_out)
    for split, counts in record["counts"].items():
        if not counts:
            raise DataError(
                f"{config.regions}: has too few regions, so that {split} is empty (got "
                f"{len(spans):,}). Give more regions."
            )
    with atomic_folder(folder) as made:
        for split in SPLITS:
            rows = (e for e in examples if e.split == split)
            write_rows(
                made / f"{split}.csv.gz", (Row(e.name, e.sequence, None, e.label) for e in rows)
            )
        if labels.names:
            with (made / "labels.txt").open("w", encoding="utf-8", newline="") as handle:
                writer = csv.writer(handle, lineterminator="\n")
                writer.writerows([("label", "label_name"), *enumerate(labels.names)])
        atomic_json(made / RECORD, record)
    return _line(folder, record)


def _settings(config: FinetuneConfig) -> dict[str, Any]:
    """Return the settings that tables depend on; BED by content, others by size and time."""
    assert config.regions is not None
    assert config.reference is not None
    require_file(config.regions, "it is read again to resume")
    found: dict[str, Any] = {
        "regions": hashlib.sha256(Path(config.regions).read_bytes()).hexdigest(),
        "label": config.label,
        "numbers": config.task == "regression",
        "window_bp": config.window_bp,
        "seed": config.seed,
        "rna": config.rna,
    }
    for name in ("reference", "signal"):
        given = getattr(config, name)
        if given is None:
            found[name] = None
            continue
        require_file(given, "bases are looked up in it by position")
        state = Path(given).stat()
        found[name] = [str(Path(given).resolve()), state.st_size, state.st_mtime_ns]
    return found


def _labelled(
    spans: list[Span], config: FinetuneConfig, left_out: Counter[str]
) -> tuple[list[Span], _Labels]:
    """Return the regions with a label, and the labels."""
    if config.signal is not None:
        means = _signal(spans, config.signal)
        known = [i for i, mean in enumerate(means) if mean is not None]
        left_out["without signal"] += len(spans) - len(known)
        if not known:
            raise DataError(f"{config.signal}: has no value in any region. Use another signal.")
        return [spans[i] for i in known], _Labels([f"{means[i]:.6g}" for i in known])
    values = [span.name if config.label == "name" else span.score for span in spans]
    if config.label == "score":
        for span, value in zip(spans, values, strict=True):
            if not _is_number(value):
                raise DataError(
                    f"{config.regions}: the score of {span.contig}:{span.start}-{span.end} must be "
                    f"a number (got {value!r}). Correct the fifth column."
                )
        if config.task == "regression" or not all(float(v).is_integer() for v in values):
            return spans, _Labels(values)
    classes = sorted(set(values), key=lambda value: (_number(value), value))
    if config.label == "name" and len(classes) > len(spans) / 2 and len(spans) > 1:
        values, classes = ["region"] * len(spans), ["region"]  # names of peaks, not of classes
    one_class = len(classes) == 1
    names = ((BACKGROUND,) if one_class else ()) + tuple(classes)
    number_of = {name: str(number) for number, name in enumerate(names)}
    return spans, _Labels([number_of[value] for value in values], names, one_class)


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _number(text: str) -> float:
    return float(text) if _is_number(text) else 0.0


def _signal(spans: list[Span], path: str) -> list[float | None]:
    """Return the mean signal of each region; bases without a value count as 0."""
    with needs("a bigWig file"):
        import pyBigWig

    check_utf8("signal", path)
    try:
        opened = pyBigWig.open(str(path))
    except RuntimeError:
        raise DataError(f"{path}: is not a bigWig file. Convert it (bedGraphToBigWig).") from None
    with opened as wig:
        if not wig.isBigWig():
            raise DataError(f"{path}: is a bigBed, expected a bigWig. Give a signal.")
        genome = Reference(dict.fromkeys(wig.chroms(), ""))
        contig_of = {span.contig: genome.resolve(span.contig) for span in spans}
        if not any(contig_of.values()):
            raise DataError(
                f"{path}: has none of the contigs of the regions (it has "
                f"{', '.join([*wig.chroms()][:3])}; they are on {', '.join([*contig_of][:3])}). "
                "Use the signal of the same genome."
            )
        means: list[float | None] = []
        for span in spans:
            contig, mean = contig_of[span.contig], None
            end = min(span.end, wig.chroms().get(contig, 0))
            if contig is not None and span.start < end:
                values = wig.values(contig, span.start, end, numpy=True)
                if not np.isnan(values).all():
                    mean = float(np.nansum(values, dtype=np.float64) / (span.end - span.start))
            means.append(mean)
    return means


def _window(span: Span, genome: Reference, window_bp: int) -> Span:
    """Return the window around the middle of a region, moved into its contig."""
    length = genome.length(span.contig)
    start = span.start - (window_bp - (span.end - span.start)) // 2
    start = min(max(start, 0), max(length - window_bp, 0))
    return span._replace(start=start, end=min(start + window_bp, length))


def _areas(windows: Sequence[Span], genome: Reference) -> tuple[list[_Area], str]:
    """Return the span of the genome that each table is taken from, and what is split.

    Each contig, in descending order of windows, is assigned to the table that lacks the largest
    share of its part.
    """
    counts = Counter(window.contig for window in windows)
    filled = dict.fromkeys(SPLITS, 0.0)
    split_of = {}
    for contig, count in sorted(counts.items(), key=lambda item: -item[1]):
        split = min(SPLITS, key=lambda split: filled[split] / SHARES[split])
        split_of[contig] = split
        filled[split] += count / len(windows)
    if min(filled["dev"], filled["test"]) >= MIN_SHARE:
        found = [_Area(c, 0, genome.length(c), s) for c, s in split_of.items()]
        return sorted(found, key=lambda area: [*genome.lengths].index(area.contig)), "contig"
    borders = [0.0, SHARES["train"], SHARES["train"] + SHARES["dev"], 1.0]
    cuts = [windows[min(int(share * len(windows)), len(windows) - 1)] for share in borders]
    rank = {contig: number for number, contig in enumerate(genome.lengths)}
    areas = []
    for number, split in enumerate(SPLITS):
        first = (rank[cuts[number].contig], cuts[number].start) if number else (0, 0)
        last = (rank[cuts[number + 1].contig], cuts[number + 1].start)
        if number == len(SPLITS) - 1:
            last = (len(rank), 0)
        for contig, at in rank.items():
            if contig in counts and first[0] <= at <= last[0]:
                start = first[1] if at == first[0] else 0
                end = last[1] if at == last[0] else genome.length(contig)
                if start < end:
                    areas.append(_Area(contig, start, end, split))
    return areas, "position"


def _area_of(window: Span, areas: Iterable[_Area]) -> _Area | None:
    """Return the area that a window lies in."""
    inside = (
        area
        for area in areas
        if area.contig == window.contig and area.start <= window.start and window.end <= area.end
    )
    return next(inside, None)


def _examples(
    windows: Sequence[Span],
    labels: _Labels,
    areas: list[_Area],
    genome: Reference,
    left_out: Counter[str],
) -> list[_Example]:
    """Return one example per window, without repetitions and windows of unknown bases."""
    found: dict[str, _Example | None] = {}  # by sequence, None where the classes differ
    for window, label in zip(windows, labels.values, strict=True):
        area = _area_of(window, areas)
        text = genome.fetch(window.contig, window.start, window.end)
        if area is None:
            left_out["across a border"] += 1
            continue
        if not has_bases(text):
            left_out["mostly N"] += 1
            continue
        read = reverse_complement(text) if window.strand == "-" else text
        key = min(read, reverse_complement(read))
        if key not in found:
            found[key] = _Example(*window[1:5], read, label, area.split)
            continue
        first = found[key]
        left_out["repeated"] += 1
        if labels.names and first is not None and first.label != label:
            left_out["repeated"] += 1
            found[key] = None
    return [example for example in found.values() if example is not None]


class _Taken:
    """Spans of the genome without negatives, disjoint and ascending by contig."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self._starts: dict[str, list[int]] = {}
        self._ends: dict[str, list[int]] = {}
        for span in sorted(spans, key=lambda span: (span.contig, span.start)):
            starts = self._starts.setdefault(span.contig, [])
            ends = self._ends.setdefault(span.contig, [])
            if ends and span.start <= ends[-1]:
                ends[-1] = max(ends[-1], span.end)
            else:
                starts.append(span.start)
                ends.append(span.end)

    def free(self, contig: str, start: int, end: int) -> bool:
        before = bisect_right(self._starts[contig], end - 1) - 1
        return before < 0 or self._ends[contig][before] <= start

    def add(self, contig: str, start: int, end: int) -> None:
        at = bisect_right(self._starts[contig], start)
        self._starts[contig].insert(at, start)
        self._ends[contig].insert(at, end)


def _negatives(
    positives: list[_Example],
    areas: list[_Area],
    taken: _Taken,
    genome: Reference,
    generator: np.random.Generator,
) -> list[_Example]:
    """Return one window of the background for each positive: same contig and table, like GC."""
    negatives = []
    for positive in positives:
        size, wanted = positive.end - positive.start, _gc(positive.sequence)
        area = _area_of(Span("", *positive[:3]), areas)
        assert area is not None
        best: tuple[float, int, str] | None = None
        for start in generator.integers(area.start, area.end - size + 1, CANDIDATES).tolist():
            if not taken.free(area.contig, start, start + size):
                continue
            text = genome.fetch(area.contig, start, start + size)
            difference = abs(_gc(text) - wanted)
            if has_bases(text) and (best is None or difference < best[0]):
                best = (difference, start, text)
                if difference <= GC_TOLERANCE:
                    break
        if best is not None:
            _, start, text = best
            taken.add(area.contig, start, start + size)
            read = reverse_complement(text) if positive.strand == "-" else text
            negatives.append(
                positive._replace(start=start, end=start + size, sequence=read, label="0")
            )
    return negatives


def _gc(sequence: str) -> float:
    strong = sequence.count("G") + sequence.count("C")
    return strong / max(strong + sequence.count("A") + sequence.count("T"), 1)


def _counts(examples: list[_Example], names: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """Return the number of rows of each class by table; of a regression under ``rows``."""
    found: dict[str, dict[str, int]] = {}
    for split in SPLITS:
        classes = [_class(e, names) for e in examples if e.split == split]
        found[split] = {name: classes.count(name) for name in names or ("rows",) if classes}
    return found


def _mean_gc(examples: list[_Example], names: tuple[str, ...]) -> dict[str, float]:
    means = {}
    for name in names or ("rows",):
        shares = [_gc(e.sequence) for e in examples if _class(e, names) == name]
        means[name] = round(float(np.mean(shares)), 4) if shares else 0.0
    return means


def _class(example: _Example, names: tuple[str, ...]) -> str:
    return names[int(example.label)] if names else "rows"


def _line(folder: Path, record: dict[str, Any]) -> str:
    """Return the counts of all tables in one line."""
    parts = []
    for split, counts in record["counts"].items():
        classes = ", ".join(f"{number:,} {name}" for name, number in counts.items())
        where = ", ".join(dict.fromkeys(contig for contig, *_ in record["areas"][split]))
        total = f"{sum(counts.values()):,} rows"
        listed = total if list(counts) == ["rows"] else f"{total} ({classes})"
        parts.append(f"{split} {listed}" + f" of {where}" * (split != "train"))
    left_out = ", ".join(f"{n:,} {why}" for why, n in record["left_out"].items() if n)
    text = f"{folder}: {'; '.join(parts)}; windows of {record['window_bp']:,} bp"
    return text + (f"; left out: {left_out}" if left_out else "")

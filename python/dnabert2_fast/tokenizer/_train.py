"""Training a vocabulary: input, checkpoint, report. The public function is `Tokenizer.train`.

A checkpoint contains the merges so far and the fingerprint of the text. To resume, the
input is read again and encoded with those merges, which takes seconds per gigabase.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, get_args

from dnabert2_fast import _native
from dnabert2_fast._internal.atomic import atomic_json
from dnabert2_fast._internal.checks import check_at_least, check_between, check_choice, check_seed
from dnabert2_fast._internal.progress import Progress, progress
from dnabert2_fast._internal.settings import require_same
from dnabert2_fast._internal.strict_json import read_object
from dnabert2_fast.errors import TokenizerError
from dnabert2_fast.io.arguments import FILE_OR_SEQUENCE, elements
from dnabert2_fast.io.content import open_input
from dnabert2_fast.io.tables import delimiter_of, values_of
from dnabert2_fast.tokenizer._inputs import is_sequence
from dnabert2_fast.tokenizer._vocabulary import Case

__all__ = ["Source", "TrainingConfig", "TrainingReport", "train_text"]

FORMAT, VERSION = "dnabert2_fast.training", 2
BASES = "ACGT"
BATCH_SEQUENCES, BATCH_BP = 1 << 14, 1 << 20
SECONDS_BETWEEN_CHECKPOINTS = 10.0
SPECIAL_TOKENS = ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Settings of training: the input, and the merges that are made.

    Parameters
    ----------
    window_bp : int, optional
        Cut runs every `window_bp` bases; merges never cross a cut.
    min_frequency : int
        A pair that occurs fewer times is not merged.
    max_token_bp : int, optional
        A pair that would become a longer token is not merged; Hugging Face's ``max_token_length``
        is the first length that is too long, one more than this.
    special_tokens : sequence of str
        Unknown, start, end, padding, mask, then any others; they have the first ids.
    case : {"upper", "compat"}
        Whether lower-case bases are bases or end a run.
    both_strands : bool
        Train on the reverse complement of every window too.
    sample : float
        Fraction of the windows (of the runs, without `window_bp`) to train on, drawn with `seed`.
    seed : int
        Seed of the sample.
    column : str
        Column of ``.csv`` and ``.tsv`` files.
    rna : bool
        Read U as T in files.

    Raises
    ------
    ValueError
        When a number is out of range, or the special tokens are not valid.

    Examples
    --------
    >>> from dnabert2_fast import Tokenizer
    >>> config = TrainingConfig(max_token_bp=2)
    >>> Tokenizer.train(["ACACACGTACAC"], 11, config).vocabulary[9:]
    ['AC', 'GT']
    """

    window_bp: int | None = None
    min_frequency: int = 1
    max_token_bp: int | None = None
    special_tokens: Sequence[str] = SPECIAL_TOKENS
    case: Case = "upper"
    both_strands: bool = False
    sample: float = 1.0
    seed: int = 0
    column: str = "sequence"
    rna: bool = False

    def __post_init__(self) -> None:
        check_at_least("window_bp", self.window_bp, 1)
        check_at_least("min_frequency", self.min_frequency, 0)
        check_at_least("max_token_bp", self.max_token_bp, 0)
        check_seed(self.seed)
        check_between("sample", self.sample, 0, 1, but_not=0)
        check_choice("case", self.case, get_args(Case))
        tokens = self.special_tokens
        if len(tokens) < len(SPECIAL_TOKENS) or len(set(tokens)) < len(tokens):
            raise ValueError(
                "special_tokens: must be at least five different ones, for unknown, start, end, "
                f"padding and mask (got {', '.join(tokens) or 'none'})."
            )
        if any(is_sequence(token) for token in tokens):
            raise ValueError("special_tokens: must not consist only of letters of sequences.")
        if starts := [token for token in tokens if token[0] in BASES]:
            raise ValueError(
                f"special_tokens: {starts[0]!r} begins with a base; write [{starts[0]}]"
            )


class Source(NamedTuple):
    """Bases and other letters of one input.

    Attributes
    ----------
    name : str
        File name, or ``"(sequences)"`` for sequences that were passed directly.
    species : str
        As in the manifest; empty if unknown.
    sequences : int
    used_bp : int
        Bases trained on, both strands counted once.
    left_out_bp : int
        Bases of windows that `sample` left out.
    other_letters : dict of str to int
        Letters that ended a run, with their counts.
    """

    name: str
    species: str
    sequences: int
    used_bp: int
    left_out_bp: int
    other_letters: dict[str, int]


class TrainingReport(NamedTuple):
    """The input of a training, and its use.

    Attributes
    ----------
    sources : list of Source
        One entry per file, in order.
    """

    sources: list[Source]

    def by_species(self) -> dict[str, int]:
        """Return the number of bases used of every species.

        Returns
        -------
        dict of str to int
            Bases per species.
        """
        total: Counter[str] = Counter()
        for source in self.sources:
            total[source.species] += source.used_bp
        return dict(total)

    def __str__(self) -> str:
        rows = [("input", "species", "sequences", "bases used", "left out", "other letters")]
        for s in self.sources:
            others = ", ".join(f"{k!r} {v:,}" for k, v in Counter(s.other_letters).most_common(4))
            counts = (f"{s.sequences:,}", f"{s.used_bp:,}", f"{s.left_out_bp:,}")
            rows.append((s.name, s.species or "-", *counts, others or "-"))
        species = {name: used for name, used in self.by_species().items() if name}
        if len(self.sources) > len(species) > 0:
            rows += [("", name, "", f"{used:,}", "", "") for name, used in sorted(species.items())]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join(lines)


def read_inputs(
    inputs: Iterable[str | bytes | os.PathLike[str]] | os.PathLike[str],
    config: TrainingConfig,
    species: Mapping[str, str],
    spill_to: Path | None,
    threads: int,
) -> tuple[_native.BpeTrainer, TrainingReport]:
    """Read all input; returns a trainer that contains it, and a report of its use."""
    trainer = _native.BpeTrainer(
        window_bp=config.window_bp,
        fold_case=config.case == "upper",
        both_strands=config.both_strands,
        sample=config.sample,
        seed=config.seed,
        threads=threads,
        spill_to=spill_to,
    )
    sources: dict[str, Source] = {}
    with progress(None, "reading", "letters") as bar:

        def add(name: str, of: str, sequences: Iterable[str | bytes]) -> None:
            for some in _batches(sequences):
                _add(sources, name, of, trainer.add(some))
                bar.update(sum(map(len, some)))

        for in_memory, some in _by_kind(inputs):
            if in_memory:
                add("(sequences)", "", some)
                continue
            for path in map(os.fsdecode, some):
                name, of = Path(path).name, species.get(path, "")
                bar.note(file=name)
                opened = open_input(path)
                delimiter = delimiter_of(opened, path, config.column)
                if delimiter is not None:
                    add(name, of, values_of(opened, path, config.column, delimiter, rna=config.rna))
                else:
                    counts = trainer.add_file(opened, rna=config.rna, report=bar.update)
                    _add(sources, name, of, counts)
    return trainer, TrainingReport(list(sources.values()))


def _by_kind(
    inputs: Iterable[str | bytes | os.PathLike[str]] | os.PathLike[str],
) -> Iterator[tuple[bool, Iterable[Any]]]:
    """Yield some inputs at a time, and whether they are sequences or files."""
    if not isinstance(inputs, list) or {*map(type, inputs)} != {str}:
        items = elements(inputs, "files_or_sequences", FILE_OR_SEQUENCE)
        yield from groupby(items, is_sequence)
        return
    for start in range(0, len(inputs), BATCH_SEQUENCES):
        block = inputs[start : start + BATCH_SEQUENCES]
        # Checking each of many short ones would take as long as training on it.
        if sum(map(len, block)) <= BATCH_BP and is_sequence("".join(block)):
            yield True, block
        else:
            yield from groupby(block, is_sequence)


def _batches(sequences: Iterable[str | bytes]) -> Iterator[list[str | bytes]]:
    """Yield some sequences at a time, so that short ones share a call."""
    if isinstance(sequences, list):
        yield sequences
        return
    batch: list[str | bytes] = []
    letters = 0
    for sequence in sequences:
        batch.append(sequence)
        letters += len(sequence)
        if len(batch) == BATCH_SEQUENCES or letters >= BATCH_BP:
            yield batch
            batch, letters = [], 0
    if batch:
        yield batch


def _add(sources: dict[str, Source], name: str, species: str, counts: _native.InputCounts) -> None:
    before = sources.get(name, Source(name, species, 0, 0, 0, {}))
    sources[name] = Source(
        name,
        species,
        before.sequences + counts.sequences,
        before.used_bp + counts.used_bp,
        before.left_out_bp + counts.left_out_bp,
        dict(Counter(before.other_letters) + Counter(counts.other_letters)),
    )


def train_text(
    inputs: Iterable[str | bytes | os.PathLike[str]] | os.PathLike[str],
    vocab_size: int,
    config: TrainingConfig,
    species: Mapping[str, str],
    memory_limit: int | None,
    checkpoint: Path | None,
    threads: int,
) -> tuple[str, TrainingReport]:
    """Train; returns the text of the ``tokenizer.json`` and a report of the input."""
    first_ids = len(config.special_tokens) + len(BASES)
    check_between("vocab_size", vocab_size, first_ids, 1 << 16)
    check_at_least("memory_limit", memory_limit, 0)
    check_at_least("threads", threads, 0)
    spill_to = None if memory_limit is None else spill_folder()
    trainer, report = read_inputs(inputs, config, species, spill_to, threads)
    limits = {"min_frequency": config.min_frequency, "max_token_bp": config.max_token_bp}
    settings = {"text_sha256": trainer.fingerprint(), "both_strands": config.both_strands, **limits}
    with (
        progress(vocab_size, "training tokenizer", "tokens") as bar,
        _merges(checkpoint, settings, bar) as merges,
    ):
        bar.update(first_ids + len(merges))
        text = trainer.train(
            vocab_size=vocab_size,
            min_frequency=config.min_frequency,
            max_token_bp=config.max_token_bp,
            memory_limit=memory_limit,
            threads=threads,
            special_tokens=list(config.special_tokens),
            known=list(merges),
            report=merges.append,
        )
        merges.stopped()
    return text, report


class _Merges(list[tuple[int, int]]):
    """Merges made so far; written to the checkpoint at intervals."""

    def __init__(self, path: Path | None, settings: Mapping[str, object], bar: Progress) -> None:
        super().__init__(_read_checkpoint(path, settings) if path is not None else [])
        self._path, self._settings, self._bar = path, settings, bar
        self._started = self._written = time.monotonic()

    def append(self, merge: tuple[int, int]) -> None:
        super().append(merge)
        self._bar.update(1)
        if time.monotonic() - self._written > SECONDS_BETWEEN_CHECKPOINTS:
            self.write()

    def stopped(self) -> bool:
        """Write when training ends or stops, unless a rerun takes no time; return whether."""
        worth = time.monotonic() - self._started > SECONDS_BETWEEN_CHECKPOINTS
        if worth:
            self.write()
        return worth and self._path is not None

    def write(self) -> None:
        if self._path is not None:
            contents = {"format": FORMAT, "version": VERSION, **self._settings, "merges": self}
            atomic_json(self._path, contents, indent=None)
        self._written = time.monotonic()


@contextmanager
def _merges(path: Path | None, settings: Mapping[str, object], bar: Progress) -> Iterator[_Merges]:
    merges = _Merges(path, settings, bar)
    try:
        yield merges
    except BaseException as error:
        if merges.stopped() and isinstance(error, KeyboardInterrupt):
            error.add_note(f"{len(merges):,} merges are kept in {path}")
        raise


def _read_checkpoint(path: Path, settings: Mapping[str, object]) -> list[tuple[int, int]]:
    if not path.exists():
        return []
    try:
        contents = read_object(path)
        merges = [(left, right) for left, right in contents["merges"]]
        known = contents["format"] == FORMAT and contents["version"] == VERSION
        # Each merge joins two earlier pieces.
        sound = all(
            type(part) is int and 0 <= part < len(BASES) + made
            for made, merge in enumerate(merges)
            for part in merge
        )
    except (ValueError, TypeError, KeyError):
        known, sound, merges = False, False, []
    if not known or not sound:
        raise TokenizerError(f"{path}: is not a checkpoint of training. Delete it to start again.")
    require_same(path, contents, settings, TokenizerError)
    return merges


def spill_folder() -> Path:
    """Return the folder for spill files: that of Python's `tempfile` (set it with ``TMPDIR``)."""
    return Path(tempfile.gettempdir())

"""Certainty of a masked language model about every base along a genome: a track, or a hub."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from dnabert2_fast._internal.atomic import atomic_folder, require_writable
from dnabert2_fast._internal.progress import progress
from dnabert2_fast.errors import DataError
from dnabert2_fast.genomics.likelihood.config import TrackConfig, TrackKind
from dnabert2_fast.genomics.likelihood.scores import require_masked_lm
from dnabert2_fast.genomics.loading import load_masked_lm
from dnabert2_fast.genomics.masked import (
    Masks,
    evaluating,
    finite_on_host,
    mask_id_of,
    positions_of_bases,
    predictions,
)
from dnabert2_fast.genomics.variants.alleles import readings
from dnabert2_fast.io.regions import Piece, SequenceFile, read_in_order
from dnabert2_fast.io.strand import reverse_complement
from dnabert2_fast.io.tracks import track
from dnabert2_fast.model.heads import Dnabert2ForMaskedLM
from dnabert2_fast.model.weights import Name
from dnabert2_fast.tokenizer import Tokenizer
from dnabert2_fast.tokenizer.unknown import known_pieces

__all__ = ["likelihood_hub", "likelihood_track"]

BASES = "ACGT"  # read backwards, they are the complements
COLOURS = {"A": "0,128,0", "C": "0,0,255", "G": "255,166,0", "T": "255,0,0"}

# Number of windows computed together.
CHUNK_WINDOWS = 64

_Kind = TrackKind | Literal["probability"]


def likelihood_track(
    source: SequenceFile | str | os.PathLike[str],
    model: Dnabert2ForMaskedLM | Name,
    tokenizer: Tokenizer | Name | None,
    out: str | os.PathLike[str],
    config: TrackConfig | None = None,
) -> int:
    r"""Write one number per base along every sequence.

    Parameters
    ----------
    source : path or SequenceFile
        FASTA or FASTQ, plain or gz, bgz, zst; a table or lines, whose rows are contigs named by
        their number; or regions of a genome, each a separate sequence: the model reads no base
        outside. Regions on the strand ``-`` are read on that strand, and written like all others
        in forward coordinates. Memory contains one sequence and a few windows.
    model, tokenizer
        As in `pseudo_likelihood`.
    out : path
        ``.bedgraph``, or ``.bw`` or ``.bigwig`` (needs pyBigWig); coordinates are 0-based
        half-open.
    config : TrackConfig, optional

    Returns
    -------
    int
        Number of bases written.

    Raises
    ------
    FastaError
        When the file is not readable to its end; no output is written then.
    DataError
        When two records have the same name, or regions overlap.
    CheckpointError
        When tokenizer and model have different vocabularies.
    ValueError
        When `out` has another suffix, or `source` sets `window_bp`, which belongs in `config`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "x.fa").write_text(">chr1\nACGTTGCATTAGCATTTACGGATTANN\n")
    >>> model, tok = Dnabert2ForMaskedLM.from_pretrained("mini"), Tokenizer.from_pretrained("mini")
    >>> likelihood_track(folder / "x.fa", model, tok, folder / "entropy.bedgraph")
    25
    >>> name, start, end, bits = (folder / "entropy.bedgraph").read_text().split()[:4]
    >>> name, start, end, 0 <= float(bits) <= 2
    ('chr1', '0', '1', True)
    """
    config = config or TrackConfig()
    require_writable(out)
    model, tokenizer = load_masked_lm(model, tokenizer)
    ordered = _ordered(source, model, tokenizer, config)
    total = 0
    with track(out, ordered.contig_lengths) as opened:
        for contig, start, values in _values(ordered, model, tokenizer, config, config.kind):
            opened.add(contig, start, values[:, 0])
            total += int((~np.isnan(values[:, 0])).sum())
    return total


def likelihood_hub(
    source: SequenceFile | str | os.PathLike[str],
    model: Dnabert2ForMaskedLM | Name,
    tokenizer: Tokenizer | Name | None,
    folder: str | os.PathLike[str],
    config: TrackConfig | None = None,
) -> int:
    r"""Write the probability of each base as a UCSC track hub.

    Parameters
    ----------
    source, model, tokenizer
        As in `likelihood_track`.
    folder : path
        Folder to create: ``A.bw``, ``C.bw``, ``G.bw``, ``T.bw`` with the probability of that base
        when its token is masked (needs pyBigWig), and ``hub.txt``, which draws them as a logo. The
        genome in it has the name of the file without suffixes.
    config : TrackConfig, optional
        Its `kind` is not used.

    Returns
    -------
    int
        Number of bases written.

    Raises
    ------
    FastaError, DataError, CheckpointError, ValueError
        As in `likelihood_track`, or when the folder exists already.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "hg38.fa").write_text(">chr1\nACGTTGCATTAGCATTTACGGATTANN\n")
    >>> model, tok = Dnabert2ForMaskedLM.from_pretrained("mini"), Tokenizer.from_pretrained("mini")
    >>> likelihood_hub(folder / "hg38.fa", model, tok, folder / "hub")
    25
    >>> sorted(path.name for path in (folder / "hub").iterdir())
    ['A.bw', 'C.bw', 'G.bw', 'T.bw', 'hub.txt']
    """
    source, config = SequenceFile.of(source), config or TrackConfig()
    folder = Path(folder)
    if folder.exists():
        raise DataError(f"{folder}: exists already. Choose another folder or delete it.")
    model, tokenizer = load_masked_lm(model, tokenizer)
    ordered = _ordered(source, model, tokenizer, config)
    total = 0
    with atomic_folder(folder) as made:
        with ExitStack() as stack:
            tracks = [
                stack.enter_context(track(made / f"{base}.bw", ordered.contig_lengths))
                for base in BASES
            ]
            for contig, start, values in _values(ordered, model, tokenizer, config, "probability"):
                for opened, column in zip(tracks, values.T, strict=True):
                    opened.add(contig, start, column)
                total += int((~np.isnan(values[:, 0])).sum())
        genome = Path(source.path).name.partition(".")[0]
        (made / "hub.txt").write_text(_hub(genome, model.name_or_path), encoding="utf-8")
    return total


def _hub(genome: str, model: str) -> str:
    """Return a hub of one file (UCSC, "Track Database Definition": useOneFile, multiWig, logo)."""
    name = Path(model).name or "model"
    lines = ["hub dnabert2_fast", f"shortLabel {name} bases"]
    lines += [f"longLabel Probabilities of bases, masked language model {name}"]
    lines += ["useOneFile on", "email you@example.org", "", f"genome {genome}", ""]
    lines += ["track bases", "container multiWig", "type bigWig 0 1", f"shortLabel {name} bases"]
    lines += [f"longLabel Probability of each base when its token is masked, {name}"]
    lines += ["aggregate stacked", "logo on", "viewLimits 0:1", "autoScale off", "noInherit on"]
    lines += ["maxHeightPixels 100:50:8", "visibility full", ""]
    for number, base in enumerate(BASES, 1):
        lines += [f"    track bases_{base}", "    parent bases", "    type bigWig 0 1"]
        lines += [f"    shortLabel {base}", f"    longLabel Probability of {base}"]
        lines += [f"    bigDataUrl {base}.bw", f"    color {COLOURS[base]}"]
        lines += [f"    priority {number}", ""]
    return "\n".join(lines)


class _Source(NamedTuple):
    """Sequences in the order of a track, and their file."""

    path: str | os.PathLike[str]
    contig_lengths: dict[str, int]
    total_bp: int
    pieces: Iterator[Piece]


def _ordered(
    source: SequenceFile | str | os.PathLike[str],
    model: Dnabert2ForMaskedLM,
    tokenizer: Tokenizer,
    config: TrackConfig,
) -> _Source:
    """Read what a track contains; raises the errors of `likelihood_track`."""
    source = SequenceFile.of(source)
    if source.window_bp is not None:
        raise ValueError("source: must not have window_bp. Set window_bp in TrackConfig.")
    require_masked_lm(model, tokenizer, config.mask_stride, config.batch_tokens)
    ordered = read_in_order(source, disjoint=True)
    return _Source(source.path, ordered.contig_lengths, ordered.total_bp, ordered.pieces)


def _values(
    ordered: _Source,
    model: Dnabert2ForMaskedLM,
    tokenizer: Tokenizer,
    config: TrackConfig,
    kind: _Kind,
) -> Iterator[tuple[str, int, npt.NDArray[np.float64]]]:
    """Yield contig, start and values of shape (bases, columns) along all sequences."""
    spell = _Spelling(tokenizer)
    with progress(ordered.total_bp, "likelihood", "bases") as bar:
        upper = (piece._replace(sequence=piece.sequence.upper()) for piece in ordered.pieces)
        for piece in known_pieces(upper, tokenizer, ordered.path):
            cores = _cores(piece.forward, config.window_bp)
            strand = "+" if config.both_strands else piece.strand
            while chunk := list(islice(cores, CHUNK_WINDOWS)):
                read, sources = _readings(chunk)
                found = _by_base(read, strand, model, tokenizer, spell, config, kind)
                if config.both_strands:
                    back = _by_base(read, "-", model, tokenizer, spell, config, kind)
                    found = [(a + b) / 2 for a, b in zip(found, back, strict=True)]
                values = _means(chunk, found, sources)
                for core, mean in zip(chunk, values, strict=True):
                    yield piece.contig, piece.start + core.position, mean
                    bar.update(len(mean))


class _Core(NamedTuple):
    """A window and the part of it that is written."""

    text: str
    start: int  # within `text`
    end: int
    position: int  # of `start` in the sequence

    def turned(self) -> _Core:
        """Return the window as the other strand reads it."""
        text = reverse_complement(self.text)
        return _Core(text, len(text) - self.end, len(text) - self.start, self.position)


def _cores(sequence: str, window_bp: int) -> Iterator[_Core]:
    step, margin = window_bp // 2, window_bp // 4
    for start in range(0, len(sequence), step):
        end, before = min(start + step, len(sequence)), max(start - margin, 0)
        text = sequence[before : end + margin]
        yield _Core(text, start - before, end - before, start)


def _readings(cores: list[_Core]) -> tuple[list[_Core], list[int]]:
    """Return windows without unknown bases, and the number of the window that each was read from.

    N is read as each of the four bases in turn, as `readings` does for variants, because the model
    reads its [UNK] badly. A window that writes no base needs no reading.
    """
    found, sources = [], []
    for number, core in enumerate(cores):
        texts = [core.text]
        if not set(core.text[core.start : core.end]).isdisjoint(BASES):
            texts = readings(core.text, core.position - core.start)
        found += [core._replace(text=text) for text in texts]
        sources += [number] * len(texts)
    return found, sources


def _means(
    cores: list[_Core], values: list[npt.NDArray[np.float64]], sources: list[int]
) -> list[npt.NDArray[np.float64]]:
    """Return the mean over the readings of each window, NaN at other characters than bases."""
    found: list[npt.NDArray[np.float64]] = []
    for number, core in enumerate(cores):
        own = [value for value, source in zip(values, sources, strict=True) if source == number]
        mean = np.mean(own, 0)
        mean[[letter not in BASES for letter in core.text[core.start : core.end]]] = np.nan
        found.append(mean)
    return found


class _Spelling:
    """The base of each token in each position."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        words = tokenizer.vocabulary
        bases = [
            () if i in tokenizer.special_ids or not set(word) <= set(BASES) else tuple(word)
            for i, word in enumerate(words)
        ]
        self.longest = max(map(len, bases))
        matrix = torch.zeros(len(words), self.longest, 4)
        for i, word in enumerate(bases):
            for position, base in enumerate(word):
                matrix[i, position, BASES.index(base)] = 1
        self.matrix = matrix.flatten(1)

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Return those of A, C, G, T by position in the token, from logits of shape (k, vocab).

        The shape is (k, bases of the longest token, 4).
        """
        shares = logits.softmax(-1)[:, : len(self.matrix)] @ self.matrix.to(logits.device)
        shares = shares.view(len(logits), self.longest, 4).double()
        return shares / shares.sum(-1, keepdim=True)


def _by_base(
    cores: list[_Core],
    strand: str,
    model: Dnabert2ForMaskedLM,
    tokenizer: Tokenizer,
    spell: _Spelling,
    config: TrackConfig,
    kind: _Kind,
) -> list[npt.NDArray[np.float64]]:
    """Return the values of the written part of every window, NaN at characters without a token.

    The model reads the given strand; values are in the order of the forward strand, of shape
    (bases, columns). The columns are A, C, G, T for `kind` "probability", else there is one.
    """
    if strand == "-":
        turned = [core.turned() for core in cores]
        found = _by_base(turned, "+", model, tokenizer, spell, config, kind)
        return [values[::-1, ::-1] for values in found]
    encoded = tokenizer.encode_batch_detailed([core.text for core in cores])
    ids, positions = encoded.ids, []
    for row, core in enumerate(cores):
        spans = encoded.offsets[ids.offsets[row] : ids.offsets[row + 1]]
        own = positions_of_bases(ids[row], tokenizer)
        inside = (spans[own, 0] < core.end) & (spans[own, 1] > core.start)
        positions.append(own[inside])
    masks = Masks.of(positions, config.mask_stride)
    sequence_index = np.repeat(masks.rows, np.diff(masks.offsets))
    spans = encoded.offsets[ids.offsets[sequence_index] + masks.positions]
    columns = 4 if kind == "probability" else 1
    values = [np.full((core.end - core.start, columns), np.nan) for core in cores]
    with evaluating(model):
        for batch in predictions(ids, masks, model, mask_id_of(tokenizer), config.batch_tokens):
            per_position: npt.NDArray[np.float64]
            if kind == "log_likelihood":
                logs = batch.logits.log_softmax(-1).gather(1, batch.true_ids[:, None])
                lengths = spans[batch.which, 1] - spans[batch.which, 0]
                per_base = finite_on_host(batch.logits, model, logs.double())[0] / lengths[:, None]
                per_position = np.repeat(per_base[:, :, None], spell.longest, 1)
            else:
                shares = spell.probabilities(batch.logits)
                if kind == "entropy":
                    shares = torch.special.entr(shares).sum(-1, keepdim=True) / math.log(2)
                (per_position,) = finite_on_host(batch.logits, model, shares)
            for number, by_position in zip(batch.which.tolist(), per_position, strict=True):
                core, target = cores[sequence_index[number]], values[sequence_index[number]]
                start, end = spans[number]
                first, last = max(start, core.start), min(end, core.end)
                target[first - core.start : last - core.start] = by_position[
                    first - start : last - start
                ]
    return values

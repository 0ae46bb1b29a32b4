"""Certainty of a masked language model about every base along a genome, as a track."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from dnabert2_fast._internal.atomic import require_writable
from dnabert2_fast._internal.progress import progress
from dnabert2_fast.genomics.likelihood.config import TrackConfig
from dnabert2_fast.genomics.likelihood.scores import require_masked_lm
from dnabert2_fast.genomics.masked import (
    Masks,
    evaluating,
    mask_id_of,
    positions_of_bases,
    predictions,
)
from dnabert2_fast.io.regions import SequenceFile, read_in_order
from dnabert2_fast.io.strand import reverse_complement
from dnabert2_fast.io.tracks import track
from dnabert2_fast.model.heads import Dnabert2ForMaskedLM
from dnabert2_fast.tokenizer import Tokenizer
from dnabert2_fast.tokenizer.unknown import known_pieces

__all__ = ["likelihood_track"]

BASES = "ACGT"

# Number of windows computed together.
CHUNK_WINDOWS = 64


def likelihood_track(
    source: SequenceFile | str | os.PathLike[str],
    model: Dnabert2ForMaskedLM,
    tokenizer: Tokenizer,
    out: str | os.PathLike[str],
    config: TrackConfig | None = None,
) -> int:
    r"""Write one number per base along every sequence; returns the number of bases written.

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

    Raises
    ------
    FastaError
        When the file is not readable to its end; no output is written then.
    DataError
        When two records have the same name, or regions overlap.
    CheckpointError
        When tokenizer and model have vocabularies of different sizes.
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
    source, config = SequenceFile.of(source), config or TrackConfig()
    if source.window_bp is not None:
        raise ValueError("source: must not have window_bp. Set window_bp in TrackConfig.")
    require_masked_lm(model, tokenizer, config.mask_stride, config.batch_tokens)
    require_writable(out)
    ordered = read_in_order(source, disjoint=True)
    total = 0
    spell = _Spelling(tokenizer)
    with (
        track(out, ordered.contig_lengths) as opened,
        progress(ordered.total_bp, "likelihood", "bases") as bar,
    ):
        upper = (piece._replace(sequence=piece.sequence.upper()) for piece in ordered.pieces)
        for piece in known_pieces(upper, tokenizer, source.path):
            cores = _cores(piece.forward, config.window_bp)
            strand = "+" if config.both_strands else piece.strand
            while chunk := list(islice(cores, CHUNK_WINDOWS)):
                values = _by_base(chunk, strand, model, tokenizer, spell, config)
                if config.both_strands:
                    back = _by_base(chunk, "-", model, tokenizer, spell, config)
                    values = [(a + b) / 2 for a, b in zip(values, back, strict=True)]
                for core, found in zip(chunk, values, strict=True):
                    opened.add(piece.contig, piece.start + core.position, found)
                    total += int((~np.isnan(found)).sum())
                    bar.update(len(found))
    return total


class _Core(NamedTuple):
    """A window and the part of it that is written."""

    text: str
    start: int  # within `text`
    end: int
    position: int  # of `start` in the sequence

    def turned(self) -> _Core:
        """Return the other strand."""
        text = reverse_complement(self.text)
        return _Core(text, len(text) - self.end, len(text) - self.start, self.position)


def _cores(sequence: str, window_bp: int) -> Iterator[_Core]:
    step, margin = window_bp // 2, window_bp // 4
    for start in range(0, len(sequence), step):
        end, before = min(start + step, len(sequence)), max(start - margin, 0)
        text = sequence[before : end + margin]
        yield _Core(text, start - before, end - before, start)


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

    def entropies(self, logits: torch.Tensor) -> npt.NDArray[np.float64]:
        """Return bits by position in the token, (k, longest token), from logits (k, vocab)."""
        shares = logits.softmax(-1) @ self.matrix.to(logits.device)
        shares = shares.view(len(logits), self.longest, 4).double()
        shares = shares / shares.sum(-1, keepdim=True)
        bits: npt.NDArray[np.float64] = (
            (torch.special.entr(shares).sum(-1) / math.log(2)).cpu().numpy()
        )
        return bits


def _by_base(
    cores: list[_Core],
    strand: str,
    model: Dnabert2ForMaskedLM,
    tokenizer: Tokenizer,
    spell: _Spelling,
    config: TrackConfig,
) -> list[npt.NDArray[np.float64]]:
    """Return the values of the written part of every window, NaN at characters without a token.

    The model reads the given strand; values are in the order of the forward strand.
    """
    if strand == "-":
        turned = [core.turned() for core in cores]
        return [values[::-1] for values in _by_base(turned, "+", model, tokenizer, spell, config)]
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
    values = [np.full(core.end - core.start, np.nan) for core in cores]
    with evaluating(model):
        for batch in predictions(ids, masks, model, mask_id_of(tokenizer), config.batch_tokens):
            if config.kind == "entropy":
                found = spell.entropies(batch.logits)
            else:
                logs = batch.logits.log_softmax(-1).gather(1, batch.true_ids[:, None])
                lengths = spans[batch.which, 1] - spans[batch.which, 0]
                found = np.repeat(logs.double().cpu().numpy() / lengths[:, None], spell.longest, 1)
            for number, by_position in zip(batch.which.tolist(), found, strict=True):
                core, target = cores[sequence_index[number]], values[sequence_index[number]]
                start, end = spans[number]
                first, last = max(start, core.start), min(end, core.end)
                target[first - core.start : last - core.start] = by_position[
                    first - start : last - start
                ]
    return values

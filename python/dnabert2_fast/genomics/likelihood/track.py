"""How sure a masked language model is of every base along a genome, as a track."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from itertools import islice
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from dnabert2_fast._internal.progress import progress
from dnabert2_fast.errors import DataError
from dnabert2_fast.genomics.likelihood.scores import require_masked_lm
from dnabert2_fast.genomics.masked import (
    Masks,
    evaluating,
    mask_id_of,
    places_of_bases,
    predictions,
)
from dnabert2_fast.io.fasta import read_fasta
from dnabert2_fast.io.strand import reverse_complement
from dnabert2_fast.io.tracks import track
from dnabert2_fast.model.heads import Dnabert2ForMaskedLM
from dnabert2_fast.tokenizer import Tokenizer

__all__ = ["TrackKind", "likelihood_track"]

TrackKind = Literal["entropy", "log_likelihood"]

BASES = "ACGT"

# Windows computed together.
CHUNK_WINDOWS = 64


def likelihood_track(
    path: str | os.PathLike[str],
    model: Dnabert2ForMaskedLM,
    tokenizer: Tokenizer,
    out: str | os.PathLike[str],
    *,
    kind: TrackKind = "entropy",
    window_bp: int = 512,
    mask_stride: int | None = None,
    both_strands: bool = True,
    batch_tokens: int = 16_384,
) -> int:
    r"""Write one number a base along every record of a FASTA file; returns the bases that have one.

    Parameters
    ----------
    path : path
        FASTA, plain or gz, bgz, zst; memory holds one record of it, and a few windows.
    model, tokenizer, mask_stride, batch_tokens
        As in `pseudo_likelihood`.
    out : path
        ``.bedgraph``, or ``.bw`` or ``.bigwig`` (needs pyBigWig); 0-based half-open, as both are.
    kind : {"entropy", "log_likelihood"}
        ``entropy``: of the base, in bits, 0 to 2, when its token is masked: each base has the
        probability of all tokens that have it in this place, counted from the token's beginning,
        among the tokens that are long enough. ``log_likelihood``: the masked token's
        log-probability in nats, shared equally among its bases.
    window_bp : int
        Bases that the model sees at a time. The middle half of each window is written, so that
        every base has a quarter of a window on both sides; windows end with their record.
    both_strands : bool
        Mean of both strands, whose tokens have other borders.

    Raises
    ------
    FastaError
        When the file is not readable to its end; nothing is written then.
    DataError
        When two records have one name.
    CheckpointError
        When tokenizer and model have vocabularies of different sizes.
    ValueError
        When `out` has another suffix, `kind` is neither, or `window_bp` is below 4.

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
    if window_bp < 4:
        raise ValueError(f"window_bp: {window_bp} is below 4, of which half could be written")
    if kind not in ("entropy", "log_likelihood"):
        raise ValueError(f'kind: "{kind}" is not one of "entropy", "log_likelihood"')
    require_masked_lm(model, tokenizer, mask_stride, batch_tokens)
    lengths: dict[str, int] = {}
    for name, sequence in read_fasta(path):
        if name in lengths:
            raise DataError(f"{path}: two records are called {name}; a track needs distinct names")
        lengths[name] = len(sequence)
    total = 0
    spell = _Spelling(tokenizer)
    with (
        track(out, lengths) as opened,
        progress(sum(lengths.values()), "likelihood", "bases") as bar,
    ):
        for name, sequence in read_fasta(path):
            cores = _cores(sequence, window_bp)
            while chunk := list(islice(cores, CHUNK_WINDOWS)):
                values = _by_base(chunk, model, tokenizer, spell, kind, mask_stride, batch_tokens)
                if both_strands:
                    turned = [core.turned() for core in chunk]
                    back = _by_base(
                        turned, model, tokenizer, spell, kind, mask_stride, batch_tokens
                    )
                    values = [(a + b[::-1]) / 2 for a, b in zip(values, back, strict=True)]
                for core, found in zip(chunk, values, strict=True):
                    opened.add(name, core.place, found)
                    total += int((~np.isnan(found)).sum())
                    bar.update(len(found))
    return total


class _Core(NamedTuple):
    """A window and the part of it that is written."""

    text: str
    start: int  # within `text`
    end: int
    place: int  # of `start` in the record

    def turned(self) -> _Core:
        """Return the other strand."""
        text = reverse_complement(self.text)
        return _Core(text, len(text) - self.end, len(text) - self.start, self.place)


def _cores(sequence: str, window_bp: int) -> Iterator[_Core]:
    step, margin = window_bp // 2, window_bp // 4
    for start in range(0, len(sequence), step):
        end, before = min(start + step, len(sequence)), max(start - margin, 0)
        text = sequence[before : end + margin].upper()
        yield _Core(text, start - before, end - before, start)


class _Spelling:
    """Which base each token has in each place."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        words = tokenizer.vocabulary
        bases = [
            () if i in tokenizer.special_ids or not set(word) <= set(BASES) else tuple(word)
            for i, word in enumerate(words)
        ]
        self.longest = max(map(len, bases))
        matrix = torch.zeros(len(words), self.longest, 4)
        for i, word in enumerate(bases):
            for place, base in enumerate(word):
                matrix[i, place, BASES.index(base)] = 1
        self.matrix = matrix.flatten(1)

    def entropies(self, logits: torch.Tensor) -> npt.NDArray[np.float64]:
        """Return bits by place in the token, shape (k, longest token), from logits (k, vocab)."""
        shares = logits.softmax(-1) @ self.matrix.to(logits.device)
        shares = shares.view(len(logits), self.longest, 4).double()
        shares = shares / shares.sum(-1, keepdim=True)
        bits: npt.NDArray[np.float64] = (
            (torch.special.entr(shares).sum(-1) / math.log(2)).cpu().numpy()
        )
        return bits


def _by_base(
    cores: list[_Core],
    model: Dnabert2ForMaskedLM,
    tokenizer: Tokenizer,
    spell: _Spelling,
    kind: TrackKind,
    mask_stride: int | None,
    batch_tokens: int,
) -> list[npt.NDArray[np.float64]]:
    """Return the values of the written part of every window, NaN at letters without a token."""
    encoded = tokenizer.encode_batch_detailed([core.text for core in cores])
    ids, places = encoded.ids, []
    for row, core in enumerate(cores):
        spans = encoded.offsets[ids.offsets[row] : ids.offsets[row + 1]]
        own = places_of_bases(ids[row], tokenizer)
        inside = (spans[own, 0] < core.end) & (spans[own, 1] > core.start)
        places.append(own[inside])
    masks = Masks.of(places, mask_stride)
    owner = np.repeat(masks.rows, np.diff(masks.offsets))
    spans = encoded.offsets[ids.offsets[owner] + masks.places]
    values = [np.full(core.end - core.start, np.nan) for core in cores]
    with evaluating(model):
        for batch in predictions(ids, masks, model, mask_id_of(tokenizer), batch_tokens):
            if kind == "entropy":
                found = spell.entropies(batch.logits)
            else:
                logs = batch.logits.log_softmax(-1).gather(1, batch.true_ids[:, None])
                lengths = spans[batch.which, 1] - spans[batch.which, 0]
                found = np.repeat(logs.double().cpu().numpy() / lengths[:, None], spell.longest, 1)
            for number, by_place in zip(batch.which.tolist(), found, strict=True):
                core, target = cores[owner[number]], values[owner[number]]
                start, end = spans[number]
                first, last = max(start, core.start), min(end, core.end)
                target[first - core.start : last - core.start] = by_place[
                    first - start : last - start
                ]
    return values

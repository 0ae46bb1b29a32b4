"""Which bases an answer depends on: mutagenesis, occlusion, integrated gradients, attention.

All but attention measure how a number, the target, changes when bases are changed or hidden. Tokens
(`tokens.py`) are mapped to bases by the tokenizer's offsets. For definitions, see
docs/guides/attribution.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal, NamedTuple, overload

import numpy as np
import numpy.typing as npt
import torch

from dnabert2_fast._internal.progress import Progress, progress
from dnabert2_fast.genomics.attribution.config import AttributionConfig, Target
from dnabert2_fast.genomics.attribution.relevance import relevances
from dnabert2_fast.genomics.attribution.tokens import (
    CLASS_TARGETS,
    AttributionTarget,
    attention_weights,
    integrated_gradients,
    occlude,
)
from dnabert2_fast.genomics.loading import load_model
from dnabert2_fast.genomics.masked import evaluating
from dnabert2_fast.genomics.variants.alleles import readings
from dnabert2_fast.genomics.variants.scoring import Windows, likelihood_ratios
from dnabert2_fast.io.arguments import Sequence, Sequences, is_one, text_list
from dnabert2_fast.io.strand import reverse_complement
from dnabert2_fast.model.auto import Model
from dnabert2_fast.model.batching import packed_batches
from dnabert2_fast.model.heads import Dnabert2ForMaskedLM, Dnabert2ForSequenceClassification
from dnabert2_fast.model.weights import Name
from dnabert2_fast.ragged import Ragged
from dnabert2_fast.tokenizer import Tokenizer
from dnabert2_fast.tokenizer.unknown import known_texts

__all__ = ["BASES", "Attribution", "TokenScore", "attribute", "attribute_quietly"]

BASES = "ACGT"

# Maximum length for attention and lrp. The first has a weight for every pair of bases: 0.3 GB.
MAX_ATTENTION_BP = 8192

# Mutants encoded and computed together.
CHUNK_MUTANTS = 1024


class TokenScore(NamedTuple):
    """The contribution of one token.

    Attributes
    ----------
    start, end : int
        Bases of the token, 0-based half-open, in the sequence that was given.
    token : str
        Its bases, as the model reads them on `strand`.
    score : float
        Occlusion: the target's loss without the token. Gradients, lrp: its contribution. Attention:
        its weight. Mutagenesis: the sum of the scores of its bases.
    strand : str
        ``"+"``, or ``"-"`` for tokens of the reverse complement.

    Examples
    --------
    >>> found = attribute("ACGTTGCATTAGCA", config=AttributionConfig("attention"))
    >>> found.tokens[0][:3]
    (0, 7, 'ACGTTGC')
    """

    start: int
    end: int
    token: str
    score: float
    strand: str


@dataclass(frozen=True, eq=False)
class Attribution:
    """The contribution of each base of a sequence.

    Attributes
    ----------
    sequence : str
        In upper case.
    method, target : str
    class_name : str
        Of a classifier: the class whose log-odds or probability is the target.
    scores : ndarray of float64, shape (bases,)
        Positive where the present base raises the target. Mutagenesis: minus the mean of the three
        effects. Occlusion: the target's loss without the token, at each of its bases. Gradients,
        lrp: the token's contribution, divided equally among its bases. Attention: the token's
        weight, divided in the same way. NaN at characters other than A, C, G, T.
    effects : ndarray of float64, shape (bases, 4), or None
        For mutagenesis: change of the target by A, C, G, T in this position; 0 for the base itself.
    gap : float
        For gradients: sum of the scores minus the difference of the target between the real and the
        masked sequence. It should be near 0; more `steps` reduce it. NaN otherwise.
    weights : ndarray of float32, shape (bases, bases), or None
        For attention: row i has the weights of base i, the mean over the heads of the last layer.
        NaN at characters other than A, C, G, T.
    tokens : tuple of TokenScore
        Tokens of bases from left to right; those of the forward strand, then those of the other.

    Examples
    --------
    >>> found = attribute("ACGTTGCATTAGCA")
    >>> found.method, found.target, found.effects.shape
    ('mutagenesis', 'likelihood', (14, 4))
    >>> np.allclose(found.scores, -found.effects.sum(1) / 3)
    True
    >>> [token.token for token in found.tokens if token.strand == "+"]
    ['ACGTTGC', 'ATTAGC', 'A']
    """

    sequence: str
    method: str
    target: str
    scores: npt.NDArray[np.float64]
    effects: npt.NDArray[np.float64] | None = None
    gap: float = float("nan")
    weights: npt.NDArray[np.float32] | None = None
    tokens: tuple[TokenScore, ...] = ()
    class_name: str = ""

    def turned(self) -> Attribution:
        """Return the same numbers in the order of the other strand.

        Returns
        -------
        Attribution

        Examples
        --------
        >>> scores, effects = np.array([1.0, 2.0]), np.array([[0, 1, 2, 3], [4, 0, 5, 6]])
        >>> found = Attribution("AC", "mutagenesis", "log_odds", scores, effects).turned()
        >>> found.sequence, found.scores.tolist(), found.effects.tolist()
        ('GT', [2.0, 1.0], [[6, 5, 0, 4], [3, 2, 1, 0]])
        """
        effects, weights, length = self.effects, self.weights, len(self.sequence)
        return replace(
            self,
            sequence=reverse_complement(self.sequence),
            scores=self.scores[::-1],
            # In reverse order, and A, C, G, T are T, G, C, A on the other strand.
            effects=None if effects is None else effects[::-1, ::-1],
            weights=None if weights is None else weights[::-1, ::-1],
            tokens=tuple(
                TokenScore(length - end, length - start, token, score, "+-"[strand == "+"])
                for start, end, token, score, strand in reversed(self.tokens)
            ),
        )


@overload  # a str is an iterable of str, and matches the first one
def attribute(  # type: ignore[overload-overlap]
    sequences: Sequence,
    model: Model | Name = "mini",
    tokenizer: Tokenizer | Name | None = None,
    *,
    device: str | torch.device = "auto",
    dtype: str = "auto",
    config: AttributionConfig | None = None,
) -> Attribution: ...


@overload
def attribute(
    sequences: Sequences,
    model: Model | Name = "mini",
    tokenizer: Tokenizer | Name | None = None,
    *,
    device: str | torch.device = "auto",
    dtype: str = "auto",
    config: AttributionConfig | None = None,
) -> list[Attribution]: ...


def attribute(
    sequences: Sequence | Sequences,
    model: Model | Name = "mini",
    tokenizer: Tokenizer | Name | None = None,
    *,
    device: str | torch.device = "auto",
    dtype: str = "auto",
    config: AttributionConfig | None = None,
) -> Attribution | list[Attribution]:
    """Return the contribution of each base of sequences to a model's answer.

    Parameters
    ----------
    sequences : str, or list, tuple, generator, array, series or path
        One sequence, or many as in `embed`. Lower case counts as upper case; characters besides A,
        C, G, T stay and get no score.
    model, tokenizer, device, dtype
        As in `embed`; a classifier, a masked language model or an encoder.
    config : AttributionConfig, optional

    Returns
    -------
    Attribution
        In units of the target: log-odds and log-likelihoods in nats, the others without unit.
        Its target is "attention" for that method. A list of them for many sequences.

    Raises
    ------
    CheckpointError
        When tokenizer and model have different vocabularies.
    ValueError
        When model, method and target cannot be combined, or a sequence has more than 8,192 bases
        for the method attention or lrp.

    Examples
    --------
    >>> found = attribute("ACGTTGCATTAGCA")
    >>> found.target, found.scores.shape, found.effects.shape
    ('likelihood', (14,), (14, 4))
    >>> len(attribute(["ACGTTGCATTAGCA", "GGCATT"]))
    2
    """
    config = config or AttributionConfig()
    given = [sequences] if is_one(sequences) else sequences
    texts = [text.upper() for text in text_list(given)]
    net, tok = load_model(model, tokenizer, device=device, dtype=dtype)
    known_texts(texts, tok)
    mutants = 3 * sum(text.count(base) for text in texts for base in BASES)
    total = (1 + config.both_strands) * (mutants if config.method == "mutagenesis" else len(texts))
    with progress(total, "attributing", "sequences") as bar:
        found = [attribute_quietly(text, net, tok, config, bar) for text in texts]
    return found[0] if is_one(sequences) else found


def attribute_quietly(
    sequence: str,
    model: Model,
    tokenizer: Tokenizer,
    config: AttributionConfig | None = None,
    bar: Progress | None = None,
) -> Attribution:
    """Return the result of `attribute`, without a progress bar."""
    config = config or AttributionConfig()
    model.config.require_vocabulary(tokenizer.vocabulary, "tokenizer")
    target = _target_of(model, config)
    sequence = sequence.upper()
    there = _attribute(sequence, model, tokenizer, config, target, bar)
    if target in CLASS_TARGETS:
        name = model.config.class_name(model.config.class_number(config.label))
        there = replace(there, class_name=name)
    if not config.both_strands:
        return there
    other = reverse_complement(sequence)
    back = _attribute(other, model, tokenizer, config, target, bar).turned()
    effects = weights = None
    if there.effects is not None and back.effects is not None:
        effects = (there.effects + back.effects) / 2
    if there.weights is not None and back.weights is not None:
        weights = ((there.weights + back.weights) / 2).astype(np.float32)
    scores = (there.scores + back.scores) / 2
    gap = (there.gap + back.gap) / 2
    tokens = there.tokens + back.tokens
    return replace(there, scores=scores, effects=effects, gap=gap, weights=weights, tokens=tokens)


def _target_of(model: Model, config: AttributionConfig) -> Target | Literal["attention"]:
    if config.method == "attention":
        if config.target is not None:
            raise ValueError(
                f"target: must be omitted with the method attention (got {config.target})."
            )
        return "attention"
    classifies = isinstance(model, Dnabert2ForSequenceClassification)
    predicts = isinstance(model, Dnabert2ForMaskedLM) and config.method == "mutagenesis"
    target = config.target
    if target is None:
        target = "log_odds" if classifies else "likelihood" if predicts else "similarity"
    if target in CLASS_TARGETS:
        if not isinstance(model, Dnabert2ForSequenceClassification):
            raise ValueError(f"target: {target} needs a fine-tuned classifier.")
        model.config.class_number(config.label)  # raises for a sequence without bases, too
    if config.method == "lrp" and target not in CLASS_TARGETS:
        raise ValueError(
            f"target: the method lrp needs log_odds or probability of a classifier (got {target})."
        )
    if target == "likelihood" and not predicts:
        raise ValueError(
            "target: likelihood needs a masked language model and the method mutagenesis."
        )
    return target


def _attribute(
    sequence: str,
    model: Model,
    tokenizer: Tokenizer,
    config: AttributionConfig,
    target: Target | Literal["attention"],
    bar: Progress | None,
) -> Attribution:
    spans = _spans_of_tokens(sequence, tokenizer)
    if target != "attention" and config.method == "mutagenesis":
        effects = _mutate(sequence, model, tokenizer, config, target, bar)
        scores = -effects.sum(1) / 3  # the base itself adds 0
        sums = [scores[start:end].sum() for _, start, end in spans]
        tokens = _scored(sequence, spans, sums)
        return Attribution(sequence, config.method, target, scores, effects, tokens=tokens)
    scores = np.full(len(sequence), np.nan)
    gap, weights, tokens = float("nan"), None, ()
    if config.method in ("attention", "lrp") and len(sequence) > MAX_ATTENTION_BP:
        raise ValueError(
            f"sequence: must have at most {MAX_ATTENTION_BP:,} bases for the method "
            f"{config.method} (got {len(sequence):,}). Give a part of it."
        )
    if config.method == "attention":
        weights = np.full((len(sequence), len(sequence)), np.nan, np.float32)
    if spans:
        target_fn = AttributionTarget(sequence, model, tokenizer, target, config.label)
        bases, token, share = _bases_of_tokens(spans)
        by_token: npt.NDArray[np.floating]
        if weights is not None:
            looks, by_token = attention_weights(target_fn)
            scores[bases] = by_token[token] * share
            weights[np.ix_(bases, bases)] = looks[np.ix_(token, token)] * share
        elif config.method == "occlusion":
            by_token = occlude(target_fn, config)
            scores[bases] = by_token[token]
        elif config.method == "lrp":
            by_token = relevances(target_fn)
            scores[bases] = by_token[token] * share
        else:
            by_token, gap = integrated_gradients(target_fn, config)
            scores[bases] = by_token[token] * share
        tokens = _scored(sequence, spans, [by_token[position] for position, *_ in spans])
    if bar is not None:
        bar.update()
    return Attribution(sequence, config.method, target, scores, None, gap, weights, tokens)


def _spans_of_tokens(sequence: str, tokenizer: Tokenizer) -> list[tuple[int, int, int]]:
    """Return position, start and end of the tokens of bases."""
    encoding = tokenizer.encode_detailed(sequence)
    positions = np.flatnonzero(~tokenizer.special_mask[encoding.ids])
    spans = encoding.offsets[positions].tolist()
    return [(position, *span) for position, span in zip(positions.tolist(), spans, strict=True)]


def _scored(
    sequence: str, spans: list[tuple[int, int, int]], scores: Iterable[float]
) -> tuple[TokenScore, ...]:
    return tuple(
        TokenScore(start, end, sequence[start:end], float(score), "+")
        for (_, start, end), score in zip(spans, scores, strict=True)
    )


def _bases_of_tokens(
    spans: list[tuple[int, int, int]],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the bases that belong to tokens, the token of each, and its fraction of the token."""
    lengths = np.array([end - start for _, start, end in spans])
    bases = np.concatenate([np.arange(start, end) for _, start, end in spans])
    token = np.repeat([position for position, *_ in spans], lengths)
    return bases, token, np.repeat(1 / lengths, lengths)


def _mutants(sequence: str) -> Iterator[tuple[int, int, str]]:
    """Yield position, index of the new base, and sequence of every single-base change."""
    for position, letter in enumerate(sequence):
        if letter in BASES:
            for number, base in enumerate(BASES):
                if base != letter:
                    yield position, number, f"{sequence[:position]}{base}{sequence[position + 1 :]}"


def _mutate(
    sequence: str,
    model: Model,
    tokenizer: Tokenizer,
    config: AttributionConfig,
    target: Target,
    bar: Progress | None,
) -> npt.NDArray[np.float64]:
    """Return the change of the target by each base at each position, shape (bases, 4)."""
    effects = np.full((len(sequence), 4), np.nan)
    if not set(sequence) & set(BASES):
        return effects
    for number, base in enumerate(BASES):
        effects[[letter == base for letter in sequence], number] = 0
    target_fn = (
        None
        if target == "likelihood"
        else AttributionTarget(sequence, model, tokenizer, target, config.label)
    )
    with evaluating(model):
        before = 0.0
        if target_fn is not None:
            alone = target_fn.copies(1)
            before = float(target_fn.on_host(alone, target_fn.real(alone))[0])
        mutants = _mutants(sequence)
        while chunk := list(islice(mutants, CHUNK_MUTANTS)):
            texts = [text for *_, text in chunk]
            if target_fn is None:
                changes = _ratios(sequence, texts, model, tokenizer, config)
            else:
                changes = _answers(target_fn, tokenizer.encode_batch(texts), config) - before
            positions, bases = zip(*((position, base) for position, base, _ in chunk), strict=True)
            effects[list(positions), list(bases)] = changes
            if bar is not None:
                bar.update(len(chunk))
    return effects


def _ratios(
    sequence: str, texts: list[str], model: Model, tokenizer: Tokenizer, config: AttributionConfig
) -> npt.NDArray[np.float64]:
    """Return log-likelihood ratios of changed sequences, computed as for variants."""
    assert isinstance(model, Dnabert2ForMaskedLM), "likelihood needs a masked language model"
    windows = Windows()
    unchanged = readings(sequence, 0)
    for number, text in enumerate(texts):
        for ref, alt in zip(unchanged, readings(text, 0), strict=True):
            windows.add_frame(number, ref, alt)
    ids = tokenizer.encode_batch(list(windows.texts))
    found = likelihood_ratios(ids, windows, model, tokenizer, config.batch_tokens)["llr"]
    return np.bincount(windows.variant, found) / len(unchanged)


def _answers(
    target_fn: AttributionTarget, ids: Ragged, config: AttributionConfig
) -> npt.NDArray[np.float64]:
    """Return the target of many sequences, in order."""
    found = np.empty(len(ids))
    for rows, batch in packed_batches(ids, config.batch_tokens):
        found[rows] = target_fn.on_host(batch, target_fn.real(batch))
    return found

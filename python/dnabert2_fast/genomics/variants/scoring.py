"""Scores of variants: a model's answer for the alternate sequence, relative to the reference.

A base belongs to a token, and changing it changes the neighbouring tokens too, often their number.
So the whole span of different tokens is compared. Each of them is masked in turn, in the reference
window and in the alternate one, and the log-likelihoods are summed (a pseudo-log-likelihood,
Salazar et al., "Masked Language Model Scoring", ACL 2020). Outside that span both windows have the
same tokens. For the full definition, see docs/guides/variants.md.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from dnabert2_fast._internal.progress import Progress, progress
from dnabert2_fast.genomics.embedding.pooling import pool_states
from dnabert2_fast.genomics.loading import load_model
from dnabert2_fast.genomics.masked import (
    Masks,
    evaluating,
    finite_on_host,
    mask_id_of,
    token_log_likelihood,
)
from dnabert2_fast.genomics.variants.alleles import (
    OTHER_LETTER,
    READINGS,
    SCORED,
    Variant,
    normalise,
    readings,
    status_of,
)
from dnabert2_fast.genomics.variants.background import Background
from dnabert2_fast.genomics.variants.config import ScoringConfig
from dnabert2_fast.genomics.variants.context import expected_logs
from dnabert2_fast.io.reference import Reference
from dnabert2_fast.io.strand import reverse_complement
from dnabert2_fast.model.auto import Model
from dnabert2_fast.model.batching import packed_batches
from dnabert2_fast.model.heads import Dnabert2ForMaskedLM, Dnabert2ForSequenceClassification
from dnabert2_fast.model.weights import Name
from dnabert2_fast.ragged import Ragged
from dnabert2_fast.tokenizer import Tokenizer
from dnabert2_fast.tokenizer.unknown import require_known

__all__ = [
    "VariantScore",
    "Windows",
    "background_of",
    "class_answer",
    "differing_tokens",
    "expected_of",
    "likelihood_ratios",
    "located",
    "score_stream",
    "score_variants",
]


# Number of alleles scored together; windows that occur twice among them are computed once.
CHUNK_ALLELES = 128

# Beside N within this distance, scores are much less certain: a token has up to some ten bases.
NEAR_BP = 8

NAN = float("nan")


class VariantScore(NamedTuple):
    """Scores of one allele: alternate minus reference, averaged over frames.

    A frame is one strand with one offset of the window, and one reading of its unknown bases. NaN
    means that the allele is not scored, or that the model does not provide the number.

    Attributes
    ----------
    status : str
        ``"scored"``, ``"scored_near_n"``, or why not; see
        `dnabert2_fast.genomics.variants.alleles.STATUSES`.
    normal : Variant or None
        The variant without shared bases, shifted as far left as possible.
    llr, llr_sd : float
        Log-likelihood ratio of the tokens that differ, in nats, and its standard deviation over
        frames (0 for a single one); for a masked language model only.
    context_llr : float
        `llr` minus what the same tokens have in an average context: their log-frequencies in a
        genome, and the mean gain of a base by its context. NaN without a `Background` for the
        vocabulary.
    ref_tokens, alt_tokens : float
        Tokens in the span that differs.
    cosine, l2 : float
        Distances of the windows' mean-pooled vectors: 1 - cosine similarity, and Euclidean.
    log_odds, probability : float
        Differences of a classifier's ``log(p / (1 - p))`` and ``p`` of the chosen class.
    other_letters : float
        Letters other than A, C, G, T in the reference window, each read as every base of its code.
        Scores beside them are less certain.

    Examples
    --------
    >>> genome = Reference({"chr1": "ACGTTGCATTAGCATTTACGGATTAACGT" * 9})
    >>> config = ScoringConfig(window_bp=64)
    >>> score, = score_variants([Variant("chr1", 120, "T", "G")], genome, config=config)
    >>> score.status, score.normal.start, bool(score.llr < 0), score.log_odds  # no classifier
    ('scored', 120, True, nan)
    """

    status: str
    normal: Variant | None = None
    llr: float = NAN
    llr_sd: float = NAN
    context_llr: float = NAN
    ref_tokens: float = NAN
    alt_tokens: float = NAN
    cosine: float = NAN
    l2: float = NAN
    log_odds: float = NAN
    probability: float = NAN
    other_letters: float = NAN


def score_variants(
    variants: Iterable[Variant | tuple[str, int, str, str]],
    reference: Reference | Name,
    model: Model | Name = "mini",
    tokenizer: Tokenizer | Name | None = None,
    *,
    device: str | torch.device = "auto",
    dtype: str = "auto",
    config: ScoringConfig | None = None,
) -> list[VariantScore]:
    """Score alleles against a reference.

    Parameters
    ----------
    variants : iterable of Variant
        Contig, 0-based start, reference and alternate bases; in any order.
    reference : Reference or path
        The genome, or its FASTA file; a `Reference` is opened once for many calls.
    model, tokenizer, device, dtype
        As in `embed`. Every model gives distances of vectors, a masked language model also
        likelihood ratios, a classifier also differences of a class's probability.
    config : ScoringConfig, optional

    Returns
    -------
    list of VariantScore
        One per variant, in order.

    Raises
    ------
    CheckpointError
        When tokenizer and model have different vocabularies, or the table ``background``
        belongs to another vocabulary.
    ValueError
        When the classifier has no class `label`, or the vocabulary no [MASK].

    Warns
    -----
    UserWarning
        When the vocabulary of a masked language model has no background.

    Examples
    --------
    >>> genome = Reference({"chr1": "ACGTTGCATTAGCATTTACGGATTAACGT" * 9})
    >>> variants = [Variant("1", 120, "T", "G"), Variant("1", 120, "A", "G")]
    >>> scores = score_variants(variants, genome)
    >>> [score.status for score in scores], scores[0].ref_tokens > 0
    (['scored', 'ref_mismatch'], True)
    """
    listed = list(variants)
    genome = reference if isinstance(reference, Reference) else Reference(reference)
    net, tok = load_model(model, tokenizer, device=device, dtype=dtype)
    config = (config or ScoringConfig()).for_model(net.config)
    background = background_of(net, tok, config)
    expected = expected_of(background, net, tok, genome, config)
    with progress(len(listed), "scoring", "variants") as bar:
        return list(score_stream(listed, genome, net, tok, config, bar, expected))


def expected_of(
    background: Background | None,
    model: Model,
    tokenizer: Tokenizer,
    reference: Reference,
    config: ScoringConfig,
) -> npt.NDArray[np.float64] | None:
    """Return `expected_logs` for a model that has a background."""
    if background is None or not isinstance(model, Dnabert2ForMaskedLM):
        return None
    return expected_logs(background, model, tokenizer, reference, config)


def background_of(model: Model, tokenizer: Tokenizer, config: ScoringConfig) -> Background | None:
    """Return the background for a masked language model; warn if it has none."""
    model.config.require_vocabulary(tokenizer.vocabulary, "tokenizer")
    if not isinstance(model, Dnabert2ForMaskedLM):
        return None
    background = Background.of(tokenizer, config.background)
    if background is None:
        warnings.warn(
            "context_llr is left out: the package has no token frequencies for this vocabulary. "
            "Give background a genome.",
            stacklevel=3,
        )
    return background


def score_stream(
    variants: Iterable[Variant | tuple[str, int, str, str]],
    reference: Reference,
    model: Model,
    tokenizer: Tokenizer,
    config: ScoringConfig | None = None,
    bar: Progress | None = None,
    expected: npt.NDArray[np.float64] | None = None,
) -> Iterator[VariantScore]:
    """Yield the scores of `score_variants` one by one; a few hundred are in memory at a time.

    `context_llr` is relative to the log-probabilities `expected` of every token.
    """
    config = (config or ScoringConfig()).for_model(model.config)
    model.config.require_vocabulary(tokenizer.vocabulary, "tokenizer")
    if isinstance(model, Dnabert2ForSequenceClassification):
        model.config.class_number(config.label)  # raises before anything is computed
    stream = iter(variants)
    while chunk := [Variant(*given) for given in islice(stream, CHUNK_ALLELES)]:
        scores = _score_chunk(chunk, reference, model, tokenizer, config, expected)
        if bar is not None:
            bar.update(len(chunk))
        yield from scores


def differing_tokens(
    ref_ids: npt.NDArray[np.uint16], alt_ids: npt.NDArray[np.uint16], unscored: frozenset[int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the positions of the tokens that differ, in each of two encodings.

    Tokens shared at the start are omitted, then those shared at the end. If one encoding has no
    other tokens (for example after a deletion of exactly one token), the neighbour on each side is
    added to both spans, so that the sequence without the token is scored as well. Tokens of
    `unscored` are skipped.

    >>> a, b = np.array([1, 50, 60, 70, 2]), np.array([1, 50, 61, 62, 70, 2])
    >>> [positions.tolist() for positions in differing_tokens(a, b, frozenset({1, 2}))]
    [[2], [2, 3]]
    """
    shorter = min(len(ref_ids), len(alt_ids))
    same = ref_ids[:shorter] == alt_ids[:shorter]
    head = shorter if same.all() else int(same.argmin())
    room = shorter - head
    same = ref_ids[len(ref_ids) - room :] == alt_ids[len(alt_ids) - room :]
    tail = room if same.all() else int(same[::-1].argmin())
    if head + tail == shorter:
        head, tail = max(head - 1, 0), max(tail - 1, 0)
    ref, alt = (
        np.array([i for i in range(head, len(ids) - tail) if ids[i] not in unscored], np.int64)
        for ids in (ref_ids, alt_ids)
    )
    return ref, alt


@dataclass
class Windows:
    """Windows of some variants, by frame; each text is stored once."""

    texts: dict[str, int] = field(default_factory=dict)
    variant: list[int] = field(default_factory=list)  # of each frame
    ref: list[int] = field(default_factory=list)  # text of each frame
    alt: list[int] = field(default_factory=list)
    other_letters: list[int] = field(default_factory=list)

    def add(
        self,
        number: int,
        variant: Variant,
        reference: Reference,
        tokenizer: Tokenizer,
        config: ScoringConfig,
    ) -> None:
        """Add the frames of a variant in normal form; `number` identifies the variant."""
        assert config.window_bp is not None, "for_model sets it"
        half = config.window_bp // 2
        for offset in config.offsets:
            first = max(variant.start - half + offset, 0)
            before = reference.fetch(variant.contig, first, variant.start)
            after = reference.fetch(variant.contig, variant.end, variant.end + half + offset)
            for text, start in ((before, first), (after, variant.end)):
                require_known(tokenizer, text, reference.path, variant.contig, start)
            others = sum(len(OTHER_LETTER.findall(text)) for text in (before, after))
            flanks = readings(before, first), readings(after, variant.end)
            for reading in range(READINGS if others else 1):
                left, right = (texts[reading % len(texts)] for texts in flanks)
                ref, alt = (left + middle + right for middle in (variant.ref, variant.alt))
                self.add_frame(number, ref, alt, others)
                if config.both_strands:
                    self.add_frame(number, reverse_complement(ref), reverse_complement(alt), others)

    def add_frame(self, number: int, ref: str, alt: str, other_letters: int = 0) -> None:
        """Add two texts to compare."""
        self.variant.append(number)
        self.other_letters.append(other_letters)
        self.ref.append(self.texts.setdefault(ref, len(self.texts)))
        self.alt.append(self.texts.setdefault(alt, len(self.texts)))


def located(variant: Variant, reference: Reference, config: ScoringConfig) -> VariantScore:
    """Return the status and normal form of a variant, without its scores."""
    status = status_of(variant, reference)
    normal = normalise(variant, reference) if status == "scored" else None
    if (
        normal is not None
        and config.window_bp
        and max(len(normal.ref), len(normal.alt)) > config.window_bp
    ):
        status = "too_long"
    elif normal is not None:
        start = max(normal.start - NEAR_BP, 0)
        if OTHER_LETTER.search(reference.fetch(normal.contig, start, normal.end + NEAR_BP)):
            status = "scored_near_n"
    return VariantScore(status, normal)


def _score_chunk(
    chunk: list[Variant],
    reference: Reference,
    model: Model,
    tokenizer: Tokenizer,
    config: ScoringConfig,
    expected: npt.NDArray[np.float64] | None,
) -> list[VariantScore]:
    scores: list[VariantScore] = []
    windows = Windows()
    for number, variant in enumerate(chunk):
        score = located(variant, reference, config)
        if score.status in SCORED and score.normal is not None:
            windows.add(number, score.normal, reference, tokenizer, config)
        scores.append(score)
    if not windows.variant:
        return scores
    ids = tokenizer.encode_batch(list(windows.texts))
    with evaluating(model):
        by_frame = _distances(ids, windows, model, tokenizer, config)
        if isinstance(model, Dnabert2ForMaskedLM):
            by_frame |= likelihood_ratios(
                ids, windows, model, tokenizer, config.batch_tokens, expected
            )
    by_frame["other_letters"] = np.array(windows.other_letters, np.float64)
    variant_index = np.array(windows.variant)
    frames = np.bincount(variant_index, minlength=len(chunk))
    with np.errstate(invalid="ignore"):  # 0 / 0 gives NaN for a variant that is not scored
        means = {
            name: np.bincount(variant_index, values, len(chunk)) / frames
            for name, values in by_frame.items()
        }
        if "llr" in means:
            spread = (by_frame["llr"] - means["llr"][variant_index]) ** 2
            means["llr_sd"] = np.sqrt(np.bincount(variant_index, spread, len(chunk)) / frames)
    return [
        VariantScore(score.status, score.normal, **{name: float(v[i]) for name, v in means.items()})
        for i, score in enumerate(scores)
    ]


def likelihood_ratios(
    ids: Ragged,
    windows: Windows,
    model: Dnabert2ForMaskedLM,
    tokenizer: Tokenizer,
    batch_tokens: int,
    expected: npt.NDArray[np.float64] | None = None,
) -> dict[str, npt.NDArray[np.float64]]:
    """Return ``llr``, ``ref_tokens`` and ``alt_tokens`` of every frame; call it in `evaluating`.

    `ids` are the encoded ``windows.texts``. With `expected` log-probabilities of every token,
    also ``context_llr``.
    """
    jobs: dict[tuple[int, int], int] = {}  # (text, position) -> masked copy, each once
    spans: list[tuple[list[int], list[int]]] = []
    for ref, alt in zip(windows.ref, windows.alt, strict=True):
        positions = differing_tokens(ids[ref], ids[alt], tokenizer.special_ids)
        spans.append(
            tuple(  # type: ignore[arg-type]
                [jobs.setdefault((text, position), len(jobs)) for position in part.tolist()]
                for text, part in zip((ref, alt), positions, strict=True)
            )
        )
    masks = Masks.one_each([text for text, _ in jobs], [position for _, position in jobs])
    logs = token_log_likelihood(ids, masks, model, mask_id_of(tokenizer), batch_tokens)
    found = {
        "llr": np.array([logs[alt].sum() - logs[ref].sum() for ref, alt in spans]),
        "ref_tokens": np.array([float(len(ref)) for ref, _ in spans]),
        "alt_tokens": np.array([float(len(alt)) for _, alt in spans]),
    }
    if expected is not None:
        tokens = [ids[text][position] for text, position in jobs]
        added = logs - expected[tokens]
        found["context_llr"] = np.array([added[alt].sum() - added[ref].sum() for ref, alt in spans])
    return found


def _distances(
    ids: Ragged, windows: Windows, model: Model, tokenizer: Tokenizer, config: ScoringConfig
) -> dict[str, npt.NDArray[np.float64]]:
    """Return distances of vectors and, for a classifier, differences of its answer, by frame."""
    special = torch.from_numpy(tokenizer.special_mask)
    classifies = isinstance(model, Dnabert2ForSequenceClassification)
    label = model.config.class_number(config.label) if classifies else 0
    vectors = np.empty((len(ids), model.config.hidden_size))
    log_odds, probability = np.empty(len(ids)), np.empty(len(ids))
    for rows, batch in packed_batches(ids, config.batch_tokens):
        real = ~special[batch.input_ids]
        batch = batch.to(model.device)
        states = model.bert.encode(batch)
        pooled = pool_states(states, batch, real)
        if isinstance(model, Dnabert2ForSequenceClassification):
            logits = model.classifier(model.bert.pool(states, batch.cu_seqlens)).double()
            vectors[rows], log_odds[rows], probability[rows] = finite_on_host(
                states, model, pooled, *class_answer(logits, label)
            )
        else:
            (vectors[rows],) = finite_on_host(states, model, pooled)
    ref, alt = vectors[windows.ref], vectors[windows.alt]
    norms = np.linalg.norm(ref, axis=1) * np.linalg.norm(alt, axis=1)
    found = {
        "cosine": 1 - (ref * alt).sum(1) / norms,
        "l2": np.linalg.norm(alt - ref, axis=1),
    }
    if isinstance(model, Dnabert2ForSequenceClassification):
        for name, values in (("log_odds", log_odds), ("probability", probability)):
            found[name] = values[windows.alt] - values[windows.ref]
    return found


def class_answer(logits: torch.Tensor, label: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``log(p / (1 - p))`` and ``p`` of a class, both (n,), from logits (n, num_labels).

    With two classes the first is the difference of their logits.
    """
    others = torch.cat([logits[:, :label], logits[:, label + 1 :]], 1)
    return logits[:, label] - others.logsumexp(1), logits.softmax(1)[:, label]

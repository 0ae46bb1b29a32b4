"""Which bases an answer rests on: in-silico mutagenesis, occlusion, integrated gradients.

Every method asks how a number, the target, changes when bases are changed or hidden. Tokens are
mapped to bases by the tokenizer's offsets. docs/guides/attribution.md has the definitions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch

from dnabert2_fast.genomics.embed import pool_states
from dnabert2_fast.genomics.masked import evaluating, mask_id_of, require_finite
from dnabert2_fast.genomics.variants import (
    Model,
    Windows,
    class_answer,
    likelihood_ratios,
    require_label,
)
from dnabert2_fast.model import (
    Dnabert2ForMaskedLM,
    Dnabert2ForSequenceClassification,
    PackedBatch,
)
from dnabert2_fast.progress import Progress, progress
from dnabert2_fast.ragged import Ragged, token_batches
from dnabert2_fast.tokenizer import COMPLEMENT, Tokenizer

__all__ = ["BASES", "Attribution", "AttributionRules", "attribute", "attribute_quietly"]

Method = Literal["mutagenesis", "occlusion", "gradients"]
Target = Literal["log_odds", "probability", "likelihood", "similarity"]

BASES = "ACGT"

# Mutants encoded and computed together.
CHUNK_MUTANTS = 1024

# A pass with gradients keeps the states of every layer: it gets this share of `batch_tokens`.
GRADIENT_SHARE = 8


@dataclass(frozen=True)
class AttributionRules:
    """What is asked, and how.

    Parameters
    ----------
    method
        mutagenesis: every base becomes each of the three others; occlusion: every token becomes
        [MASK]; gradients: integrated gradients from a sequence of [MASK].
    target
        log_odds or probability of a classifier's class; likelihood (masked language model,
        mutagenesis only): of the tokens that a mutation changes; similarity: cosine of the vector
        to that of the unchanged sequence. If left out, the first that the model has of log_odds,
        likelihood (for mutagenesis), similarity.
    label
        Class of a classifier.
    both_strands
        Average with what the reverse complement gives.
    steps
        Points between the masked and the real sequence for gradients.
    batch_tokens
        Tokens of one batch, at most: more is faster until memory ends.

    Raises
    ------
    ValueError
        When method or target is none of these, or a number is not positive.

    Notes
    -----
    Integrated gradients are those of Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep
    Networks" (ICML 2017), over the embeddings.

    Examples
    --------
    >>> model, tok = Dnabert2ForMaskedLM.from_pretrained("mini"), Tokenizer.from_pretrained("mini")
    >>> rules = AttributionRules("occlusion", both_strands=False)
    >>> attribute("ACGTTGCATTAGCA", model, tok, rules).target
    'similarity'
    """

    method: Method = "mutagenesis"
    target: Target | None = None
    label: int = 1
    both_strands: bool = True
    steps: int = 32
    batch_tokens: int = 16_384

    def __post_init__(self) -> None:
        for name, known in (("method", get_args(Method)), ("target", (None, *get_args(Target)))):
            if getattr(self, name) not in known:
                listed = ", ".join(f'"{one}"' for one in known if one)
                raise ValueError(f'{name}: "{getattr(self, name)}" is not one of {listed}')
        for name in ("steps", "batch_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is not positive")


@dataclass(frozen=True, eq=False)
class Attribution:
    """What each base of a sequence contributes.

    Attributes
    ----------
    sequence : str
        In upper case.
    method, target : str
    scores : ndarray of float64, shape (bases,)
        Positive where the base as it is raises the target. For mutagenesis minus the mean of the
        three effects; for occlusion what the target loses with the token, at each of its bases; for
        gradients the token's contribution, shared equally among its bases. NaN at other letters.
    effects : ndarray of float64, shape (bases, 4), or None
        Of mutagenesis: change of the target by A, C, G, T in this place; 0 for the base itself.
    gap : float
        Of gradients: sum of the scores minus the difference of the target between the real and the
        masked sequence, which should be near 0; more `steps` bring it nearer. NaN otherwise.

    Examples
    --------
    >>> model, tok = Dnabert2ForMaskedLM.from_pretrained("mini"), Tokenizer.from_pretrained("mini")
    >>> found = attribute("ACGTTGCATTAGCA", model, tok)
    >>> found.method, found.target, found.effects.shape
    ('mutagenesis', 'likelihood', (14, 4))
    >>> np.allclose(found.scores, -found.effects.sum(1) / 3)
    True
    """

    sequence: str
    method: str
    target: str
    scores: npt.NDArray[np.float64]
    effects: npt.NDArray[np.float64] | None = None
    gap: float = float("nan")


def attribute(
    sequence: str,
    model: Model,
    tokenizer: Tokenizer,
    rules: AttributionRules | None = None,
) -> Attribution:
    """Say what each base of a sequence contributes to a model's answer.

    Parameters
    ----------
    sequence : str
        Lower case counts as upper case; letters besides A, C, G, T stay and get no score.
    model : Dnabert2ForSequenceClassification, Dnabert2ForMaskedLM or Dnabert2Model
    tokenizer : Tokenizer
        The one that the model was trained with.
    rules : AttributionRules, optional

    Returns
    -------
    Attribution
        In units of the target: log-odds and log-likelihoods in nats, the others without a unit.

    Raises
    ------
    CheckpointError
        When tokenizer and model have vocabularies of different sizes.
    ValueError
        When model, method and target do not go together.

    Examples
    --------
    >>> from dnabert2_fast import Dnabert2Config, Dnabert2ForSequenceClassification
    >>> model = Dnabert2ForSequenceClassification(Dnabert2Config(hidden_size=24,
    ...     num_hidden_layers=1, num_attention_heads=2, intermediate_size=8))
    >>> found = attribute("ACGTTGCATTAGCA", model, Tokenizer.from_pretrained("dnabert2"))
    >>> found.target, found.scores.shape, found.effects.shape
    ('log_odds', (14,), (14, 4))
    """
    rules = rules or AttributionRules()
    mutants = 3 * sum(map(sequence.upper().count, BASES))
    total = (1 + rules.both_strands) * (mutants if rules.method == "mutagenesis" else 1)
    with progress(total, "attributing", "sequences") as bar:
        return attribute_quietly(sequence, model, tokenizer, rules, bar)


def attribute_quietly(
    sequence: str,
    model: Model,
    tokenizer: Tokenizer,
    rules: AttributionRules | None = None,
    bar: Progress | None = None,
) -> Attribution:
    """Do what `attribute` does, without a bar of its own."""
    rules = rules or AttributionRules()
    model.config.require_vocabulary(tokenizer.vocab_size, "tokenizer")
    target = _target_of(model, rules)
    sequence = sequence.upper()
    there = _attribute(sequence, model, tokenizer, rules, target, bar)
    if not rules.both_strands:
        return there
    other = sequence.translate(COMPLEMENT)[::-1]
    back = _attribute(other, model, tokenizer, rules, target, bar)
    effects = None
    if there.effects is not None and back.effects is not None:
        # The other way round, and A, C, G, T are T, G, C, A there.
        effects = (there.effects + back.effects[::-1, ::-1]) / 2
    scores = (there.scores + back.scores[::-1]) / 2
    gap = (there.gap + back.gap) / 2
    return Attribution(sequence, rules.method, target, scores, effects, gap)


def _target_of(model: Model, rules: AttributionRules) -> Target:
    classifies = isinstance(model, Dnabert2ForSequenceClassification)
    predicts = isinstance(model, Dnabert2ForMaskedLM) and rules.method == "mutagenesis"
    target = rules.target
    if target is None:
        target = "log_odds" if classifies else "likelihood" if predicts else "similarity"
    if target in ("log_odds", "probability"):
        if not isinstance(model, Dnabert2ForSequenceClassification):
            raise ValueError(f"target: {target} needs a fine-tuned classifier")
        require_label(rules.label, model.config.num_labels)
    if target == "likelihood" and not predicts:
        raise ValueError(
            "target: likelihood needs a masked language model and the method mutagenesis"
        )
    return target


def _attribute(
    sequence: str,
    model: Model,
    tokenizer: Tokenizer,
    rules: AttributionRules,
    target: Target,
    bar: Progress | None,
) -> Attribution:
    if rules.method == "mutagenesis":
        effects = _mutate(sequence, model, tokenizer, rules, target, bar)
        scores = -effects.sum(1) / 3  # the base itself adds 0
        return Attribution(sequence, rules.method, target, scores, effects)
    scores = np.full(len(sequence), np.nan)
    if not set(sequence) & set(BASES):
        return Attribution(sequence, rules.method, target, scores)
    ask = _Question(sequence, model, tokenizer, target, rules.label)
    if rules.method == "occlusion":
        by_token, gap = _occlude(ask, rules), float("nan")
    else:
        by_token, gap = _integrate(ask, rules)
    if bar is not None:
        bar.update()
    spans = tokenizer.encode_detailed(sequence).offsets
    for place, value in zip(ask.places.tolist(), by_token.tolist(), strict=True):
        start, end = spans[place]
        scores[start:end] = value if rules.method == "occlusion" else value / (end - start)
    return Attribution(sequence, rules.method, target, scores, None, gap)


class _Question:
    """A target as a function of packed sequences, with what belongs to the unchanged one."""

    def __init__(
        self, sequence: str, model: Model, tokenizer: Tokenizer, target: Target, label: int
    ) -> None:
        self.model, self.target, self.label = model, target, label
        self.tokenizer = tokenizer
        self.special = torch.zeros(tokenizer.vocab_size, dtype=torch.bool)
        self.special[sorted(tokenizer.special_ids)] = True
        self.ids = tokenizer.encode(sequence)
        self.places = np.flatnonzero(~self.special.numpy()[self.ids])
        self.home: torch.Tensor | None = None
        if target == "similarity":
            with evaluating(model):
                batch = self.copies(1).to(model.device)
                home = pool_states(self.model.bert.encode(batch), batch, self.real(batch))[0]
            self.home = home.double().clone()  # outside inference mode, so that gradients may pass

    def copies(self, number: int) -> PackedBatch:
        """Return the unchanged sequence several times."""
        return PackedBatch.from_ragged(Ragged.from_list([self.ids] * number))

    def real(self, batch: PackedBatch) -> torch.Tensor:
        """Whether tokens stand for bases, shape (total_tokens,)."""
        return ~self.special.to(batch.input_ids.device)[batch.input_ids]

    def __call__(self, batch: PackedBatch, real: torch.Tensor) -> torch.Tensor:
        """Return the target of every sequence, shape (n,); vectors are means over `real` tokens."""
        if isinstance(self.model, Dnabert2ForSequenceClassification) and self.home is None:
            # Not by way of states: the last layer then may work for each first token alone.
            logits = self.model(batch).logits.double()
            require_finite(logits, self.model)
            log_odds, probability = class_answer(logits, self.label)
            return log_odds if self.target == "log_odds" else probability
        assert self.home is not None, "without a classifier the target is similarity"
        batch = batch.to(self.model.device)
        states = self.model.bert.encode(batch)
        require_finite(states, self.model)
        vectors = pool_states(states, batch, real).double()
        return torch.cosine_similarity(vectors, self.home[None])


def _mutants(sequence: str) -> Iterator[tuple[int, int, str]]:
    """Yield place, index of the new base, and sequence of every single-base change."""
    for place, letter in enumerate(sequence):
        if letter in BASES:
            for number, base in enumerate(BASES):
                if base != letter:
                    yield place, number, f"{sequence[:place]}{base}{sequence[place + 1 :]}"


def _mutate(
    sequence: str,
    model: Model,
    tokenizer: Tokenizer,
    rules: AttributionRules,
    target: Target,
    bar: Progress | None,
) -> npt.NDArray[np.float64]:
    """Return the change of the target by every base in every place, shape (bases, 4)."""
    effects = np.full((len(sequence), 4), np.nan)
    if not set(sequence) & set(BASES):
        return effects
    for number, base in enumerate(BASES):
        effects[[letter == base for letter in sequence], number] = 0
    ask = (
        None
        if target == "likelihood"
        else _Question(sequence, model, tokenizer, target, rules.label)
    )
    with evaluating(model):
        before = 0.0
        if ask is not None:
            alone = ask.copies(1)
            before = float(ask(alone, ask.real(alone)))
        mutants = _mutants(sequence)
        while chunk := list(islice(mutants, CHUNK_MUTANTS)):
            texts = [text for *_, text in chunk]
            if ask is None:
                changes = _ratios(sequence, texts, model, tokenizer, rules)
            else:
                changes = _answers(ask, tokenizer.encode_batch(texts), rules) - before
            places, bases = zip(*((place, base) for place, base, _ in chunk), strict=True)
            effects[list(places), list(bases)] = changes
            if bar is not None:
                bar.update(len(chunk))
    return effects


def _ratios(
    sequence: str, texts: list[str], model: Model, tokenizer: Tokenizer, rules: AttributionRules
) -> npt.NDArray[np.float64]:
    """Return log-likelihood ratios of changed sequences, as variants have them."""
    assert isinstance(model, Dnabert2ForMaskedLM), "likelihood is asked of masked language models"
    windows = Windows()
    for number, text in enumerate(texts):
        windows.add_frame(number, sequence, text)
    ids = tokenizer.encode_batch(list(windows.texts))
    return likelihood_ratios(ids, windows, model, tokenizer, rules.batch_tokens)["llr"]


def _answers(ask: _Question, ids: Ragged, rules: AttributionRules) -> npt.NDArray[np.float64]:
    """Return the target of many sequences, in order."""
    found = np.empty(len(ids))
    order = np.argsort(-ids.lengths, kind="stable")
    for stretch in token_batches(ids.lengths[order], rules.batch_tokens):
        rows = order[stretch]
        batch = PackedBatch.from_ragged(ids.take(rows))
        found[rows] = ask(batch, ask.real(batch)).cpu().numpy()
    return found


def _occlude(ask: _Question, rules: AttributionRules) -> npt.NDArray[np.float64]:
    """Return what the target loses when each token of bases becomes [MASK]."""
    found = np.empty(len(ask.places))
    together = max(rules.batch_tokens // len(ask.ids), 1)
    mask_id = mask_id_of(ask.tokenizer)
    with evaluating(ask.model):
        alone = ask.copies(1)
        before = float(ask(alone, ask.real(alone)))
        for first in range(0, len(ask.places), together):
            places = ask.places[first : first + together]
            batch = ask.copies(len(places))
            real = ask.real(batch)  # of the unchanged tokens: the vector stays a mean of as many
            at = np.arange(len(places)) * len(ask.ids) + places
            batch.input_ids[torch.from_numpy(at)] = mask_id
            found[first : first + together] = before - ask(batch, real).cpu().numpy()
    return found


def _integrate(ask: _Question, rules: AttributionRules) -> tuple[npt.NDArray[np.float64], float]:
    """Integrate gradients (Sundararajan, Taly and Yan, ICML 2017) over word embeddings.

    The path runs from the sequence with every token of bases as [MASK] to the sequence; the
    integral is the mean of `steps` gradients at the middles of as many equal parts.
    """
    embedding = ask.model.bert.embeddings.word_embeddings
    ids = torch.from_numpy(ask.ids.astype(np.int64)).to(ask.model.device)
    masked = ids.clone()
    masked[torch.from_numpy(ask.places).to(ids.device)] = mask_id_of(ask.tokenizer)
    together = max(rules.batch_tokens // GRADIENT_SHARE // len(ids), 1)
    points = (torch.arange(rules.steps, device=ids.device) + 0.5) / rules.steps
    with evaluating(ask.model, gradients=True):
        with torch.no_grad():
            start, way = embedding(masked), embedding(ids) - embedding(masked)
        total = torch.zeros_like(way, dtype=torch.float32)
        for first in range(0, rules.steps, together):
            some = points[first : first + together]
            batch = ask.copies(len(some))
            inputs = (start + some[:, None, None].to(way.dtype) * way).flatten(0, 1)
            inputs.requires_grad_()
            # The model takes ids; the embeddings that it looks up are exchanged for these.
            hook = embedding.register_forward_hook(lambda *_, inputs=inputs: inputs)
            try:
                answer = ask(batch, ask.real(batch)).sum()
            finally:
                hook.remove()
            (slope,) = torch.autograd.grad(answer, inputs)
            total += slope.view(len(some), *way.shape).float().sum(0)
        by_token = (way.float() * total / rules.steps).sum(-1).double().cpu().numpy()
        with torch.no_grad():
            alone = ask.copies(1)
            real = ask.real(alone)
            ends = [float(ask(alone, real))]
            alone.input_ids.copy_(masked)
            ends.append(float(ask(alone, real)))
    return by_token[ask.places], float(by_token.sum()) - (ends[0] - ends[1])

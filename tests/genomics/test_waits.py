"""A batch waits for its device once: when its results are copied to the host."""

import warnings

import pytest
import torch
from helpers.toys import MOTIFS
from torch.overrides import TorchFunctionMode

from dnabert2_fast import (
    Dnabert2ForMaskedLM,
    Dnabert2ForSequenceClassification,
    Dnabert2Model,
    Tokenizer,
    attribute,
    embed,
)
from dnabert2_fast.attention import count_scores
from dnabert2_fast.finetuning import Predictor
from dnabert2_fast.finetuning.task import Task
from dnabert2_fast.genomics import AttributionConfig, ScoringConfig, embed_positions
from dnabert2_fast.genomics.masked import Masks, evaluating, token_log_likelihood
from dnabert2_fast.genomics.variants import Variant
from dnabert2_fast.genomics.variants.scoring import score_variants
from dnabert2_fast.io import Reference
from dnabert2_fast.model.encoder import Bert
from dnabert2_fast.model.segments import _by_index, _by_segment

TOKENIZER = Tokenizer.from_pretrained("mini")
SEQUENCES = [motif * n for motif in MOTIFS for n in (5, 30, 200)]

# Functions whose results a host needs, so that it waits for a GPU. `numpy` is called for tensors on
# the host alone.
WAITING = {
    "tolist", "item", "__bool__", "__int__", "__float__", "__index__", "nonzero", "bincount",
    "unique", "masked_select", "equal", "allclose",
}  # fmt: skip


class Waits(TorchFunctionMode):
    """Counts copies to the host and records every other call that waits."""

    def __init__(self):
        super().__init__()
        self.copies, self.others = 0, []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        kwargs = kwargs or {}
        self.copies += name == "cpu"
        masks = name in ("__getitem__", "__setitem__") and any(
            isinstance(x, torch.Tensor) and x.dtype is torch.bool
            for x in (args[1] if isinstance(args[1], tuple) else (args[1],))
        )
        repeats = name == "repeat_interleave" and "output_size" not in kwargs
        if name in WAITING or masks or repeats:
            self.others.append(name)
        return function(*args, **kwargs)


@pytest.fixture
def batches(monkeypatch):
    """Return a list that grows with each batch through the encoder."""
    seen = []
    encode = Bert.encode

    def counted(self, batch, *args, **kwargs):
        seen.append(len(batch))
        return encode(self, batch, *args, **kwargs)

    monkeypatch.setattr(Bert, "encode", counted)
    return seen


@pytest.fixture(scope="module")
def models():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kinds = (Dnabert2Model, Dnabert2ForMaskedLM, Dnabert2ForSequenceClassification)
        return {kind: kind.from_pretrained("mini") for kind in kinds}


def check(batches, work):
    with Waits() as waits, count_scores() as scores:
        work()
    assert scores.total > 0
    assert batches
    assert waits.others == []
    assert waits.copies <= len(batches)


@pytest.mark.parametrize(
    "settings",
    [{}, {"pooling": "max"}, {"pooling": "cls"}, {"layers": (0, -1)}, {"context_bp": 100}],
)
def test_embed(models, batches, settings):
    model = models[Dnabert2Model]
    check(batches, lambda: embed(SEQUENCES, model, TOKENIZER, batch_tokens=300, **settings))
    assert len(batches) > 1


def test_embed_positions(models, batches):
    model = models[Dnabert2Model]
    check(batches, lambda: embed_positions(SEQUENCES, model, TOKENIZER, batch_tokens=300))


def test_predict(models, batches):
    model = models[Dnabert2ForSequenceClassification]
    predictor = Predictor(model, TOKENIZER, Task("multiclass", ("a", "b"), window_bp=100), 300)
    check(batches, lambda: predictor(SEQUENCES))


@pytest.mark.parametrize("kind", [Dnabert2ForMaskedLM, Dnabert2ForSequenceClassification])
def test_score_variants(models, batches, kind, tmp_path):
    (tmp_path / "x.fa").write_text(">c\n" + "ACGTTGCATTAGCATCG" * 40 + "\n")
    reference = Reference(tmp_path / "x.fa")
    variants = [Variant("c", position, "A", "G") for position in (85, 170)]
    config = ScoringConfig(batch_tokens=2000)
    model = models[kind]
    check(batches, lambda: score_variants(variants, reference, model, TOKENIZER, config=config))


@pytest.mark.parametrize("method", ["mutagenesis", "occlusion", "gradients", "attention"])
def test_attribute(models, batches, method):
    model = models[Dnabert2ForSequenceClassification]
    config = AttributionConfig(method=method, both_strands=False)
    check(batches, lambda: attribute("ACGTTGCATTAGC", model, TOKENIZER, config=config))


def test_masked_predictions(models, batches):
    ids = TOKENIZER.encode_batch(SEQUENCES)
    masks = Masks.one_each([0, 1, 2], [1, 1, 1])
    with evaluating(models[Dnabert2ForMaskedLM]):
        check(
            batches,
            lambda: token_log_likelihood(
                ids, masks, models[Dnabert2ForMaskedLM], TOKENIZER.mask_id, 300
            ),
        )


def test_sums_of_segments_are_those_of_indices():
    rows = torch.randn(100, 7, dtype=torch.float64, requires_grad=True)
    borders = torch.tensor([0, 0, 40, 41, 41, 100], dtype=torch.int32)
    one, other = _by_index(rows, borders), _by_segment(rows, borders)
    torch.testing.assert_close(one, other)
    grad = torch.randn_like(one)
    torch.testing.assert_close(*(torch.autograd.grad(out, rows, grad)[0] for out in (one, other)))

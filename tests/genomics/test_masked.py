"""Masked copies of sequences, and what a model predicts at their masks."""

import numpy as np
import pytest
import torch
from helpers.models import masked_lm, tok
from torch import nn

from dnabert2_fast import PackedBatch, Ragged
from dnabert2_fast.errors import DivergedError
from dnabert2_fast.genomics.masked import (
    Masks,
    evaluating,
    finite_on_host,
    mask_id_of,
    positions_of_bases,
    predictions,
    token_log_likelihood,
)

mlm = masked_lm().eval()
TEXTS = ["ACGTTGCATTAGCATTTACGG", "ACGTNACC", "TTGACAGGATTACA" * 3]
IDS = tok.encode_batch(TEXTS)
# Copies of the sequences 2, 0, 2, 1, with one, two, no and two positions masked.
MASKS = Masks(np.array([2, 0, 2, 1]), np.array([0, 1, 3, 3, 5]), np.array([4, 1, 3, 1, 2]))


class Counter:
    """Stands in for a progress bar."""

    def __init__(self):
        self.updates = []

    def update(self, count):
        self.updates.append(count)


def lists(masks):
    assert {part.dtype for part in masks} == {np.dtype(np.int64)}
    return [part.tolist() for part in masks]


def test_one_position_in_each_copy():
    found = Masks.one_each([3, 3, 0], np.array([1, 2, 5], np.int32))
    assert lists(found) == [[3, 3, 0], [0, 1, 2, 3], [1, 2, 5]]
    assert lists(Masks.one_each([], [])) == [[], [0], []]


@pytest.mark.parametrize(
    ("mask_stride", "rows", "offsets", "positions"),
    [
        (None, [0, 0, 0, 0, 0, 2], [0, 1, 2, 3, 4, 5, 6], [1, 2, 3, 6, 7, 9]),
        (1, [0, 2], [0, 5, 6], [1, 2, 3, 6, 7, 9]),
        (2, [0, 0, 2], [0, 3, 5, 6], [1, 3, 7, 2, 6, 9]),
        (3, [0, 0, 0, 2], [0, 2, 4, 5, 6], [1, 6, 2, 7, 3, 9]),
        (9, [0, 0, 0, 0, 0, 2], [0, 1, 2, 3, 4, 5, 6], [1, 2, 3, 6, 7, 9]),
    ],
)
def test_every_nth_position_in_one_copy(mask_stride, rows, offsets, positions):
    given = [np.array([1, 2, 3, 6, 7]), np.array([], np.int64), np.array([9])]
    assert lists(Masks.of(given, mask_stride)) == [rows, offsets, positions]
    assert lists(Masks.of([], mask_stride)) == [[], [0], []]


@pytest.mark.parametrize("training", [True, False])
def test_evaluating_sets_everything_back(training):
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).train(training)
    with evaluating(model):
        assert not model[1].training
        assert torch.is_inference_mode_enabled()
        assert not torch.is_grad_enabled()
    assert model[1].training == training
    with pytest.raises(KeyError), evaluating(model, gradients=True):
        assert not model[1].training
        assert not torch.is_inference_mode_enabled()
        assert torch.is_grad_enabled()
        raise KeyError
    assert model[1].training == training
    with torch.no_grad(), evaluating(model, gradients=True):
        assert torch.is_grad_enabled()
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite(bad):
    states = torch.tensor([0.0, 1e30])
    first, second = finite_on_host(states, mlm, states.bfloat16(), states[:, None].double())
    assert (first.shape, second.shape, second[1, 0]) == ((2,), (2, 1), float(states[1]))
    with pytest.raises(DivergedError, match=r"^the model's states .*torch\.float32. Use float32;"):
        finite_on_host(torch.tensor([0.0, bad]), mlm, states)


def test_mask_and_special_tokens():
    assert mask_id_of(tok) == tok.mask_id

    class Without:
        mask_id = None

    with pytest.raises(ValueError, match=r"^tokenizer: has no \[MASK\] token"):
        mask_id_of(Without())
    ids = tok.encode("ACGTNACGNA")
    wanted = [i for i, token in enumerate(ids) if token not in tok.special_ids]
    assert positions_of_bases(ids, tok).tolist() == wanted
    assert 0 < len(wanted) < len(ids) - 2


@torch.no_grad()
def alone(copy):
    """Position, true id and logits of each mask of one copy, which is computed by itself."""
    ids = IDS[MASKS.rows[copy]].tolist()
    places = MASKS.positions[MASKS.offsets[copy] : MASKS.offsets[copy + 1]].tolist()
    hidden = [tok.mask_id if i in places else token for i, token in enumerate(ids)]
    logits = mlm(PackedBatch.from_ragged(Ragged.from_list([hidden]))).logits
    return [(ids[place], logits[place]) for place in places]


@pytest.mark.parametrize("batch_tokens", [1, 25, 10_000])
def test_predictions_are_those_of_each_copy(batch_tokens, monkeypatch):
    wanted = [found for copy in range(4) for found in alone(copy)]
    bar, sizes = Counter(), []
    encode = mlm.bert.encode
    monkeypatch.setattr(
        mlm.bert,
        "encode",
        lambda batch, *a, **b: sizes.append(batch.lengths) or encode(batch, *a, **b),
    )
    seen = []
    before = IDS.values.copy()
    with evaluating(mlm):
        for batch in predictions(IDS, MASKS, mlm, tok.mask_id, batch_tokens, bar):
            assert batch.logits.dtype == torch.float32
            assert batch.logits.shape == (len(batch.which), tok.vocab_size)
            for which, true_id, logits in zip(*batch, strict=True):
                seen.append(int(which))
                assert int(true_id) == wanted[which][0]
                torch.testing.assert_close(logits, wanted[which][1], atol=1e-5, rtol=1e-4)
    assert sorted(seen) == list(range(5))
    assert np.array_equal(IDS.values, before)
    assert sum(bar.updates) == 4
    assert len(bar.updates) == {1: 4, 10_000: 1}.get(batch_tokens, len(bar.updates))
    assert all(sum(size) <= batch_tokens or len(size) == 1 for size in sizes)


def test_log_likelihoods(monkeypatch):
    wanted = [
        float(logits.double().log_softmax(0)[token])
        for copy in range(4)
        for token, logits in alone(copy)
    ]
    bar = Counter()
    with evaluating(mlm):
        found = token_log_likelihood(IDS, MASKS, mlm, tok.mask_id, 30, bar)
        half = masked_lm().eval().bfloat16()
        near = token_log_likelihood(IDS, MASKS, half, tok.mask_id, 30)
        assert token_log_likelihood(IDS, Masks.of([], None), mlm, tok.mask_id, 30).shape == (0,)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    np.testing.assert_allclose(near, wanted, atol=0.5)
    assert sum(bar.updates) == 4


def test_a_diverged_model_is_reported():
    model = masked_lm()
    with torch.no_grad():
        model.cls.predictions.decoder.bias.fill_(float("nan"))
    with evaluating(model), pytest.raises(DivergedError, match="float32"):
        token_log_likelihood(IDS, MASKS, model, tok.mask_id, 30)

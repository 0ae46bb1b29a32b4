"""Packed batches from ragged and padded ones."""

import warnings

import numpy as np
import pytest
import torch

from dnabert2_fast import Dnabert2Config, Dnabert2Model, PackedBatch, Ragged
from dnabert2_fast.model import batch as module


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_from_ragged():
    batch = PackedBatch.from_ragged(Ragged.from_list([[1, 5, 2], [], [1, 9, 8, 2]]))
    assert batch.input_ids.tolist() == [1, 5, 2, 1, 9, 8, 2]
    assert batch.input_ids.dtype == torch.int64
    assert batch.cu_seqlens.tolist() == [0, 3, 3, 7]
    assert batch.cu_seqlens.dtype == torch.int32
    assert type(batch.max_seqlen) is int
    assert (batch.max_seqlen, batch.token_type_ids, len(batch)) == (4, None, 3)
    assert batch.lengths.tolist() == [3, 0, 4]
    empty = PackedBatch.from_ragged(Ragged.from_list([]))
    assert (len(empty), empty.max_seqlen, empty.lengths.tolist()) == (0, 0, [])


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float32])
def test_padding_is_left_out_wherever_it_stands(dtype):
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1], [0, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
    ids = torch.arange(20).view(5, 4)
    batch = PackedBatch.from_padded(ids, mask.to(dtype), ids + 100)
    assert batch.input_ids.tolist() == [0, 1, 6, 7, 9, 10, 16, 17, 18, 19]
    assert batch.token_type_ids.tolist() == [100 + i for i in batch.input_ids.tolist()]
    assert batch.cu_seqlens.tolist() == [0, 2, 4, 6, 6, 10]
    assert batch.cu_seqlens.dtype == torch.int32
    assert type(batch.max_seqlen) is int
    assert batch.max_seqlen == 4
    assert PackedBatch.from_padded(ids, mask).token_type_ids is None


def test_rectangles_without_tokens():
    for shape in ((0, 4), (2, 0)):
        nothing = torch.zeros(shape, dtype=torch.int64)
        batch = PackedBatch.from_padded(nothing, nothing)
        assert batch.cu_seqlens.tolist() == [0] * (shape[0] + 1)
        assert (batch.max_seqlen, len(batch.input_ids)) == (0, 0)


def test_vectors_instead_of_ids():
    vectors = torch.arange(12.0).view(2, 2, 3)
    batch = PackedBatch.from_padded(vectors, torch.tensor([[1, 0], [1, 1]]))
    assert batch.input_ids.tolist() == [[0, 1, 2], [6, 7, 8], [9, 10, 11]]


def test_shapes_that_do_not_fit():
    ids = torch.zeros((2, 3), dtype=torch.int64)
    for given in (ids, torch.zeros(2, 3, 5)):
        with pytest.raises(
            ValueError, match=r"^attention_mask: must have the shape .*\(2, 3\) \(got \(2, 4\)\)"
        ):
            PackedBatch.from_padded(given, torch.ones(2, 4))
    with pytest.raises(
        ValueError, match=r"^token_type_ids: must have the shape .*\(2, 3\) \(got \(1, 3\)\)"
    ):
        PackedBatch.from_padded(ids, torch.ones(2, 3), torch.zeros(1, 3))
    for shape in ((6,), (2, 3, 1)):
        with pytest.raises(
            ValueError, match=r"^attention_mask: must have the shape \(batch, length\)"
        ):
            PackedBatch.from_padded(ids, torch.ones(shape))


@pytest.mark.parametrize("gap", [[1, 0, 1, 1], [0, 1, 0, 1], [1, 1, 0, 1]])
def test_gaps_between_real_tokens(gap, monkeypatch):
    ids, mask = torch.arange(8).view(2, 4), torch.tensor([[1, 1, 1, 0], gap])
    with pytest.warns(UserWarning, match=r"^attention_mask: has gaps") as caught:
        batch = PackedBatch.from_padded(ids, mask)
    assert caught[0].filename == __file__
    assert batch.input_ids.tolist() == ids[mask.bool()].tolist()
    assert batch.cu_seqlens.tolist() == [0, 3, 3 + sum(gap)]
    # A look at the values would break a compiled graph.
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    PackedBatch.from_padded(ids, mask)


@pytest.mark.parametrize("given", ["ACGT", torch.ones(1, 4, dtype=torch.int64), ["ACGT"]])
def test_models_take_packed_batches_only(given):
    sizes = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 3}
    model = Dnabert2Model(Dnabert2Config(vocab_size=16, intermediate_size=8, **sizes))
    with pytest.raises(TypeError, match=r"batch: must be a PackedBatch \(got \w+\)\. Call embed"):
        model(given)


def test_to_another_device():
    ids = torch.arange(4).view(1, 4)
    for types in (None, ids):
        batch = PackedBatch.from_padded(ids, torch.ones(1, 4), types)
        moved = batch.to("meta")
        assert {moved.input_ids.device.type, moved.cu_seqlens.device.type} == {"meta"}
        assert moved.max_seqlen == 4
        assert (moved.token_type_ids is None) == (types is None)
        assert types is None or moved.token_type_ids.device.type == "meta"
        assert batch.to(torch.device("cpu")).input_ids is batch.input_ids
        assert np.array_equal(batch.lengths, [4])


def test_tokens_are_counted_where_there_may_be_too_many(monkeypatch):
    ids, mask = torch.arange(8).view(2, 4), torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])
    counted = []
    monkeypatch.setattr(module, "require_fits", counted.append)
    for limit, found in ((8, []), (7, [4])):
        monkeypatch.setattr(module, "MAX_BATCH_TOKENS", limit)
        PackedBatch.from_padded(ids, mask)
        assert counted == found
    assert type(counted[0]) is int
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    PackedBatch.from_padded(ids, mask)
    assert counted == [4]


def test_copies_do_not_wait_for_the_device():
    class Part:
        device = torch.device("cuda")

        def to(self, device, *, non_blocking=False):
            return device, non_blocking

    for types in (None, Part()):
        moved = PackedBatch(Part(), Part(), 4, types).to("cuda")
        parts = [moved.input_ids, moved.cu_seqlens, moved.token_type_ids]
        assert parts == [("cuda", True)] * 2 + [types and ("cuda", True)]

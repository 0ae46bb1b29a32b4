"""The flat batch, against plain lists."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dnabert2_fast import PackedBatch, Ragged, ragged
from dnabert2_fast._internal.arrow import numbers, strings
from dnabert2_fast.model import batch

rows = st.lists(st.lists(st.integers(0, 65535), max_size=6), max_size=8)


@given(rows)
def test_round_trips(lists):
    rag = Ragged.from_list(lists)
    assert rag.to_list() == lists
    assert [r.tolist() for r in rag] == lists
    assert rag.to_arrow().to_pylist() == lists
    assert rag.lengths.tolist() == [len(r) for r in lists]


@given(rows, st.data())
def test_take(lists, draw):
    rag = Ragged.from_list(lists)
    picked = draw.draw(st.lists(st.integers(0, len(lists) - 1), max_size=9)) if lists else []
    assert rag.take(picked).to_list() == [lists[i] for i in picked]


@given(rows, st.sampled_from(["left", "right"]))
def test_padding(lists, side):
    ids, mask = Ragged.from_list(lists).to_padded(pad_id=3, side=side)
    width = max(map(len, lists), default=0)
    pad = [[3] * (width - len(r)) for r in lists]
    want = [p + r if side == "left" else r + p for r, p in zip(lists, pad, strict=True)]
    assert ids.tolist() == want
    assert mask.sum() == sum(map(len, lists))


def test_views_and_errors():
    rag = Ragged.from_list([[1, 2], [3]])
    assert rag[-1].tolist() == [3]
    assert np.shares_memory(rag[0], rag.values)
    with pytest.raises(IndexError):
        rag[2]
    with pytest.raises(ValueError, match="side: must be"):
        rag.to_padded(side="up")
    assert repr(rag) == "Ragged(2 sequences, 3 tokens)"


def test_to_torch():
    ids, cu_seqlens = Ragged.from_list([[1, 2], [3]]).to_torch()
    assert (ids.tolist(), cu_seqlens.tolist()) == ([1, 2, 3], [0, 2, 3])
    assert str(cu_seqlens.dtype) == "torch.int32"


def test_arrow_arrays_are_those_of_pyarrow():
    for dtype in (np.uint16, np.int64, np.int8, np.float32):
        values = np.arange(6).astype(dtype)
        for some in (values, values[::2], values[:0]):
            assert numbers(some).equals(pa.array(some))
        assert numbers(values).to_numpy().ctypes.data == values.ctypes.data
    for names in ([], [""], ["chr1", "", "µ", "x" * 300]):
        assert strings(names).equals(pa.array(names, pa.string()))


def test_names_beyond_what_arrow_counts_in_32_bits():
    class Long(str):
        def encode(self, *_, megabyte=bytes(1 << 20)):
            return megabyte

    with pytest.raises(
        ValueError, match="2,048 names have 2,147,483,648 bytes; the maximum is 2 GiB"
    ):
        strings([Long()] * 2048)


@pytest.mark.parametrize(
    "row",
    [[70_000], [-1], np.array([70_000]), np.array([-1], np.int8), np.array([2**64 - 1], np.uint64)],
)
def test_ids_that_do_not_fit_are_refused(row):
    with pytest.raises(ValueError, match="ids: must be between 0 and 65535"):
        Ragged.from_list([[1], row])


def test_ids_are_whole_numbers_of_one_sequence():
    with pytest.raises(ValueError, match="integers"):
        Ragged.from_list([[1.5]])
    with pytest.raises(ValueError, match="one sequence"):
        Ragged.from_list([[[1], [2]]])


def test_a_batch_has_offsets_of_32_bits(monkeypatch):
    """One token more would give negative offsets."""
    most = 2**31 - 1
    assert Ragged(np.empty(0, np.uint16), np.array([0, most])).to_torch()[1].tolist() == [0, most]
    with pytest.raises(ValueError, match=r"got 2,147,483,648.*smaller batches"):
        Ragged(np.empty(0, np.uint16), np.array([0, most + 1])).to_torch()
    for module in (ragged, batch):  # a mask that large takes 2 GB and a minute
        monkeypatch.setattr(module, "MAX_BATCH_TOKENS", 5)
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert len(PackedBatch.from_padded(mask, mask).input_ids) == 5
    with pytest.raises(ValueError, match=r"batch: must have at most 5 tokens .got 6"):
        PackedBatch.from_padded(mask, torch.ones_like(mask))

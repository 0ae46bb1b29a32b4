"""The batch loop against a plain one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dnabert2_fast import Ragged
from dnabert2_fast.model.batching import length_sorted_batches, packed_batches


def plain(lengths, batch_tokens):
    batches = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if batches and sum(lengths[i] for i in batches[-1]) + lengths[row] <= batch_tokens:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 100))
def test_batches_are_those_of_a_plain_loop(lengths, batch_tokens):
    found = length_sorted_batches(np.array(lengths, np.int64), batch_tokens)
    assert [rows.tolist() for rows in found] == plain(lengths, batch_tokens)


@given(st.lists(st.lists(st.integers(0, 65_535), max_size=9), max_size=20), st.integers(1, 30))
def test_packed_batches_hold_the_ids_of_their_rows(ids, batch_tokens):
    seen = []
    for rows, batch in packed_batches(Ragged.from_list(ids), batch_tokens):
        assert batch.input_ids.tolist() == [i for row in rows for i in ids[row]]
        assert batch.lengths.tolist() == [len(ids[row]) for row in rows]
        seen += rows.tolist()
    assert sorted(seen) == list(range(len(ids)))

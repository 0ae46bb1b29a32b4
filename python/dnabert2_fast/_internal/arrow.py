"""Arrow arrays of numbers and texts, made from buffers.

`pyarrow.array` imports pandas wherever it is installed, to see whether it was given a series: a
quarter of a second for nothing. An array over a buffer needs no look at what it was made from.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["numbers", "strings"]


def numbers(values: npt.NDArray[Any]) -> pa.Array:
    """Return numbers as Arrow has them; over the same memory if they lie in a row there.

    Examples
    --------
    >>> numbers(np.array([1, 5, 2], np.uint16)).to_pylist()
    [1, 5, 2]
    """
    values = np.ascontiguousarray(values)
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


def strings(of: list[str]) -> pa.StringArray:
    """Return texts as Arrow has them.

    Raises
    ------
    ValueError
        When they have 2 GiB and more together.

    Examples
    --------
    >>> strings(["chr1", "", "µ"]).to_pylist()
    ['chr1', '', 'µ']
    """
    coded = [text.encode() for text in of]
    ends = np.cumsum([0, *map(len, coded)], dtype=np.int64)
    if ends[-1] > np.iinfo(np.int32).max:
        raise ValueError(f"{len(of):,} names have {ends[-1]:,} bytes; 2 GiB is the most at once")
    buffers = pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(b"".join(coded))
    return pa.StringArray.from_buffers(len(of), *buffers)

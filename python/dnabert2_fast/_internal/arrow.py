"""Arrow arrays of numbers and texts, made from buffers.

`pyarrow.array` imports pandas wherever it is installed, to check for a series. That takes a quarter
of a second. An array over a buffer needs no such check.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["numbers", "strings"]


def numbers(values: npt.NDArray[Any]) -> pa.Array:
    """Return numbers as an Arrow array; over the same memory if they are contiguous.

    Examples
    --------
    >>> numbers(np.array([1, 5, 2], np.uint16)).to_pylist()
    [1, 5, 2]
    """
    values = np.ascontiguousarray(values)
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


def strings(of: list[str]) -> pa.StringArray:
    """Return texts as an Arrow array.

    Raises
    ------
    ValueError
        When they have 2 GiB or more together.

    Examples
    --------
    >>> strings(["chr1", "", "µ"]).to_pylist()
    ['chr1', '', 'µ']
    """
    coded = [text.encode() for text in of]
    ends = np.cumsum([0, *map(len, coded)], dtype=np.int64)
    if ends[-1] > np.iinfo(np.int32).max:
        raise ValueError(
            f"{len(of):,} names have {ends[-1]:,} bytes; the maximum is 2 GiB at once."
        )
    buffers = pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(b"".join(coded))
    return pa.StringArray.from_buffers(len(of), *buffers)

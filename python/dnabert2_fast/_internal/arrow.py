"""Arrow arrays of numbers and strings, made from buffers, and Parquet files.

`pyarrow.array` imports pandas wherever it is installed, to check for a series. That takes a quarter
of a second. An array over a buffer needs no such check.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetWriter

__all__ = ["numbers", "parquet_writer", "strings"]


def numbers(values: npt.NDArray[Any]) -> pa.Array:
    """Return an Arrow array of numbers, over the same memory if they are contiguous.

    Examples
    --------
    >>> numbers(np.array([1, 5, 2], np.uint16)).to_pylist()
    [1, 5, 2]
    """
    values = np.ascontiguousarray(values)
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


def strings(of: list[str]) -> pa.StringArray:
    """Return an Arrow array of strings.

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


@contextmanager
def parquet_writer(
    path: str | os.PathLike[str], schema: pa.Schema, **options: Any
) -> Iterator[ParquetWriter]:
    r"""Open a Parquet file for writing, whatever its name; Arrow itself opens only UTF-8 names.

    Examples
    --------
    >>> import tempfile
    >>> import pyarrow.parquet as pq
    >>> path = os.path.join(tempfile.mkdtemp(), os.fsdecode(b"\xff"))
    >>> table = pa.table({"a": numbers(np.arange(3))})
    >>> with parquet_writer(path, table.schema) as writer:
    ...     writer.write_table(table)
    >>> with open(path, "rb") as handle:
    ...     pq.read_table(handle).column("a").to_pylist()
    [0, 1, 2]
    """
    from pyarrow.parquet import ParquetWriter

    with open(path, "wb") as handle, ParquetWriter(handle, schema, **options) as writer:
        yield writer

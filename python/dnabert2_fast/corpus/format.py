"""The files of a corpus folder, as `docs/formats.md` describes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dnabert2_fast import _native
from dnabert2_fast._internal.arrow import parquet_writer
from dnabert2_fast._internal.atomic import atomic_json
from dnabert2_fast._internal.strict_json import parse_json, read_object
from dnabert2_fast.errors import CorpusError
from dnabert2_fast.tokenizer import Tokenizer

FORMAT, VERSION = "dnabert2_fast.corpus", 2
CONTENTS = "corpus.json"

Split = Literal["train", "valid"]
SPLITS: tuple[Split, Split] = ("train", "valid")

_NAME = pa.dictionary(pa.int32(), pa.string())
ORIGIN = pa.schema(
    [
        ("file", _NAME),
        ("record", _NAME),
        ("start", pa.uint64()),
        ("end", pa.uint64()),
        ("strand", pa.int8()),
        ("species", _NAME),
        ("group", _NAME),
    ]
)


def shard_files(number: int) -> tuple[str, str]:
    """Return the names of a shard and of the table of its windows' origins."""
    return f"shard-{number:05d}.safetensors", f"shard-{number:05d}.parquet"


def read_contents(folder: Path) -> dict[str, Any]:
    """Read and check ``corpus.json``."""
    path = folder / CONTENTS
    if not path.exists():
        raise CorpusError(f"{folder}: is not a corpus, because it has no {CONTENTS}.")
    try:
        contents = read_object(path)
    except ValueError as error:
        raise CorpusError(f"{path}: {error}. Build the corpus again.") from None
    if contents.get("format") != FORMAT:
        raise CorpusError(f"{path}: does not describe a corpus. Build the corpus again.")
    if contents.get("version") != VERSION:
        raise CorpusError(
            f"{path}: format version {contents.get('version')}, this package reads {VERSION}. "
            "Build the corpus again."
        )
    return contents


def encoded_with(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return the settings of a corpus that describe its tokenizer."""
    return {
        "tokenizer_sha256": tokenizer.fingerprint,
        "matching": tokenizer.matching,
        "case": tokenizer.case,
        "unknown": tokenizer.unknown,
    }


def about(settings: dict[str, Any]) -> str:
    """Return the JSON text in the header of each shard."""
    return json.dumps({"format": FORMAT, "version": VERSION, **settings})


def write_contents(
    folder: Path,
    tokenizer: Tokenizer,
    settings: dict[str, Any],
    read: list[dict[str, Any]],
    shards: list[dict[str, Any]],
) -> list[str]:
    """Write the files beside the shards, ``corpus.json`` last; returns their names."""
    name = tokenizer.file_name
    tokenizer.save(folder / name)
    contents = {
        "format": FORMAT,
        "version": VERSION,
        "settings": settings,
        "read": read,
        "shards": shards,
        "others": [{"name": name, "xxh3": _native.checksum(folder / name)}],
    }
    atomic_json(folder / CONTENTS, contents)
    return [name, CONTENTS]


def write_origins(path: Path, table: pa.Table) -> None:
    """Write a table of origins; positions as differences, which compress well."""
    names = [field.name for field in ORIGIN if pa.types.is_dictionary(field.type)]
    numbers = [name for name in ORIGIN.names if name not in names]
    # A validity mask for columns without nulls would take a third of the time.
    fields = [
        field.with_nullable(column.null_count > 0)
        for field, column in zip(ORIGIN, table.columns, strict=True)
    ]
    schema = pa.schema(fields)
    with parquet_writer(
        path,
        schema,
        compression="zstd",
        use_dictionary=names,
        column_encoding=dict.fromkeys(("start", "end"), "DELTA_BINARY_PACKED"),
        write_statistics=numbers,  # least and greatest name would take half of the time
    ) as writer:
        writer.write_table(pa.Table.from_arrays(table.columns, schema=schema))


def map_shard(path: Path) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int64]]:
    """Map a shard's ids and offsets: 8 bytes with the length of a JSON header, header, tensors.

    Raises
    ------
    ValueError
        When the header does not fit the size of the file.
    """
    size = path.stat().st_size
    with path.open("rb") as handle:
        head = int.from_bytes(handle.read(8), "little")
        if head > size:
            raise ValueError(f"its header is said to have {head:,} bytes")
        header = parse_json(handle.read(head))
    arrays: list[npt.NDArray[Any]] = []
    ends = 0
    for name, kind, dtype in (("offsets", "U64", "<i8"), ("input_ids", "U16", "<u2")):
        entry = header[name]
        start, end = entry["data_offsets"]
        (count,) = entry["shape"]
        if entry["dtype"] != kind:
            raise ValueError(f"{name} has type {entry['dtype']}, not {kind}")
        whole = all(type(number) is int for number in (start, end, count))
        # Tensors are contiguous and do not overlap.
        if not (whole and count >= 0 and start == ends and end - start == count * int(dtype[2])):
            raise ValueError(f"{name}: {count} values do not lie from byte {start} to {end}")
        if 8 + head + end > size:
            raise ValueError(f"{name} ends behind the end of the file")
        ends = end
        position = 8 + head + start
        if position % int(dtype[2]):
            raise ValueError(f"{name} does not begin at a multiple of its {dtype[2]} bytes")
        arrays.append(
            np.memmap(path, dtype, mode="r", offset=position, shape=(count,))
            if count
            else np.empty(0, dtype)
        )
    offsets, ids = arrays
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(ids):
        raise ValueError(f"its offsets do not begin at 0 and end at {len(ids):,}")
    return ids, offsets

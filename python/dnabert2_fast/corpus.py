"""Corpora: genomes as memory-mapped token shards, and where every window came from.

A corpus is a folder: ``shard-NNNNN.safetensors`` (ids and offsets), ``windows-SPLIT.parquet``
(origins), ``tokenizer.json``, and ``corpus.json``, which is written last and names every other file
with its checksum. `docs/formats.md` describes it for readers without this package.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dnabert2_fast import _native
from dnabert2_fast.atomic import atomic_path
from dnabert2_fast.errors import CorpusError
from dnabert2_fast.progress import progress
from dnabert2_fast.ragged import Ragged
from dnabert2_fast.tokenizer import Tokenizer

__all__ = ["Corpus", "Window", "build_corpus"]

Split = Literal["train", "valid"]

FORMAT = "dnabert2_fast.corpus"
VERSION = 1
SPLITS: tuple[Split, Split] = ("train", "valid")
ORIGIN = pa.schema(
    [
        ("file", pa.string()),
        ("record", pa.string()),
        ("start", pa.uint64()),
        ("end", pa.uint64()),
        ("strand", pa.int8()),
    ]
)


class Window(NamedTuple):
    """Where a window lies: 0-based half-open on the forward strand of a record of a file."""

    file: str
    record: str
    start: int
    end: int
    strand: int


class Corpus:
    """One split of a corpus folder, memory-mapped; made by `Corpus.open` or `build_corpus`.

    Opening reads no tokens, and a corpus may be larger than memory. It can be pickled: workers open
    the same folder again.
    """

    def __init__(self, folder: Path, split: Split, contents: dict[str, Any]) -> None:
        self.folder = folder
        self.split = split
        self._contents = contents
        self._shards = [s for s in contents["shards"] if s["split"] == split]
        self._first = np.cumsum([0, *(s["sequences"] for s in self._shards)])

    @classmethod
    def open(cls, folder: str | os.PathLike[str], split: Split = "train") -> Corpus:
        """Open a finished corpus.

        Raises
        ------
        CorpusError
            When the folder is no corpus, unfinished, or a shard is missing or cut off.
        """
        folder = Path(folder)
        if split not in SPLITS:
            raise CorpusError(f'split="{split}": "train" or "valid" is expected')
        contents = _read_contents(folder)
        for shard in contents["shards"]:
            path = folder / shard["name"]
            found = path.stat().st_size if path.exists() else None
            if found != shard["bytes"]:
                what = "is missing" if found is None else f"has {found:,} bytes"
                raise CorpusError(
                    f"{path}: {what}, {shard['bytes']:,} were written; build the corpus again"
                )
        return cls(folder, split, contents)

    def __len__(self) -> int:
        """Return the number of windows."""
        return int(self._first[-1])

    def __repr__(self) -> str:
        return f"Corpus({str(self.folder)!r}, split={self.split!r}, {len(self)} windows)"

    @property
    def tokens(self) -> int:
        """Tokens of all windows, special ones included."""
        return sum(shard["tokens"] for shard in self._shards)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the ``tokenizer.json`` that the corpus was encoded with."""
        return str(self._contents["settings"]["tokenizer_sha256"])

    @property
    def settings(self) -> dict[str, Any]:
        """What the corpus was built with, inputs included."""
        return dict(self._contents["settings"])

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the corpus was encoded with, kept in its folder."""
        return Tokenizer.from_pretrained(self.folder)

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of every window, shape (n,)."""
        parts = [shard.lengths for shard in self._mapped]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def gather(self, indices: npt.ArrayLike) -> Ragged:
        r"""Return the given windows in the given order; ids include the special tokens.

        Raises
        ------
        IndexError
            When an index is not in ``[0, len(corpus))``.

        Examples
        --------
        >>> import tempfile, os
        >>> folder = os.path.join(tempfile.mkdtemp(), "corpus")
        >>> tok = Tokenizer.from_pretrained("dnabert2")
        >>> path = os.path.join(os.path.dirname(folder), "x.fa")
        >>> _ = open(path, "w").write(">a\nACGTACGTNNTTTTTTTTTT\n")
        >>> corpus = build_corpus([path], folder, tok, valid_fraction=0, min_bp=1)
        >>> [tok.decode(ids) for ids in corpus.gather([1, 0])]
        ['TTTTTTTTTT', 'ACGTACGT']
        """
        picked = np.asarray(indices, dtype=np.int64)
        if picked.size and not 0 <= picked.min() <= picked.max() < len(self):
            raise IndexError(f"windows are numbered 0 to {len(self) - 1}")
        shard_of = np.searchsorted(self._first, picked, side="right") - 1
        order = np.argsort(shard_of, kind="stable")
        parts: list[Ragged] = []
        for number in np.unique(shard_of):
            rows = picked[order][shard_of[order] == number]
            parts.append(self._mapped[number].take(rows - self._first[number]))
        if len(parts) == 1:
            return parts[0]  # all from one shard, hence already in the order asked for
        return Ragged.concatenate(parts).take(np.argsort(order))

    def where(self, index: int) -> Window:
        """Return where window `index` came from."""
        row = self._origins.slice(range(len(self))[index], 1).to_pylist()[0]
        return Window(**row)

    def verify(self) -> None:
        """Check the SHA-256 of every file of the folder, both splits.

        Raises
        ------
        CorpusError
            Naming the first file that is not as it was written.
        """
        files = [*self._contents["shards"], *self._contents["others"]]
        with progress(len(files), "verifying", "files") as bar:
            for file in files:
                path = self.folder / file["name"]
                if not path.exists() or _sha256(path) != file["sha256"]:
                    raise CorpusError(f"{path}: not as it was written; build the corpus again")
                bar.update()

    @cached_property
    def _mapped(self) -> list[Ragged]:
        return [_map(self.folder / shard["name"]) for shard in self._shards]

    @cached_property
    def _origins(self) -> pa.Table:
        return pq.read_table(self.folder / f"windows-{self.split}.parquet")

    def __reduce__(self) -> tuple[object, ...]:
        return Corpus.open, (self.folder, self.split)


def build_corpus(
    files: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    tokenizer: Tokenizer,
    *,
    window_bp: int | None = 1000,
    stride_bp: int | None = None,
    min_bp: int | None = None,
    both_strands: bool = False,
    valid_fraction: float = 0.05,
    shard_tokens: int = 1 << 25,
    threads: int = 0,
) -> Corpus:
    """Cut genomes into windows, encode them, and write a corpus folder.

    Parameters
    ----------
    files : iterable of paths
        FASTA or FASTQ, plain or gz, bgz, zst; windows keep the order of files and records.
    out : path
        Folder to make. It appears when it is whole; a stopped build leaves nothing. A corpus that
        is there already is returned if it was built from the same input in the same way.
    tokenizer : Tokenizer
    window_bp : int, optional
        Length of a window. Letters other than A, C, G, T end a run of bases, and windows are cut
        from runs; None takes each run whole.
    stride_bp : int, optional
        From one window's start to the next; `window_bp` when left out.
    min_bp : int, optional
        Shorter last windows are dropped; a tenth of `window_bp` when left out.
    both_strands : bool
        Follow each window with its reverse complement.
    valid_fraction : float
        Share held out as split ``"valid"``, in blocks of 64 windows spread evenly.
    shard_tokens : int
        Tokens of one shard file, about.
    threads : int
        0 takes every core. The bytes written do not depend on it.

    Returns
    -------
    Corpus
        Split ``"train"``.

    Raises
    ------
    CorpusError
        When `out` holds something else, or the input holds no window.
    FastaError, OSError
        When a file is not readable.
    """
    paths, out = [Path(file) for file in files], Path(out)
    settings = {
        "tokenizer_sha256": tokenizer.fingerprint,
        "matching": tokenizer.matching,
        "window_bp": window_bp,
        "stride_bp": stride_bp or window_bp or 1,
        "min_bp": max(1, (window_bp or 10) // 10) if min_bp is None else min_bp,
        "both_strands": both_strands,
        "valid_fraction": valid_fraction,
        "shard_tokens": shard_tokens,
        "inputs": [{"name": path.name, "bytes": path.stat().st_size} for path in paths],
    }
    _check(settings)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        return _reuse(out, settings)
    with atomic_path(out) as folder:
        folder.mkdir(parents=True)
        contents = _build(paths, folder, tokenizer, settings, threads)
        text = json.dumps(contents, indent=1, ensure_ascii=False)
        (folder / "corpus.json").write_text(text + "\n", encoding="utf-8")
    return Corpus.open(out)


def _build(
    paths: list[Path], folder: Path, tokenizer: Tokenizer, settings: dict[str, Any], threads: int
) -> dict[str, Any]:
    builder = _native.CorpusBuilder(
        folder,
        tokenizer._native,
        settings["window_bp"],
        settings["stride_bp"],
        settings["min_bp"],
        settings["both_strands"],
        settings["valid_fraction"],
        settings["shard_tokens"],
        threads,
        json.dumps({"format": FORMAT, "version": VERSION, **settings}),
    )
    others = [f"windows-{split}.parquet" for split in SPLITS]
    writers = [pq.ParquetWriter(folder / name, ORIGIN, compression="zstd") for name in others]
    inputs = []
    try:
        with progress(None, "building corpus", "bases") as bar:
            for path in paths:
                bar.note(file=path.name)
                names, bases, other_letters, origins = builder.add_file(path, bar.update)
                inputs.append({"name": path.name, "bases": bases, "other_letters": other_letters})
                for writer, columns in zip(writers, origins, strict=True):
                    writer.write_table(_origin_table(path.name, names, columns))
        shards = builder.finish()
    finally:
        for writer in writers:
            writer.close()
    if not shards:
        raise CorpusError(
            f"{', '.join(path.name for path in paths)}: no run of A, C, G, T has "
            f"{settings['min_bp']} bases (min_bp)"
        )
    tokenizer.save(folder / tokenizer.file_name)
    keys = ("name", "split", "sequences", "tokens", "bytes", "sha256")
    return {
        "format": FORMAT,
        "version": VERSION,
        "settings": settings,
        "read": inputs,
        "shards": [dict(zip(keys, shard, strict=True)) for shard in shards],
        "others": [
            {"name": name, "sha256": _sha256(folder / name)}
            for name in [*others, tokenizer.file_name]
        ],
    }


def _origin_table(file: str, names: list[str], columns: _native._Columns) -> pa.Table:
    record, start, end, strand = columns
    named = pa.DictionaryArray.from_arrays(pa.array(record), pa.array(names, pa.string()))
    return pa.Table.from_arrays(
        [
            pa.repeat(pa.scalar(file), len(record)),
            named.cast(pa.string()),
            pa.array(start),
            pa.array(end),
            pa.array(strand),
        ],
        schema=ORIGIN,
    )


def _check(settings: dict[str, Any]) -> None:
    if not settings["inputs"]:
        raise ValueError("files: at least one is needed")
    for name in ("window_bp", "stride_bp", "min_bp", "shard_tokens"):
        value = settings[name]
        if value is not None and value < 1:
            raise ValueError(f"{name}: {value} is not positive")
    if not 0 <= settings["valid_fraction"] <= 1:
        raise ValueError(f"valid_fraction: {settings['valid_fraction']} is not between 0 and 1")


def _reuse(out: Path, settings: dict[str, Any]) -> Corpus:
    corpus = Corpus.open(out)
    theirs = corpus.settings
    differing = [name for name in settings if theirs.get(name) != settings[name]]
    if differing:
        name = differing[0]
        raise CorpusError(
            f"{out}: is a corpus built with {name} {theirs.get(name)!r}, asked for "
            f"{settings[name]!r}; choose another folder or delete this one"
        )
    return corpus


def _read_contents(folder: Path) -> dict[str, Any]:
    path = folder / "corpus.json"
    if not path.exists():
        raise CorpusError(f"{folder}: not a corpus, there is no corpus.json in it")
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CorpusError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(contents, dict) or contents.get("format") != FORMAT:
        raise CorpusError(f"{path}: does not describe a corpus")
    if contents.get("version") != VERSION:
        raise CorpusError(
            f"{path}: format version {contents.get('version')}, this package reads {VERSION}"
        )
    return contents


def _map(path: Path) -> Ragged:
    """Map a shard: 8 bytes with the length of a JSON header, the header, the tensors."""
    with path.open("rb") as handle:
        head = int.from_bytes(handle.read(8), "little")
        header = json.loads(handle.read(head))
    arrays = {}
    for name, dtype in (("input_ids", "<u2"), ("offsets", "<i8")):
        tensor = header[name]
        start, _ = tensor["data_offsets"]
        if tensor["shape"] == [0]:
            arrays[name] = np.empty(0, dtype)
            continue
        arrays[name] = np.memmap(
            path, dtype, mode="r", offset=8 + head + start, shape=tuple(tensor["shape"])
        )
    return Ragged(arrays["input_ids"], arrays["offsets"])


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()

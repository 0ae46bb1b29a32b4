"""Types of the Rust extension; the classes in front of it carry the documentation."""

from collections.abc import Callable
from pathlib import Path
from typing import final

import numpy as np
import numpy.typing as npt

__all__ = [
    "BUILD_PROFILE",
    "BpeTrainer",
    "CorpusBuilder",
    "DetailedBatch",
    "EncodeOptions",
    "FastaReader",
    "FileCounts",
    "Input",
    "InputCounts",
    "MappedShard",
    "Origins",
    "Shard",
    "Shards",
    "Tokenizer",
    "checksum",
    "count_bases",
    "unknown_letter",
    "write_shard",
]

BUILD_PROFILE: str

# Values and offsets.
_Ragged = tuple[npt.NDArray[np.uint16], npt.NDArray[np.int64]]

@final
class EncodeOptions:
    def __new__(
        cls,
        *,
        special_tokens: bool = True,
        max_length: int | None = None,
        truncation: str = "longest_first",
        truncation_side: str = "right",
        dropout: float | None = None,
        seed: int = 0,
        first: int = 0,
    ) -> EncodeOptions: ...

@final
class DetailedBatch:
    @property
    def ids(self) -> npt.NDArray[np.uint16]: ...
    @property
    def offsets(self) -> npt.NDArray[np.int64]: ...
    @property
    def type_ids(self) -> npt.NDArray[np.int64]: ...
    @property
    def spans(self) -> npt.NDArray[np.int64]: ...

@final
class Tokenizer:
    @classmethod
    def open(cls, path: Path, *, case: str, unknown: str, matching: str | None) -> Tokenizer: ...
    @classmethod
    def parse(
        cls, text: str, source: Path, *, case: str, unknown: str, matching: str | None
    ) -> Tokenizer: ...
    @property
    def text(self) -> str: ...
    @property
    def vocabulary(self) -> list[str]: ...
    @property
    def unknown_id(self) -> int | None: ...
    @property
    def matching(self) -> str | None: ...
    def special(self) -> npt.NDArray[np.bool_]: ...
    def encode_detailed(
        self,
        sequences: list[str | bytes],
        pairs: list[str | bytes] | None,
        options: EncodeOptions,
        threads: int,
    ) -> DetailedBatch: ...
    def encode_batch(
        self, sequences: list[str | bytes], options: EncodeOptions, threads: int
    ) -> _Ragged: ...
    def encode_spans(
        self,
        text: npt.NDArray[np.uint8],
        starts: npt.NDArray[np.int64],
        ends: npt.NDArray[np.int64],
        options: EncodeOptions,
        threads: int,
    ) -> _Ragged: ...
    def replaced(self, sequences: list[str | bytes]) -> tuple[int, dict[str, int]]: ...
    def decode_batch(
        self, ids: npt.NDArray[np.uint16], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]: ...
    def offsets(self, ids: npt.NDArray[np.uint16]) -> npt.NDArray[np.int64]: ...
    def decode(self, ids: npt.NDArray[np.uint16], unknown: str, separator: str) -> str: ...

@final
class Input:
    def __new__(cls, path: Path) -> Input: ...
    @property
    def packing(self) -> str: ...
    @property
    def head(self) -> bytes: ...
    def read(self) -> bytes: ...

@final
class FastaReader:
    def __new__(cls, input: Input, *, max_letters: int, rna: bool) -> FastaReader: ...
    def __iter__(self) -> FastaReader: ...
    def __next__(self) -> tuple[str, str]: ...

@final
class InputCounts:
    @property
    def sequences(self) -> int: ...
    @property
    def used_bp(self) -> int: ...
    @property
    def left_out_bp(self) -> int: ...
    @property
    def other_letters(self) -> dict[str, int]: ...

@final
class BpeTrainer:
    def __new__(
        cls,
        *,
        window_bp: int | None,
        fold_case: bool,
        both_strands: bool,
        sample: float,
        seed: int,
        threads: int,
        spill_to: Path | None,
    ) -> BpeTrainer: ...
    def add(self, sequences: list[str | bytes]) -> InputCounts: ...
    def add_file(
        self, input: Input, *, rna: bool, report: Callable[[int], object]
    ) -> InputCounts: ...
    def fingerprint(self) -> str: ...
    def train(
        self,
        *,
        vocab_size: int,
        min_frequency: int,
        max_token_bp: int | None,
        memory_limit: int | None,
        threads: int,
        special_tokens: list[str],
        known: list[tuple[int, int]],
        report: Callable[[tuple[int, int]], object],
    ) -> str: ...

@final
class FileCounts:
    @property
    def records(self) -> int: ...
    @property
    def bases(self) -> int: ...
    @property
    def other_letters(self) -> dict[str, int]: ...
    @property
    def windows(self) -> int: ...
    @property
    def too_short(self) -> int: ...
    @property
    def with_other_letters(self) -> int: ...
    @property
    def left_out(self) -> int: ...
    @property
    def duplicates(self) -> int: ...

@final
class Origins:
    @property
    def names(self) -> list[str]: ...
    @property
    def file(self) -> npt.NDArray[np.uint32]: ...
    @property
    def record(self) -> npt.NDArray[np.uint32]: ...
    @property
    def start(self) -> npt.NDArray[np.uint64]: ...
    @property
    def end(self) -> npt.NDArray[np.uint64]: ...
    @property
    def strand(self) -> npt.NDArray[np.int8]: ...

@final
class Shard:
    @property
    def name(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def sequences(self) -> int: ...
    @property
    def tokens(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def xxh3(self) -> str: ...

@final
class CorpusBuilder:
    def __new__(
        cls,
        tokenizer: Tokenizer,
        *,
        window_bp: int | None,
        min_window_bp: int | None,
        stride_bp: int,
        min_bp: int,
        both_strands: bool,
        other_letters: str,
        fold_case: bool,
        rna: bool,
        seed: int,
        valid_fraction: float,
        deduplicate: bool,
        shard_tokens: int,
        threads: int,
        about: str,
    ) -> CorpusBuilder: ...
    def build(
        self,
        *,
        number: int,
        folder: Path,
        files: list[Path],
        keep: float,
        done: list[int],
        shards: int,
        report: Callable[[int], object],
        keep_origins: Callable[[int, Origins], object],
        note_shard: Callable[[Shard], object],
    ) -> list[FileCounts]: ...

@final
class MappedShard:
    def __new__(
        cls,
        *,
        path: Path,
        bytes: int,
        ids: npt.NDArray[np.uint16],
        offsets: npt.NDArray[np.int64],
    ) -> MappedShard: ...

@final
class Shards:
    def __new__(cls, shards: list[MappedShard]) -> Shards: ...
    def lengths(self, windows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]: ...
    def gather(self, windows: npt.NDArray[np.int64]) -> _Ragged: ...

def checksum(path: Path) -> str: ...
def count_bases(
    path: Path, *, fold_case: bool, rna: bool, report: Callable[[int], object]
) -> int: ...
def unknown_letter(path: Path, record: str, letter: str, position: int) -> str: ...
def write_shard(
    path: Path, values: npt.NDArray[np.uint16], offsets: npt.NDArray[np.uint64], about: str
) -> tuple[int, str]: ...

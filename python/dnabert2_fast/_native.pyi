"""Types of the Rust extension; the classes in front of it carry the documentation."""

from collections.abc import Callable
from pathlib import Path
from typing import final

import numpy as np
import numpy.typing as npt

__all__ = [
    "BpeTrainer",
    "CorpusBuilder",
    "FastaReader",
    "Shards",
    "Tokenizer",
    "checksum",
    "count_bases",
    "write_shard",
]

# Special tokens, most tokens, truncation and its side, dropout and its seed.
_Options = tuple[bool, int | None, str, str, float | None, int]
_Ragged = tuple[npt.NDArray[np.uint16], npt.NDArray[np.int64]]

@final
class Tokenizer:
    @classmethod
    def open(cls, path: Path, case: str, unknown: str, matching: str | None) -> Tokenizer: ...
    @classmethod
    def parse(
        cls, text: str, source: Path, case: str, unknown: str, matching: str | None
    ) -> Tokenizer: ...
    @property
    def text(self) -> str: ...
    @property
    def vocabulary(self) -> list[str]: ...
    @property
    def unknown_id(self) -> int: ...
    @property
    def matching(self) -> str | None: ...
    def special(self) -> npt.NDArray[np.bool_]: ...
    def encode_detailed(
        self,
        sequences: list[str | bytes],
        pairs: list[str | bytes] | None,
        options: _Options,
        threads: int,
    ) -> tuple[
        npt.NDArray[np.uint16],
        npt.NDArray[np.int64],
        npt.NDArray[np.int64],
        npt.NDArray[np.int64],
    ]: ...
    def encode_batch(
        self, sequences: list[str | bytes], options: _Options, threads: int
    ) -> _Ragged: ...
    def encode_spans(
        self,
        text: npt.NDArray[np.uint8],
        starts: npt.NDArray[np.int64],
        ends: npt.NDArray[np.int64],
        options: _Options,
        threads: int,
    ) -> _Ragged: ...
    def replaced(self, sequences: list[str | bytes]) -> tuple[int, dict[str, int]]: ...
    def offsets(self, ids: npt.NDArray[np.uint16]) -> npt.NDArray[np.int64]: ...
    def decode(self, ids: npt.NDArray[np.uint16], unknown: str, separator: str) -> str: ...

@final
class FastaReader:
    def __new__(cls, path: Path, most_letters: int) -> FastaReader: ...
    def __iter__(self) -> FastaReader: ...
    def __next__(self) -> tuple[str, str]: ...

_Counted = tuple[int, int, int, dict[str, int]]

@final
class BpeTrainer:
    def __new__(
        cls,
        window_bp: int | None,
        fold_case: bool,
        both_strands: bool,
        sample: float,
        seed: int,
        threads: int,
        spill_to: Path | None,
    ) -> BpeTrainer: ...
    def add(self, sequence: str | bytes) -> _Counted: ...
    def add_file(self, path: Path, report: Callable[[int], object]) -> _Counted: ...
    def fingerprint(self) -> str: ...
    def train(
        self,
        vocab_size: int,
        min_frequency: int,
        max_token_bp: int | None,
        memory_limit: int | None,
        threads: int,
        special_tokens: list[str],
        known: list[tuple[int, int]],
        report: Callable[[tuple[int, int]], object],
    ) -> str: ...

# Names of records; file, record, start, end and strand of every window.
_Origin = tuple[
    list[str],
    npt.NDArray[np.uint32],
    npt.NDArray[np.uint32],
    npt.NDArray[np.uint64],
    npt.NDArray[np.uint64],
    npt.NDArray[np.int8],
]

@final
class CorpusBuilder:
    def __new__(
        cls, tokenizer: Tokenizer, settings: dict[str, object], about: str, threads: int
    ) -> CorpusBuilder: ...
    def build(
        self,
        number: int,
        folder: Path,
        files: list[Path],
        keep: float,
        done: list[int],
        shards: int,
        report: Callable[[int], object],
        keep_origins: Callable[[int, _Origin], object],
        note_shard: Callable[[str, str, int, int, int, str], object],
    ) -> list[tuple[int, int, int, int, int, int, int]]: ...

@final
class Shards:
    def __new__(
        cls,
        shards: list[tuple[Path, int, npt.NDArray[np.uint16], npt.NDArray[np.int64]]],
    ) -> Shards: ...
    def lengths(self, windows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]: ...
    def gather(self, windows: npt.NDArray[np.int64]) -> _Ragged: ...

def checksum(path: Path) -> str: ...
def count_bases(path: Path, fold_case: bool, report: Callable[[int], object]) -> int: ...
def write_shard(
    path: Path, values: npt.NDArray[np.uint16], offsets: npt.NDArray[np.uint64], about: str
) -> tuple[int, str]: ...

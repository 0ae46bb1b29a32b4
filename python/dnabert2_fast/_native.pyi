"""Types of the Rust extension; the classes in front of it carry the documentation."""

from collections.abc import Callable
from pathlib import Path
from typing import final

import numpy as np
import numpy.typing as npt

__all__ = ["BpeTrainer", "CorpusBuilder", "FastaReader", "Tokenizer"]

_Columns = tuple[
    npt.NDArray[np.uint32],
    npt.NDArray[np.uint64],
    npt.NDArray[np.uint64],
    npt.NDArray[np.int8],
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
    def __new__(cls, path: Path) -> FastaReader: ...
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

@final
class CorpusBuilder:
    def __new__(
        cls,
        folder: Path,
        tokenizer: Tokenizer,
        window_bp: int | None,
        stride_bp: int,
        min_bp: int,
        both_strands: bool,
        valid_fraction: float,
        shard_tokens: int,
        threads: int,
        about: str,
    ) -> CorpusBuilder: ...
    def add_file(
        self, path: Path, report: Callable[[int], object]
    ) -> tuple[list[str], int, int, list[_Columns]]: ...
    def finish(self) -> list[tuple[str, str, int, int, int, str]]: ...

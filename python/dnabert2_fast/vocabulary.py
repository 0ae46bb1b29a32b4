"""The tokens of a tokenizer: ids to text and coordinates, special tokens, the file."""

from __future__ import annotations

import hashlib
import os
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from dnabert2_fast import _native
from dnabert2_fast.atomic import atomic_path
from dnabert2_fast.errors import TokenizerError
from dnabert2_fast.ragged import Ragged

__all__ = ["Vocabulary"]

Case = Literal["upper", "compat"]
Unknown = Literal["unk", "split", "error"]
Matching = Literal["bpe", "longest", "longest-first"]

_DATA = Path(__file__).parent / "data"
PACKAGED = {
    "dnabert2": _DATA / "dnabert2.tokenizer.json",
    "mini": _DATA / "mini" / "tokenizer.json",
}
"""Tokenizers in the package; a file or folder of that name comes first."""
FILES = ("tokenizer.json", "vocab.txt")


class Vocabulary:
    """All tokens of a tokenizer; `SequenceEncoder` adds what turns sequence into ids."""

    def __init__(self, native: _native.Tokenizer, case: Case, unknown: Unknown) -> None:
        self._native, self._case, self._unknown = native, case, unknown

    @property
    def case(self) -> Case:
        """How lower-case letters are read."""
        return self._case

    @property
    def unknown(self) -> Unknown:
        """What happens to letters outside the vocabulary."""
        return self._unknown

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        *,
        case: Case = "upper",
        unknown: Unknown = "unk",
        matching: Matching | None = None,
    ) -> Self:
        """Read a ``tokenizer.json``, or a ``vocab.txt`` of k-mers.

        Parameters
        ----------
        path : path
            A list of k-mers is that of DNABERT (overlapping k-mers) or, when it also holds single
            letters, of the Nucleotide Transformer (k-mers side by side).
        case, unknown
            How sequence is read; see `Tokenizer`.
        matching : {"bpe", "longest", "longest-first"}, optional
            How pieces are found; as the file says when left out.

        Raises
        ------
        TokenizerError
            When the file holds something that cannot be reproduced id for id; names the place.
        FileNotFoundError
            When there is no such file.

        Examples
        --------
        >>> import tempfile
        >>> from dnabert2_fast import Tokenizer
        >>> path = Path(tempfile.mkdtemp(), "tokenizer.json")
        >>> Tokenizer.train(["ACACACGTACAC"], vocab_size=11).save(path)
        >>> Tokenizer.from_file(path, case="compat")
        Tokenizer(11 tokens, bpe, case='compat')
        """
        native = _native.Tokenizer.open(Path(path), case=case, unknown=unknown, matching=matching)
        return cls(native, case, unknown)

    @classmethod
    def from_text(cls, text: str, *, case: Case = "upper", unknown: Unknown = "unk") -> Self:
        """Read the text of a ``tokenizer.json`` or ``vocab.txt``; arguments as in `from_file`.

        Raises
        ------
        TokenizerError
            As in `from_file`.

        Examples
        --------
        >>> from dnabert2_fast import Tokenizer
        >>> tok = Tokenizer.from_pretrained("dnabert2")
        >>> Tokenizer.from_text(tok.text).fingerprint == tok.fingerprint
        True
        """
        native = _native.Tokenizer.parse(
            text, Path("in memory"), case=case, unknown=unknown, matching=None
        )
        return cls(native, case, unknown)

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        case: Case = "upper",
        unknown: Unknown = "unk",
        matching: Matching | None = None,
    ) -> Self:
        """Read a tokenizer by name.

        Parameters
        ----------
        name : str or path
            ``"dnabert2"``, the published vocabulary, or ``"mini"``, the packaged model's; a folder
            with a ``tokenizer.json`` or a ``vocab.txt``; such a file; or a model id on the Hugging
            Face hub.
        case, unknown, matching
            As in `from_file`.

        Raises
        ------
        TokenizerError
            As in `from_file`, and when the hub does not give the file.
        FileNotFoundError
            When there is no such file or folder, and the name is no hub id.

        Examples
        --------
        >>> from dnabert2_fast import Tokenizer
        >>> Tokenizer.from_pretrained("dnabert2", unknown="split").encode("ACNG").tolist()
        [1, 5, 6, 7, 2]
        """
        path = Path(name)
        if not path.exists():
            path = PACKAGED.get(str(name), path)
        if path.is_dir():
            path = next((path / file for file in FILES if (path / file).exists()), path / FILES[0])
        if not path.exists() and str(name).count("/") == 1 and not path.parent.is_dir():
            path = _download(str(name))
        return cls.from_file(path, case=case, unknown=unknown, matching=matching)

    def decode(self, ids: npt.ArrayLike, *, unknown: str = "N", separator: str = "") -> str:
        """Return the sequence behind `ids`.

        Special tokens vanish, but each [UNK] becomes `unknown`, so that coordinates hold.
        ``decode(ids, unknown="", separator=" ")`` is what Hugging Face's ``decode`` gives.

        Raises
        ------
        ValueError
            When an id lies outside the vocabulary.

        Examples
        --------
        >>> from dnabert2_fast import Tokenizer
        >>> Tokenizer.from_pretrained("dnabert2").decode([1, 5, 194, 0, 2])
        'ACGTAN'
        """
        return self._native.decode(_as_ids(ids), unknown, separator)

    def tokens(self, ids: npt.ArrayLike) -> list[str]:
        """Return the token behind every id, special ones included."""
        listed = _as_ids(ids).tolist()
        if listed and max(listed) >= self.vocab_size:
            raise ValueError(f"ids: {max(listed)}: ids are below {self.vocab_size}")
        return [self.vocabulary[i] for i in listed]

    def offsets(self, ids: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return start and end of every token of one encoded sequence, from its ids alone.

        Returns
        -------
        ndarray of int64, shape (tokens, 2)
            0-based half-open, in letters; an [UNK] counts as one letter; (0, 0) for special
            tokens. Where white space or ``unknown="split"`` leaves letters without a token, use
            `encode_detailed`, which has seen the sequence.
        """
        return self._native.offsets(_as_ids(ids))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the ``tokenizer.json`` that Hugging Face `tokenizers` and this class read.

        A vocabulary of k-mers is written as its ``vocab.txt``; `file_name` tells which it is.
        """
        with atomic_path(path) as temporary:
            temporary.write_text(self._native.text, encoding="utf-8")

    @property
    def text(self) -> str:
        """What `save` writes."""
        return self._native.text

    @property
    def file_name(self) -> str:
        """What the file is called in a folder: ``tokenizer.json``, or ``vocab.txt`` for k-mers."""
        return FILES[self.matching == "kmers"]

    @property
    def matching(self) -> str:
        """``"bpe"``, ``"longest"``, ``"longest-first"``, or ``"kmers"``."""
        return self._native.matching or "kmers"

    @cached_property
    def vocabulary(self) -> list[str]:
        """Every token, by id."""
        return self._native.vocabulary

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return len(self.vocabulary)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the tokenizer's file, in hexadecimal."""
        return hashlib.sha256(self._native.text.encode()).hexdigest()

    @property
    def unk_id(self) -> int:
        """Id of the unknown token."""
        return self._native.unknown_id

    @cached_property
    def cls_id(self) -> int | None:
        """Id of [CLS] (or [BOS]), None when the vocabulary has neither."""
        return self._id_of("[CLS]", "[BOS]", "<cls>")

    @cached_property
    def sep_id(self) -> int | None:
        """Id of [SEP] (or [EOS]), None when the vocabulary has neither."""
        return self._id_of("[SEP]", "[EOS]", "<eos>")

    @cached_property
    def pad_id(self) -> int | None:
        """Id of [PAD], None when the vocabulary has none."""
        return self._id_of("[PAD]", "<pad>")

    @cached_property
    def mask_id(self) -> int | None:
        """Id of [MASK], None when the vocabulary has none."""
        return self._id_of("[MASK]", "<mask>")

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of tokens that are not spelled by bases: [UNK], [CLS], [SEP], [PAD], [MASK], ..."""
        return frozenset(np.flatnonzero(self._native.special()).tolist())

    @cached_property
    def _frame(self) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
        """Special tokens before and after a sequence."""
        encode = self._native.encode_batch
        framed, bare = (
            encode(["A" * 8], _native.EncodeOptions(special_tokens=special), 1)[0]
            for special in (True, False)
        )
        before = framed.tolist().index(bare[0])
        return framed[:before], framed[before + len(bare) :]

    def _id_of(self, *names: str) -> int | None:
        return next((self.vocabulary.index(n) for n in names if n in self.vocabulary), None)

    def _is_framed(self, ids: npt.NDArray[np.uint16]) -> bool:
        """Whether special tokens stand around the ids of a sequence."""
        before, after = (part.tolist() for part in self._frame)
        listed = ids.tolist()
        return (
            len(listed) >= len(before) + len(after)
            and listed[: len(before)] == before
            and listed[len(listed) - len(after) :] == after
        )


def _as_ids(ids: npt.ArrayLike) -> npt.NDArray[np.uint16]:
    if isinstance(ids, Ragged) or (wide := np.asarray(ids)).ndim != 1:
        raise ValueError("ids: those of one sequence are expected; take the rows one by one")
    if wide.size and wide.dtype.kind not in "iu":
        raise ValueError(f"ids: whole numbers are expected, not {wide.dtype}")
    if wide.size and (wide.min() < 0 or wide.max() > np.iinfo(np.uint16).max):
        raise ValueError("ids: they lie between 0 and 65535")
    return np.ascontiguousarray(wide, dtype=np.uint16)


def _download(name: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError:
        raise TokenizerError(
            f"{name!r} is no file or folder here; to read it from the hub install the extra: "
            'pip install "dnabert2-fast[model]"'
        ) from None
    try:
        return Path(hf_hub_download(name, "tokenizer.json"))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise TokenizerError(
            f"{name!r} is no file or folder here, and the hub did not give its tokenizer.json: "
            f"{reason}"
        ) from None

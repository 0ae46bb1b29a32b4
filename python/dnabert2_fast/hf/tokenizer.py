"""The Rust encoder as a tokenizer of `transformers`.

Ids, type ids, masks and offsets are those of the stock fast tokenizer on the same file. A batch is
encoded by Rust as one flat array and laid out as a rectangle in numpy. So no Python object is
created per token unless lists are requested.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
import numpy.typing as npt
import torch
from transformers import BatchEncoding, PreTrainedTokenizer, PreTrainedTokenizerFast

from dnabert2_fast.errors import TokenizerError
from dnabert2_fast.hf.layout import Column, Padding, Parts
from dnabert2_fast.ragged import Ragged
from dnabert2_fast.tokenizer import Tokenizer
from dnabert2_fast.tokenizer._vocabulary import PACKAGED, Case, Unknown

__all__ = ["HFDnabert2Tokenizer"]

FILE = "tokenizer.json"


# Not attributes of the tokenizer: `datasets` has those in the keys of its cache, so they must not
# change with calls.
_has_warned: WeakSet[HFDnabert2Tokenizer] = WeakSet()


@lru_cache(maxsize=16)
def _ids_of(core: Tokenizer) -> dict[str, int]:
    return {token: i for i, token in enumerate(core.vocabulary)}


@lru_cache(maxsize=16)
def _template_of(core: Tokenizer) -> dict[bool, list[tuple[int | None, int]]]:
    """Return the ids of the template with their type ids, for one sequence and for a pair.

    None represents the ids of a sequence.
    """
    letters = "A" * 8
    bare = len(core.encode(letters, add_special_tokens=False))
    found = {}
    for pair in (False, True):
        framed = core.encode_detailed(letters, letters if pair else None)
        own = framed.offsets[:, 1] > framed.offsets[:, 0]
        row: list[tuple[int | None, int]] = []
        for i in range(len(own)):
            if not own[i]:
                row.append((int(framed.ids[i]), int(framed.type_ids[i])))
            elif own[: i + 1].sum() % bare == 1 or bare == 1:
                row.append((None, int(framed.type_ids[i])))
        found[pair] = row
    return found


class HFDnabert2Tokenizer(PreTrainedTokenizer):  # type: ignore[misc]
    """`Tokenizer` for `transformers`, as ``AutoTokenizer`` returns it.

    Parameters
    ----------
    tokenizer_file : path, optional
        A ``tokenizer.json``; the published vocabulary if omitted.
    case : {"compat", "upper"}
        How lower-case letters are read; see `Tokenizer`. Here the default is ``"compat"``, the
        ids of the stock tokenizer: each is one [UNK].
    unknown : {"unk", "split", "error"}
        How to encode characters outside the vocabulary.
    **options
        Common options of tokenizers: special tokens, ``model_max_length``, ``padding_side``, ...

    Raises
    ------
    TokenizerError
        When the file contains something that cannot be reproduced id for id; names the position.

    Examples
    --------
    >>> tokenizer = HFDnabert2Tokenizer()
    >>> batch = tokenizer(["ACGTAGCATC", "ACG"], padding=True, return_tensors="np")
    >>> batch["input_ids"].tolist()
    [[1, 5, 194, 32, 16, 2], [1, 5, 3206, 2, 3, 3]]
    >>> tokenizer("AC[MASK]GT", return_offsets_mapping=True)["offset_mapping"][3]
    (2, 8)
    """

    vocab_files_names = {"tokenizer_file": FILE}  # noqa: RUF012 (transformers reads it here)
    model_input_names = PreTrainedTokenizerFast.model_input_names  # differs between versions
    padding_side = "right"
    deprecation_warnings: dict[str, Any]

    def __init__(
        self,
        tokenizer_file: str | None = None,
        case: Case = "compat",
        unknown: Unknown = "unk",
        **options: Any,
    ) -> None:
        # from_pretrained names the folder; a folder without the file must not become the default.
        if tokenizer_file is None and options.get("name_or_path"):
            raise TokenizerError(
                f"{options['name_or_path']}: has no {FILE}. Give a folder with one."
            )
        path = PACKAGED["dnabert2"] if tokenizer_file is None else tokenizer_file
        self.core = Tokenizer.from_file(path, case=case, unknown=unknown)
        if self.core.matching == "kmers":
            raise TokenizerError(
                f"{path}: is a list of k-mers. Use the tokenizer of transformers, or "
                "dnabert2_fast.Tokenizer."
            )
        names = self.core.vocabulary
        for role, token in (
            ("unk_token", self.core.unk_id),
            ("cls_token", self.core.cls_id),
            ("sep_token", self.core.sep_id),
            ("pad_token", self.core.pad_id),
            ("mask_token", self.core.mask_id),
        ):
            if token is not None:
                options.setdefault(role, names[token])
        super().__init__(case=case, unknown=unknown, **options)

    @property
    def is_fast(self) -> bool:
        """True: overlapping parts (`return_overflowing_tokens`) and offsets are available."""
        return True

    # The vocabulary

    @property
    def vocab_size(self) -> int:
        """Number of ids, added tokens included."""
        return self.core.vocab_size

    def get_vocab(self) -> dict[str, int]:
        """Return the id of every token."""
        return dict(_ids_of(self.core))

    def _convert_token_to_id(self, token: str) -> int | None:
        return _ids_of(self.core).get(token, self.core.unk_id)

    def _convert_id_to_token(self, index: int) -> str | None:
        names = self.core.vocabulary
        return names[index] if 0 <= index < len(names) else None

    def _add_tokens(self, new_tokens: list[Any], special_tokens: bool = False) -> int:
        ids = _ids_of(self.core)
        # Tokens that the file lacks are added to its list of added ones, where the encoder finds
        # them; tokens that it has are unchanged.
        new = dict.fromkeys(str(token) for token in new_tokens if str(token) not in ids)
        new.pop("", None)
        if new:
            document = json.loads(self.core.text)
            document["added_tokens"] += [
                {
                    "id": self.core.vocab_size + i,
                    "content": token,
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                    "special": special_tokens,
                }
                for i, token in enumerate(new)
            ]
            self.core = Tokenizer.from_text(
                json.dumps(document, ensure_ascii=False),
                case=self.core.case,
                unknown=self.core.unknown,
            )
        super()._add_tokens(new_tokens, special_tokens=special_tokens)
        return len(new)

    def save_vocabulary(
        self, save_directory: str, filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        """Write the ``tokenizer.json``, which the stock tokenizer can read too."""
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        path = Path(save_directory) / f"{prefix}{FILE}"
        self.core.save(path)
        return (str(path),)

    # Ids to text

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Join tokens with spaces, as the stock tokenizer does."""
        return " ".join(tokens)

    def _decode(
        self,
        token_ids: int | list[int],
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        **_: Any,
    ) -> str:
        ids = [token_ids] if isinstance(token_ids, int) else token_ids
        tokens = self.convert_ids_to_tokens(ids, skip_special_tokens=skip_special_tokens)
        text = " ".join(token for token in tokens if token is not None)
        if clean_up_tokenization_spaces:
            text = self.clean_up_tokenization(text)
        return text

    # Special tokens around a sequence or a pair, as in the file's template

    def _framed(self, first: list[Any], second: list[Any] | None) -> list[tuple[Any, int, int]]:
        """Return id, type id and whether it is special, of every token."""
        parts = iter([first, second])
        rows: list[tuple[Any, int, int]] = []
        for token, kind in _template_of(self.core)[second is not None]:
            if token is None:
                rows += [(own, kind, 0) for own in next(parts) or []]
            else:
                rows.append((token, kind, 1))
        return rows

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """Return the number of special tokens around one sequence, or a pair."""
        return sum(token is not None for token, _ in _template_of(self.core)[pair])

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Return ids with special tokens around them."""
        return [token for token, _, _ in self._framed(token_ids_0, token_ids_1)]

    def create_token_type_ids_from_sequences(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Return the type ids of `build_inputs_with_special_tokens`."""
        return [kind for _, kind, _ in self._framed(token_ids_0, token_ids_1)]

    def get_special_tokens_mask(
        self,
        token_ids_0: list[int],
        token_ids_1: list[int] | None = None,
        already_has_special_tokens: bool = False,
    ) -> list[int]:
        """Return 1 at special tokens; ids are bare unless `already_has_special_tokens`."""
        if already_has_special_tokens:
            special = set(self.all_special_ids)
            return [int(token in special) for token in token_ids_0]
        return [special for _, _, special in self._framed(token_ids_0, token_ids_1)]

    # Text to ids

    def tokenize(
        self, text: str, pair: str | None = None, add_special_tokens: bool = False, **_: Any
    ) -> list[str]:
        """Return the tokens of a sequence or pair."""
        return self.core.tokens(self.core.encode(text, pair, add_special_tokens=add_special_tokens))

    def _eventual_warn_about_too_long_sequence(self, *given: Any) -> None:
        if self not in _has_warned:
            super()._eventual_warn_about_too_long_sequence(*given)
            if self.deprecation_warnings:
                _has_warned.add(self)
        self.deprecation_warnings = {}

    def _batch_encode_plus(self, batch_text_or_text_pairs: Any, **options: Any) -> BatchEncoding:
        return self._encode_plus(batch_text_or_text_pairs, **options)  # transformers 4

    def _encode_plus(
        self,
        text: Any,
        text_pair: Any = None,
        add_special_tokens: bool = True,
        padding_strategy: Any = "do_not_pad",
        truncation_strategy: Any = "do_not_truncate",
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: Any = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        verbose: bool = True,
        split_special_tokens: bool | None = None,
        **_: Any,
    ) -> BatchEncoding:
        if is_split_into_words:
            raise ValueError("is_split_into_words: DNA has no words. Join the parts of a sequence.")
        if split_special_tokens:
            raise ValueError("split_special_tokens: must be False; special tokens are never split.")
        single = isinstance(text, str)
        texts, pairs = _texts_and_pairs(text, text_pair)
        rule = str(getattr(truncation_strategy, "value", truncation_strategy))
        whole = return_overflowing_tokens or rule == "do_not_truncate"
        ragged, types, spans = self._encoded(
            texts,
            pairs,
            return_special_tokens_mask or return_offsets_mapping,
            None if rule == "do_not_truncate" else rule,
            add_special_tokens=add_special_tokens,
            max_length=None if whole else max_length,
            truncation_side=self.truncation_side,
        )
        samples = np.arange(len(ragged))
        if return_overflowing_tokens and rule != "do_not_truncate" and max_length is not None:
            if pairs is not None:
                raise ValueError(
                    "return_overflowing_tokens: is not supported for pairs. Cut the sequences with "
                    "dnabert2_fast.Tokenizer.encode_windows, which keeps coordinates."
                )
            around = _template_of(self.core)[False] if add_special_tokens else [(None, 0)]
            before = next(i for i, (token, _) in enumerate(around) if token is None)
            parts = Parts(max_length, stride, before, len(around) - before - 1)
            at, offsets, samples = parts.of(ragged.offsets, self.truncation_side)
            ragged = Ragged(ragged.values[at], offsets)
            types, spans = types[at], spans[at] if len(spans) else spans
        longest = int(ragged.lengths.max(initial=0))
        self._eventual_warn_about_too_long_sequence(range(longest), max_length, verbose)
        padding = Padding.asked_for(
            getattr(padding_strategy, "value", padding_strategy),
            longest,
            max_length,
            pad_to_multiple_of,
            padding_side or self.padding_side,
        )
        if padding.width is not None and self.pad_token_id is None:
            raise ValueError("padding: this vocabulary has no padding token. Set pad_token.")
        columns = {"input_ids": Column(ragged.values, self.pad_token_id or 0)}
        names = self.model_input_names
        if "token_type_ids" in names if return_token_type_ids is None else return_token_type_ids:
            columns["token_type_ids"] = Column(types, self.pad_token_type_id)
        if "attention_mask" in names if return_attention_mask is None else return_attention_mask:
            columns["attention_mask"] = Column(np.ones(len(ragged.values), np.int64))
        if return_special_tokens_mask:
            around = (spans[:, 0] == spans[:, 1]).astype(np.int64)
            columns["special_tokens_mask"] = Column(around, 1)
        if return_offsets_mapping:
            columns["offset_mapping"] = Column(spans)
        real = None if return_tensors is None else padding.real(ragged.lengths)
        data: dict[str, Any]
        if real is None:
            data = {name: c.lists(ragged.offsets, padding) for name, c in columns.items()}
        else:
            data = {name: column.rectangle(real) for name, column in columns.items()}
        if return_length:
            data["length"] = [len(row) for row in data["input_ids"]]
        if return_overflowing_tokens:
            data["overflow_to_sample_mapping"] = samples.tolist()
        if real is not None and str(getattr(return_tensors, "value", return_tensors)) == "pt":
            # Without a copy, which transformers' own conversion would make.
            data = {name: torch.as_tensor(rows) for name, rows in data.items()}
        if single and return_tensors is None and not return_overflowing_tokens:
            data = {name: rows if name == "length" else rows[0] for name, rows in data.items()}
        return BatchEncoding(data, tensor_type=return_tensors)

    def _encoded(
        self, texts: list[str], pairs: list[str] | None, spans: bool, rule: Any, **options: Any
    ) -> tuple[Ragged, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return ids, type ids and, if requested, offsets."""
        if (
            pairs is None
            and not spans
            and not any(kind for _, kind in _template_of(self.core)[False])
        ):
            ragged = self.core.encode_batch(texts, **options)
            return ragged, np.zeros(len(ragged.values), np.int64), np.empty((0, 2), np.int64)
        return self.core.encode_batch_detailed(
            texts, pairs, truncation=rule or "longest_first", **options
        )


def _texts_and_pairs(text: Any, pair: Any) -> tuple[list[str], list[str] | None]:
    """Return one list of sequences, and one of second sequences if there are any."""
    if isinstance(text, str):
        if pair is not None and not isinstance(pair, str):
            raise TypeError("text_pair: must be one sequence, because text is one.")
        return [text], None if pair is None else [pair]
    if not isinstance(text, (list, tuple)):
        raise ValueError(f"text: must be a str or a list of str (got {type(text).__name__}).")
    if isinstance(pair, str):
        raise TypeError("text_pair: must be a list as long as text (got one sequence).")
    rows: list[Any]
    if pair is not None:
        if len(pair) != len(text):
            raise ValueError(
                f"text_pair: must have {len(text)} sequences, as text (got {len(pair)})."
            )
        rows = list(zip(text, pair, strict=True))
    else:
        rows = [row if isinstance(row, (list, tuple)) else (row,) for row in text]
    wide = {len(row) for row in rows}
    if not wide <= {1} and wide != {2}:
        raise ValueError("text: must contain either sequences or pairs, not both.")
    odd = next((part for row in rows for part in row if not isinstance(part, str)), None)
    if odd is not None:
        raise ValueError(f"text: must contain str (got {type(odd).__name__}). For ids, use decode.")
    return [row[0] for row in rows], [row[1] for row in rows] if wide == {2} else None

"""Sizes of a DNABERT-2 encoder, under the names of the published ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from typing import Any, get_type_hints

from dnabert2_fast._internal.checks import check_between
from dnabert2_fast._internal.vocabulary import hash_vocabulary
from dnabert2_fast.errors import CheckpointError

__all__ = ["Dnabert2Config", "is_ours"]

MAX_SIZE = 1 << 24  # a larger size comes from damage, and would exhaust the memory
MODEL_TYPE = "dnabert2"
MAX_LISTED = 20  # class names in an error
MAX_SPARE = 128  # the largest multiple that embeddings are padded to


@dataclass(frozen=True)
class Dnabert2Config:
    """Sizes and rates of an encoder; the defaults are the published 117M model.

    Fields have the names of Hugging Face.

    Parameters
    ----------
    vocab_size : int
        Number of token ids.
    hidden_size : int
        Width of the states; a multiple of `num_attention_heads`.
    num_hidden_layers, num_attention_heads : int
        Layers, and heads per layer.
    intermediate_size : int
        Width of the feed-forward part after gating.
    type_vocab_size : int
        Number of token types.
    hidden_act : str
        Only ``"gelu"``.
    hidden_dropout_prob, attention_probs_dropout_prob : float
        Dropout rates of hidden states and of attention weights, from 0 to 1.
    classifier_dropout : float, optional
        Dropout rate before a classifier's head. Default: `hidden_dropout_prob`.
    classifier_pooling : {"cls", "mean"}
        Input of the pooler: a sequence's first token, as in the published model, or the mean of all
        its tokens, [CLS] and [SEP] included. The name is that of ModernBERT.
    layer_norm_eps : float
        Term that avoids division by zero in layer norms.
    initializer_range : float
        Standard deviation of random initial weights.
    vocabulary_sha256 : str, optional
        Hash of the vocabulary that the model was trained with; another one is refused.
    pad_token_id : int
        Id of [PAD].
    num_labels : int
        Number of outputs of a classifier.
    window_bp : int, optional
        Length in bases of the longest sequence that a classifier was fine-tuned on.
    class_names : tuple of str
        Names of a classifier's outputs, in their order; ``id2label`` of the file.
    pairs : bool
        Whether a classifier was fine-tuned on pairs of sequences, whose tokens have types.
    alibi_starting_size, max_position_embeddings : int
        Without effect; kept for other readers of the file.

    Raises
    ------
    CheckpointError
        When a size is not positive, `hidden_size` is not a multiple of `num_attention_heads`,
        `hidden_act` is not ``"gelu"``, or `classifier_pooling` is neither ``"cls"`` nor ``"mean"``.

    Examples
    --------
    >>> config = Dnabert2Config(hidden_size=256, num_hidden_layers=6, num_attention_heads=4)
    >>> config.hidden_size // config.num_attention_heads, config.vocab_size
    (64, 4096)
    """

    vocab_size: int = 4096
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    type_vocab_size: int = 2
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.0
    classifier_dropout: float | None = None
    classifier_pooling: str = "cls"
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    vocabulary_sha256: str | None = None
    pad_token_id: int = 3
    num_labels: int = 2
    window_bp: int | None = None
    class_names: tuple[str, ...] = ()
    pairs: bool = False
    alibi_starting_size: int = 512
    max_position_embeddings: int = 512

    def __post_init__(self) -> None:
        try:
            for name in _SIZES:
                check_between(name, getattr(self, name), 1, MAX_SIZE)
        except ValueError as error:
            raise CheckpointError(f"config: {error}") from None
        if self.hidden_size % self.num_attention_heads:
            raise CheckpointError(
                f"config: hidden_size must be a multiple of num_attention_heads "
                f"(got {self.hidden_size} and {self.num_attention_heads})."
            )
        if self.hidden_act != "gelu":
            raise CheckpointError(
                f'config: hidden_act must be "gelu", as in DNABERT-2 (got "{self.hidden_act}").'
            )
        if self.classifier_pooling not in ("cls", "mean"):
            raise CheckpointError(
                f'config: classifier_pooling must be "cls" or "mean" '
                f'(got "{self.classifier_pooling}").'
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str = "config.json") -> Dnabert2Config:
        """Read the fields of this class from a ``config.json``; other fields are ignored.

        Parameters
        ----------
        values : mapping
            Contents of the file.
        source : str
            Name of the file, for errors.

        Returns
        -------
        Dnabert2Config

        Raises
        ------
        CheckpointError
            When a field has the wrong type or an impossible value; names `source` and the field.

        Examples
        --------
        >>> Dnabert2Config.from_dict({"hidden_size": 24, "architectures": ["X"]}).hidden_size
        24
        """
        hints = get_type_hints(cls)
        names = [field.name for field in fields(cls) if field.name != "class_names"]
        known = {name: values[name] for name in names if name in values}
        by_id = values.get("id2label")
        by_id = {str(i): name for i, name in by_id.items()} if isinstance(by_id, Mapping) else {}
        if "num_labels" not in known and by_id:
            known["num_labels"] = len(by_id)
        for name, value in known.items():
            wanted = hints[name] if hints[name] in (bool, str) else hints[name] | int
            if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
                kind = getattr(hints[name], "__name__", hints[name])
                raise CheckpointError(f"{source}: {name} must be of type {kind} (got {value!r}).")
        ordered = [by_id.get(str(i)) for i in range(len(by_id))]
        if len(ordered) == known.get("num_labels") and all(isinstance(n, str) for n in ordered):
            known["class_names"] = tuple(ordered)
        try:
            return cls(**known)
        except CheckpointError as error:
            raise CheckpointError(f"{source}: {error}") from None

    def require_vocabulary(self, vocabulary: Sequence[str], source: str) -> None:
        """Raise `CheckpointError` unless the tokenizer is the one of the model.

        The model may have a few more ids when their number was padded to a multiple of 8 or more.

        Parameters
        ----------
        vocabulary : sequence of str
            Tokens of the tokenizer, by id.
        source : str
            Name of the model or tokenizer, for the error.

        Raises
        ------
        CheckpointError
            When the model has fewer ids, or more than padding explains; and when its vocabulary
            is known and differs.
        """
        spare = self.vocab_size - len(vocabulary)
        if spare and (self.vocab_size % 8 or not 0 < spare < MAX_SPARE):
            raise CheckpointError(
                f"{source}: the model has {self.vocab_size} ids, the tokenizer {len(vocabulary)}. "
                "Use the tokenizer that the model was trained with."
            )
        if self.vocabulary_sha256 not in (None, hash_vocabulary(vocabulary)):
            raise CheckpointError(
                f"{source}: the vocabulary is not the one that the model was trained with, so its "
                "ids mean other tokens. Use the model's own tokenizer."
            )

    def class_number(self, label: str | int) -> int:
        """Return the number of a class of a classifier.

        Parameters
        ----------
        label : str or int
            Its name, or its number from 0.

        Returns
        -------
        int

        Raises
        ------
        ValueError
            When the model has one output only, or no such class.

        Examples
        --------
        >>> config = Dnabert2Config(class_names=("other", "promoter"))
        >>> config.class_number("promoter"), config.class_number(0), config.class_number("0")
        (1, 0, 0)
        """
        if self.num_labels < 2:
            raise ValueError("model: a classifier with one output has no class probability.")
        if label in self.class_names:
            return self.class_names.index(str(label))
        if str(label).isdecimal() and int(label) < self.num_labels:
            return int(label)
        numbers = f"between 0 and {self.num_labels - 1}"
        if not self.class_names:
            raise ValueError(f"label: must be {numbers} (got {label}).")
        near = "".join(
            f" Did you mean {n}?" for n in get_close_matches(str(label), self.class_names, 1)
        )
        listed = ", ".join(self.class_names[:MAX_LISTED])
        if self.num_labels > MAX_LISTED:
            listed += f" and {self.num_labels - MAX_LISTED} more"
        raise ValueError(f"label: must be one of {listed}, or {numbers} (got {label}).{near}")

    def class_name(self, number: int) -> str:
        """Return the name of a class of a classifier, or its number if it has none.

        Parameters
        ----------
        number : int
            From 0.

        Returns
        -------
        str
        """
        return self.class_names[number] if self.class_names else str(number)

    def to_dict(self) -> dict[str, Any]:
        """Return the contents of a ``config.json``.

        Returns
        -------
        dict
        """
        values = {"model_type": MODEL_TYPE, **asdict(self)}
        if names := values.pop("class_names"):
            values["id2label"] = {str(i): name for i, name in enumerate(names)}
            values["label2id"] = {name: i for i, name in enumerate(names)}
        return values


_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "type_vocab_size",
    "num_labels",
)


def is_ours(values: Mapping[str, Any]) -> bool:
    """Return whether a ``config.json`` belongs to this architecture.

    The published file has no ``model_type``; its remote code writes "bert" after fine-tuning. Both
    have the ALiBi field that no other architecture of that name has.

    >>> is_ours({"model_type": "bert"}), is_ours({"alibi_starting_size": 512})
    (False, True)
    """
    kind = values.get("model_type")
    return kind == MODEL_TYPE or (kind in (None, "", "bert") and "alibi_starting_size" in values)

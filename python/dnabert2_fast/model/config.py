"""Sizes of a DNABERT-2 encoder, under the names of the published ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, get_type_hints

from dnabert2_fast._internal.checks import check_between
from dnabert2_fast._internal.vocabulary import hash_vocabulary
from dnabert2_fast.errors import CheckpointError

__all__ = ["Dnabert2Config", "is_ours"]

MAX_SIZE = 1 << 24  # a larger size comes from damage, and would exhaust the memory
MODEL_TYPE = "dnabert2"
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
        known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        if "num_labels" not in known and isinstance(values.get("id2label"), Mapping):
            known["num_labels"] = len(values["id2label"])
        for name, value in known.items():
            wanted = hints[name] if hints[name] in (bool, str) else hints[name] | int
            if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
                kind = getattr(hints[name], "__name__", hints[name])
                raise CheckpointError(f"{source}: {name} must be of type {kind} (got {value!r}).")
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

    def to_dict(self) -> dict[str, Any]:
        """Return the contents of a ``config.json``.

        Returns
        -------
        dict
        """
        return {"model_type": MODEL_TYPE, **asdict(self)}


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

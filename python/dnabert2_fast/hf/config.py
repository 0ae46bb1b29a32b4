"""`Dnabert2Config` as a `transformers` config, and which of others' configs mean the same model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import PretrainedConfig

from dnabert2_fast.model import Dnabert2Config
from dnabert2_fast.model.config import MODEL_TYPE

__all__ = ["HFDnabert2Config", "is_ours"]


class HFDnabert2Config(PretrainedConfig):  # type: ignore[misc]
    """`Dnabert2Config` as a `transformers` config: the same fields and defaults."""

    model_type = MODEL_TYPE

    def __init__(self, **values: Any) -> None:
        defaults = Dnabert2Config().to_dict()
        del defaults["model_type"], defaults["num_labels"]  # transformers keeps both itself
        # What the published file says of remote code; a file of its fine-tuned form says "bert".
        for key in ("auto_map", "model_type", "gradient_checkpointing"):
            values.pop(key, None)
        super().__init__(**{**defaults, "tie_word_embeddings": True, **values})

    def core(self) -> Dnabert2Config:
        """Return the config that the encoder takes."""
        return Dnabert2Config.from_dict(self.to_dict(), source=self._name_or_path or "config")


def is_ours(values: Mapping[str, Any]) -> bool:
    """Tell whether a ``config.json`` is of this architecture.

    The published file has no ``model_type``; what its remote code saves after fine-tuning says
    "bert". Both have the ALiBi field that no other architecture of that name has.

    >>> is_ours({"model_type": "bert"}), is_ours({"alibi_starting_size": 512})
    (False, True)
    """
    kind = values.get("model_type")
    return kind == MODEL_TYPE or (kind in (None, "", "bert") and "alibi_starting_size" in values)

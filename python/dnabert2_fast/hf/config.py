"""`Dnabert2Config` as a `transformers` config, and the configs of others for the same model."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig

from dnabert2_fast.model.config import MODEL_TYPE, Dnabert2Config, is_ours

__all__ = ["HFDnabert2Config", "is_ours"]


class HFDnabert2Config(PretrainedConfig):  # type: ignore[misc]
    """`Dnabert2Config` as a `transformers` config: the same fields and defaults."""

    model_type = MODEL_TYPE

    def __init__(self, **values: Any) -> None:
        defaults = Dnabert2Config().to_dict()
        del defaults["model_type"], defaults["num_labels"]  # transformers stores both itself
        # Fields of the published file for remote code; its fine-tuned form has "bert".
        for key in ("auto_map", "model_type", "gradient_checkpointing"):
            values.pop(key, None)
        super().__init__(**{**defaults, "tie_word_embeddings": True, **values})

    def core(self) -> Dnabert2Config:
        """Return the config for the encoder.

        Returns
        -------
        Dnabert2Config
        """
        return Dnabert2Config.from_dict(self.to_dict(), source=self._name_or_path or "config")

"""The encoder as `transformers` models: ``import dnabert2_fast.hf``, then the Auto classes know it.

Padded rectangles come in and go out; between the two nothing is padded. Rows of the output at
padding are zero. Unlike the reference code, the pooler reads the first real token, so that left
padding changes nothing. Configs without a ``model_type``, such as the published one, are recognised
by their ALiBi fields, unless the caller asks for the repository's own code.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import (
    BaseModelOutputWithPooling,
    MaskedLMOutput,
    SequenceClassifierOutput,
)

from dnabert2_fast.model import Dnabert2Config, PackedBatch
from dnabert2_fast.model.bert import Bert, MaskedLMHead
from dnabert2_fast.model.config import MODEL_TYPE

__all__ = [
    "HFDnabert2Config",
    "HFDnabert2ForMaskedLM",
    "HFDnabert2ForSequenceClassification",
    "HFDnabert2Model",
]


class HFDnabert2Config(PreTrainedConfig):  # type: ignore[misc]
    """`Dnabert2Config` as a `transformers` config: the same fields and defaults."""

    model_type = MODEL_TYPE

    def __init__(self, **values: Any) -> None:
        defaults = Dnabert2Config().to_dict()
        del defaults["model_type"], defaults["num_labels"]  # transformers keeps both itself
        values.pop("auto_map", None)
        super().__init__(**{**defaults, **values})

    def core(self) -> Dnabert2Config:
        """Return the config that the encoder takes."""
        return Dnabert2Config.from_dict(self.to_dict(), source=self._name_or_path or "config")


class _Base(PreTrainedModel):  # type: ignore[misc]
    config_class = HFDnabert2Config
    base_model_prefix = "bert"
    # A checkpoint may hold heads that this class has no use for.
    _keys_to_ignore_on_load_unexpected = [r"^cls\.", r"^classifier\.", r"^bert\.pooler\."]  # noqa: RUF012

    def _pack(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None,
        token_type_ids: torch.Tensor | None,
    ) -> tuple[PackedBatch, torch.Tensor]:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        batch = PackedBatch.from_padded(input_ids, mask, token_type_ids)
        return batch, mask.bool()

    def _pooled(self, rows: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
        # A row of padding alone has no first token; its pooler output is that of a zero vector.
        firsts = batch.cu_seqlens[:-1].long()
        empty = batch.cu_seqlens[1:] == batch.cu_seqlens[:-1]
        first = F.pad(rows, (0, 0, 0, 1))[firsts].masked_fill(empty[:, None], 0)
        pooled: torch.Tensor = self.bert.pool(first)
        return pooled


def _unpack(rows: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    padded = rows.new_zeros(*real.shape, rows.shape[-1])
    padded[real] = rows
    return padded


class HFDnabert2Model(_Base):
    """The encoder, for ``AutoModel``."""

    def __init__(self, config: HFDnabert2Config) -> None:
        super().__init__(config)
        self.bert = Bert(config.core(), "auto", with_pooler=True)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """Encode (batch, length) ids into (batch, length, hidden_size)."""
        batch, real = self._pack(input_ids, attention_mask, token_type_ids)
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        states: list[torch.Tensor] | None = [] if output_hidden_states else None
        last = self.bert.encode(batch, states=states)
        output = BaseModelOutputWithPooling(
            last_hidden_state=_unpack(last, real),
            pooler_output=self._pooled(last, batch),
            hidden_states=tuple(_unpack(state, real) for state in states) if states else None,
        )
        return output if return_dict is not False else output.to_tuple()


class HFDnabert2ForMaskedLM(_Base):
    """Encoder and masked-LM head, for ``AutoModelForMaskedLM``."""

    _tied_weights_keys = {  # noqa: RUF012 (transformers reads it from the class)
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight"
    }

    def __init__(self, config: HFDnabert2Config) -> None:
        super().__init__(config)
        self.bert = Bert(config.core(), "auto", with_pooler=False)
        self.cls = MaskedLMHead(config.core())
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the word embedding."""
        return self.bert.embeddings.word_embeddings

    def get_output_embeddings(self) -> nn.Module:
        """Return the tied decoder."""
        return self.cls.predictions.decoder

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """Predict tokens: logits (batch, length, vocab_size); labels are -100 where ignored."""
        batch, real = self._pack(input_ids, attention_mask, token_type_ids)
        logits = self.cls.predictions(self.bert.encode(batch))
        loss = None
        if labels is not None:
            wanted = labels[real]
            total = F.cross_entropy(logits.float(), wanted, ignore_index=-100, reduction="sum")
            loss = total / (wanted != -100).sum().clamp(min=1)
        output = MaskedLMOutput(loss=loss, logits=_unpack(logits, real))
        return output if return_dict is not False else output.to_tuple()


class HFDnabert2ForSequenceClassification(_Base):
    """Encoder, pooler and classifier, for ``AutoModelForSequenceClassification``."""

    def __init__(self, config: HFDnabert2Config) -> None:
        super().__init__(config)
        core = config.core()
        rate = core.classifier_dropout
        self.bert = Bert(core, "auto", with_pooler=True)
        self.dropout = nn.Dropout(core.hidden_dropout_prob if rate is None else rate)
        self.classifier = nn.Linear(core.hidden_size, core.num_labels)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """Classify sequences: logits (batch, num_labels)."""
        batch, _ = self._pack(input_ids, attention_mask, token_type_ids)
        rows = self.bert.encode(batch)
        logits = self.classifier(self.dropout(self._pooled(rows, batch)))
        loss = None if labels is None else F.cross_entropy(logits.float(), labels)
        output = SequenceClassifierOutput(loss=loss, logits=logits)
        return output if return_dict is not False else output.to_tuple()


def _is_ours(values: dict[str, Any]) -> bool:
    if "model_type" in values:
        return bool(values["model_type"] == MODEL_TYPE)
    return "alibi_starting_size" in values


def _register() -> None:
    AutoConfig.register(MODEL_TYPE, HFDnabert2Config, exist_ok=True)
    AutoModel.register(HFDnabert2Config, HFDnabert2Model, exist_ok=True)
    AutoModelForMaskedLM.register(HFDnabert2Config, HFDnabert2ForMaskedLM, exist_ok=True)
    AutoModelForSequenceClassification.register(
        HFDnabert2Config, HFDnabert2ForSequenceClassification, exist_ok=True
    )
    original = AutoConfig.from_pretrained

    # AutoConfig knows a config by its model_type alone, and the published one has none.
    def from_pretrained(name: Any, **kwargs: Any) -> Any:
        if not kwargs.get("trust_remote_code"):
            values, unused = PreTrainedConfig.get_config_dict(name, **kwargs)
            if _is_ours(values):
                for key in ("trust_remote_code", "code_revision"):
                    unused.pop(key, None)
                return HFDnabert2Config.from_dict(values, **unused)
        return original(name, **kwargs)

    AutoConfig.from_pretrained = staticmethod(from_pretrained)


_register()

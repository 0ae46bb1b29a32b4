"""The encoder as `transformers` models: padded input and output, packed in between.

Rows of the output at padding are zero. Unlike in the reference code, the pooler reads the first
real token, so that left padding changes nothing; or the mean of all real tokens, if the config's
``classifier_pooling`` is "mean".
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.modeling_outputs import (
    BaseModelOutputWithPooling,
    MaskedLMOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)

from dnabert2_fast.hf.config import HFDnabert2Config
from dnabert2_fast.model.batch import PackedBatch
from dnabert2_fast.model.encoder import Bert
from dnabert2_fast.model.heads import (
    Dnabert2ForMaskedLM,
    Dnabert2ForSequenceClassification,
    Dnabert2ForTokenClassification,
    Dnabert2Model,
    MaskedLMHead,
    classification_head,
)
from dnabert2_fast.model.pretrained import Pretrained, fit

__all__ = [
    "HFDnabert2ForMaskedLM",
    "HFDnabert2ForSequenceClassification",
    "HFDnabert2ForTokenClassification",
    "HFDnabert2Model",
]

EMBEDDING, DECODER = "embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"


UNUSED = {
    "use_cache": "",
    "position_ids": "Leave it out: ALiBi depends on distances between tokens alone.",
    "head_mask": "Leave it out.",
    "labels": "Use AutoModelForSequenceClassification or another class with a loss.",
    "output_all_encoded_layers": "Use output_hidden_states=True.",
    "masked_tokens_mask": "Select rows of last_hidden_state.",
    "encoder_hidden_states": "The model has no decoder.",
    "encoder_attention_mask": "The model has no decoder.",
    "past_key_values": "The model has no decoder.",
}
"""Arguments without a use here, and what to do when they are set."""


class Packed(NamedTuple):
    """The result of the encoder for a rectangle.

    Attributes
    ----------
    rows : Tensor, shape (total_tokens, hidden_size)
    cu_seqlens : Tensor of int32, shape (batch + 1,)
        Start of each sequence's rows.
    real : Tensor of bool, shape (batch, length)
        Position of the rows in the rectangle.
    looks : dict
        ``hidden_states`` and ``attentions``, padded, under the names of `transformers`; None unless
        requested.
    """

    rows: torch.Tensor
    cu_seqlens: torch.Tensor
    real: torch.Tensor
    looks: dict[str, tuple[torch.Tensor, ...] | None]


class _Base(PreTrainedModel):  # type: ignore[misc]
    config_class = HFDnabert2Config
    base_model_prefix = "bert"
    core_class: type[Pretrained]
    accepts_loss_kwargs = False  # `Trainer` would conclude otherwise from the keyword arguments
    supports_gradient_checkpointing = True
    _no_split_modules = ["Layer", "Embeddings"]  # noqa: RUF012
    # A checkpoint may contain heads that this class does not use.
    _keys_to_ignore_on_load_unexpected = [r"^cls\.", r"^classifier\.", r"^(bert\.)?pooler\."]  # noqa: RUF012

    def get_input_embeddings(self) -> nn.Module:
        """Return the word embedding."""
        embedding: nn.Module = self.base_model.embeddings.word_embeddings
        return embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the word embedding."""
        self.base_model.embeddings.word_embeddings = value

    def resize_token_embeddings(self, *sizes: Any, **options: Any) -> nn.Module:
        """Change the number of ids; the vocabulary of the tokenizer then differs too."""
        before = self.config.vocab_size
        embedding: nn.Module = super().resize_token_embeddings(*sizes, **options)
        if self.config.vocab_size != before:
            self.config.vocabulary_sha256 = None
        return embedding

    def _pack_and_encode(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        token_type_ids: torch.Tensor | None,
        inputs_embeds: torch.Tensor | None,
        output_attentions: bool | None,
        output_hidden_states: bool | None,
        *,
        unused: Mapping[str, Any],
    ) -> Packed:
        _require_unused(unused)
        given = input_ids if inputs_embeds is None else inputs_embeds
        if given is None or (input_ids is not None and inputs_embeds is not None):
            raise ValueError("input_ids, inputs_embeds: give exactly one of them.")
        mask = given.new_ones(given.shape[:2]) if attention_mask is None else attention_mask
        if not torch.compiler.is_compiling():
            _require_order(mask, token_type_ids)
        # Looked up before padding is removed: hooks on the embedding (NEFTune, captum) expect a
        # rectangle.
        words = self.get_input_embeddings()(given) if inputs_embeds is None else given
        batch = PackedBatch.from_padded(words, mask, token_type_ids)
        real = mask.bool()
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        states: list[torch.Tensor] | None = [] if output_hidden_states else None
        attentions: list[tuple[torch.Tensor, ...]] | None = [] if output_attentions else None
        rows = self.base_model.encode(batch, states=states, attentions=attentions)
        looks = {
            "hidden_states": None if states is None else tuple(_unpack(s, real) for s in states),
            "attentions": None
            if attentions is None
            else tuple(_unpack_attentions(m, real) for m in attentions),
        }
        return Packed(rows, batch.cu_seqlens, real, looks)

    def _check_and_adjust_attn_implementation(
        self, attn_implementation: str | None, *_: Any, **__: Any
    ) -> str:
        """Accept the names whose result is that of every backend; the core selects the backend."""
        if attn_implementation in (None, "eager", "sdpa"):
            return "eager"  # with which transformers allows output_attentions
        raise ValueError(
            f'attn_implementation: must be "eager" or "sdpa", or be left out (got '
            f'"{attn_implementation}"). The fastest backend is selected in any case: dnabert2-fast '
            "doctor."
        )

    def core(self) -> Pretrained:
        """Return this library's model: a copy of the weights, on the CPU, in `eval` mode.

        Returns
        -------
        torch.nn.Module
            With the class of `core_class`.
        """
        model = self.core_class(self.config.core())
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".* has no pooler", category=UserWarning)
            fit(model, self.state_dict(), self.config._name_or_path or "model")
        return model.eval()

    def _finished(self, output: Any, return_dict: bool | None) -> Any:
        if return_dict is None:
            return_dict = getattr(self.config, "return_dict", True)
        return output if return_dict else output.to_tuple()


def _require_unused(given: Mapping[str, Any]) -> None:
    """Accept arguments of BERT and of the published code that change nothing; refuse others."""
    for name, value in given.items():
        if name not in UNUSED:
            raise TypeError(f"forward() got an unexpected keyword argument '{name}'")
        if value is None or value is False or name == "use_cache":
            continue
        if name == "position_ids" and (value.diff(dim=-1) == 1).all():
            continue
        raise ValueError(f"{name}: is not supported. {UNUSED[name]}")


def _require_order(mask: torch.Tensor, types: torch.Tensor | None) -> None:
    """Refuse token types as the mask: the published encoder has them as its second argument."""
    if not mask.numel():
        return
    swapped = not mask.any()
    if types is not None and types.shape == mask.shape and not swapped:
        # A mask instead of types has its first 1 at [CLS], where types are 0.
        first = types.bool().long().argmax(1, keepdim=True)
        swapped = bool((types.any(1) & ~mask.gather(1, first).bool().any(1)).all())
    if swapped:
        raise ValueError(
            "attention_mask: looks like token types, as it is 0 at the first tokens. Pass "
            "attention_mask and token_type_ids by name: the published code has them in the other "
            "order."
        )


def _unpack(rows: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    padded = rows.new_zeros(*real.shape, rows.shape[-1])
    padded[real] = rows
    return padded


def _unpack_attentions(attentions: tuple[torch.Tensor, ...], real: torch.Tensor) -> torch.Tensor:
    """Return (batch, heads, length, length), zero in rows and columns of padding."""
    length = real.shape[1]
    padded = []
    for weights, at in zip(attentions, real, strict=True):
        positions = at.nonzero().flatten()
        wide = weights.new_zeros(len(weights), length, length)
        wide[:, positions[:, None], positions] = weights
        padded.append(wide)
    return torch.stack(padded)


class EncoderOutput(BaseModelOutputWithPooling):  # type: ignore[misc]
    """The encoder's output; ``states, pooled = model(ids)`` works, as with the published code.

    Iterating over it gives its values, not their names; ``keys()`` and ``items()`` are unchanged.
    """

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(self.to_tuple())


class HFDnabert2Model(_Base):
    """The encoder, for ``AutoModel``.

    >>> config = HFDnabert2Config(vocab_size=16, hidden_size=12, num_hidden_layers=1,
    ...     num_attention_heads=3, intermediate_size=8)
    >>> model = HFDnabert2Model(config)
    >>> model(torch.tensor([[1, 5, 2]]), output_attentions=True).attentions[0].shape
    torch.Size([1, 3, 3, 3])
    """

    core_class = Dnabert2Model
    # The core's encoder runs on this class's own modules, so that keys are those of a bare BERT.
    encode: Any = Bert.encode
    pool: Any = Bert.pool

    def __init__(self, config: HFDnabert2Config, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        core = Bert(config.core(), "auto", with_pooler=add_pooling_layer)
        self.heads, self.pooling = core.heads, core.pooling
        self.embeddings, self.encoder, self.pooler = core.embeddings, core.encoder, core.pooler
        self.gradient_checkpointing = False  # transformers sets it
        self.post_init()

    @property
    def checkpoints_activations(self) -> bool:
        """Return whether layers are recomputed in the backward pass; never re-entrant."""
        return self.gradient_checkpointing and self.training

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        head_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **others: Any,
    ) -> Any:
        """Encode (batch, length) ids into (batch, length, hidden_size)."""
        packed = self._pack_and_encode(
            input_ids,
            attention_mask,
            token_type_ids,
            inputs_embeds,
            output_attentions,
            output_hidden_states,
            unused={"position_ids": position_ids, "head_mask": head_mask, **others},
        )
        pooled = None if self.pooler is None else self.pool(packed.rows, packed.cu_seqlens)
        # torch.nn.DataParallel gathers the outputs of replicas by iterating over their names.
        replica = getattr(self, "_is_replica", False)
        output = (BaseModelOutputWithPooling if replica else EncoderOutput)(
            last_hidden_state=_unpack(packed.rows, packed.real),
            pooler_output=pooled,
            **packed.looks,
        )
        return self._finished(output, return_dict)


class HFDnabert2ForMaskedLM(_Base):
    """Encoder and masked-LM head, for ``AutoModelForMaskedLM``."""

    _tied_weights_keys = {DECODER: f"bert.{EMBEDDING}"}  # noqa: RUF012 (transformers reads it here)

    accepts_loss_kwargs = True  # `Trainer` then passes the number of labels of a whole update

    core_class = Dnabert2ForMaskedLM

    def __init__(self, config: HFDnabert2Config) -> None:
        super().__init__(config)
        self.bert = HFDnabert2Model(config, add_pooling_layer=False)
        self.cls = MaskedLMHead(config.core())
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        """Return the tied decoder."""
        return self.cls.predictions.decoder

    def set_output_embeddings(self, value: nn.Linear) -> None:
        """Replace the decoder."""
        self.cls.predictions.decoder = value

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        head_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **others: Any,
    ) -> Any:
        """Return logits (batch, length, vocab_size); labels of -100 are ignored."""
        packed = self._pack_and_encode(
            input_ids,
            attention_mask,
            token_type_ids,
            inputs_embeds,
            output_attentions,
            output_hidden_states,
            unused={"position_ids": position_ids, "head_mask": head_mask, **others},
        )
        logits = self.cls.predictions(packed.rows)
        output = MaskedLMOutput(
            loss=_mean_loss(logits, labels, packed.real, num_items_in_batch),
            logits=_unpack(logits, packed.real),
            **packed.looks,
        )
        return self._finished(output, return_dict)


class HFDnabert2ForSequenceClassification(_Base):
    """Encoder, pooler and classifier, for ``AutoModelForSequenceClassification``.

    The loss is that of ``config.problem_type``: cross-entropy, mean squared error or, for
    multi-label tasks, binary cross-entropy. If it is not set, the labels decide.
    """

    core_class = Dnabert2ForSequenceClassification

    def __init__(self, config: HFDnabert2Config) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.bert = HFDnabert2Model(config)
        self.dropout, self.classifier = classification_head(config.core())
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        head_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **others: Any,
    ) -> Any:
        """Classify sequences: logits (batch, num_labels)."""
        packed = self._pack_and_encode(
            input_ids,
            attention_mask,
            token_type_ids,
            inputs_embeds,
            output_attentions,
            output_hidden_states,
            unused={"position_ids": position_ids, "head_mask": head_mask, **others},
        )
        pooled = self.bert.pool(packed.rows, packed.cu_seqlens)
        logits = self.classifier(self.dropout(pooled))
        loss = None
        if labels is not None:
            loss = self.loss_function(
                labels=labels, pooled_logits=logits.float(), config=self.config
            )
        output = SequenceClassifierOutput(loss=loss, logits=logits, **packed.looks)
        return self._finished(output, return_dict)


class HFDnabert2ForTokenClassification(_Base):
    """Encoder and a classifier of tokens, for ``AutoModelForTokenClassification``."""

    accepts_loss_kwargs = True  # `Trainer` then passes the number of labels of a whole update

    core_class = Dnabert2ForTokenClassification

    def __init__(self, config: HFDnabert2Config) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.bert = HFDnabert2Model(config, add_pooling_layer=False)
        self.dropout, self.classifier = classification_head(config.core())
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        head_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **others: Any,
    ) -> Any:
        """Return logits (batch, length, num_labels); labels of -100 are ignored."""
        packed = self._pack_and_encode(
            input_ids,
            attention_mask,
            token_type_ids,
            inputs_embeds,
            output_attentions,
            output_hidden_states,
            unused={"position_ids": position_ids, "head_mask": head_mask, **others},
        )
        logits = self.classifier(self.dropout(packed.rows))
        output = TokenClassifierOutput(
            loss=_mean_loss(logits, labels, packed.real, num_items_in_batch),
            logits=_unpack(logits, packed.real),
            **packed.looks,
        )
        return self._finished(output, return_dict)


def _mean_loss(
    logits: torch.Tensor,
    labels: torch.Tensor | None,
    real: torch.Tensor,
    count: torch.Tensor | int | None,
) -> torch.Tensor | None:
    """Return the mean cross-entropy of the rows with a label; 0, not 0 / 0, without labels.

    `count` is set when several batches make one update, because a mean over all of their labels is
    not the mean of their means.
    """
    if labels is None:
        return None
    wanted = labels[real]
    total = F.cross_entropy(logits.float(), wanted, ignore_index=-100, reduction="sum")
    labelled = (wanted != -100).sum() if count is None else torch.as_tensor(count)
    return total / labelled.clamp(min=1).to(total.device)

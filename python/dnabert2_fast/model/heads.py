"""The public models: the encoder with its pooler, a masked-LM head, or a classifier.

Modules have the names of the published checkpoint, so that its keys load without a map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from dnabert2_fast.kernels import masked_lm_loss
from dnabert2_fast.model.batch import PackedBatch, on_device
from dnabert2_fast.model.config import Dnabert2Config
from dnabert2_fast.model.encoder import Bert
from dnabert2_fast.model.outputs import ClassifierOutput, EncoderOutput, MaskedLMOutput
from dnabert2_fast.model.pretrained import Pretrained, initialise

__all__ = [
    "Classifier",
    "Dnabert2ForMaskedLM",
    "Dnabert2ForSequenceClassification",
    "Dnabert2ForTokenClassification",
    "Dnabert2Model",
    "MaskedLMHead",
    "classification_head",
]

HEAD_LAYER_NORM_EPS = 1e-12  # fixed in the reference, independent of the config


class Classifier(nn.Linear):
    """A linear map in float32 at least, because bfloat16 has steps of 1/64 between 2 and 4."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (rows, num_labels)."""
        exact = torch.promote_types(x.dtype, torch.float32)
        return F.linear(x.to(exact), self.weight.to(exact), self.bias.to(exact))


def classification_head(config: Dnabert2Config) -> tuple[nn.Dropout, Classifier]:
    """Return the dropout before a classifier, and the classifier."""
    rate = config.classifier_dropout
    dropout = nn.Dropout(config.hidden_dropout_prob if rate is None else rate)
    return dropout, Classifier(config.hidden_size, config.num_labels)


class PredictionTransform(nn.Module):
    """Dense, GELU, norm."""

    def __init__(self, config: Dnabert2Config) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=HEAD_LAYER_NORM_EPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return rows with the shape of the input."""
        normed: torch.Tensor = self.LayerNorm(F.gelu(self.dense(x)))
        return normed


class Predictions(nn.Module):
    """Masked-LM head; its decoder shares the word embedding's matrix."""

    def __init__(self, config: Dnabert2Config) -> None:
        super().__init__()
        self.transform = PredictionTransform(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (rows, vocab_size)."""
        logits: torch.Tensor = self.decoder(self.transform(x))
        return logits


class MaskedLMHead(nn.Module):
    """The predictions under the checkpoint's name ``cls.predictions``."""

    def __init__(self, config: Dnabert2Config) -> None:
        super().__init__()
        self.predictions = Predictions(config)


class Dnabert2Model(Pretrained):
    """The encoder with its pooler.

    Read it with `from_pretrained`, write it with `save_pretrained`, call it like `forward`.

    Parameters
    ----------
    config : Dnabert2Config
        Weights are initialised at random: normal with standard deviation `initializer_range`.
    attention : str
        Attention backend; ``dnabert2-fast doctor`` lists them.

    Raises
    ------
    BackendUnavailableError
        At a call, if the backend does not exist or cannot run here.

    Examples
    --------
    >>> from dnabert2_fast import Tokenizer
    >>> config = Dnabert2Config(hidden_size=24, num_hidden_layers=1, num_attention_heads=3)
    >>> model = Dnabert2Model(config).eval()
    >>> ids = Tokenizer.from_pretrained("dnabert2").encode_batch(["ACGTTGCA", "ACG"])
    >>> output = model(PackedBatch.from_ragged(ids))
    >>> output.last_hidden_state.shape, output.pooler_output.shape
    (torch.Size([9, 24]), torch.Size([2, 24]))
    """

    def __init__(self, config: Dnabert2Config, attention: str = "auto") -> None:
        super().__init__()
        self.config = config
        self.bert = Bert(config, attention, with_pooler=True)
        initialise(self, config.initializer_range)

    def forward(
        self,
        batch: PackedBatch,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> EncoderOutput:
        """Encode a batch; it is moved to the model's device.

        Parameters
        ----------
        batch : PackedBatch
        output_hidden_states : bool
            Also return the state after the embeddings and after every layer.
        output_attentions : bool
            Also return the attention weights, whose memory grows with the square of the length.

        Returns
        -------
        EncoderOutput

        Raises
        ------
        ValueError
            When there would be too many attention weights.
        IndexError
            When an id is outside the vocabulary, on a CPU.
        """
        batch = on_device(batch, self.device)
        states: list[torch.Tensor] | None = [] if output_hidden_states else None
        attentions: list[tuple[torch.Tensor, ...]] | None = [] if output_attentions else None
        last = self.bert.encode(batch, states=states, attentions=attentions)
        pooled = self.bert.pool(last, batch.cu_seqlens)
        return EncoderOutput(
            last,
            pooled,
            tuple(states) if states else None,
            tuple(attentions) if attentions else None,
        )

    if TYPE_CHECKING:  # in torch, every call has the type Any
        __call__ = forward


def _labelled(labels: torch.Tensor) -> torch.Tensor:
    if labels.device.type == "cpu" and not torch.compiler.is_compiling():
        return torch.from_numpy(np.flatnonzero(labels.numpy() != -100))
    return torch.nonzero(labels != -100).flatten()


class Dnabert2ForMaskedLM(Pretrained):
    """Encoder and masked-LM head, whose decoder is the word embedding's matrix.

    Parameters
    ----------
    config, attention
        As in `Dnabert2Model`.

    Examples
    --------
    The most probable token of ``mini`` for a masked position:

    >>> from dnabert2_fast import Tokenizer
    >>> tok = Tokenizer.from_pretrained("mini")
    >>> model = Dnabert2ForMaskedLM.from_pretrained("mini")
    >>> batch = PackedBatch.from_ragged(tok.encode_batch(["ACGTTGCA"]))
    >>> batch.input_ids[2] = tok.mask_id
    >>> with torch.inference_mode():
    ...     logits = model(batch).logits
    >>> logits.shape, abs(float(logits[2].softmax(-1).sum()) - 1) < 1e-5
    (torch.Size([4, 4096]), True)
    """

    def __init__(self, config: Dnabert2Config, attention: str = "auto") -> None:
        super().__init__()
        self.config = config
        self.bert = Bert(config, attention, with_pooler=False)
        self.cls = MaskedLMHead(config)
        self.tie()
        initialise(self, config.initializer_range)

    def tie(self) -> None:
        """Share the word embedding's matrix with the decoder."""
        self.cls.predictions.decoder.weight = self.bert.embeddings.word_embeddings.weight

    def forward(
        self, batch: PackedBatch, labels: torch.Tensor | None = None, with_logits: bool = True
    ) -> MaskedLMOutput:
        """Predict tokens.

        Parameters
        ----------
        batch : PackedBatch
        labels : Tensor of int64, shape (total_tokens,), optional
            -100 at positions without a label. With labels, the last layer's MLP and the head run on
            the labelled rows only, and `logits` contains those rows in order.
        with_logits : bool
            False computes a loss in less memory on a GPU.

        Returns
        -------
        MaskedLMOutput
            `logits` have shape (total_tokens, vocab_size), or (labelled rows, vocab_size); `loss`
            is the mean cross-entropy of the labelled rows in nats, 0 if there are none.
        """
        batch = on_device(batch, self.device)
        head = self.cls.predictions
        if labels is None:
            return MaskedLMOutput(None, head(self.bert.encode(batch)))
        # Found on the host when the labels are there: the device need not be waited for.
        rows = _labelled(labels).to(self.device, non_blocking=True)
        labels = labels.to(self.device, non_blocking=True)
        hidden, labels = head.transform(self.bert.encode(batch, rows)), labels[rows]
        # A batch without labels has loss 0, not 0 / 0.
        count = max(len(rows), 1)
        if not with_logits:
            return MaskedLMOutput(masked_lm_loss(hidden, head.decoder, labels) / count, None)
        logits = head.decoder(hidden)
        total = F.cross_entropy(logits.float(), labels, reduction="sum")
        return MaskedLMOutput(total / count, logits)

    if TYPE_CHECKING:  # in torch, every call has the type Any
        __call__ = forward


class Dnabert2ForSequenceClassification(Pretrained):
    """Encoder, pooler, dropout and a linear classifier.

    Parameters
    ----------
    config, attention
        As in `Dnabert2Model`; `config.num_labels` is the number of classes,
        `config.classifier_pooling` the input of the pooler.

    Examples
    --------
    A head of three classes on ``mini``, ready for training:

    >>> import warnings
    >>> from dnabert2_fast import Tokenizer
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # both are randomly initialised
    ...     model = Dnabert2ForSequenceClassification.from_pretrained("mini", num_labels=3)
    >>> ids = Tokenizer.from_pretrained("mini").encode_batch(["ACGTTGCA", "ACG"])
    >>> output = model(PackedBatch.from_ragged(ids), labels=torch.tensor([2, 0]))
    >>> output.logits.shape, output.loss > 0
    (torch.Size([2, 3]), tensor(True))
    """

    def __init__(self, config: Dnabert2Config, attention: str = "auto") -> None:
        super().__init__()
        self.config = config
        self.bert = Bert(config, attention, with_pooler=True)
        self.dropout, self.classifier = classification_head(config)
        initialise(self, config.initializer_range)

    def forward(self, batch: PackedBatch, labels: torch.Tensor | None = None) -> ClassifierOutput:
        """Classify sequences.

        Parameters
        ----------
        batch : PackedBatch
        labels : Tensor of int64, shape (n,), optional
            Classes, for a loss: the mean cross-entropy, in nats. For a model with one output
            numbers, float of shape (n,) or (n, 1): the mean squared error.

        Returns
        -------
        ClassifierOutput

        Raises
        ------
        ValueError
            When labels are floats, and the model has several outputs.
        """
        batch = on_device(batch, self.device)
        logits = self.classifier(self.dropout(self.bert.encode_pooled(batch)))
        if labels is None:
            return ClassifierOutput(None, logits)
        labels = labels.to(self.device)
        if self.config.num_labels == 1:
            return ClassifierOutput(
                F.mse_loss(logits.float()[:, 0], labels.float().flatten()), logits
            )
        if labels.is_floating_point():
            raise ValueError(
                f"labels: must be classes, int64 (got {labels.dtype}). Use finetune for several "
                "labels or numbers."
            )
        return ClassifierOutput(F.cross_entropy(logits.float(), labels), logits)

    if TYPE_CHECKING:  # in torch, every call has the type Any
        __call__ = forward


class Dnabert2ForTokenClassification(Pretrained):
    """Encoder, dropout and a linear classifier of every token.

    Parameters
    ----------
    config : Dnabert2Config
        `num_labels` is the number of classes.
    attention : str
        Attention backend; ``dnabert2-fast doctor`` lists them.

    Raises
    ------
    BackendUnavailableError
        At a call, if the backend does not exist or cannot run here.

    Examples
    --------
    >>> from dnabert2_fast import Ragged
    >>> config = Dnabert2Config(vocab_size=16, hidden_size=12, num_hidden_layers=1,
    ...     num_attention_heads=3, intermediate_size=8, num_labels=3)
    >>> batch = PackedBatch.from_ragged(Ragged.from_list([[1, 5, 2], [1, 2]]))
    >>> Dnabert2ForTokenClassification(config)(batch).logits.shape
    torch.Size([5, 3])
    """

    def __init__(self, config: Dnabert2Config, attention: str = "auto") -> None:
        super().__init__()
        self.config = config
        self.bert = Bert(config, attention, with_pooler=False)
        self.dropout, self.classifier = classification_head(config)
        initialise(self, config.initializer_range)

    def forward(self, batch: PackedBatch, labels: torch.Tensor | None = None) -> ClassifierOutput:
        """Classify tokens.

        Parameters
        ----------
        batch : PackedBatch
        labels : Tensor of int64, shape (total_tokens,), optional
            -100 at positions without a label; gives the mean cross-entropy of the others.

        Returns
        -------
        ClassifierOutput
            Its logits have shape (total_tokens, num_labels).
        """
        batch = on_device(batch, self.device)
        logits = self.classifier(self.dropout(self.bert.encode(batch)))
        if labels is None:
            return ClassifierOutput(None, logits)
        labels = labels.to(self.device)
        total = F.cross_entropy(logits.float(), labels, ignore_index=-100, reduction="sum")
        return ClassifierOutput(total / (labels != -100).sum().clamp(min=1), logits)

    if TYPE_CHECKING:  # in torch, every call has the type Any
        __call__ = forward

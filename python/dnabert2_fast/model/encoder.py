"""The DNABERT-2 models on packed rows: the layers (`layers.py`) with a pooler or a head.

DNABERT-2: Zhou et al. 2024. Modules carry the names of the released checkpoint, so that its keys
load as they are.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from dnabert2_fast.attention.alibi import alibi_slopes
from dnabert2_fast.attention.weights import require_room
from dnabert2_fast.kernels import masked_lm_loss
from dnabert2_fast.model.batch import PackedBatch
from dnabert2_fast.model.config import Dnabert2Config
from dnabert2_fast.model.layers import Embeddings, Encoder
from dnabert2_fast.model.pretrained import Pretrained, initialise

__all__ = [
    "Bert",
    "Classifier",
    "ClassifierOutput",
    "Dnabert2ForMaskedLM",
    "Dnabert2ForSequenceClassification",
    "Dnabert2Model",
    "EncoderOutput",
    "MaskedLMHead",
    "MaskedLMOutput",
    "first_rows",
    "mean_rows",
]

HEAD_LAYER_NORM_EPS = 1e-12  # fixed in the reference, whatever the config says


class EncoderOutput(NamedTuple):
    """What the encoder gives.

    Attributes
    ----------
    last_hidden_state : Tensor, shape (total_tokens, hidden_size)
    pooler_output : Tensor, shape (n, hidden_size)
        tanh of a linear map of each sequence's first token or, if the config's `classifier_pooling`
        says so, of the mean of its tokens; of zeros for one without any.
    hidden_states : tuple of Tensor, each (total_tokens, hidden_size), or None
        After the embeddings and after every layer, when asked for.
    attentions : tuple of tuple of Tensor, or None
        Of every layer and every sequence the attention weights, (heads, length, length), when
        asked for: row i is what token i looks at.
    """

    last_hidden_state: torch.Tensor
    pooler_output: torch.Tensor
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[tuple[torch.Tensor, ...], ...] | None = None


class MaskedLMOutput(NamedTuple):
    """Loss (None without labels) and logits, of labelled rows only when there are labels."""

    loss: torch.Tensor | None
    logits: torch.Tensor | None


class ClassifierOutput(NamedTuple):
    """Loss (None without labels) and logits of shape (n, num_labels), float32 at least."""

    loss: torch.Tensor | None
    logits: torch.Tensor


@lru_cache
def _slopes(heads: int, device: torch.device) -> torch.Tensor:
    # Neither parameter nor buffer, so that they stay float32 whatever the model's dtype: half of
    # them are no round numbers. Made outside inference mode, because training may use them later.
    with torch.inference_mode(False):
        return alibi_slopes(heads).to(device)


def first_rows(rows: torch.Tensor, cu_seqlens: torch.Tensor) -> torch.Tensor:
    """Return the row of each sequence's first token, zero for a sequence without any.

    >>> first_rows(torch.tensor([[5.0], [6.0], [7.0]]), torch.tensor([0, 2, 2, 3, 3])).tolist()
    [[5.0], [0.0], [7.0], [0.0]]
    """
    if not len(rows):
        return rows.new_zeros(len(cu_seqlens) - 1, rows.shape[1])
    starts, empty = _starts(cu_seqlens, len(rows))
    return rows[starts].masked_fill(empty, 0)


def mean_rows(rows: torch.Tensor, cu_seqlens: torch.Tensor) -> torch.Tensor:
    """Return the mean of each sequence's rows, zero for a sequence without any.

    >>> mean_rows(torch.tensor([[5.0], [6.0], [7.0]]), torch.tensor([0, 2, 2, 3, 3])).tolist()
    [[5.5], [0.0], [7.0], [0.0]]
    """
    lengths = cu_seqlens.diff().long()
    numbers = torch.arange(len(lengths), device=rows.device)
    # The size is told because a graph has to know it.
    owner = torch.repeat_interleave(numbers, lengths, output_size=rows.shape[0])
    # Summed in float32 at least: a bfloat16 has eight bits for a sum of hundreds.
    exact = torch.promote_types(rows.dtype, torch.float32)
    total = rows.new_zeros(len(lengths), rows.shape[1], dtype=exact)
    total = total.index_add(0, owner, rows.to(exact))
    return (total / lengths.clamp(min=1)[:, None]).to(rows.dtype)


def _starts(cu_seqlens: torch.Tensor, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Where each sequence begins, any place for one without tokens; which those are, (n, 1)."""
    empty = cu_seqlens[1:] == cu_seqlens[:-1]
    return cu_seqlens[:-1].long().clamp(max=tokens - 1), empty[:, None]


class Pooler(nn.Module):
    """tanh of a linear map of one row a sequence: its first token's, or the mean of its tokens'."""

    def __init__(self, config: Dnabert2Config) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return (n, hidden_size)."""
        return torch.tanh(self.dense(rows))


class Classifier(nn.Linear):
    """A linear map that works in float32 at least: bfloat16 has steps of 1/64 between 2 and 4."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (rows, num_labels)."""
        exact = torch.promote_types(x.dtype, torch.float32)
        return F.linear(x.to(exact), self.weight.to(exact), self.bias.to(exact))


class Bert(nn.Module):
    """Embeddings, layers and, if wanted, the pooler."""

    def __init__(self, config: Dnabert2Config, backend: str, with_pooler: bool) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.pooling = config.classifier_pooling
        self.backend = backend
        self.checkpoints_activations = False
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config, backend)
        self.pooler = Pooler(config) if with_pooler else None

    def pool(self, rows: torch.Tensor, cu_seqlens: torch.Tensor) -> torch.Tensor:
        """Return what the pooler makes of all tokens' rows, shape (n, hidden_size)."""
        assert self.pooler is not None, "this encoder was built without a pooler"
        summary = mean_rows if self.pooling == "mean" else first_rows
        pooled: torch.Tensor = self.pooler(summary(rows, cu_seqlens))
        return pooled

    def encode_pooled(self, batch: PackedBatch) -> torch.Tensor:
        """Return what the pooler makes of a batch; the last layer does no more than that needs."""
        if self.pooling == "mean" or not len(batch.input_ids):
            return self.pool(self.encode(batch), batch.cu_seqlens)
        assert self.pooler is not None, "this encoder was built without a pooler"
        starts, empty = _starts(batch.cu_seqlens, len(batch.input_ids))
        pooled: torch.Tensor = self.pooler(self.encode(batch, starts).masked_fill(empty, 0))
        return pooled

    def encode(
        self,
        batch: PackedBatch,
        rows: torch.Tensor | None = None,
        *,
        states: list[torch.Tensor] | None = None,
        maps: list[tuple[torch.Tensor, ...]] | None = None,
    ) -> torch.Tensor:
        """Return the last layer's rows, all or those given.

        The state after the embeddings and after every layer is appended to `states`, every layer's
        attention weights to `maps`.
        """
        if maps is not None:
            require_room(batch.cu_seqlens, self.heads * len(self.encoder.layer))
        x: torch.Tensor = self.embeddings(batch)
        slopes = _slopes(self.heads, x.device)
        last = len(self.encoder.layer) - 1
        for i, layer in enumerate(self.encoder.layer):
            if states is not None:
                states.append(x)
            given = (x, batch, slopes, rows if i == last else None, maps)
            if self.checkpoints_activations and torch.is_grad_enabled():
                x = checkpoint(layer, *given, use_reentrant=False)
            else:
                x = layer(*given)
        if states is not None:
            states.append(x)
        return x


class PredictionTransform(nn.Module):
    """Dense, GELU, norm."""

    def __init__(self, config: Dnabert2Config) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=HEAD_LAYER_NORM_EPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return rows shaped as the input."""
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
    """Holds the predictions under the checkpoint's name ``cls.predictions``."""

    def __init__(self, config: Dnabert2Config) -> None:
        super().__init__()
        self.predictions = Predictions(config)


class Dnabert2Model(Pretrained):
    """The encoder with its pooler.

    `from_pretrained` reads one, `save_pretrained` writes it, and a call is `forward`.

    Parameters
    ----------
    config : Dnabert2Config
        Weights are drawn at random: normal with deviation `initializer_range`.
    attention : str
        Attention backend; ``dnabert2-fast doctor`` lists them.

    Raises
    ------
    BackendUnavailableError
        When it is called, if there is no such backend or it cannot run here.

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
            Return the state after the embeddings and after every layer too.
        output_attentions : bool
            Return the attention weights too: the one result that needs memory for every pair of
            tokens.

        Returns
        -------
        EncoderOutput

        Raises
        ------
        ValueError
            When the attention weights would be too many; says what to do.
        IndexError
            When an id lies outside the vocabulary, on a CPU.
        """
        batch = batch.to(self.device)
        states: list[torch.Tensor] | None = [] if output_hidden_states else None
        maps: list[tuple[torch.Tensor, ...]] | None = [] if output_attentions else None
        last = self.bert.encode(batch, states=states, maps=maps)
        pooled = self.bert.pool(last, batch.cu_seqlens)
        return EncoderOutput(
            last, pooled, tuple(states) if states else None, tuple(maps) if maps else None
        )

    if TYPE_CHECKING:  # torch gives every call the type Any
        __call__ = forward


class Dnabert2ForMaskedLM(Pretrained):
    """Encoder and masked-LM head, whose decoder is the word embedding's matrix.

    Parameters
    ----------
    config, attention
        As for `Dnabert2Model`.

    Examples
    --------
    What ``mini`` expects where a token is hidden:

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
        """Let the decoder use the word embedding's matrix."""
        self.cls.predictions.decoder.weight = self.bert.embeddings.word_embeddings.weight

    def forward(
        self, batch: PackedBatch, labels: torch.Tensor | None = None, with_logits: bool = True
    ) -> MaskedLMOutput:
        """Predict tokens.

        Parameters
        ----------
        batch : PackedBatch
        labels : Tensor of int64, shape (total_tokens,), optional
            -100 where nothing is asked. With labels, the last layer's MLP and the head run on the
            labelled rows alone, and `logits` holds those rows in order.
        with_logits : bool
            Without them, a loss is computed in less memory on a GPU.

        Returns
        -------
        MaskedLMOutput
            `logits` have shape (total_tokens, vocab_size), or (labelled rows, vocab_size); `loss`
            is the mean cross-entropy of the labelled rows in nats, 0 if there are none.
        """
        batch = batch.to(self.device)
        head = self.cls.predictions
        if labels is None:
            return MaskedLMOutput(None, head(self.bert.encode(batch)))
        labels = labels.to(self.device)
        rows = torch.nonzero(labels != -100).flatten()
        hidden, labels = head.transform(self.bert.encode(batch, rows)), labels[rows]
        # A batch without any label has loss 0, not 0 / 0.
        count = max(len(rows), 1)
        if not with_logits:
            return MaskedLMOutput(masked_lm_loss(hidden, head.decoder, labels) / count, None)
        logits = head.decoder(hidden)
        total = F.cross_entropy(logits.float(), labels, reduction="sum")
        return MaskedLMOutput(total / count, logits)

    if TYPE_CHECKING:  # torch gives every call the type Any
        __call__ = forward


class Dnabert2ForSequenceClassification(Pretrained):
    """Encoder, pooler, dropout and a linear classifier.

    Parameters
    ----------
    config, attention
        As for `Dnabert2Model`; `config.num_labels` is the number of classes,
        `config.classifier_pooling` what the pooler is given.

    Examples
    --------
    A head of three classes on ``mini``, ready to be trained:

    >>> import warnings
    >>> from dnabert2_fast import Tokenizer
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # it says that pooler and classifier are fresh
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
        rate = config.classifier_dropout
        self.dropout = nn.Dropout(config.hidden_dropout_prob if rate is None else rate)
        self.classifier = Classifier(config.hidden_size, config.num_labels)
        initialise(self, config.initializer_range)

    def forward(self, batch: PackedBatch, labels: torch.Tensor | None = None) -> ClassifierOutput:
        """Classify sequences.

        Parameters
        ----------
        batch : PackedBatch
        labels : Tensor of int64, shape (n,), optional
            Classes, for a loss: the mean cross-entropy, in nats.

        Returns
        -------
        ClassifierOutput
        """
        batch = batch.to(self.device)
        logits = self.classifier(self.dropout(self.bert.encode_pooled(batch)))
        if labels is None:
            return ClassifierOutput(None, logits)
        return ClassifierOutput(F.cross_entropy(logits.float(), labels.to(self.device)), logits)

    if TYPE_CHECKING:  # torch gives every call the type Any
        __call__ = forward

"""A head that answers for every token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from dnabert2_fast.model.batch import PackedBatch
from dnabert2_fast.model.config import Dnabert2Config
from dnabert2_fast.model.encoder import Bert, Classifier, ClassifierOutput
from dnabert2_fast.model.pretrained import Pretrained, initialise

__all__ = ["Dnabert2ForTokenClassification"]


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
        When it is called, if there is no such backend or it cannot run here.

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
        rate = config.classifier_dropout
        self.dropout = nn.Dropout(config.hidden_dropout_prob if rate is None else rate)
        self.classifier = Classifier(config.hidden_size, config.num_labels)
        initialise(self, config.initializer_range)

    def forward(self, batch: PackedBatch, labels: torch.Tensor | None = None) -> ClassifierOutput:
        """Classify tokens.

        Parameters
        ----------
        batch : PackedBatch
        labels : Tensor of int64, shape (total_tokens,), optional
            -100 where nothing is asked; gives the mean cross-entropy of the others.

        Returns
        -------
        ClassifierOutput
            Its logits have shape (total_tokens, num_labels).
        """
        batch = batch.to(self.device)
        logits = self.classifier(self.dropout(self.bert.encode(batch)))
        if labels is None:
            return ClassifierOutput(None, logits)
        labels = labels.to(self.device)
        total = F.cross_entropy(logits.float(), labels, ignore_index=-100, reduction="sum")
        return ClassifierOutput(total / (labels != -100).sum().clamp(min=1), logits)

    if TYPE_CHECKING:  # torch gives every call the type Any
        __call__ = forward

"""Vectors by ONNX Runtime alone: this module imports no torch.

The file is that of `dnabert2-fast export-onnx`. It reads padded rectangles, so a batch holds
sequences of similar length.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dnabert2_fast._internal.extras import needs
from dnabert2_fast._internal.progress import Progress
from dnabert2_fast._internal.strict_json import read_object
from dnabert2_fast.errors import CheckpointError, DivergedError
from dnabert2_fast.genomics.embedding.config import EmbeddingConfig, Pooling
from dnabert2_fast.genomics.embedding.views import Vectors, View, token_weights, views_of
from dnabert2_fast.model.config import Dnabert2Config
from dnabert2_fast.tokenizer import Tokenizer

__all__ = ["FILE", "OnnxEncoder"]

FILE = "model.onnx"
MAX_SCORES = 1 << 24
"""Attention scores of a batch per head: one sequence of 4,096 tokens; 64 MB for each head."""
SIMILAR = 0.75  # shortest sequence of a batch, as a share of its longest one


class OnnxEncoder:
    """An exported encoder for `embed_file`, run by ONNX Runtime on the CPU.

    Parameters
    ----------
    folder : path
        Written by ``dnabert2-fast export-onnx``: ``model.onnx``, ``config.json`` and the tokenizer.
    threads : int
        Threads of a matrix product; 0 is one for every core.

    Raises
    ------
    CheckpointError
        When the folder has no such files, or the model is not an encoder.
    ModuleNotFoundError
        Without the extra ``onnxruntime``.

    Examples
    --------
    >>> OnnxEncoder("mini")
    Traceback (most recent call last):
    dnabert2_fast.errors.CheckpointError: mini: has no model.onnx. Run dnabert2-fast export-onnx.
    """

    def __init__(self, folder: str | os.PathLike[str], *, threads: int = 0) -> None:
        path = Path(folder) / FILE
        if not path.exists():
            raise CheckpointError(f"{folder}: has no {FILE}. Run dnabert2-fast export-onnx.")
        with needs("--runtime onnx"):
            import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        about = path.with_name("config.json")
        try:
            values = read_object(about)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{about}: {error}. Export the model again.") from None
        self.config = Dnabert2Config.from_dict(values, source=str(about))
        content = path.read_bytes()
        try:
            self._session: Any = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions have no common class
            raise CheckpointError(
                f"{path}: damaged ({str(error).splitlines()[0]}). Export the model again."
            ) from None
        outputs = [output.name for output in self._session.get_outputs()]
        if outputs != ["last_hidden_state"]:
            raise CheckpointError(
                f"{path}: is not an encoder (got the outputs {', '.join(outputs)}, expected "
                "last_hidden_state). Use dnabert2-fast export-onnx."
            )
        self.fingerprint = hashlib.sha256(content).hexdigest()
        self.dtype = "float32 (onnxruntime)"  # vectors differ in the last digits from torch's

    def embed_quietly(
        self, texts: Sequence[str], tokenizer: Tokenizer, config: EmbeddingConfig, bar: Progress
    ) -> npt.NDArray[np.float32]:
        """Return one vector per text, as the function of this name for a torch model does.

        Raises
        ------
        ValueError
            For layers other than the last, and for sequences of more than 4,096 tokens.
        DivergedError
            When a state is NaN or infinite.
        """
        if {layer % (self.config.num_hidden_layers + 1) for layer in config.layers} != {
            self.config.num_hidden_layers
        }:
            raise ValueError("layers: must be the last one (-1) with --runtime onnx.")
        views = views_of(texts, config)
        vectors = Vectors(len(texts), views, self.config.hidden_size, config)
        encoded = tokenizer.encode_batch_detailed([view.text for view in views])
        borders = encoded.ids.offsets
        for rows in _batches(encoded.ids.lengths, config.batch_tokens):
            ids, mask = encoded.ids.take(rows).to_padded(tokenizer.pad_id or 0)
            states = self._states(ids.astype(np.int64), mask.astype(np.int64))
            for row, number in enumerate(rows):
                view, span = views[number], slice(borders[number], borders[number + 1])
                own = states[row, : span.stop - span.start]
                real = ~tokenizer.special_mask[encoded.ids.values[span]]
                vector, weight = _pooled(view, own, real, encoded.offsets[span], config.pooling)
                bar.update(vectors.add(view, vector, weight))
        return vectors.result()

    def _states(
        self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        given = {"input_ids": ids, "attention_mask": mask}
        if self.config.pairs:
            given["token_type_ids"] = np.zeros_like(ids)
        states: npt.NDArray[np.float32] = self._session.run(None, given)[0]
        if not np.isfinite(states).all():
            raise DivergedError("the model's states are NaN or infinite. Its weights are damaged.")
        return states


def _batches(lengths: npt.NDArray[np.int64], batch_tokens: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the numbers of sequences of similar length, the longest first.

    >>> [rows.tolist() for rows in _batches(np.array([3, 9, 8, 3, 2]), 20)]
    [[1, 2], [0, 3], [4]]
    """
    order = np.argsort(-lengths, kind="stable")
    at = 0
    while at < len(order):
        longest = int(lengths[order[at]])
        if longest**2 > MAX_SCORES:
            raise ValueError(
                f"sequences: have at most {int(MAX_SCORES**0.5):,} tokens with --runtime onnx (got "
                f"{longest:,}). Use --context-bp or --window-bp, or --runtime torch."
            )
        most = max(1, min(batch_tokens // longest, MAX_SCORES // longest**2))
        rows = order[at : at + most]
        rows = rows[lengths[rows] >= SIMILAR * longest]
        at += len(rows)
        yield rows


def _pooled(
    view: View,
    states: npt.NDArray[np.float32],
    real: npt.NDArray[np.bool_],
    spans: npt.NDArray[np.int64],
    pooling: Pooling,
) -> tuple[npt.NDArray[Any], float]:
    """Return the vector of a view from its tokens' states, and its weight."""
    if pooling == "cls":
        return states[0], 1.0
    if not real.any():
        return states[0], 0.0
    if pooling == "max":
        return states[real].max(0), 1.0
    weights = token_weights(view, spans)[real]
    mean: npt.NDArray[np.float64] = weights @ states[real].astype(np.float64) / weights.sum()
    return mean, float(weights.sum())

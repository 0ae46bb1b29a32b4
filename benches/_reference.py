"""The yardstick of the encoder's benches: the published architecture in plain PyTorch.

It builds every score and the ALiBi bias in float32, as most scripts do. It uses the weights of a
model of this package, so that the outputs of the two can be compared.
"""

import math
import tempfile

import torch
import torch.nn.functional as F

from dnabert2_fast import Dnabert2Model, PackedBatch, Ragged
from dnabert2_fast.attention import alibi_slopes


def alibi(heads, length):
    """Return the bias of every pair of positions, one matrix per head."""
    positions = torch.arange(length)
    return -alibi_slopes(heads)[:, None, None] * (positions[:, None] - positions).abs()


def attention(q, k, v, bias):
    """Weigh the values by the softmax of all scores; the last dimensions are (length, size)."""
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + bias
    return scores.softmax(-1) @ v


def padded_states(bert, ids, mask, unpad=False, dropout=0.0):
    """Return the last hidden states of a rectangle of ids, (rows, length, size).

    With `unpad`, the matrices run on real tokens only and attention on the rectangle, as in the
    published code; the result then has one row per real token.
    """

    def drop(x):
        return F.dropout(x, dropout) if dropout else x

    embeddings, config = bert.embeddings, bert.encoder.layer[0].attention.self
    rows, length = ids.shape
    heads = config.heads
    words = embeddings.word_embeddings(ids[mask] if unpad else ids)
    x = drop(embeddings.LayerNorm(words + embeddings.token_type_embeddings.weight[0]))
    size = x.shape[-1]
    bias = alibi(heads, length) + (~mask[:, None, None]) * -1e4
    for layer in bert.encoder.layer:
        qkv = layer.attention.self.Wqkv(x)
        if unpad:
            rectangle = x.new_zeros(rows, length, 3 * size)
            rectangle[mask] = qkv
            qkv = rectangle
        q, k, v = qkv.view(rows, length, 3, heads, size // heads).permute(2, 0, 3, 1, 4)
        mixed = attention(q, k, v, bias).transpose(1, 2).reshape(rows, length, size)
        output = layer.attention.output
        x = output.LayerNorm(drop(output.dense(mixed[mask] if unpad else mixed)) + x)
        gate, value = layer.mlp.gated_layers(x).chunk(2, -1)
        x = layer.mlp.layernorm(layer.mlp.wo(drop(F.gelu(gate) * value)) + x)
    return x


def random_batch(lengths, vocab_size=4096):
    """Return random ids of these lengths, packed, and as a rectangle with its mask."""
    draws = torch.Generator().manual_seed(len(lengths))
    rows = [torch.randint(5, vocab_size, (n,), generator=draws).tolist() for n in lengths]
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    batch, ids = PackedBatch.from_ragged(Ragged.from_list(rows)), torch.zeros_like(mask).long()
    ids[mask] = batch.input_ids.long()
    return batch, ids, mask


def random_models(config, *dtypes):
    """Return models with the same random weights, one in float32 and one in each of `dtypes`."""
    torch.manual_seed(0)
    model = Dnabert2Model(config).eval()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        others = [Dnabert2Model.from_pretrained(folder, dtype=dtype) for dtype in dtypes]
    return [model, *others]

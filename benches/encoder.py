"""The encoder on CPU against the reference's arithmetic: equal lengths, ragged batches, long input.

    python benches/encoder.py [THREADS]

The peer is the published architecture written out in float32: padded rectangles, every score and
the bias built. Its unpadding form runs the matrices on real tokens only and pads the queries, keys
and values of each layer, as the reference does when it gets a mask. CPU time, interleaved, medians;
memory is the growth of the process' peak, each in a process of its own. Weights are random. Prints
a JSON line a part.
"""

import json
import math
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from embed import padded_states

from dnabert2_fast import Dnabert2Config, Dnabert2Model, PackedBatch, Ragged
from dnabert2_fast.attention import alibi_slopes, count_scores

EQUAL = [128] * 8
RAGGED = [20, 44, 71, 96, 121, 150, 188, 230, 262, 301, 344, 377, 401, 440, 478, 512]
REPETITIONS = 3
# Layers of the models that see long input: the reference's memory does not depend on them.
LONG_LAYERS = 2


def draw(lengths):
    draws = torch.Generator().manual_seed(len(lengths))
    ids = [torch.randint(5, 4096, (n,), generator=draws).tolist() for n in lengths]
    return PackedBatch.from_ragged(Ragged.from_list(ids))


def rectangle(batch):
    lengths = torch.from_numpy(batch.lengths.copy()).long()
    mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]
    ids = torch.zeros(mask.shape, dtype=torch.int64)
    ids[mask] = batch.input_ids
    return ids, mask


def unpadded_states(model, ids, mask):
    """Matrices on real tokens, attention on the padded rectangle."""
    bert = model.bert
    words = bert.embeddings.word_embeddings(ids[mask])
    x = bert.embeddings.LayerNorm(words + bert.embeddings.token_type_embeddings.weight[0])
    rows, length = ids.shape
    heads, size = model.config.num_attention_heads, x.shape[1]
    distance = (torch.arange(length)[:, None] - torch.arange(length)).abs()
    bias = -alibi_slopes(heads)[:, None, None] * distance + (~mask[:, None, None]) * -1e4
    for layer in bert.encoder.layer:
        padded = x.new_zeros(rows, length, 3 * size)
        padded[mask] = layer.attention.self.Wqkv(x)
        q, k, v = padded.view(rows, length, 3, heads, size // heads).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-1, -2) / math.sqrt(size // heads) + bias).softmax(-1)
        mixed = (weights @ v).transpose(1, 2).reshape(rows, length, size)[mask]
        output = layer.attention.output
        x = output.LayerNorm(output.dense(mixed) + x)
        gate, value = layer.mlp.gated_layers(x).chunk(2, -1)
        x = layer.mlp.layernorm(layer.mlp.wo(F.gelu(gate) * value) + x)
    return x


def ours(model, batch):
    return model(batch).last_hidden_state


def ratios(peers, contestants):
    """Times of the peers over those of the contestants, and all results."""
    times, results = {}, {}
    for _ in range(REPETITIONS):
        for name, work in {**peers, **contestants}.items():
            began = time.process_time()
            results[name] = work()
            times.setdefault(name, []).append(time.process_time() - began)
    seconds = {name: median(values) for name, values in times.items()}
    return {
        f"{name}_over_{peer}": round(seconds[peer] / seconds[name], 2)
        for peer in peers
        for name in contestants
    }, results


def forms(config):
    """The same random weights in float32, bfloat16 and 8-bit integers."""
    torch.manual_seed(0)
    model = Dnabert2Model(config).eval()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        half, small = (
            Dnabert2Model.from_pretrained(folder, dtype=kind) for kind in ("bfloat16", "int8")
        )
    return {"float32": model, "bfloat16": half, "int8": small}


def compare(name, lengths, models):
    batch = draw(lengths)
    ids, mask = rectangle(batch)
    model = models["float32"]
    peers = {
        "padded": lambda: padded_states(model, ids, mask.float())[mask],
        "unpadded": lambda: unpadded_states(model, ids, mask),
    }
    found, results = ratios(peers, {kind: lambda m=m: ours(m, batch) for kind, m in models.items()})
    want = results["unpadded"]
    cosine = {
        f"{kind}_cosine": round(
            float(torch.cosine_similarity(results[kind].float(), want).min()), 5
        )
        for kind in models
    }
    error = float((results["float32"] - want).abs().max())
    print(
        json.dumps({"bench": name, **found, **cosine, "float32_error": float(f"{error:.1e}")}),
        flush=True,
    )


def long_model():
    torch.manual_seed(0)
    return Dnabert2Model(replace(Dnabert2Config(), num_hidden_layers=LONG_LAYERS)).eval()


def long(length):
    model, batch = long_model(), draw([length])
    ids, mask = rectangle(batch)
    with count_scores() as scores:
        ours(model, batch)
    found, results = ratios(
        {"padded": lambda: padded_states(model, ids, mask.float())[0]},
        {"ours": lambda: ours(model, batch)},
    )
    row = {"bench": "long", "tokens": length, "layers": LONG_LAYERS, **found}
    row["memory_ratio"] = round(peak("padded", length) / peak("ours", length), 1)
    row["left_out"] = round(scores.left_out, 2)
    row["error"] = float(f"{(results['ours'] - results['padded']).abs().max():.1e}")
    print(json.dumps(row), flush=True)


def peak(which, length):
    """Growth of the peak in MB."""
    return float(subprocess.check_output([sys.executable, __file__, "--peak", which, str(length)]))


def show_peak(which, length):
    model = Dnabert2Model(Dnabert2Config()).eval() if which == "whole" else long_model()
    batch = draw([length])
    ids, mask = rectangle(batch)
    ours(model, draw([16]))
    before = highest()
    if which == "padded":
        padded_states(model, ids, mask.float())
    else:
        ours(model, batch)
    print((highest() - (0 if which == "whole" else before)) / 1024)


def highest():
    """Peak of this process in kB."""
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])


def main(threads):
    torch.set_num_threads(threads)
    models = forms(Dnabert2Config())
    compare("equal", EQUAL, models)
    compare("ragged", RAGGED, models)
    del models
    for length in (2048, 8192):
        long(length)
    row = {"bench": "long", "tokens": 32_768, "layers": 12}
    print(json.dumps({**row, "whole_process_gb": round(peak("whole", 32_768) / 1024, 2)}))


if __name__ == "__main__":
    with torch.inference_mode():
        if sys.argv[1:2] == ["--peak"]:
            show_peak(sys.argv[2], int(sys.argv[3]))
        else:
            main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)

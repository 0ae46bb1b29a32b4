"""Everything that a GPU is needed for: peak rates, attention, kernels, encoder, mutants, training.

    python benches/gpu.py [--tune] [--smoke]

Prints a JSON line per result, then a table, and records the numbers. All rates are bfloat16, 12
heads of 64, medians of CUDA events. FLOPs of attention count every pair of tokens (4 * length^2 *
head_dim per head, 2.5 times that backward), so that leaving pairs out shows as a rate beyond the
card's. Peers in the same run: FlexAttention, SDPA with the bias as a mask, flash-attn where it is
installed, plain torch. ``--tune`` tries other tiles for the attention kernels. ``--smoke`` runs
every part once at a tiny size, also on a CPU under Triton's interpreter (TRITON_INTERPRET=1); its
times mean nothing and are not recorded.
"""

import itertools
import json
import sys
import time
from dataclasses import replace
from statistics import median

import torch
import torch.nn.functional as F
from _harness import Bench, arguments
from torch import nn

from dnabert2_fast import (
    Dnabert2Config,
    Dnabert2ForMaskedLM,
    Dnabert2ForSequenceClassification,
    Dnabert2Model,
    PackedBatch,
    Ragged,
    Tokenizer,
    attribute,
)
from dnabert2_fast import attention as package
from dnabert2_fast.attention import alibi_slopes, count_scores, report, triton_varlen
from dnabert2_fast.attention.alibi import alibi_bias
from dnabert2_fast.genomics import AttributionConfig
from dnabert2_fast.kernels import triton_add_norm, triton_geglu, triton_masked_lm_loss
from dnabert2_fast.pretraining.flops import training_flops

HEADS, SIZE = 12, 64
RESULTS = []
SETTINGS = ("tokens", "backend", "kernel", "mode", "tiles", "chosen")
UNITS = {
    "product_tflops": ("matrix product", "TFLOP/s"),
    "copy_gb_s": ("copy", "GB/s"),
    "forward_tflops": ("forward", "TFLOP/s"),
    "backward_tflops": ("backward", "TFLOP/s"),
    "left_out": ("scores left out", "of 1"),
    "times_plain_torch": ("rate", "times plain torch"),
    "sequences_s": ("rate", "sequences/s"),
    "times_padded": ("rate", "times padded"),
    "times_loop": ("rate", "times one mutant per pass"),
    "tokens_s": ("rate", "tokens/s"),
    "share_of_product_peak": ("share of the matrix product's rate", "of 1"),
    "peak_gb": ("memory", "GB"),
}


class Sizes:
    """What is measured; the small ones only show that every part runs."""

    def __init__(self, smoke, bench=None):
        self.bench = bench
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype = torch.float32 if self.device.type == "cpu" else torch.bfloat16
        self.repetitions = 1 if smoke else 20
        self.lengths = (24, 40) if smoke else (512, 2048, 8192)
        self.tokens = 48 if smoke else 65_536
        self.heads, self.head_size = (2, 16) if smoke else (HEADS, SIZE)
        self.matrix = 64 if smoke else 8192
        self.vocab_size = 64 if smoke else 4096
        self.config = Dnabert2Config()
        if smoke:
            self.config = replace(
                self.config, vocab_size=64, hidden_size=32, num_hidden_layers=1,
                num_attention_heads=2, intermediate_size=32,
            )  # fmt: skip
        self.encoder_lengths = (24,) if smoke else (128, 512)
        self.mutated_bp = 12 if smoke else 300


def emit(sizes, part, **values):
    """Print a result, and record its numbers unless it is a smoke test."""
    RESULTS.append({"part": part, **values})
    print(json.dumps(RESULTS[-1]), flush=True)
    settings = [str(values[name]) for name in SETTINGS if name in values]
    for name, (metric, unit) in UNITS.items():
        if sizes.bench and name in values:
            sizes.bench.record(", ".join([part, *settings]), metric, unit, [values[name]])


def seconds(sizes, work):
    """Median time of a call."""
    times = []
    for _ in range(3 if sizes.device.type == "cuda" else 0):
        work()
    for _ in range(sizes.repetitions):
        if sizes.device.type == "cuda":
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            work()
            stop.record()
            stop.synchronize()
            times.append(start.elapsed_time(stop) / 1e3)
        else:
            began = time.perf_counter()
            work()
            times.append(time.perf_counter() - began)
    return median(times)


def peaks(sizes):
    """What the card reaches at best here: a square product, and a copy."""
    n = sizes.matrix
    a, b = (torch.randn(n, n, device=sizes.device, dtype=sizes.dtype) for _ in range(2))
    rate = 2 * n**3 / seconds(sizes, lambda: a @ b) / 1e12
    x = torch.empty(n * n * 4, device=sizes.device, dtype=torch.uint8)
    y = torch.empty_like(x)
    emit(sizes, "peak", product_tflops=round(rate, 6),
         copy_gb_s=round(2 * len(x) / seconds(sizes, lambda: y.copy_(x)) / 1e9))  # fmt: skip


def packed(sizes, length):
    """Equal sequences of that length, q, k and v in one projection as in the model."""
    count = max(1, sizes.tokens // length)
    draws = torch.Generator(sizes.device).manual_seed(length)
    qkv = torch.randn(
        count * length, 3, sizes.heads, sizes.head_size,
        generator=draws, device=sizes.device, dtype=sizes.dtype,
    )  # fmt: skip
    borders = torch.arange(0, (count + 1) * length, length, dtype=torch.int32, device=sizes.device)
    slopes = alibi_slopes(sizes.heads).to(sizes.device)
    return qkv, {"cu_seqlens": borders, "max_seqlen": length, "alibi_slopes": slopes}


def dense(q, k, v, *, cu_seqlens, max_seqlen, alibi_slopes, dropout_p):
    """SDPA on equal sequences, the whole bias as a mask: what one writes without a kernel."""
    positions = range(max_seqlen)
    bias = alibi_bias(alibi_slopes, positions, positions, q.dtype)[None]
    rows = [x.unflatten(0, (-1, max_seqlen)).transpose(1, 2) for x in (q, k, v)]
    out = F.scaled_dot_product_attention(*rows, attn_mask=bias)
    return out.transpose(1, 2).flatten(0, 1)


def contestants(sizes):
    runs = {s.name: s.runs for s in report(sizes.device, sizes.dtype)}
    found = {"triton": triton_varlen.attention_triton}
    for name in ("flash_attn", "flex"):
        if runs[name]:
            found[name] = package._load(name)
    return {**found, "sdpa_dense": dense}


def attention_rates(sizes):
    for length in sizes.lengths:
        qkv, given = packed(sizes, length)
        pairs = (len(qkv) // length) * length**2 * sizes.heads * sizes.head_size
        triton_varlen.SKIP_FROM = 0
        with count_scores() as scores:
            triton_varlen.attention_triton(*qkv.unbind(1), **given, dropout_p=0.0)
        for name, run in contestants(sizes).items():
            for skip in (False, True) if name == "triton" else (False,):
                row = {"tokens": length, "backend": name}
                triton_varlen.SKIP_FROM = 0 if skip else 10**9
                if skip:
                    row["left_out"] = round(scores.left_out, 3)
                try:
                    row |= attention_rate(sizes, run, qkv, given, pairs)
                except Exception as error:  # Triton's errors are not RuntimeError
                    row["failed"] = f"{type(error).__name__}: {error}".splitlines()[0][:80]
                emit(sizes, "attention", **row)
        triton_varlen.SKIP_FROM = 1024


def attention_rate(sizes, run, qkv, given, pairs):
    leaf = qkv.clone().requires_grad_()
    with torch.no_grad():
        forward = seconds(sizes, lambda: run(*qkv.unbind(1), **given, dropout_p=0.0))
    grad = torch.randn_like(qkv[:, 0])

    def both():
        torch.autograd.grad(run(*leaf.unbind(1), **given, dropout_p=0.0), leaf, grad)

    backward = max(seconds(sizes, both) - forward, 1e-9)
    return {
        "forward_tflops": round(4 * pairs / forward / 1e12, 1),
        "backward_tflops": round(10 * pairs / backward / 1e12, 1),
    }


def fused_kernels(sizes):
    """Each kernel against the same formula in plain torch, forward and backward."""
    rows, width = sizes.tokens, sizes.config.hidden_size
    wide = sizes.config.intermediate_size
    draw = {"device": sizes.device, "dtype": sizes.dtype}
    norm = nn.LayerNorm(width).to(sizes.device, sizes.dtype)
    seed = torch.zeros(1, dtype=torch.int64, device=sizes.device)
    x, residual = (torch.randn(rows, width, requires_grad=True, **draw) for _ in range(2))
    gated = torch.randn(rows, 2 * wide, requires_grad=True, **draw)
    hidden = torch.randn(max(1, rows // 7), width, requires_grad=True, **draw)
    table = torch.randn(sizes.vocab_size, width, requires_grad=True, **draw)
    bias = torch.zeros(sizes.vocab_size, requires_grad=True, **draw)
    labels = torch.randint(sizes.vocab_size, (len(hidden),), device=sizes.device)

    def plain_geglu():
        gate, value = gated.chunk(2, -1)
        return F.dropout(F.gelu(gate) * value, 0.1)

    def ours_add_norm():
        return triton_add_norm.add_norm(x, residual, norm.weight, norm.bias, seed, 1e-12, 0.1)[0]

    pairs = {
        "geglu": (lambda: triton_geglu.geglu(gated, seed, 0.1), plain_geglu, [gated]),
        "add_norm": (ours_add_norm, lambda: norm(F.dropout(x, 0.1) + residual), [x, residual]),
        "masked_lm_loss": (
            lambda: triton_masked_lm_loss.masked_lm_loss(hidden, table, bias, labels)[0],
            lambda: F.cross_entropy(F.linear(hidden, table, bias).float(), labels, reduction="sum"),
            [hidden, table],
        ),
    }  # fmt: skip
    for name, (ours, plain, leaves) in pairs.items():

        def step(run, leaves=leaves):
            out = run()
            torch.autograd.grad(out, leaves, torch.ones_like(out))

        ratio = seconds(sizes, lambda p=plain: step(p)) / seconds(sizes, lambda o=ours: step(o))
        emit(sizes, "fused", kernel=name, times_plain_torch=round(ratio, 2))


def batch_of(sizes, lengths):
    rows = [torch.randint(5, sizes.config.vocab_size, (n,)).tolist() for n in lengths]
    return PackedBatch.from_ragged(Ragged.from_list(rows)).to(sizes.device)


def encoder(sizes):
    model = Dnabert2Model(sizes.config).to(sizes.device, sizes.dtype).eval()
    emit(sizes, "backend", chosen=model.attention_backend.name, why=model.attention_backend.reason)
    compiled = torch.compile(model) if sizes.device.type == "cuda" else model
    for length in sizes.encoder_lengths:
        given = batch_of(sizes, [length] * max(1, sizes.tokens // length))
        for name, run in (("eager", model), ("compiled", compiled)):
            with torch.inference_mode():
                took = seconds(sizes, lambda run=run, given=given: run(given))
            emit(sizes, "encoder", tokens=length, mode=name, sequences_s=round(len(given) / took))
    lengths = torch.randint(20, 1 + max(sizes.encoder_lengths), (max(2, sizes.tokens // 256),))
    given = batch_of(sizes, lengths.tolist())
    full = batch_of(sizes, [int(lengths.max())] * len(lengths))
    with torch.inference_mode():
        ratio = seconds(sizes, lambda: model(full)) / seconds(sizes, lambda: model(given))
    emit(sizes, "encoder", mode="ragged 20..512", times_padded=round(ratio, 2))


def mutants(sizes):
    """In-silico mutagenesis against a loop of single passes, both in one dtype."""
    tokenizer = Tokenizer.from_pretrained("dnabert2")
    config = replace(sizes.config, vocab_size=tokenizer.vocab_size)
    model = Dnabert2ForSequenceClassification(config).to(sizes.device, sizes.dtype).eval()
    sequence = ("ACGTTGCATTAGCATCGTATAAAGG" * sizes.mutated_bp)[: sizes.mutated_bp]
    attributing = AttributionConfig(both_strands=False)
    alone = PackedBatch.from_ragged(tokenizer.encode_batch([sequence]))
    with torch.inference_mode():
        loop = 3 * len(sequence) * seconds(sizes, lambda: model(alone))
    took = seconds(sizes, lambda: attribute(sequence, model, tokenizer, attributing))
    emit(sizes, "mutants", mode=f"{len(sequence)} bp", times_loop=round(loop / took, 1))


def training(sizes):
    """Packed masked-LM steps: mixed precision, dropout, fused AdamW."""
    length = max(sizes.encoder_lengths)
    model = Dnabert2ForMaskedLM(sizes.config).to(sizes.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    given = batch_of(sizes, [length] * max(1, sizes.tokens // length))
    labels = given.input_ids.masked_fill(
        torch.rand(len(given.input_ids), device=sizes.device) > 0.15, -100
    )

    def step():
        with torch.autocast(
            sizes.device.type, torch.bfloat16, enabled=sizes.dtype != torch.float32
        ):
            loss = model(given, labels, with_logits=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    rate = len(given.input_ids) / seconds(sizes, step)
    tokens, labelled = len(given.input_ids), int((labels != -100).sum())
    flops = training_flops(sizes.config, tokens, tokens * length, labelled) / tokens
    tflops = next(r["product_tflops"] for r in RESULTS if r["part"] == "peak")
    row = {"tokens_s": round(rate), "share_of_product_peak": round(rate * flops / 1e12 / tflops, 3)}
    if sizes.device.type == "cuda":
        row["peak_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 1)
    emit(sizes, "training", tokens=length, **row)


def tune(sizes):
    """Forward and backward rates for other tiles; edit `triton_varlen.tiles_for` by the best."""
    kept = triton_varlen.tiles_for
    choices = itertools.product((64, 128), (32, 64, 128), (4, 8), (2, 3, 4))
    for rows, block, warps, stages in choices:
        if block > rows:
            continue
        tiles = triton_varlen.Tiles(rows, block, warps, stages)
        triton_varlen.tiles_for = lambda *_, tiles=tiles, **__: tiles
        for length in sizes.lengths[:2]:
            qkv, given = packed(sizes, length)
            pairs = (len(qkv) // length) * length**2 * sizes.heads * sizes.head_size
            triton_varlen.SKIP_FROM = 10**9
            try:
                rate = attention_rate(sizes, triton_varlen.attention_triton, qkv, given, pairs)
                emit(sizes, "tiles", tokens=length, tiles=tiles, **rate)
            except Exception as error:
                emit(sizes, "tiles", tokens=length, tiles=tiles, failed=type(error).__name__)
    triton_varlen.tiles_for, triton_varlen.SKIP_FROM = kept, 1024


def table():
    print("\n| part | setting | result |\n|---|---|---|")
    for row in RESULTS:
        words = {k: v for k, v in row.items() if k != "part"}
        setting = [str(v) for k, v in words.items() if k in SETTINGS]
        result = [f"{k} {v}" for k, v in words.items() if str(v) not in setting]
        print(f"| {row['part']} | {', '.join(setting)} | {', '.join(result)} |")


def main():
    parser = arguments(__doc__, genome=False)
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    asked = parser.parse_args()
    if not (asked.smoke or torch.cuda.is_available()):
        print("error: torch finds no CUDA device; nothing to measure", file=sys.stderr)
        return 2
    sizes = Sizes(asked.smoke, None if asked.smoke else Bench("gpu", asked))
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    emit(sizes, "machine", device=name, torch=torch.__version__)
    for part in (peaks, attention_rates, fused_kernels, encoder, mutants, training):
        part(sizes)
    if asked.tune:
        tune(sizes)
    table()
    return 0


if __name__ == "__main__":
    sys.exit(main())

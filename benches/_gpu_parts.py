"""The parts of `gpu.py`: what is measured on a card, each by a function of the sizes."""

import contextlib
import itertools
import json
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from _absent import ABSENT
from torch import nn

from dnabert2_fast import attention as package
from dnabert2_fast.attention import alibi_slopes, count_scores, report, triton_varlen
from dnabert2_fast.attention.alibi import alibi_bias
from dnabert2_fast.kernels import (
    triton_add_norm,
    triton_geglu,
    triton_masked_lm_loss,
)
from dnabert2_fast.model import (
    Dnabert2Config,
    Dnabert2ForMaskedLM,
    Dnabert2ForSequenceClassification,
    Dnabert2Model,
    PackedBatch,
)
from dnabert2_fast.pretraining.flops import training_flops
from dnabert2_fast.ragged import Ragged

HEADS, SIZE = 12, 64
PROGRAM = Path(__file__).with_name("gpu.py")


class Sizes:
    """What is measured; the small ones only show that every part runs."""

    def __init__(self, smoke, rows):
        self.rows = rows
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype = torch.float32 if self.device.type == "cpu" else torch.bfloat16
        self.smoke = smoke
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
    """Append a result to the file of rows, and print it."""
    line = json.dumps({"part": part, **values})
    with sizes.rows.open("a") as file:
        file.write(line + "\n")
    print(line, flush=True)


def read_rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def seconds(sizes, work):
    """Time of a call: the median of three queues of calls, each between two CUDA events."""
    if sizes.device.type != "cuda":
        began = time.perf_counter()
        work()
        return time.perf_counter() - began
    for _ in range(3):
        work()
    times = []
    for _ in range(3):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(sizes.repetitions):
            work()
        stop.record()
        stop.synchronize()
        times.append(start.elapsed_time(stop) / 1e3 / sizes.repetitions)
    return median(times)


def machine(sizes):
    """Versions, and what the driver reports of clocks and power."""
    import triton

    cuda = sizes.device.type == "cuda"
    name = torch.cuda.get_device_name() if cuda else "no GPU"
    emit(
        sizes, "machine", device=name, torch=torch.__version__, triton=triton.__version__,
        python=platform.python_version(), missing=sorted(ABSENT.missing),
    )  # fmt: skip
    query = "clocks.sm,clocks.mem,clocks.max.sm,power.limit,temperature.gpu,driver_version"
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
    if cuda:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        emit(sizes, "machine", **dict(zip(query.split(","), done.stdout.split(", "), strict=False)))


def kernels_compile(sizes):
    """Compile all variants into one cache, in processes of their own."""
    began, variants = time.perf_counter(), list(itertools.product(("skip", "all"), ("0.0", "0.1")))
    command = [sys.executable, PROGRAM, *["--smoke"] * sizes.smoke]
    out = ("--out", str(sizes.rows.parent))
    jobs = [
        subprocess.Popen([*command, *out, "--variant", f"{skip}:{dropout}"])
        for skip, dropout in variants
    ]
    failed = sum(job.wait() != 0 for job in jobs)
    emit(sizes, "compile", seconds=round(time.perf_counter() - began, 1), variants=len(jobs),
         **({"failed": f"{failed} variants"} if failed else {}))  # fmt: skip


def compile_variant(sizes, variant):
    skip, dropout = variant.split(":")
    triton_varlen.SKIP_FROM = 0 if skip == "skip" else 10**9
    qkv, given = packed(sizes, sizes.lengths[0])
    leaf = qkv.clone().requires_grad_()
    out = triton_varlen.attention_triton(*leaf.unbind(1), **given, dropout_p=float(dropout))
    out.sum().backward()
    fused_step(sizes, float(dropout))


def peaks(sizes):
    """What the card reaches at best here: a square product, and a copy."""
    n = sizes.matrix
    a, b = (torch.randn(n, n, device=sizes.device, dtype=sizes.dtype) for _ in range(2))
    rate = 2 * n**3 / seconds(sizes, lambda: a @ b) / 1e12
    x = torch.empty(n * n * 4, device=sizes.device, dtype=torch.uint8)
    y = torch.empty_like(x)
    emit(sizes, "peak", product_tflops=round(rate, 6),
         copy_gb_s=round(2 * len(x) / seconds(sizes, lambda: y.copy_(x)) / 1e9))  # fmt: skip
    width, wide = sizes.config.hidden_size, sizes.config.intermediate_size
    for inner, outer in ((width, 3 * width), (width, width), (width, 2 * wide), (wide, width)):
        a = torch.randn(sizes.tokens, inner, device=sizes.device, dtype=sizes.dtype)
        b = torch.randn(inner, outer, device=sizes.device, dtype=sizes.dtype)
        rate = 2 * sizes.tokens * inner * outer / seconds(sizes, lambda a=a, b=b: a @ b) / 1e12
        emit(sizes, "product", mode=f"{inner} x {outer}", tokens=sizes.tokens,
             product_tflops=round(rate, 6))  # fmt: skip


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
    found = {name: package._load(name) for name in ("flash_attn", "flex") if runs[name]}
    return {**found, "sdpa_dense": dense}


def attention_rates(sizes):
    rates_of(sizes, {"triton": triton_varlen.attention_triton})


def attention_peers(sizes):
    rates_of(sizes, contestants(sizes))


def rates_of(sizes, backends):
    for length in sizes.lengths:
        qkv, given = packed(sizes, length)
        pairs = (len(qkv) // length) * length**2 * sizes.heads * sizes.head_size
        triton_varlen.SKIP_FROM = 0
        with count_scores() as scores:
            triton_varlen.attention_triton(*qkv.unbind(1), **given, dropout_p=0.0)
        for name, run in backends.items():
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
    out = run(*leaf.unbind(1), **given, dropout_p=0.0)
    backward = seconds(sizes, lambda: torch.autograd.grad(out, leaf, grad, retain_graph=True))
    return {
        "forward_tflops": round(4 * pairs / forward / 1e12, 1),
        "backward_tflops": round(10 * pairs / backward / 1e12, 1),
    }


def fused_pairs(sizes, dropout_p):
    """Each kernel: ours, the same formula in plain torch, leaves, and bytes of both passes."""
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
    weights = (norm.weight, norm.bias)

    def plain_geglu():
        gate, value = gated.chunk(2, -1)
        return F.dropout(F.gelu(gate) * value, dropout_p)

    def plain_loss():
        return F.cross_entropy(F.linear(hidden, table, bias).float(), labels, reduction="sum")

    return {
        "geglu": (
            lambda: triton_geglu.geglu(gated, seed, dropout_p),
            plain_geglu,
            [gated],
            4 * gated.numel() * gated.element_size(),
        ),
        "add_norm": (
            lambda: triton_add_norm.add_norm(x, residual, *weights, seed, 1e-12, dropout_p)[0],
            lambda: norm(F.dropout(x, dropout_p) + residual),
            [x, residual],
            (8 if dropout_p else 7) * x.numel() * x.element_size(),
        ),
        "masked_lm_loss": (
            lambda: triton_masked_lm_loss.masked_lm_loss(hidden, table, bias, labels)[0],
            plain_loss,
            [hidden, table],
            None,
        ),
    }


def both_passes(run, leaves):
    out = run()
    torch.autograd.grad(out, leaves, torch.ones_like(out))


def fused_step(sizes, dropout_p):
    for ours, _, leaves, _ in fused_pairs(sizes, dropout_p).values():
        both_passes(ours, leaves)


def fused_kernels(sizes):
    """Each kernel against the same formula in plain torch, forward and backward."""
    for dropout_p in (0.0, 0.1):
        for name, (ours, plain, leaves, size) in fused_pairs(sizes, dropout_p).items():
            if name == "masked_lm_loss" and dropout_p:
                continue
            own, theirs = (
                seconds(sizes, lambda run=run, leaves=leaves: both_passes(run, leaves))
                for run in (ours, plain)
            )
            row = {"times_plain_torch": round(theirs / own, 2)}
            if size is not None:
                row["gb_s"] = round(size / own / 1e9)
            emit(sizes, "fused", kernel=name, dropout=dropout_p, **row)


def batch_of(sizes, lengths):
    rows = [torch.randint(5, sizes.config.vocab_size, (n,)).tolist() for n in lengths]
    return PackedBatch.from_ragged(Ragged.from_list(rows)).to(sizes.device)


def encoder(sizes):
    model = Dnabert2Model(sizes.config).to(sizes.device, sizes.dtype).eval()
    emit(sizes, "backend", chosen=model.attention_backend.name, why=model.attention_backend.reason)
    forward_rates(sizes, model, "eager")
    lengths = torch.randint(20, 1 + max(sizes.encoder_lengths), (max(2, sizes.tokens // 256),))
    given = batch_of(sizes, lengths.tolist())
    full = batch_of(sizes, [int(lengths.max())] * len(lengths))
    with torch.inference_mode():
        ratio = seconds(sizes, lambda: model(full)) / seconds(sizes, lambda: model(given))
    emit(sizes, "encoder", mode="ragged 20..512", times_padded=round(ratio, 2))
    if sizes.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    long = batch_of(sizes, [max(sizes.lengths)])
    with torch.inference_mode():
        took = seconds(sizes, lambda: model(long))
    row = {"sequences_s": round(1 / took, 1), **memory(sizes)}
    emit(sizes, "encoder", tokens=max(sizes.lengths), mode="one sequence", **row)


def compiled_encoder(sizes):
    model = Dnabert2Model(sizes.config).to(sizes.device, sizes.dtype).eval()
    forward_rates(sizes, torch.compile(model) if sizes.device.type == "cuda" else model, "compiled")


def forward_rates(sizes, model, mode):
    for length in sizes.encoder_lengths:
        given = batch_of(sizes, [length] * max(1, sizes.tokens // length))
        with torch.inference_mode():
            took = seconds(sizes, lambda given=given: model(given))
        emit(sizes, "encoder", tokens=length, mode=mode, sequences_s=round(len(given) / took))


def memory(sizes):
    if sizes.device.type != "cuda":
        return {}
    return {"peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 1)}


def embedding(sizes):
    """`embed()` from text to vectors, with the packaged tokenizer."""
    from dnabert2_fast.genomics import embed
    from dnabert2_fast.tokenizer import Tokenizer

    tokenizer = Tokenizer.from_pretrained("dnabert2")
    config = replace(sizes.config, vocab_size=tokenizer.vocab_size)
    model = Dnabert2Model(config).to(sizes.device, sizes.dtype).eval()
    texts = ["ACGTTGCATTAGCATCGTATAAAGG" * 20] * max(2, sizes.tokens // 16)
    embed(texts[:2], model, tokenizer)
    began = time.perf_counter()
    embed(texts, model, tokenizer, batch_tokens=sizes.tokens)
    took = time.perf_counter() - began
    emit(sizes, "embed", mode="500 bp, from text", sequences_s=round(len(texts) / took))


def mutants(sizes):
    """In-silico mutagenesis against a loop of single passes, both in one dtype."""
    from dnabert2_fast.genomics import AttributionConfig, attribute
    from dnabert2_fast.tokenizer import Tokenizer

    tokenizer = Tokenizer.from_pretrained("dnabert2")
    config = replace(sizes.config, vocab_size=tokenizer.vocab_size)
    model = Dnabert2ForSequenceClassification(config).to(sizes.device, sizes.dtype).eval()
    sequence = ("ACGTTGCATTAGCATCGTATAAAGG" * sizes.mutated_bp)[: sizes.mutated_bp]
    attributing = AttributionConfig(both_strands=False)
    alone = PackedBatch.from_ragged(tokenizer.encode_batch([sequence]))
    with torch.inference_mode():
        loop = 3 * len(sequence) * seconds(sizes, lambda: model(alone))
    took = seconds(sizes, lambda: attribute(sequence, model, tokenizer, config=attributing))
    emit(sizes, "mutants", mode=f"{len(sequence)} bp", times_loop=round(loop / took, 1))


def training(sizes):
    """Packed masked-LM steps: mixed precision, fused AdamW, two micro-batches, dropout or not."""
    for tokens in dict.fromkeys((sizes.tokens, sizes.tokens // 4 or 1)):
        for dropout in (0.1, 0.0):
            training_rate(sizes, tokens, dropout)


def training_rate(sizes, tokens, dropout):
    length = max(sizes.encoder_lengths)
    config = replace(sizes.config, hidden_dropout_prob=dropout)
    model = Dnabert2ForMaskedLM(config).to(sizes.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    given = batch_of(sizes, [length] * max(1, tokens // length))
    tokens = len(given.input_ids)
    labels = given.input_ids.masked_fill(torch.rand(tokens, device=sizes.device) > 0.15, -100)
    mixed = {"dtype": torch.bfloat16, "enabled": sizes.dtype != torch.float32}
    host = []

    def step():
        began = time.perf_counter()
        with torch.autocast(sizes.device.type, **mixed):
            loss = model(given, labels, with_logits=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        host.append(time.perf_counter() - began)

    if sizes.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    rate = tokens / seconds(sizes, step)
    flops = training_flops(config, tokens, tokens * length, int((labels != -100).sum())) / tokens
    row = {"tokens_s": round(rate), "dispatch_ms": round(min(host) * 1e3, 1), **memory(sizes)}
    peak = [r["product_tflops"] for r in read_rows(sizes.rows) if r["part"] == "peak"]
    if peak:
        row["share_of_product_peak"] = round(rate * flops / 1e12 / max(peak), 3)
    emit(sizes, "training", tokens=tokens, mode=f"{length} each", dropout=dropout, **row)
    if dropout and sizes.device.type == "cuda":
        longest_kernels(sizes, step, tokens)


def longest_kernels(sizes, step, tokens):
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(3):
            step()
        torch.cuda.synchronize()
    found = sorted(profile.key_averages(), key=lambda event: -event.device_time_total)
    for event in found[:30]:
        emit(sizes, "kernel", tokens=tokens, kernel=event.key[:80], calls=event.count // 3,
             milliseconds=round(event.device_time_total / 3e3, 3))  # fmt: skip


def pretraining(sizes):
    """`pretrain()` at its defaults on a small corpus, stopped once and resumed."""
    if ABSENT.missing:
        emit(sizes, "pretrain", skipped=f"needs {', '.join(sorted(ABSENT.missing))}")
        return
    from dnabert2_fast import build_corpus, pretrain
    from dnabert2_fast.corpus import CorpusConfig
    from dnabert2_fast.pretraining import PretrainConfig, PretrainingCallback
    from dnabert2_fast.tokenizer import Tokenizer

    class Stop(PretrainingCallback):
        def on_step(self, run):
            if run.done == 2:
                raise KeyboardInterrupt

    draws = torch.Generator().manual_seed(0)
    bases = "".join("ACGT"[i] for i in torch.randint(4, (200_000,), generator=draws).tolist())
    records = [f">{i}\n{bases[i * 10_000 : (i + 1) * 10_000]}\n" for i in range(20)]
    small = {"batch_tokens": 512, "size": "tiny"} if sizes.smoke else {}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "x.fa").write_text("".join(records))
        corpus, out = Path(folder) / "corpus", Path(folder) / "run"
        windows = CorpusConfig(window_bp=500, valid_fraction=0.2)
        files = [Path(folder) / "x.fa"]
        build_corpus(files, corpus, Tokenizer.from_pretrained("dnabert2"), windows)
        config = PretrainConfig(
            str(corpus), str(out), steps=4, log_every=1, eval_tokens=4096, checkpoint_every=1,
            **small,
        )  # fmt: skip
        with contextlib.suppress(KeyboardInterrupt):
            pretrain(config, [Stop()])
        stopped = pretrain(config)
        whole = pretrain(replace(config, out=str(Path(folder) / "whole")))
    rate = max(line.get("tokens_per_second", 0) for line in whole.metrics)
    same = abs(stopped.eval_loss - whole.eval_loss)
    emit(sizes, "pretrain", tokens_s=round(rate), resumed_loss_differs_by=round(same, 6))


def tune(sizes):
    """Forward and backward rates for other tiles; edit `triton_varlen.tiles_for` by the best."""
    kept = triton_varlen.tiles_for
    rows, blocks = ((16,), (16,)) if sizes.smoke else ((64, 128), (32, 64, 128))
    warps, stages = ((4,), (2,)) if sizes.smoke else ((4, 8), (2, 3, 4))
    choices = itertools.product(rows, blocks, warps, stages)
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


# In this order, with the most seconds of each.
PARTS = {
    "machine": (machine, 25),
    "peaks": (peaks, 40),
    "compile": (kernels_compile, 120),
    "training": (training, 120),
    "attention": (attention_rates, 85),
    "fused": (fused_kernels, 60),
    "encoder": (encoder, 60),
    "embed": (embedding, 50),
    "mutants": (mutants, 50),
    "pretrain": (pretraining, 70),
    "peers": (attention_peers, 90),
    "compiled": (compiled_encoder, 90),
    "tiles": (tune, 240),
}

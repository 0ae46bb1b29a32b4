"""Attention of one long sequence on CPU against the reference's arithmetic.

    python benches/attention.py [THREADS]

The reference builds the scores of every pair, adds the bias, takes the softmax and weighs the
values, in float32, 12 heads of 64. Queries and keys are drawn with norms of about 8. Memory is the
growth of the process' peak, each in a process of its own. Prints a JSON line a length: times as
fast, times less memory, largest difference, share of scores left out.
"""

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import torch

from dnabert2_fast.attention import alibi_slopes, attention
from dnabert2_fast.attention.sdpa import QUERY_BLOCK
from dnabert2_fast.attention.skipping import key_ranges

HEADS, SIZE = 12, 64
LENGTHS = (512, 1024, 2048, 4096, 8192)


def draw(length, dtype=torch.float32):
    draws = torch.Generator().manual_seed(length)
    shape = (length, HEADS, SIZE)
    return [torch.randn(shape, generator=draws).to(dtype) for _ in range(3)]


def reference(q, k, v):
    rows, keys, values = (x.transpose(0, 1) for x in (q, k, v))
    places = torch.arange(len(q))
    bias = alibi_slopes(HEADS)[:, None, None] * (places[:, None] - places).abs()
    weights = (rows @ keys.transpose(1, 2) / SIZE**0.5 - bias).softmax(-1)
    return (weights @ values).transpose(0, 1)


def ours(q, k, v):
    borders = torch.tensor([0, len(q)], dtype=torch.int32)
    slopes = alibi_slopes(HEADS)
    return attention(q, k, v, cu_seqlens=borders, max_seqlen=len(q), alibi_slopes=slopes)


def seconds(work, *given):
    times = []
    for _ in range(3):
        start = time.perf_counter()
        work(*given)
        times.append(time.perf_counter() - start)
    return median(times)


def peak(which, length):
    """Growth of the peak, in MB, of one call after a short one."""
    command = [sys.executable, __file__, "--peak", which, str(length)]
    return float(subprocess.check_output(command))


def show_peak(which, length):
    work = {"reference": reference, "ours": ours}[which]
    work(*draw(16))
    given = draw(length)
    before = highest()
    work(*given)
    print((highest() - before) / 1024)


def highest():
    """Peak of this process in kB; the system's own figure starts with that of the parent."""
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])


def main(threads):
    torch.set_num_threads(threads)
    for length in LENGTHS:
        qkv = draw(length)
        theirs, got = reference(*qkv), ours(*qkv)
        row = {"bench": "attention", "tokens": length}
        row["ratio"] = round(seconds(reference, *qkv) / seconds(ours, *qkv), 2)
        half = draw(length, torch.bfloat16)
        row["ratio_bfloat16"] = round(seconds(reference, *qkv) / seconds(ours, *half), 2)
        row["memory_ratio"] = round(peak("reference", length) / max(1, peak("ours", length)), 1)
        row["difference"] = float(f"{(theirs - got).abs().max():.1e}")
        ranges = key_ranges(
            *(x.transpose(0, 1)[None] for x in qkv), alibi_slopes(HEADS), QUERY_BLOCK
        )
        kept = float(ranges.diff().float().mean()) / length
        row["left_out"] = round(1 - kept, 2) if length > 512 else 0.0
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:
        with torch.inference_mode():
            show_peak(sys.argv[2], int(sys.argv[3]))
    else:
        with torch.inference_mode():
            main(int(sys.argv[1]) if len(sys.argv) > 1 else torch.get_num_threads())

"""Attention of one long sequence on CPU, against all scores, bias and softmax in float32.

    python benches/attention.py

12 heads of 64, one thread. Queries and keys have norms of about 8; those of a trained model
differ, and so does the share of scores that is left out. Memory is the growth of the process' peak.
"""

import torch
from _harness import Bench, Peer, Theirs, alone, arguments, within
from _reference import alibi
from _reference import attention as all_scores

from dnabert2_fast.attention import alibi_slopes, attention, count_scores

HEADS, SIZE = 12, 64
PEER = "all scores, float32"
LENGTHS = (512, 1024, 2048, 4096, 8192)


def random_qkv(length, dtype=torch.float32):
    draws = torch.Generator().manual_seed(length)
    shape = (length, HEADS, SIZE)
    return [torch.randn(shape, generator=draws).to(dtype) for _ in range(3)]


def reference(q, k, v):
    q, k, v = (x.transpose(0, 1) for x in (q, k, v))
    return all_scores(q, k, v, alibi(HEADS, q.shape[1])).transpose(0, 1)


def ours(q, k, v):
    borders = torch.tensor([0, len(q)], dtype=torch.int32)
    slopes = alibi_slopes(HEADS)
    return attention(q, k, v, cu_seqlens=borders, max_seqlen=len(q), alibi_slopes=slopes)


def call_of(work, length):
    """For memory: a call whose libraries are loaded."""
    torch.set_num_threads(1)
    work(*random_qkv(16))
    qkv = random_qkv(length)

    def call():
        work(*qkv)

    return call


def main():
    given = arguments(__doc__, genome=False).parse_args()
    bench = Bench("attention", given)
    for length in LENGTHS:
        full, half = random_qkv(length), random_qkv(length, torch.bfloat16)
        for dtype, qkv, limit in (("float32", full, 1e-5), ("bfloat16", half, 0.1)):
            peer = Peer(PEER, lambda qkv=full: reference(*qkv), within(limit), "torch")
            bench.compare(f"{length:,} tokens, {dtype}", lambda qkv=qkv: ours(*qkv).float(), peer)
        peaks = [alone(call_of, work, length).peak / 1e6 for work in (ours, reference)]
        own, theirs = (max(peak, 1) for peak in peaks)  # below 1 MB it is noise
        against = Theirs(PEER, torch.__version__, [theirs])
        bench.record(f"{length:,} tokens, float32", "memory", "MB", [own], against)
        with count_scores() as scores:
            ours(*full)
        bench.record(f"{length:,} tokens, float32", "scores left out", "%", [100 * scores.left_out])


if __name__ == "__main__":
    torch.set_num_threads(1)
    with torch.inference_mode():
        main()

"""The encoder on CPU, against the same architecture in plain float32: equal, ragged, long input.

    python benches/encoder.py

Peers: padded rectangles, every score and the bias built ("padded"), and the matrices on real tokens
only, as the published code does it ("unpadded"). Random weights of the published shape, one thread.
Memory is the growth of the process' peak.
"""

from dataclasses import replace

import torch
from _harness import Bench, Peer, Theirs, aligned, alone, arguments, within
from _reference import padded_states, random_batch, random_models

from dnabert2_fast import Dnabert2Config
from dnabert2_fast.attention import count_scores

BATCHES = {
    "8 x 128 tokens": [128] * 8,
    "16 x 20 to 512 tokens":
        [20, 44, 71, 96, 121, 150, 188, 230, 262, 301, 344, 377, 401, 440, 478, 512],
}  # fmt: skip
PADDED = "padded, float32"
# Layers of the models that get long input: the memory of the peer does not depend on their number.
LONG_LAYERS = 2
SAME = {"float32": within(2e-5), "bfloat16": aligned(0.999), "int8": aligned(0.99)}


def states(model, batch):
    return model(batch).last_hidden_state.float()


def long_call(which, length):
    """For memory: a call on one long sequence, after a short one."""
    torch.set_num_threads(1)
    (model,) = random_models(replace(Dnabert2Config(), num_hidden_layers=LONG_LAYERS))
    batch, ids, mask = random_batch([length])

    @torch.inference_mode()
    def call():
        _ = states(model, batch) if which == "ours" else padded_states(model.bert, ids, mask)

    with torch.inference_mode():
        states(model, random_batch([16])[0])
    return call


def short(bench, name, lengths, models):
    """Every type of number against both peers."""
    batch, ids, mask = random_batch(lengths)
    reference = models["float32"].bert
    peers = {PADDED: lambda: padded_states(reference, ids, mask)[mask]}
    if len(set(lengths)) > 1:
        peers["unpadded, float32"] = lambda: padded_states(reference, ids, mask, unpad=True)
    for dtype, model in models.items():
        for peer_name, call in peers.items():
            peer = Peer(peer_name, call, SAME[dtype], "torch")
            bench.compare(f"{name}, {dtype}", lambda model=model: states(model, batch), peer)


def long(bench, model, length):
    """One sequence: time, memory, and the scores that are left out."""
    case = f"1 x {length:,} tokens, float32, {LONG_LAYERS} layers"
    batch, ids, mask = random_batch([length])
    call = lambda: padded_states(model.bert, ids, mask)[0]  # noqa: E731
    bench.compare(case, lambda: states(model, batch), Peer(PADDED, call, within(2e-5), "torch"))
    own, theirs = (alone(long_call, which, length).peak / 1e6 for which in ("ours", "padded"))
    bench.record(case, "memory", "MB", [own], Theirs(PADDED, torch.__version__, [theirs]))
    with count_scores() as scores:
        states(model, batch)
    bench.record(case, "scores left out", "%", [100 * scores.left_out])


def main():
    bench = Bench("encoder", arguments(__doc__, genome=False).parse_args())
    models = dict(zip(SAME, random_models(Dnabert2Config(), "bfloat16", "int8"), strict=True))
    for name, lengths in BATCHES.items():
        short(bench, name, lengths, models)
    (model,) = random_models(replace(Dnabert2Config(), num_hidden_layers=LONG_LAYERS))
    for length in (2048, 8192):
        long(bench, model, length)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with torch.inference_mode():
        main()

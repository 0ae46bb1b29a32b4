"""One long sequence in one pass on a CPU: time and memory against length.

    python benches/long_input.py GENOME.fa.gz [--plot FILE.png] [--bp 10000 30000 ...]

`embed` of a stretch of a real genome, whole, with the published shape in bfloat16 and random
weights, one thread, each length in a process of its own. Prints a JSON line a length: CPU seconds,
seconds a kilobase, peak of the process, share of attention scores left out. In the plot, level
means linear.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import torch

from dnabert2_fast import Dnabert2Config, Dnabert2Model, Tokenizer, embed, read_fasta
from dnabert2_fast.attention import count_scores

LENGTHS = (10_000, 30_000, 100_000, 300_000, 1_000_000)


def one(path, length_bp):
    torch.set_num_threads(1)
    record = next(iter(read_fasta(path)))
    sequence = record.sequence.upper().replace("N", "")[:length_bp]
    torch.manual_seed(0)
    model = Dnabert2Model(Dnabert2Config()).to(torch.bfloat16).eval()
    tokenizer = Tokenizer.from_pretrained("dnabert2")
    embed([sequence[:1000]], model, tokenizer)
    with count_scores() as scores:
        began = time.process_time()
        vector = embed([sequence], model, tokenizer)
        took = time.process_time() - began
    assert vector.shape == (1, model.config.hidden_size)
    row = {"bench": "long_input", "bp": len(sequence), "tokens": len(tokenizer.encode(sequence))}
    row |= {"cpu_seconds": round(took, 1), "seconds_per_kb": round(1000 * took / len(sequence), 3)}
    row["peak_gb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)
    print(json.dumps({**row, "left_out": round(scores.left_out, 3)}))


def plot(rows, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    bp = [row["bp"] for row in rows]
    axes.plot(bp, [row["seconds_per_kb"] for row in rows], "o-", color="C0")
    axes.set(
        xscale="log", xlabel="bases in one pass", ylabel="CPU seconds a kilobase", ylim=(0, None)
    )
    memory = axes.twinx()
    memory.plot(bp, [row["peak_gb"] for row in rows], "s--", color="C1")
    memory.set(ylabel="peak of the process, GB (dashed)", ylim=(0, None))
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("genome")
    parser.add_argument("--plot")
    parser.add_argument("--bp", type=int, nargs="*", default=LENGTHS)
    parser.add_argument("--one", type=int)
    asked = parser.parse_args()
    if asked.one:
        one(asked.genome, asked.one)
        return
    rows = []
    for length_bp in asked.bp:
        command = [sys.executable, __file__, asked.genome, "--one", str(length_bp)]
        rows.append(json.loads(subprocess.check_output(command)))
        print(json.dumps(rows[-1]), flush=True)
    if asked.plot:
        plot(rows, asked.plot)


if __name__ == "__main__":
    main()

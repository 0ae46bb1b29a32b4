"""One long sequence in one pass on CPU: time and memory against length.

    python benches/long_input.py GENOME.fa.gz [--bp 10000 30000 ...] [--plot FILE.png]

`embed` of the first bases of a genome, whole, published shape in bfloat16 with random weights, one
thread, each length in a process of its own. Memory is the growth of the process' peak. In the plot,
a horizontal line means linear time.
"""

import torch
from _harness import Bench, alone, arguments, read_bases

from dnabert2_fast import Dnabert2Config, Dnabert2Model, Tokenizer, embed
from dnabert2_fast.attention import count_scores

LENGTHS = (10_000, 30_000, 100_000)


def embedding(sequence):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Dnabert2Model(Dnabert2Config()).to(torch.bfloat16).eval()
    tokenizer = Tokenizer.from_pretrained("dnabert2")
    embed([sequence[:1000]], model, tokenizer)

    def call():
        with count_scores() as scores:
            embed([sequence], model, tokenizer)
        return scores.left_out

    return call


def plot(rows, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    bp, seconds, memory = zip(*rows, strict=True)
    axes.plot(bp, seconds, "o-", color="C0")
    axes.set(xscale="log", xlabel="bases per pass", ylabel="CPU seconds per kb", ylim=(0, None))
    other = axes.twinx()
    other.plot(bp, memory, "s--", color="C1")
    other.set(ylabel="memory (GB, dashed)", ylim=(0, None))
    figure.savefig(path, dpi=120)


def main():
    parser = arguments(__doc__)
    parser.add_argument("--plot")
    parser.add_argument("--bp", type=int, nargs="*", default=LENGTHS)
    given = parser.parse_args()
    bench, genome, rows = Bench("long_input", given), read_bases(given.genome), []
    for length in given.bp:
        case, cost = f"{length:,} bp", alone(embedding, genome[:length])
        rows.append((length, 1000 * cost.cpu / length, cost.peak / 1e9))
        bench.record(case, "CPU time", "s/kb", [rows[-1][1]])
        bench.record(case, "memory", "GB", [rows[-1][2]])
        bench.record(case, "scores left out", "%", [100 * cost.value])
    if given.plot:
        plot(rows, given.plot)


if __name__ == "__main__":
    main()

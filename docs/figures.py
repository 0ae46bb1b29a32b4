"""Draw the figures of the documentation from the library's own functions.

    python docs/figures.py             docs/figures/*.svg, the same bytes each time; for `make docs`
    python docs/figures.py --results   docs/images/*.png: what commands give for packaged data
"""

import sys
import tempfile
import tomllib

from pathlib import Path

import dnabert2_fast
import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dnabert2_fast import Dnabert2ForMaskedLM, Tokenizer, attribute, embed, read_fasta
from dnabert2_fast.attention.alibi import alibi_slopes
from dnabert2_fast.attention.skipping import key_ranges
from dnabert2_fast.finetuning.labels import read_labelled
from dnabert2_fast.genomics import (
    AttributionConfig,
    TrackConfig,
    likelihood_track,
    plot_attribution,
    plot_embeddings,
)

FOLDER = Path(__file__).parent / "figures"
IMAGES = Path(__file__).parent / "images"
PACKAGED = Path(dnabert2_fast.__file__).parent / "data" / "demo"
COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3")
LENGTHS = (4, 9, 3, 12, 6)
HEADS = (0, 3, 7)
BLOCK = 64
CONTENTS = {
    "cli": "one command per task of the library, doctor, demo",
    "hf": "models and tokenizer for transformers",
    "ray": "corpora and vectors on a Ray cluster",
    "benchmark": "GUE: models, baselines, the paper",
    "pretraining": "masked-LM runs on corpora",
    "finetuning": "runs on labelled tables, predict, evaluate",
    "genomics": "embedding, variants, attribution, likelihood",
    "model": "encoder, heads, checkpoints, int8, ONNX",
    "optim": "optimizers, learning rates",
    "corpus": "genomes to token shards, and batches of them",
    "attention": "one function, backends for each device",
    "tokenizer": "sequences to ids; training of vocabularies",
    "kernels": "fused steps in Triton, or plain torch",
    "io": "FASTA, BED, VCF, tables, tracks, references",
    "ragged": "the flat batch: values and offsets",
    "_internal": "atomic files, resuming, checks, progress, extras",
    "errors": "the exceptions",
    "_native": "Rust core: encoding, training, FASTA, shards (used by tokenizer, corpus and io)",
}


def save(figure, name):
    mpl.rcParams["svg.hashsalt"] = name  # else ids differ from run to run
    figure.savefig(FOLDER / name, metadata={"Date": None})


def packed():
    """The same five sequences as a rectangle and as one flat array."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 2.4))
    longest, at = max(LENGTHS), 0
    for row, (length, colour) in enumerate(zip(LENGTHS, COLOURS, strict=True)):
        for position in range(longest):
            kind = colour if position < length else "#e8e8e8"
            left.add_patch(Rectangle((position, -row), 0.9, 0.9, color=kind))
        for position in range(at, at + length):
            right.add_patch(Rectangle((position, 0), 0.9, 0.9, color=colour))
        right.text(at, -0.5, str(at), ha="center", va="top", fontsize=9)
        at += length
    right.text(at, -0.5, str(at), ha="center", va="top", fontsize=9)
    right.text(0, 1.6, "input_ids", fontsize=9)
    right.text(0, -2.0, "cu_seqlens: where sequences begin and the last one ends", fontsize=9)
    left.set(xlim=(-0.5, longest), ylim=(-len(LENGTHS) + 0.5, 1.5))
    right.set(xlim=(-1, at + 1), ylim=(-3, 3))
    left.set_title(f"padded: {longest * len(LENGTHS)} positions", fontsize=10)
    right.set_title(f"packed: {at} positions", fontsize=10)
    for axes in (left, right):
        axes.set_axis_off()
    save(figure, "packed.svg")


def skipped():
    """Which keys the blocks of queries of three heads see, in a sequence of 2,048 tokens."""
    tokens, heads, size = 2048, 12, 64
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, heads, tokens, size, generator=generator) for _ in range(3))
    slopes = alibi_slopes(heads)
    needed = key_ranges(q, k, v, slopes, BLOCK)
    figure = Figure(figsize=(8, 3), layout="constrained")
    for axes, head in zip(figure.subplots(1, len(HEADS)), HEADS, strict=True):
        seen = np.zeros((tokens, tokens), bool)
        for block, (start, end) in enumerate(needed[:, head].tolist()):
            seen[block * BLOCK : (block + 1) * BLOCK, start:end] = True
        axes.imshow(seen, cmap="Blues", vmin=0, vmax=1.6, origin="upper")
        axes.set_title(f"slope 2^{np.log2(float(slopes[head])):g}: {seen.mean():.0%}", fontsize=10)
        axes.set_xlabel("key")
    figure.axes[0].set_ylabel("query")
    save(figure, "skipped.svg")


def overview():
    """From a genome to what a user gets: the figure of the front page."""
    tokenizer = Tokenizer.from_pretrained("dnabert2")
    sequences = ("ACGTAGCATCGGATCTATCT", "TTGACAGATTACA")
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlim=(0, 90), ylim=(0, 26))
    axes.set_axis_off()
    for x, title in ((0, "genome"), (25, "tokens"), (50, "packed batch"), (74, "results")):
        axes.text(x, 23, title, fontsize=11, weight="bold")
    for row, sequence in enumerate(sequences):
        y = 15 - 7 * row
        axes.text(0, y + 1, sequence, fontsize=8, family="monospace")
        x = 25.0
        for i, token in enumerate(tokenizer.tokens(tokenizer.encode(sequence))[1:-1]):
            width = 1.02 * len(token)
            axes.add_patch(Rectangle((x, y), width - 0.2, 3.2, color=COLOURS[(i + 2 * row) % 5]))
            axes.text(x + width / 2 - 0.1, y + 1, token, fontsize=6, color="white", ha="center")
            x += width
    x = 50.0
    for row, sequence in enumerate(sequences):
        for _ in tokenizer.encode(sequence):
            axes.add_patch(Rectangle((x, 11.5), 0.95, 3.2, color=COLOURS[3 * row]))
            x += 1.1
    axes.text(50, 8, "no padding", fontsize=8)
    for row, result in enumerate(("vectors", "classes", "variant scores", "tracks, logos")):
        axes.text(74, 18 - 4.5 * row, result, fontsize=9)
    for x in (21.5, 46.5, 70.5):
        axes.annotate("", (x + 2.5, 13), (x, 13), arrowprops={"arrowstyle": "->", "lw": 1.5})
    save(figure, "overview.svg")


def embeddings():
    """Vectors of human core promoters and other sequences, by `mini`."""
    test = read_labelled(PACKAGED / "prom_core_tata" / "test.csv.gz")
    names = ["promoter" if label else "other" for label in test.labels]
    plot_embeddings(embed(test.sequences), IMAGES / "embeddings.png", labels=names)


def mutagenesis():
    """What each base of a human promoter contributes to its vector, by `mini`."""
    test = read_labelled(PACKAGED / "prom_core_tata" / "test.csv.gz")
    sequence = test.sequences[int(test.labels.argmax())]
    model, tokenizer = Dnabert2ForMaskedLM.from_pretrained("mini"), Tokenizer.from_pretrained("mini")
    found = attribute(sequence, model, tokenizer, config=AttributionConfig(target="similarity"))
    plot_attribution(found, IMAGES / "mutagenesis.png", title="a human promoter", model="mini")


def entropy():
    """Entropy of each base along 2 kb of *H. pylori*, by `mini`."""
    record = next(iter(read_fasta(PACKAGED / "hpylori_G27.fa.gz")))
    model, tokenizer = Dnabert2ForMaskedLM.from_pretrained("mini"), Tokenizer.from_pretrained("mini")
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "x.fa"), Path(folder, "x.bedgraph")
        source.write_text(f">hpylori\n{record.sequence[:2000]}\n")
        likelihood_track(source, model, tokenizer, out, TrackConfig("entropy"))
        rows = [line.split("\t") for line in out.read_text().splitlines() if line[0] != "#"]
    figure = Figure(figsize=(8, 2), layout="constrained")
    axes = figure.add_subplot()
    edges = [int(row[1]) for row in rows] + [int(rows[-1][2])]
    axes.stairs([float(row[3]) for row in rows], edges, linewidth=0.6)
    axes.set(xlim=(0, 2000), ylim=(0, 2), ylabel="entropy (bits)")
    axes.set_xlabel("position in H. pylori G27 (bp)")
    figure.savefig(IMAGES / "entropy.png", dpi=150)


def layers():
    """The packages in the layers that the import contract in pyproject.toml allows."""
    text = (FOLDER.parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    contracts = tomllib.loads(text)["tool"]["importlinter"]["contracts"]
    contract = next(one for one in contracts if one["name"].startswith("Layers"))
    rows = [row.split(" | ") for row in contract["layers"]] + [["_native"]]
    if missing := {name for row in rows for name in row} ^ set(CONTENTS):
        raise ValueError(f"CONTENTS: {missing} is not described, or is not a package")
    figure = Figure(figsize=(9, 0.62 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for at, row in enumerate(rows):
        width = 12 / len(row)
        colour = "#f0e0d0" if row == ["_native"] else "#dde6f2"
        for number, name in enumerate(row):
            corner = (number * width + 0.05, -at)
            axes.add_patch(Rectangle(corner, width - 0.1, 0.85, facecolor=colour))
            middle = (number + 0.5) * width
            axes.text(middle, 0.52 - at, name, ha="center", fontsize=9, weight="bold")
            axes.text(middle, 0.18 - at, CONTENTS[name], ha="center", fontsize=7)
    axes.set(xlim=(0, 12), ylim=(1 - len(rows), 1))
    axes.set_axis_off()
    with mpl.rc_context({"svg.fonttype": "none", "font.family": "sans-serif"}):
        save(figure, "layers.svg")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    IMAGES.mkdir(exist_ok=True)
    if "--results" in sys.argv[1:]:
        drawings = (embeddings, mutagenesis, entropy)
    else:
        drawings = (packed, skipped, overview, layers)
    for draw in drawings:
        draw()

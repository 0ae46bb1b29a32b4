"""Labelled tables that a tiny model learns to the last row, on any processor.

Each sequence repeats one motif, and dev and test have the sequences of training: what is asked of a
model is a table of a few vectors. Scores are then exact, and the k-mer baseline's too.
"""

from pathlib import Path

MOTIFS = ("AC", "GT", "AAG", "CCT")
SEQUENCES = [(i, MOTIFS[i] * times) for times in (6, 8, 10, 12) for i in range(len(MOTIFS))]
"""Numbers of motifs, and sequences of them."""
TOY_MODEL = {
    "hidden_size": 24,
    "num_attention_heads": 3,
    "intermediate_size": 16,
    # With the usual initial weights a model of this size hardly distinguishes tokens.
    "initializer_range": 0.2,
    "hidden_dropout_prob": 0.0,
}
LEARNT = {"epochs": 3, "batch_size": 4, "learning_rate": 2e-2, "warmup_steps": 3}
"""With these settings `finetune` makes no mistake on tables with `times` 6."""


def write_toys(folder, label_of, header="sequence,label", sequences=SEQUENCES, times=6) -> Path:
    """Write train (each sequence `times` times), dev and test (once).

    `label_of` receives the number of a motif and a sequence.
    """
    folder.mkdir(parents=True)
    rows = [f"{sequence},{label_of(i, sequence)}" for i, sequence in sequences]
    for split, count in (("train", times), ("dev", 1), ("test", 1)):
        (folder / f"{split}.csv").write_text("\n".join([header, *rows * count]) + "\n")
    return folder

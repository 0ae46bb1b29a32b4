"""Fine-tuned folders with random weights, and records for them to answer."""

import numpy as np
import torch

from dnabert2_fast import (
    Dnabert2Config,
    Dnabert2ForSequenceClassification,
    Dnabert2ForTokenClassification,
    Tokenizer,
)

tok = Tokenizer.from_pretrained("dnabert2")
WINDOW = 60
rng = np.random.default_rng(3)
RECORDS = {
    f"r{i}": "".join(rng.choice([*"ACGT"], n)) for i, n in enumerate([30, 60, 61, 300, 7, 1, 145])
}


def make(folder, task):
    """A fine-tuned folder with random weights, enlarged so that answers differ."""
    torch.manual_seed(0)
    kind = Dnabert2ForTokenClassification if task.by_position else Dnabert2ForSequenceClassification
    shape = Dnabert2Config(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=16,
        num_labels=len(task.names),
    )
    model = kind(shape).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8)
    model.save_pretrained(folder)
    tok.save(folder / "tokenizer.json")
    task.save(folder)
    return folder

"""A tiny untrained checkpoint folder, to be fine-tuned in seconds."""

import torch

from dnabert2_fast import Dnabert2Config, Dnabert2ForMaskedLM, Tokenizer


def save_tiny(folder, **sizes):
    """Save one with a masked-LM head and the published vocabulary; returns the folder."""
    torch.manual_seed(0)
    Dnabert2ForMaskedLM(Dnabert2Config(num_hidden_layers=1, **sizes)).save_pretrained(folder)
    Tokenizer.from_pretrained("dnabert2").save(folder / "tokenizer.json")
    return folder

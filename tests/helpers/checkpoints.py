"""Tiny untrained checkpoint folders, to be fine-tuned in seconds."""

import json

import torch

from dnabert2_fast import Dnabert2Config, Dnabert2ForMaskedLM, Tokenizer
from dnabert2_fast.tokenizer import PACKAGED

PUBLISHED = {
    "auto_map": {
        "AutoConfig": "configuration_bert.BertConfig",
        "AutoModel": "bert_layers.BertModel",
        "AutoModelForSequenceClassification": "bert_layers.BertForSequenceClassification",
    },
    "alibi_starting_size": 512,
    "attention_probs_dropout_prob": 0.0,
    "gradient_checkpointing": False,
    "hidden_size": 24,
    "initializer_range": 0.3,
    "intermediate_size": 16,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "torch_dtype": "float32",
    "vocab_size": 4096,
}


def save_tiny(folder, **sizes):
    """Save one with a masked-LM head and the published vocabulary; returns the folder."""
    torch.manual_seed(0)
    Dnabert2ForMaskedLM(Dnabert2Config(num_hidden_layers=1, **sizes)).save_pretrained(folder)
    Tokenizer.from_pretrained("dnabert2").save(folder / "tokenizer.json")
    return folder


def save_published(folder):
    """Write the published layout: pytorch_model.bin, a config with auto_map, the tokenizer."""
    from dnabert2_fast.hf import HFDnabert2Config, HFDnabert2ForMaskedLM

    (folder / "config.json").write_text(json.dumps(PUBLISHED))
    torch.manual_seed(0)
    model = HFDnabert2ForMaskedLM(HFDnabert2Config(**PUBLISHED))
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "tokenizer.json").write_bytes(PACKAGED["dnabert2"].read_bytes())
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
    settings |= {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    settings |= {"mask_token": "[MASK]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder

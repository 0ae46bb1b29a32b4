"""Published figures hold together, and costs are what torch counts."""

import csv

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel, EsmConfig, EsmModel, LlamaConfig, LlamaModel

from dnabert2_fast import Dnabert2Config, Dnabert2Model, PackedBatch, Tokenizer
from dnabert2_fast.benchmark.flops import cost_of, efficiency, published_cost
from dnabert2_fast.benchmark.published import read_published
from dnabert2_fast.benchmark.summary import published_average, published_tasks
from dnabert2_fast.finetuning.labels import read_labelled
from dnabert2_fast.ragged import Ragged

SHAPE = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "vocab_size": 19,
    "attn_implementation": "eager",
}
MODELS = {
    "bert": lambda: BertModel(BertConfig(**SHAPE), add_pooling_layer=False),
    "esm": lambda: EsmModel(EsmConfig(**SHAPE, pad_token_id=1, max_position_embeddings=99)),
    "llama": lambda: LlamaModel(LlamaConfig(**SHAPE, num_key_value_heads=2)),
}


def counted(call):
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


@pytest.mark.parametrize("kind", MODELS)
def test_costs_are_what_torch_counts(kind):
    model, n = MODELS[kind]().eval(), 37
    cost = cost_of(model, 3, 24)
    took = counted(lambda: model(input_ids=torch.ones(1, n, dtype=torch.int64)))
    beside = n * n * 24 if kind == "llama" else 0  # positions rotated: not a matrix of weights
    pooled = 2 * 24 * 24 if kind == "esm" else 0
    assert 0 <= took - pooled - cost.flops([n]) <= beside
    assert cost.parameters == sum(p.numel() for p in model.parameters())


def test_cost_of_our_encoder():
    sizes = {name: SHAPE[name] for name in SHAPE if name != "attn_implementation"}
    model = Dnabert2Model(Dnabert2Config(**sizes), attention="sdpa").eval()
    batch = PackedBatch.from_ragged(Ragged.from_list([np.ones(37, np.uint16)]))
    took = counted(lambda: model(batch))
    pooled = 2 * 24 * 24
    assert took - cost_of(model, 3, 24).flops([37]) in (0, pooled)


def test_configurations_have_the_published_parameters():
    for row in efficiency():
        assert round(row["parameters"] / 1e6) == row["published_parameters_M"], row["system"]


def test_what_is_said_about_the_published_flops():
    """With four bases per token the formula gives the paper's figures for DNABERT, not for NT."""
    base = published_cost("DNABERT-2").flops(125)
    for row in efficiency()[:4]:
        assert abs(row["gflops"] * 1e9 / base - row["published_relative"]) < 0.02
    small, large = (published_cost(f"NT-{size}-1000g") for size in ("500M", "2500M"))
    factors = [large.flops(n) / small.flops(n) for n in (50, 86, 512)]
    assert all(4.9 < factor < 5.4 for factor in factors)
    assert 19.44 / 3.19 > 6


def test_tokens_of_500_bp(tmp_path):
    tokens = {row["system"]: row["tokens"] for row in efficiency()}
    sequence = "ACGTTGCATT" * 50
    for k in (3, 4, 5, 6):
        path = tmp_path / "vocab.txt"
        path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *kmers(k)]) + "\n")
        assert len(Tokenizer.from_file(path).encode(sequence)) == tokens[f"DNABERT ({k}-mer)"]
    path.write_text("\n".join(["<unk>", "<pad>", "<mask>", "<cls>", *kmers(6), *"ACGTN"]) + "\n")
    assert len(Tokenizer.from_file(path).encode(sequence)) == tokens["NT-500M-human"]


def kmers(k):
    if k == 0:
        return [""]
    return [letter + rest for letter in "ACGT" for rest in kmers(k - 1)]


def test_averages_of_the_paper():
    """All but the three rows that the README names follow from the tasks."""
    printed = {row["model"]: row["average_score"] for row in read_published("efficiency")}
    tasks = published_tasks()
    assert list(printed) == list(tasks)
    odd = {m for m in tasks if abs(published_average(tasks[m]) - printed[m]) > 0.015}
    assert odd == {"DNABERT (5-mer)", "NT-500M-human", "NT-500M-1000g"}
    for model in ("DNABERT (5-mer)", "NT-500M-human"):
        swapped = {**tasks[model], "CVC": tasks[model]["TF-H"], "TF-H": tasks[model]["CVC"]}
        assert round(published_average(swapped), 2) == printed[model]


def test_tables_are_the_published_ones(shared):
    for ours, theirs in (
        ("efficiency", "table2_efficiency"),
        ("task_averages", "table3_gue_averages"),
        ("gue_plus", "gue_plus"),
    ):
        with (shared / "paper" / f"{theirs}.csv").open(newline="") as handle:
            want = list(csv.reader(handle))[1:]
        got = [list(row.values()) for row in read_published(ours)]
        assert [row[0] for row in got] == [row[0] for row in want]
        for mine, paper in zip(got, want, strict=True):
            assert mine[1:] == [float(cell) if cell else None for cell in paper[1:]]


def test_tokens_of_the_published_vocabulary(shared):
    test = read_labelled(shared / "data" / "gue" / "EMP" / "H3" / "test.csv.gz")
    lengths = Tokenizer.from_pretrained("dnabert2").encode_batch(test.sequences).lengths
    assert round(lengths.mean(), 1) == efficiency()[-1]["tokens"]

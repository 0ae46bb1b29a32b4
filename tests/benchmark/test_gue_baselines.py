"""Baselines learn, answer alike in any batch, and count what is trained."""

from itertools import product

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers import (
    BertConfig,
    BertForMaskedLM,
    EsmConfig,
    EsmForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from dnabert2_fast import Tokenizer
from dnabert2_fast.benchmark import cnn
from dnabert2_fast.benchmark.checkpoints import local_folder, train_foreign
from dnabert2_fast.benchmark.epochs import Fit
from dnabert2_fast.benchmark.sets import whole_set
from dnabert2_fast.benchmark.systems import Case, KmerSystem, ModelSystem
from dnabert2_fast.errors import CheckpointError
from dnabert2_fast.finetuning.labels import Labelled
from dnabert2_fast.finetuning.metrics import scores
from dnabert2_fast.finetuning.task import Task

TASK = Task("multiclass", ("0", "1"), window_bp=60)
SHAPE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.2,
}
RULE = Fit(epochs=3, batch_size=8, learning_rate=1e-2, warmup_steps=5)
LETTERS = "ACGTTGCAGGATTCCAACTGAGTC"


def table(times, pairs=False):
    """Two classes whose sequences repeat other motifs: the second ones, if there are two."""
    labels = np.arange(16 * times) % 2
    texts = [("AC", "GT")[label] * (15 + row % 8 * 2) for row, label in enumerate(labels)]
    return (
        Labelled(["GATTACA" * 6] * len(texts), labels, texts) if pairs else Labelled(texts, labels)
    )


def tables(pairs=False):
    return {split: table(n, pairs) for split, n in (("train", 6), ("dev", 1), ("test", 1))}


def mcc(outputs, split="test"):
    return scores(tables()[split].labels, outputs[split])["mcc"]


def kmers(k):
    return ["".join(letters) for letters in product("ATCG", repeat=k)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Tiny random checkpoints with the files of the published ones."""
    torch.manual_seed(0)
    made = {name: tmp_path_factory.mktemp(name) for name in ("dnabert", "nt", "llama")}
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *kmers(3)]
    (made["dnabert"] / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    sizes = {**SHAPE, "intermediate_size": 48, "vocab_size": len(vocabulary)}
    BertForMaskedLM(BertConfig(**sizes, max_position_embeddings=50)).save_pretrained(
        made["dnabert"]
    )
    vocabulary = ["<unk>", "<pad>", "<mask>", "<cls>", *kmers(6), *"ATCGN"]
    (made["nt"] / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    EsmForMaskedLM(
        EsmConfig(
            **{**sizes, "vocab_size": len(vocabulary)},
            pad_token_id=1,
            mask_token_id=2,
            max_position_embeddings=12,
            token_dropout=True,
        )
    ).save_pretrained(made["nt"])
    tok = Tokenizer.train([*table(2).sequences, LETTERS], vocab_size=12)
    tok.save(made["llama"] / "tokenizer.json")
    LlamaForCausalLM(
        LlamaConfig(**{**sizes, "vocab_size": 12}, num_key_value_heads=2, bos_token_id=1)
    ).save_pretrained(made["llama"])
    return made


@pytest.mark.parametrize("name", ["dnabert", "nt", "llama"])
@pytest.mark.parametrize("mode", ["full", "lora"])
def test_checkpoints_learn(folders, name, mode):
    done = train_foreign(folders[name], TASK, tables(), mode, RULE, seed=1)
    assert mcc(done.outputs) == 1
    every = done.cost.parameters
    assert done.trained == every if mode == "full" else 0 < done.trained < every / 2


@pytest.mark.parametrize("name", ["dnabert", "nt", "llama"])
def test_frozen_checkpoints_train_the_head_alone(folders, name):
    rule = Fit(epochs=1, batch_size=16, learning_rate=1e-2)
    done = train_foreign(folders[name], TASK, tables(), "frozen", rule, seed=1)
    size, classes = 32, 2
    head = {
        "dnabert": size * size + size + size * classes + classes,
        "nt": size * size + size + size * classes + classes,
        "llama": size * classes,
    }
    assert done.trained == head[name]
    alone = train_foreign(folders[name], TASK, tables(), "frozen", rule, seed=1, batch_tokens=1)
    for split in ("dev", "test"):
        np.testing.assert_allclose(alone.outputs[split], done.outputs[split], atol=1e-5)


def test_positions_are_the_limit(folders):
    """50 of BERT; ESM's begin behind its padding, so 12 - 1 - 1."""
    for name, most in (("dnabert", 50), ("nt", 10)):
        done = train_foreign(folders[name], TASK, tables(), "frozen", Fit(1, 32, 1e-3), seed=1)
        assert done.tokens.max() == most
    longest = max(map(len, tables()["test"].sequences))
    assert longest - 3 + 1 + 2 > 50
    assert longest // 6 + 1 >= 10


@pytest.mark.parametrize("name", ["dnabert", "llama"])
def test_checkpoints_read_pairs(folders, name):
    task = Task("multiclass", ("0", "1"), pairs=True)
    types = set()

    def watch(module, given):
        if isinstance(module, torch.nn.Embedding) and module.num_embeddings == 2:
            types.update(given[0].unique().tolist())

    with register_module_forward_pre_hook(watch):
        done = train_foreign(folders[name], task, tables(True), "frozen", Fit(1, 32, 1e-3), seed=1)
        single = train_foreign(folders[name], TASK, tables(), "frozen", Fit(1, 32, 1e-3), seed=1)
    assert done.outputs["test"].shape == (16, 2)
    assert types == ({0, 1} if name == "dnabert" else set())
    assert done.tokens.sum() > single.tokens.sum()


def test_the_published_tokenizer_of_metagene(shared, tmp_path):
    source = shared / "data" / "tokenizers" / "metagene1_mgfm1024" / "tokenizer.json"
    (tmp_path / "tokenizer.json").write_bytes(source.read_bytes())
    sizes = {**SHAPE, "intermediate_size": 48, "vocab_size": 1024}
    LlamaForCausalLM(LlamaConfig(**sizes)).save_pretrained(tmp_path)
    assert mcc(train_foreign(tmp_path, TASK, tables(), "full", RULE, seed=1).outputs) == 1


def test_bad_checkpoints(folders, tmp_path):
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        local_folder(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "nothing"}')
    Tokenizer.from_pretrained("dnabert2").save(tmp_path / "tokenizer.json")
    with pytest.raises(CheckpointError, match="transformers cannot load it"):
        train_foreign(tmp_path, TASK, tables(), "full", Fit(1, 8, 1e-3), seed=1)
    for path in folders["dnabert"].iterdir():
        if path.name != "vocab.txt":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(CheckpointError, match="the model has 69 ids, the tokenizer 4096"):
        train_foreign(tmp_path, TASK, tables(), "full", Fit(1, 8, 1e-3), seed=1)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.txt").write_bytes((folders["dnabert"] / "vocab.txt").read_bytes())
    weights = load_file(folders["dnabert"] / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "layer.1.output" not in name}
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        CheckpointError, match=r"the weights have no bert\.encoder\.layer\.1\.output"
    ):
        train_foreign(tmp_path, TASK, tables(), "full", Fit(1, 8, 1e-3), seed=1)


@pytest.mark.parametrize("pairs", [False, True])
def test_cnn(pairs):
    done = cnn.train_cnn(tables(pairs), 2, seed=3, rule=RULE._replace(epochs=2))
    assert mcc(done.outputs) == 1
    again = cnn.train_cnn(tables(pairs), 2, seed=3, rule=RULE._replace(epochs=2))
    np.testing.assert_array_equal(again.outputs["test"], done.outputs["test"])
    assert done.flops > 2 * 40 * (4 * 15 * 64) * (1 + pairs)  # at least the first layer's


def test_cnn_is_blind_to_neighbours_and_case():
    model = cnn.DnaCnn(3).eval()
    texts = [
        "ACGTTGCATTAGCATTTACGGATTA",
        "GATTACA",
        "ACGNNNGTTAC",
        "A",
        "acgttgcattagcatttacggatta",
    ]
    with torch.inference_mode():
        together = model(cnn.codes_of(texts))
        alone = torch.cat([model(cnn.codes_of([text])) for text in texts])
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(together[0], together[4])
    assert not torch.allclose(together[1], together[2])


def test_kmers_of_pairs_and_of_three_classes(tmp_path):
    task = Task("multiclass", ("0", "1"), pairs=True)
    case = Case(whole_set("EPI/0"), tmp_path, task, tables(True))
    done = KmerSystem().run(case, 0, tmp_path)
    assert done.metrics["test"]["mcc"] == 1
    assert done.parameters == 2 * sum(4**k for k in range(1, 7)) + 1
    three = {s: t._replace(labels=np.arange(len(t.labels)) % 3) for s, t in tables().items()}
    case = Case(whole_set("virus/covid"), tmp_path, Task("multiclass", ("0", "1", "2")), three)
    assert set(KmerSystem().run(case, 0, tmp_path).metrics) == {"dev", "test"}


def test_rates_and_epochs(folders, tmp_path):
    """The paper's: 3e-5 in full, adapters of other checkpoints 1e-4, about 1,000 updates."""
    case = Case(whole_set("mouse/0"), tmp_path, TASK, tables())
    for mode, rate in (("full", 3e-5), ("lora", 1e-4), ("frozen", 1e-3)):
        settings = ModelSystem(str(folders["nt"]), mode).settings(case)
        assert settings["learning_rate"] == rate
        assert settings["epochs"] == 334  # 96 rows are 3 updates
    settings = ModelSystem(str(folders["nt"]), "full", 2, 0.01).settings(case)
    assert (settings["epochs"], settings["learning_rate"]) == (2, 0.01)
    for mode, rate in (("full", 9e-5), ("lora", 9e-4), ("frozen", 3e-3)):  # of width 256
        assert ModelSystem("mini", mode).settings(case)["learning_rate"] == pytest.approx(rate)
    assert ModelSystem("mini", "full", None, 0.01).settings(case)["learning_rate"] == 0.01

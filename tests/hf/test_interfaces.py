"""A folder of `finetune` gives the same answers through every interface."""

import csv
import json

import numpy as np
import pytest
import torch
from helpers.checkpoints import save_tiny
from helpers.toys import TOY_MODEL
from peft import PeftModel
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    pipeline,
)

import dnabert2_fast.hf  # noqa: F401 (registers with the Auto classes)
from dnabert2_fast import Dnabert2ForSequenceClassification, Tokenizer
from dnabert2_fast.cli import main
from dnabert2_fast.errors import CheckpointError
from dnabert2_fast.finetuning import FinetuneConfig, Predictor, evaluate, finetune
from dnabert2_fast.genomics.attribution.tokens import AttributionTarget
from dnabert2_fast.genomics.loading import load_model
from dnabert2_fast.model.onnx import export_onnx

SEQUENCES = [
    "ACGTTGCATCGGATCTATC" * 3,
    "TTGACAGATTGGATT",
    "GATTACA" * 9,
    "CCGGATTTACA",
    "AACCAT" * 4,
]
SECONDS = ["TTGGCA" * 4, "GATTACAGATC", "ACGTAGC" * 5, "TTTTGACA", "GGATCCA"]
LABELS = {
    "multiclass": lambda i, _: ("bat", "cow", "eel")[i % 3],
    "multilabel": lambda i, _: f"{i % 2};{i // 2 % 2}",
    "regression": lambda i, _: f"{i / 2 - 1}",
    "bases": lambda i, sequence: "".join("01"[(i + j // 5) % 2] for j in range(len(sequence))),
    "tokens": lambda i, sequence: ";".join(
        str((i + j) % 2) for j in range(len(TOKENIZER.encode(sequence)) - 2)
    ),
}
TOKENIZER = Tokenizer.from_pretrained("dnabert2")
KINDS = [
    ("multiclass", False),
    ("multilabel", False),
    ("regression", False),
    ("multiclass", True),
    ("multilabel", True),
    ("regression", True),
    ("bases", False),
    ("tokens", False),
]


def write_tables(folder, kind, pairs):
    """Train, dev and test with the same rows; half of the letters are lower-case ones."""
    folder.mkdir()
    rows = []
    for i, (first, second) in enumerate(zip(SEQUENCES, SECONDS, strict=True)):
        sequence = first if i % 2 else first.lower()
        rows.append([sequence, *([second.lower()] if pairs else []), LABELS[kind](i, first)])
    header = ["sequence1", "sequence2", "label"] if pairs else ["sequence", "label"]
    for split in ("train", "dev", "test"):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    return save_tiny(folder / "m", **TOY_MODEL)


def tuned(base, folder, kind, pairs, mode, pooling, **more):
    write_tables(folder / "tables", kind, pairs)
    config = FinetuneConfig(
        str(base),
        data=str(folder / "tables"),
        out=str(folder / "out"),
        task=kind,
        mode=mode,
        pooling=pooling,
        epochs=2,
        batch_size=2,
        learning_rate=1e-2,
        warmup_steps=1,
        device="cpu",
        **more,
    )
    return finetune(config).folder


def texts_of(pairs):
    """The sequences as the table has them, and the second ones."""
    firsts = [s if i % 2 else s.lower() for i, s in enumerate(SEQUENCES)]
    return firsts, [s.lower() for s in SECONDS] if pairs else None


def answers_of(kind, logits):
    logits = logits.double()
    if kind == "regression":
        return logits.numpy()
    return (logits.sigmoid() if kind == "multilabel" else logits.softmax(-1)).numpy()


def table_of(path):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    columns = [name for name in rows[0] if name.startswith(("probability_", "value_"))]
    return np.array([[float(row[name]) for name in columns] for row in rows])


def by_predict(folder, kind, pairs, tmp_path):
    out = tmp_path / "predictions.csv"
    assert main(["predict", str(folder), str(folder.parent / "tables/test.csv"), "--out", str(out),
                 "--device", "cpu"]) in (None, 0)  # fmt: skip
    return table_of(out)


def by_evaluate(folder, kind, pairs, tmp_path):
    evaluate(folder, folder.parent / "tables/test.csv", tmp_path / "scores", device="cpu")
    return table_of(tmp_path / "scores/predictions.csv")


def by_predictor(folder, kind, pairs, tmp_path):
    return Predictor.load(folder, device="cpu")(*texts_of(pairs)).outputs


def batch_of(folder, pairs, **options):
    return AutoTokenizer.from_pretrained(folder)(
        *texts_of(pairs), padding=True, return_tensors="pt", **options
    )


def rows_of(kind, answers, special, offsets):
    """Answers of tokens or bases, from rectangles."""
    found = []
    for answer, around, spans in zip(answers, special, offsets, strict=True):
        for row, is_special, (start, end) in zip(answer, around, spans.tolist(), strict=True):
            if not is_special:
                found += [row] * (end - start if kind == "bases" else 1)
    return np.array(found)


@torch.no_grad()
def by_auto_model(folder, kind, pairs, tmp_path):
    if kind in ("bases", "tokens"):
        batch = batch_of(
            folder, pairs, return_offsets_mapping=True, return_special_tokens_mask=True
        )
        special, offsets = batch.pop("special_tokens_mask"), batch.pop("offset_mapping")
        model = AutoModelForTokenClassification.from_pretrained(folder).eval()
        return rows_of(kind, answers_of(kind, model(**batch).logits), special, offsets)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    return answers_of(kind, model(**batch_of(folder, pairs)).logits)


def by_pipeline(folder, kind, pairs, tmp_path):
    if kind in ("bases", "tokens"):
        return None  # its output names one class per token: test_hf_library
    names = Predictor.load(folder, device="cpu").task.names
    firsts, seconds = texts_of(pairs)
    given = firsts
    if pairs:
        given = [{"text": a, "text_pair": b} for a, b in zip(firsts, seconds, strict=True)]
    classify = pipeline("text-classification", model=str(folder), device="cpu", top_k=None)
    found = [{one["label"]: one["score"] for one in entry} for entry in classify(given)]
    return np.array([[entry[name] for name in names] for entry in found])


def onnx_answers(folder, kind, pairs, run, names):
    batch = batch_of(folder, pairs, return_offsets_mapping=True, return_special_tokens_mask=True)
    assert ("token_type_ids" in names) == pairs
    answers = answers_of(kind, torch.as_tensor(run({name: batch[name] for name in names})))
    if kind in ("bases", "tokens"):
        return rows_of(kind, answers, batch["special_tokens_mask"], batch["offset_mapping"])
    return answers


def exported(folder, kind):
    """Alternate between the two libraries' classes, which must export the same."""
    if kind in ("bases", "tokens"):
        return AutoModelForTokenClassification.from_pretrained(folder)
    if kind == "multiclass":
        return Dnabert2ForSequenceClassification.from_pretrained(folder)
    return AutoModelForSequenceClassification.from_pretrained(folder)


@torch.no_grad()
def by_traced(folder, kind, pairs, tmp_path):
    """Call the network that torch is asked to export, which takes seconds."""
    asked = {}

    def export(network, example, path, *, input_names, **_):
        asked.update(network=network, names=input_names)
        open(path, "wb").close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.onnx, "export", export)
        export_onnx(exported(folder, kind), tmp_path / "model.onnx")
    run = lambda batch: asked["network"](*batch.values())  # noqa: E731
    return onnx_answers(folder, kind, pairs, run, asked["names"])


def by_onnx(folder, kind, pairs, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    export_onnx(exported(folder, kind), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    names = [one.name for one in session.get_inputs()]
    run = lambda batch: session.run(None, {n: v.numpy() for n, v in batch.items()})[0]  # noqa: E731
    return onnx_answers(folder, kind, pairs, run, names)


def by_attribution(folder, kind, pairs, tmp_path):
    """The probabilities that `attribute` explains."""
    if kind != "multiclass" or pairs:
        with pytest.raises(ValueError, match="is fine-tuned for"):
            load_model(folder)
        return None
    model, tokenizer = load_model(folder, device="cpu", dtype="float32")
    found = []
    for text in texts_of(pairs)[0]:
        targets = [
            AttributionTarget(text, model, tokenizer, "probability", label)
            for label in range(model.config.num_labels)
        ]
        with torch.no_grad():
            batch = targets[0].copies(1)
            found.append([float(target(batch, target.real(batch))[0]) for target in targets])
    return np.array(found)


@torch.no_grad()
def by_adapter(folder, kind, pairs, tmp_path):
    """The base model with the adapter of `--mode lora`, through three libraries."""
    if not (folder / "adapter").exists():
        return None
    adapter = folder / "adapter"
    found = Predictor.load(adapter, device="cpu")(*texts_of(pairs)).outputs
    if kind in ("bases", "tokens"):
        return found
    batch = batch_of(adapter, pairs)
    whole = AutoModelForSequenceClassification.from_pretrained(adapter).eval()
    assert np.abs(answers_of(kind, whole(**batch).logits) - found).max() <= 1e-5
    config = AutoConfig.from_pretrained(adapter)
    name = json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    base = AutoModelForSequenceClassification.from_pretrained(name, config=config)
    merged = PeftModel.from_pretrained(base, adapter).merge_and_unload().eval()
    assert np.abs(answers_of(kind, merged(**batch).logits) - found).max() <= 1e-5
    return found


INTERFACES = {
    "predict": by_predict,
    "evaluate": by_evaluate,
    "Predictor": by_predictor,
    "AutoModel": by_auto_model,
    "pipeline": by_pipeline,
    "traced": by_traced,
    "attribute": by_attribution,
    "adapter": by_adapter,
}
SETTINGS = [  # every kind, every mode and both poolings occur, and each pair of two of them
    ("multiclass", False, "full", "mean"),
    ("multiclass", False, "lora", "mean"),
    ("multilabel", False, "frozen", "cls"),
    ("regression", False, "lora", None),
    ("multiclass", True, "full", None),
    ("multilabel", True, "full", "mean"),
    ("regression", True, "frozen", "mean"),
    ("bases", False, "full", None),
    ("tokens", False, "lora", None),
]
ALL = [
    (kind, pairs, mode, pooling)
    for kind, pairs in KINDS
    for mode in ("full", "lora", "frozen")
    for pooling in ((None,) if kind in ("bases", "tokens") else (None, "mean"))
]


@pytest.fixture(scope="module")
def folder_of(base, tmp_path_factory):
    """Fine-tune once per setting."""
    made = {}

    def get(*setting):
        if setting not in made:
            made[setting] = tuned(base, tmp_path_factory.mktemp("run"), *setting)
        return made[setting]

    return get


def check(folder, interface, kind, pairs, tmp_path):
    wanted = table_of(folder / "test_predictions.csv")
    assert wanted.std(0).max() > 1e-3, "answers must differ between sequences"
    found = interface(folder, kind, pairs, tmp_path)
    if found is None:  # not an interface of this kind
        return
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1e-5


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_one_answer(folder_of, setting, interface, tmp_path):
    check(folder_of(*setting), INTERFACES[interface], *setting[:2], tmp_path)


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("setting", ALL, ids=str)
def test_one_answer_of_all_settings(folder_of, setting, tmp_path):
    exports = {"onnx": by_onnx} if setting[2] == "full" else {}  # each takes seconds
    for name, interface in {**INTERFACES, **exports}.items():
        (tmp_path / name).mkdir()
        check(folder_of(*setting), interface, *setting[:2], tmp_path / name)


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")
def test_a_file_for_onnx_runtime_with_pairs(folder_of, tmp_path):
    setting = ("multiclass", True, "full", None)
    check(folder_of(*setting), by_onnx, *setting[:2], tmp_path)


def test_what_is_written_for_other_readers(folder_of):
    for setting in SETTINGS:
        folder = folder_of(*setting)
        task = json.loads((folder / "task.json").read_text())
        config = AutoConfig.from_pretrained(folder)
        assert config.pairs is setting[1]
        assert config.window_bp == task["window_bp"] == max(map(len, SEQUENCES))
        assert config.classifier_pooling == (setting[3] or "cls")
        assert list(config.id2label.values()) == task["names"]
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert type(tokenizer).__name__ == "HFDnabert2Tokenizer"
        assert tokenizer.core.case == "upper"
        assert (tokenizer.pad_token, tokenizer.mask_token) == ("[PAD]", "[MASK]")
        assert ("token_type_ids" in tokenizer("ACGT", "TTAA" if setting[1] else None)) is setting[1]


def test_the_maximum_length_is_that_of_truncation(base, tmp_path):
    folder = tuned(base, tmp_path, "multiclass", True, "full", None, max_length=9)
    assert AutoTokenizer.from_pretrained(folder).model_max_length == 9
    batch = batch_of(folder, pairs=True, truncation=True)
    assert batch["input_ids"].shape[1] == 9
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        found = answers_of("multiclass", model(**batch).logits)
    assert np.abs(found - table_of(folder / "test_predictions.csv")).max() <= 1e-5


def saved_by_transformers(base, folder, auto, task=None, **config):
    """A classifier of `transformers` whose folder has no task.json, and its tokenizer."""
    torch.manual_seed(0)
    model = auto.from_pretrained(base, **config).eval()
    with torch.no_grad():
        model.classifier.weight.mul_(30)
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(base, model_max_length=12)
    tokenizer.save_pretrained(folder)
    return model, tokenizer


@torch.no_grad()
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("multiclass", {"id2label": {0: "no", 1: "maybe", 2: "yes"}, "num_labels": 3}),
        ("multilabel", {"problem_type": "multi_label_classification", "num_labels": 2}),
        ("regression", {"num_labels": 1}),
        ("tokens", {"num_labels": 2}),
    ],
)
def test_folders_that_trainer_saved(base, tmp_path, kind, config):
    auto = AutoModelForSequenceClassification
    if kind == "tokens":
        auto = AutoModelForTokenClassification
    folder = tmp_path / "saved"
    model, tokenizer = saved_by_transformers(base, folder, auto, **config)
    predictor = Predictor.load(folder, device="cpu")
    assert predictor.task.kind == kind
    assert list(predictor.task.names) == list(model.config.id2label.values())
    # As in training: lower case is one [UNK] per letter, and sequences end at the maximum length.
    texts = [s if i % 2 else s[:4].lower() + s[4:] for i, s in enumerate(SEQUENCES)]
    batch = tokenizer(
        texts,
        padding=True,
        truncation=True,
        return_tensors="pt",
        return_special_tokens_mask=True,
        return_offsets_mapping=True,
    )
    special, offsets = batch.pop("special_tokens_mask"), batch.pop("offset_mapping")
    assert batch["input_ids"].shape[1] == 12
    wanted = answers_of(kind, model(**batch).logits)
    if kind == "tokens":
        wanted = rows_of(kind, wanted, special, offsets)
    found = predictor(texts)
    assert np.abs(found.outputs - wanted).max() <= 1e-5
    if kind != "tokens":
        longer = predictor([SEQUENCES[0]], window_bp=20).outputs
        halves = [SEQUENCES[0][i : i + 20] for i in (0, 20, 37)]
        assert np.abs(longer - predictor(halves).outputs.mean(0)).max() <= 1e-12

    (tmp_path / "x.fa").write_text("".join(f">{i}\n{s}\n" for i, s in enumerate(texts)))
    out = tmp_path / "out.csv"
    arguments = ["predict", str(folder), str(tmp_path / "x.fa"), "--out", str(out)]
    assert main([*arguments, "--device", "cpu"]) == 0
    if kind != "tokens":
        assert np.abs(table_of(out) - wanted).max() <= 1e-5
    if kind == "multiclass":
        rows = "".join(f"{s},{i % 3}\n" for i, s in enumerate(SEQUENCES))
        (tmp_path / "test.csv").write_text(f"sequence,label\n{rows}")
        assert "accuracy" in evaluate(folder, tmp_path / "test.csv", tmp_path / "e", device="cpu")
        (folder / "model.safetensors").rename(tmp_path / "w")
        torch.save(load_file(tmp_path / "w"), folder / "pytorch_model.bin")
        assert load_model(folder, device="cpu")[0].config.num_labels == 3


def test_a_folder_without_a_classifier_is_named(base):
    with pytest.raises(CheckpointError, match=r"has no task.json, and its weights have no class"):
        Predictor.load(base)

"""Parts of transformers and peft that work on models and tokenizers: they must work on ours."""

import json
import pickle
import random

import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from helpers.golden import Case, folder_of
from peft import AutoPeftModelForSequenceClassification, LoraConfig, get_peft_model
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertConfig,
    DataCollatorForLanguageModeling,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    pipeline,
)
from transformers.modeling_outputs import ModelOutput

from dnabert2_fast import (
    Dnabert2ForMaskedLM,
    Dnabert2ForSequenceClassification,
    Dnabert2Model,
    Tokenizer,
    embed,
)
from dnabert2_fast.errors import CheckpointError
from dnabert2_fast.genomics import fill_mask
from dnabert2_fast.hf import (
    HFDnabert2Config,
    HFDnabert2ForMaskedLM,
    HFDnabert2ForSequenceClassification,
    HFDnabert2ForTokenClassification,
    HFDnabert2Model,
    HFDnabert2Tokenizer,
)
from dnabert2_fast.model import PackedBatch, export_onnx

SIZES = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 16,
}
CLASSES = [
    HFDnabert2Model,
    HFDnabert2ForMaskedLM,
    HFDnabert2ForSequenceClassification,
    HFDnabert2ForTokenClassification,
]


def small(**more):
    torch.manual_seed(0)
    return HFDnabert2Config(**SIZES, **more)


def batch_of(count=3, left=False):
    tokenizer = HFDnabert2Tokenizer(padding_side="left" if left else "right")
    rng = random.Random(1)
    texts = ["".join(rng.choices("ACGT", k=rng.randint(8, 60))) for _ in range(count)]
    return tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False)


@pytest.fixture
def folder(tmp_path):
    """A small model with a masked-LM head, and the published vocabulary."""
    # With the usual initial weights a model of this size hardly distinguishes tokens.
    HFDnabert2ForMaskedLM(small(initializer_range=0.3)).save_pretrained(tmp_path)
    HFDnabert2Tokenizer().save_pretrained(tmp_path)
    return tmp_path


@torch.no_grad()
@pytest.mark.parametrize("left", [False, True])
def test_states_and_maps_in_rectangles(left, tmp_path):
    model = HFDnabert2Model(small()).eval()
    batch = batch_of(left=left)
    output = model(**batch, output_attentions=True, output_hidden_states=True)
    assert isinstance(output, ModelOutput)
    real = batch["attention_mask"].bool()
    length = real.shape[1]
    assert len(output.attentions) == 2
    assert len(output.hidden_states) == 3
    both = (real[:, :, None] & real[:, None, :])[:, None]
    model.save_pretrained(tmp_path)
    core = Dnabert2Model.from_pretrained(tmp_path)
    want = core(PackedBatch.from_padded(**batch), output_attentions=True)
    for layer, maps in zip(output.attentions, want.attentions, strict=True):
        assert layer.shape == (3, 3, length, length)
        assert not layer.masked_fill(both, 0).any()
        assert torch.allclose(layer.sum(-1), real[:, None].float().expand(3, 3, length), atol=1e-5)
        for row, weights, at in zip(layer, maps, real, strict=True):
            assert torch.allclose(row[:, at][:, :, at], weights, atol=1e-6)
    in_config = AutoModel.from_pretrained(tmp_path, output_attentions=True)
    assert torch.equal(in_config(**batch).attentions[1], output.attentions[1])
    last, pooled = model(**batch, return_dict=False)
    assert torch.equal(last, output[0])
    assert torch.equal(pooled, output.pooler_output)


@pytest.mark.parametrize("kind", CLASSES)
def test_checkpointing_changes_no_gradient(kind):
    model = kind(small(hidden_dropout_prob=0.0)).train()
    batch = batch_of()
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable()
            model.enable_input_require_grads()
            assert model.is_gradient_checkpointing
        calls = []
        handle = model.base_model.encoder.layer[0].register_forward_pre_hook(
            lambda *_, calls=calls: calls.append(1)
        )
        model.zero_grad()
        model(**batch)[0].square().sum().backward()
        handle.remove()
        assert len(calls) == 1 + checkpointing  # the layer is computed again
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)
    model.gradient_checkpointing_disable()
    assert not model.is_gradient_checkpointing


@pytest.mark.parametrize("kind", CLASSES)
def test_saved_and_read_whole(kind, tmp_path):
    model = kind(small(num_labels=3)).eval()
    model.save_pretrained(tmp_path)
    again, report = kind.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not any(parameter.is_meta for parameter in again.parameters())
    batch = batch_of()
    with torch.no_grad():
        assert torch.equal(again(**batch)[0], model(**batch)[0])
    assert again.get_input_embeddings().weight.shape == (4096, 24)
    half = kind.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    with torch.no_grad():
        assert torch.allclose(half(**batch)[0].float(), model(**batch)[0], atol=0.1)


@torch.no_grad()
def test_vectors_instead_of_ids():
    model, batch = HFDnabert2Model(small()).eval(), batch_of()
    ids = batch.pop("input_ids")
    vectors = model.get_input_embeddings()(ids)
    assert torch.equal(model(inputs_embeds=vectors, **batch)[0], model(ids, **batch)[0])
    for both in ({}, {"input_ids": ids, "inputs_embeds": vectors}):
        with pytest.raises(ValueError, match="give exactly one of them"):
            model(**both)


def test_tied_and_resized():
    model = HFDnabert2ForMaskedLM(small())
    model.resize_token_embeddings(4100)
    assert model.config.vocab_size == 4100
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert model(torch.tensor([[1, 4099, 2]])).logits.shape == (1, 3, 4100)


@torch.no_grad()
def test_losses():
    batch = batch_of()
    real = batch["attention_mask"].bool()
    labels = torch.where(real, batch["input_ids"] % 3, -100)
    labels[:, 2] = -100
    model = HFDnabert2ForTokenClassification(small(num_labels=3)).eval()
    output = model(**batch, labels=labels)
    kept = labels != -100
    want = torch.nn.functional.cross_entropy(output.logits[kept], labels[kept])
    assert torch.allclose(output.loss, want)
    assert output.logits.shape == (*real.shape, 3)
    assert not output.logits[~real].any()
    assert model(**batch, labels=torch.full_like(labels, -100)).loss == 0
    several = HFDnabert2ForSequenceClassification(small(num_labels=3)).eval()
    asked = torch.tensor([[1.0, 0.0, 1.0]] * 3)
    output = several(**batch, labels=asked)
    want = torch.nn.functional.binary_cross_entropy_with_logits(output.logits, asked)
    assert torch.allclose(output.loss, want)
    one = HFDnabert2ForSequenceClassification(small(num_labels=1)).eval()
    output = one(**batch, labels=torch.tensor([0.5, 1.0, 2.0]))
    want = (output.logits.flatten() - torch.tensor([0.5, 1.0, 2.0])).square().mean()
    assert torch.allclose(output.loss, want)


def test_pipelines(folder, tmp_path_factory):
    sequence = "ACGTTGACATTACGACTTTGACAC"
    filled = pipeline("fill-mask", model=str(folder), device="cpu")(f"ACGTT[MASK]{sequence}")
    assert len(filled) == 5
    core = Dnabert2ForMaskedLM.from_pretrained(folder)
    ids = torch.tensor([HFDnabert2Tokenizer()(f"ACGTT[MASK]{sequence}")["input_ids"]])
    with torch.no_grad():
        logits = core(PackedBatch.from_padded(ids, torch.ones_like(ids))).logits
    position = ids[0].tolist().index(4)
    assert filled[0]["token"] == int(logits[position].argmax())
    assert filled[0]["score"] == pytest.approx(float(logits[position].softmax(0).max()), rel=1e-4)

    features = pipeline("feature-extraction", model=str(folder), device="cpu")
    rows = features([sequence, sequence[:9]], return_tensors=True, batch_size=2)
    alone = features(sequence[:9], return_tensors=True)
    assert torch.allclose(rows[1][:, : alone.shape[1]], alone, atol=1e-5)

    classes = tmp_path_factory.mktemp("classes")
    names = {"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}
    HFDnabert2ForSequenceClassification(small(**names)).save_pretrained(classes)
    HFDnabert2Tokenizer().save_pretrained(classes)
    classify = pipeline("text-classification", model=str(classes), device="cpu")
    both = classify(sequence, top_k=None)
    assert {entry["label"] for entry in both} == {"no", "yes"}
    assert sum(entry["score"] for entry in both) == pytest.approx(1, abs=1e-5)

    tokens = tmp_path_factory.mktemp("tokens")
    HFDnabert2ForTokenClassification(small()).save_pretrained(tokens)
    HFDnabert2Tokenizer().save_pretrained(tokens)
    found = pipeline("token-classification", model=str(tokens), device="cpu")(sequence)
    assert "".join(entry["word"] for entry in found) == sequence
    assert all(sequence[entry["start"] : entry["end"]] == entry["word"] for entry in found)


def test_spans_of_token_classes(tmp_path):
    """Neighbours of one class have one span; what joins words takes DNA for one word."""
    sequence = "ACGTTGACATTACGACTTTGACACGTACGATTTAGGGACATCGA"
    ids = {name: i for i, name in enumerate(("intron", "exon", "promoter", "other"))}
    config = small(label2id=ids, id2label={i: name for name, i in ids.items()})
    model = HFDnabert2ForTokenClassification(config).eval()
    with torch.no_grad():  # centred, so that every class occurs
        logits = model(**HFDnabert2Tokenizer()(sequence, return_tensors="pt")).logits
        model.classifier.bias.copy_(-logits[0].mean(0))
    model.save_pretrained(tmp_path)
    HFDnabert2Tokenizer().save_pretrained(tmp_path)
    of = {
        strategy: pipeline(
            "token-classification",
            model=str(tmp_path),
            device="cpu",
            aggregation_strategy=strategy,
            ignore_labels=[],
        )(sequence)
        for strategy in ("simple", "first", "average", "max")
    }
    spans = [(entry["start"], entry["end"]) for entry in of["simple"]]
    assert len(spans) > 2
    assert [0, *(end for _, end in spans)] == [*(start for start, _ in spans), len(sequence)]
    for strategy in ("first", "average", "max"):
        assert [(entry["start"], entry["end"]) for entry in of[strategy]] == [(0, len(sequence))]


def labelled(count=24):
    """Rows that repeat one of two motifs, so that every letter determines the label."""
    return [{"sequence": ("GT", "AC")[i % 2] * (8 + i % 3), "label": i % 2} for i in range(count)]


def arguments(folder, **more):
    return TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=8,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        **more,
    )


@pytest.mark.filterwarnings("ignore")
def test_trainer_and_lora(folder, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    # The pooler is randomly initialised, so the adapter must contain it.
    lora = LoraConfig(
        r=4,
        target_modules=["Wqkv", "dense", "gated_layers", "wo"],
        modules_to_save=["pooler"],
        task_type="SEQ_CLS",
    )
    model = get_peft_model(model, lora)
    adapted = {name.split(".lora_A")[0] for name, _ in model.named_parameters() if "lora_A" in name}
    assert sum(name.endswith(".attention.self.Wqkv") for name in adapted) == 2
    assert sum(name.endswith(".mlp.gated_layers") for name in adapted) == 2
    assert sum(name.endswith(".mlp.wo") for name in adapted) == 2
    assert sum(name.endswith(".attention.output.dense") for name in adapted) == 2
    rows = [{**tokenizer(row["sequence"]), "labels": row["label"]} for row in labelled()]
    trainer = Trainer(
        model=model,
        args=arguments(
            tmp_path, num_train_epochs=10, learning_rate=2e-2, gradient_checkpointing=True
        ),
        train_dataset=rows,
        eval_dataset=rows,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=lambda got: {
            "accuracy": float((np.argmax(got.predictions, 1) == got.label_ids).mean())
        },
    )
    trainer.train()
    assert trainer.evaluate()["eval_accuracy"] == 1
    assert all(weight.any() for name, weight in model.named_parameters() if "lora_B" in name)
    model.save_pretrained(tmp_path / "adapter")
    again = AutoPeftModelForSequenceClassification.from_pretrained(
        tmp_path / "adapter", num_labels=2
    ).eval()
    batch = batch_of()
    with torch.no_grad():
        assert torch.allclose(again(**batch).logits, model.eval()(**batch).logits, atol=1e-6)
        merged = again.merge_and_unload()
        assert torch.allclose(merged(**batch).logits, model(**batch).logits, atol=1e-4)


def test_trainer_of_masked_tokens(folder, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = HFDnabert2ForMaskedLM(small(initializer_range=0.2))
    rows = [tokenizer(row["sequence"]) for row in labelled()]
    trainer = Trainer(
        model=model,
        args=arguments(tmp_path, max_steps=20, learning_rate=2e-2, logging_steps=5),
        train_dataset=rows,
        data_collator=DataCollatorForLanguageModeling(tokenizer),
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0] / 2
    trainer.save_model(tmp_path / "end")
    Dnabert2ForMaskedLM.from_pretrained(tmp_path / "end")


@pytest.mark.parametrize(
    ("kind", "labels"),
    [(HFDnabert2ForMaskedLM, 64), (HFDnabert2ForTokenClassification, 2)],
)
def test_accumulated_batches_are_one_batch(kind, labels, tmp_path):
    """Of 16 rows with 1 to 16 labels each, four batches of four give the update of one."""
    rows = []
    for i in range(16):
        ids = [1, *range(5, 5 + 16), 2]
        wanted = [i % labels if 1 <= at <= i + 1 else -100 for at in range(len(ids))]
        rows.append({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": wanted})
    after = []
    for each, times in [(16, 1), (4, 4)]:
        torch.manual_seed(0)
        model = kind(small(num_labels=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))
        settings = {"optim": "sgd", "max_steps": 1, "learning_rate": 0.1, "max_grad_norm": 0.0}
        changed = arguments(tmp_path, gradient_accumulation_steps=times, **settings)
        changed.per_device_train_batch_size = each
        Trainer(model=model, args=changed, train_dataset=rows).train()
        after.append(torch.cat([weight.flatten() for weight in model.parameters()]).detach())
    assert torch.allclose(*after, atol=1e-6)


def published(folder, model, form):
    """A golden model as the hub has it: tensors, and a config that names remote code."""
    folder_of(model, folder)
    config = json.loads((folder / "config.json").read_text())
    assert "model_type" not in config
    config["auto_map"] = {
        "AutoConfig": "configuration_bert.BertConfig",
        "AutoModel": "bert_layers.BertModel",
        "AutoModelForSequenceClassification": "bert_layers.BertForSequenceClassification",
    }
    config |= {"gradient_checkpointing": False, "position_embedding_type": "absolute"}
    config |= {"torch_dtype": "float32", "use_cache": True, "transformers_version": "4.28.0"}
    if form == "fine-tuned":  # as the remote code's classes save themselves
        config |= {"model_type": "bert", "architectures": ["BertForSequenceClassification"]}
    (folder / "config.json").write_text(json.dumps(config))
    if form == "bin":
        from safetensors.torch import load_file

        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    return folder


@torch.no_grad()
@pytest.mark.parametrize("form", ["bin", "safetensors", "fine-tuned"])
@pytest.mark.parametrize("trust", [False, True])
def test_checkpoints_of_the_community(tmp_path, form, trust):
    folder = published(tmp_path / "m", "tiny3h", form)
    case = Case("tiny3h", "padded")
    given = {name: case.tensor(name) for name in ("input_ids", "attention_mask")}
    assert type(AutoConfig.from_pretrained(folder, trust_remote_code=trust)) is HFDnabert2Config
    for auto, kind, wanted in (
        (AutoModel, HFDnabert2Model, "last_hidden_state"),
        (AutoModelForMaskedLM, HFDnabert2ForMaskedLM, None),
        (AutoModelForSequenceClassification, HFDnabert2ForSequenceClassification, "cls_logits"),
    ):
        model, report = auto.from_pretrained(
            folder, trust_remote_code=trust, output_loading_info=True
        )
        assert type(model) is kind
        assert not report["missing_keys"]
        if wanted:
            assert np.abs(model(**given)[0].numpy() - case[wanted]).max() <= 3e-5
    # As the published model's page has it for newer versions of transformers.
    plain = BertConfig.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, trust_remote_code=trust, config=plain)
    assert type(model) is HFDnabert2Model
    assert np.abs(model(**given)[0].numpy() - case["last_hidden_state"]).max() <= 1e-5
    # A head with another number of classes, or of another kind, is randomly initialised.
    model = AutoModelForTokenClassification.from_pretrained(
        folder, num_labels=5, ignore_mismatched_sizes=True
    )
    assert model(**given).logits.shape[-1] == 5
    assert Dnabert2ForSequenceClassification.from_pretrained(folder).config.num_labels == 3


@torch.no_grad()
def test_masks_that_do_not_fit_or_have_gaps():
    model = HFDnabert2Model(small()).eval()
    batch = batch_of()
    ids, mask = batch["input_ids"], batch["attention_mask"]
    for wrong, why in (
        ({"attention_mask": mask[:, :2]}, r"attention_mask: must have the shape of .*got \(3, 2\)"),
        ({"attention_mask": mask[:, None, None]}, r"have the shape \(batch, length\)"),
        ({"token_type_ids": ids[:2]}, "token_type_ids: must have the shape"),
    ):
        with pytest.raises(ValueError, match=why):
            model(input_ids=ids, **wrong)
    with pytest.raises(ValueError, match=r"must have the shape \(batch, length\)"):
        model(input_ids=ids[0])
    ids, mask = ids[:1, : int(mask[0].sum())], torch.ones(1, int(mask[0].sum()))
    mask[0, 2] = 0
    with pytest.warns(UserWarning, match="gaps between real tokens"):
        got = model(input_ids=ids, attention_mask=mask).last_hidden_state[0]
    without = model(input_ids=torch.cat([ids[:, :2], ids[:, 3:]], 1)).last_hidden_state[0]
    assert torch.allclose(got[mask[0].bool()], without, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("kind", CLASSES)
def test_arguments_of_bert_and_of_the_published_code(kind):
    model, batch = kind(small()).eval(), batch_of()
    positions = torch.arange(batch["input_ids"].shape[1])[None]
    nothing = {"head_mask": None, "position_ids": positions, "masked_tokens_mask": None}
    nothing |= {"labels": None, "use_cache": True, "output_all_encoded_layers": False}
    assert torch.equal(model(**batch, **nothing)[0], model(**batch)[0])
    for name, value, remedy in (
        ("position_ids", positions * 2, "ALiBi"),
        ("head_mask", torch.ones(2, 3), "Leave it out"),
        ("output_all_encoded_layers", True, "output_hidden_states=True"),
        ("masked_tokens_mask", batch["attention_mask"], "rows of last_hidden_state"),
        ("past_key_values", (), "decoder"),
    ):
        with pytest.raises(ValueError, match=f"{name}: is not supported.*{remedy}"):
            model(**batch, **{name: value})
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        model(**batch, colour=1)


@torch.no_grad()
def test_the_published_order_of_arguments_is_refused():
    model, batch = HFDnabert2Model(small()).eval(), batch_of()
    ids, mask = batch["input_ids"], batch["attention_mask"]
    types = (torch.arange(ids.shape[1]) > 3).long() * mask  # a pair's
    model(ids, mask, types)
    for unlike in ((torch.zeros_like(ids), mask), (torch.zeros_like(ids),), (types, mask)):
        with pytest.raises(ValueError, match="by name: the published code"):
            model(ids, *unlike)
    with pytest.raises(ValueError, match=r"labels: .*AutoModelForSequenceClassification"):
        model(**batch, labels=torch.zeros(3))


@torch.no_grad()
def test_the_encoders_output_is_unpacked_like_a_tuple(tmp_path):
    model, batch = HFDnabert2Model(small()).eval(), batch_of()
    output = model(**batch)
    states, pooled = output
    assert states is output.last_hidden_state
    assert pooled is output.pooler_output
    assert list(output.keys()) == ["last_hidden_state", "pooler_output"]
    assert dict(output)["pooler_output"] is pooled
    assert len(pickle.loads(pickle.dumps(output))) == 2
    model._is_replica = True  # as DataParallel has it, whose gather iterates over names
    assert list(model(**batch)) == ["last_hidden_state", "pooler_output"]


@torch.no_grad()
def test_peft_for_classes_on_the_bare_encoder():
    model, batch = HFDnabert2Model(small()).eval(), batch_of()
    want = model(**batch)[0]
    adapted = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", target_modules=["Wqkv"]))
    assert torch.equal(adapted(**batch)[0], want)
    with pytest.raises(TypeError, match=r"got PeftModel.*merge_and_unload"):
        export_onnx(adapted, "model.onnx")


@torch.no_grad()
@pytest.mark.parametrize("kind", CLASSES)
def test_the_same_model_without_transformers(kind):
    model, batch = kind(small(initializer_range=0.3)).eval(), batch_of()
    core = model.core()
    found = core(PackedBatch.from_padded(batch["input_ids"], batch["attention_mask"]))
    want = model(**batch)
    if kind is HFDnabert2ForSequenceClassification:
        assert torch.equal(found.logits, want.logits)
    else:
        rows = want[0][batch["attention_mask"].bool()]
        assert torch.equal(found[0] if kind is HFDnabert2Model else found.logits, rows)


@pytest.mark.filterwarnings("ignore")
def test_noise_on_embeddings(tmp_path):
    rows = [{**HFDnabert2Tokenizer()(row["sequence"]), "labels": 1} for row in labelled(8)]
    trainer = Trainer(
        model=HFDnabert2ForSequenceClassification(small()),
        args=arguments(tmp_path, max_steps=1, neftune_noise_alpha=5.0),
        train_dataset=rows,
        data_collator=DataCollatorWithPadding(HFDnabert2Tokenizer()),
    )
    assert np.isfinite(trainer.train().training_loss)


@torch.no_grad()
@pytest.mark.parametrize("kind", CLASSES)
def test_weights_that_are_offloaded(kind):
    model, batch = kind(small()).eval(), batch_of()
    want = model(**batch)[0]
    assert torch.equal(cpu_offload(model, execution_device=torch.device("cpu"))(**batch)[0], want)


def test_captum_explains_embeddings():
    """Integrated gradients over word embeddings, as captum computes them, sum to the change."""
    attr = pytest.importorskip("captum.attr")
    model, batch = HFDnabert2ForSequenceClassification(small(initializer_range=0.3)), batch_of()
    explain = attr.LayerIntegratedGradients(
        lambda ids, mask: model.eval()(ids, attention_mask=mask).logits,
        model.bert.embeddings.word_embeddings,
    )
    found, delta = explain.attribute(
        batch["input_ids"],
        baselines=torch.full_like(batch["input_ids"], 4),
        additional_forward_args=(batch["attention_mask"],),
        target=1,
        n_steps=200,
        return_convergence_delta=True,
    )
    assert found.shape == (*batch["input_ids"].shape, 24)
    assert delta.abs().max() < 0.01


def test_names_of_attention(folder):
    want = AutoModel.from_pretrained(folder).eval()
    found = AutoModel.from_pretrained(folder, attn_implementation="sdpa").eval()
    batch = batch_of()
    assert torch.equal(found(**batch)[0], want(**batch)[0])
    assert found(**batch, output_attentions=True).attentions[0].ndim == 4
    for name in ("flash_attention_2", "flex_attention"):
        with pytest.raises(ValueError, match=f'"eager" or "sdpa".*got "{name}".*doctor'):
            AutoModel.from_pretrained(folder, attn_implementation=name)


@torch.no_grad()
def test_rows_beyond_the_vocabulary(folder, tmp_path):
    """Embeddings that were padded to a multiple keep their answers everywhere."""
    model = AutoModelForMaskedLM.from_pretrained(folder).eval()
    model.resize_token_embeddings(4097, pad_to_multiple_of=64)
    model.save_pretrained(tmp_path / "padded")
    HFDnabert2Tokenizer().save_pretrained(tmp_path / "padded")
    texts = ["ACGTTGCATCGGATC", "TTGACAG"]
    assert np.array_equal(embed(texts, str(tmp_path / "padded")), embed(texts, str(folder)))
    core = Dnabert2ForMaskedLM.from_pretrained(tmp_path / "padded")
    tokenizer = Tokenizer.from_pretrained(tmp_path / "padded")
    assert core.config.vocab_size == 4160
    (filled,) = fill_mask("ACGTT[MASK]TTGACAG", core, tokenizer, top_k=4096)
    pipe = pipeline("fill-mask", model=str(tmp_path / "padded"), device="cpu", top_k=1)
    (wanted,) = pipe("ACGTT[MASK]TTGACAG")
    assert filled[0].token_id == wanted["token"]
    assert filled[0].probability == pytest.approx(wanted["score"], rel=1e-5)
    with pytest.raises(CheckpointError, match="the model has 4096 ids, the tokenizer 1024"):
        core.config.from_dict({}).require_vocabulary(["A"] * 1024, "x")

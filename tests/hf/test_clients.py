"""Programs of other projects on top of DNABERT-2: their calls, in our own words.

docs/coming_from.md names the programs and the lines that change. The fine-tuning program of the
original repository is in test_hf_script.py.
"""

import csv
import importlib.metadata
import random

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("peft")

import torch
from helpers.checkpoints import save_published
from peft import LoraConfig, TaskType, get_peft_model
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

import dnabert2_fast.hf
from dnabert2_fast import (
    Dnabert2ForSequenceClassification,
    Dnabert2Model,
    PackedBatch,
    Tokenizer,
    cli,
    embed,
)

pytestmark = [pytest.mark.full, pytest.mark.filterwarnings("ignore")]

TRANSFORMERS = int(importlib.metadata.version("transformers").partition(".")[0])


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The published layout: pytorch_model.bin, a config with auto_map alone, the tokenizer."""
    return save_published(tmp_path_factory.mktemp("DNABERT-2-117M"))


@pytest.fixture(scope="module")
def classifier(published, tmp_path_factory):
    """What train.py saves."""
    folder = tmp_path_factory.mktemp("classifier")
    torch.manual_seed(1)
    AutoModelForSequenceClassification.from_pretrained(published, num_labels=2).save_pretrained(
        folder
    )
    AutoTokenizer.from_pretrained(published, model_max_length=512).save_pretrained(folder)
    return folder


def sequences(count, shortest=20, longest=90, seed=2):
    rng = random.Random(seed)
    return ["".join(rng.choices("ACGT", k=rng.randint(shortest, longest))) for _ in range(count)]


def native_states(folder, texts):
    """States of this library's own model, one matrix per sequence."""
    model, tokenizer = Dnabert2Model.from_pretrained(folder), Tokenizer.from_pretrained(folder)
    batch = PackedBatch.from_ragged(tokenizer.encode_batch(texts))
    with torch.inference_mode():
        states = model(batch).last_hidden_state
    return [states[a:b] for a, b in zip(batch.cu_seqlens, batch.cu_seqlens[1:], strict=False)]


def test_prediction_of_tables(classifier, tmp_path):
    """DNABERT_2_helper: predict_hf_classifier_csv.py."""
    texts = sequences(21)
    tokenizer = AutoTokenizer.from_pretrained(str(classifier), trust_remote_code=False)
    model = AutoModelForSequenceClassification.from_pretrained(
        str(classifier), trust_remote_code=False
    )
    model.to(torch.device("cpu")).eval()
    probabilities = []
    with torch.inference_mode():
        for start in range(0, len(texts), 8):
            batch = tokenizer(
                texts[start : start + 8],
                padding=True,
                truncation=True,
                max_length=512,
                return_tensors="pt",
            )
            outputs = model(**{name: tensor.to("cpu") for name, tensor in batch.items()})
            probabilities.append(outputs.logits.softmax(-1))
    got = torch.cat(probabilities).numpy()
    (tmp_path / "in.csv").write_text("sequence\n" + "\n".join(texts) + "\n")
    line = ["predict", str(classifier), str(tmp_path / "in.csv"), "--out", str(tmp_path / "p.csv")]
    assert cli.main(line) == 0
    with (tmp_path / "p.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    columns = [name for name in rows[0] if name.startswith("probability_")]
    wanted = [[float(row[name]) for name in columns] for row in rows]
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def windows(tokenizer, sequence, max_length, stride):
    """Ids and spans of overlapping parts, as the occlusion report cuts them."""
    if not getattr(tokenizer, "is_fast", False):
        raise AssertionError("the report then reads only the first part")
    encoded = tokenizer(
        sequence,
        return_tensors=None,
        truncation=True,
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        padding=False,
    )
    masks = encoded.get("attention_mask", [None] * len(encoded["input_ids"]))
    return list(zip(encoded["input_ids"], masks, encoded["offset_mapping"], strict=True))


def spans_by_search(tokenizer, sequence, max_length):
    """Spans as the report guesses them for a slow tokenizer."""
    encoded = tokenizer(
        sequence, return_tensors=None, truncation=True, max_length=max_length, padding=False
    )
    spans, position = [], 0
    for token in tokenizer.convert_ids_to_tokens(encoded["input_ids"]):
        if token in ("[CLS]", "[SEP]", "[PAD]", "[UNK]"):
            spans.append((0, 0))
            continue
        start = sequence.find(token, position)
        spans.append((start, start + len(token)))
        position = start + len(token)
    return spans


def test_occlusion_of_long_sequences(classifier):
    """DNABERT_2_helper: occlusion_softmax_report_sliding.py."""
    tokenizer = AutoTokenizer.from_pretrained(str(classifier))
    model = AutoModelForSequenceClassification.from_pretrained(str(classifier)).eval()
    (text,) = sequences(1, 400, 400)
    parts = windows(tokenizer, text, 20, 5)
    assert len(parts) > 4
    seen, total = np.zeros(len(text), int), np.zeros(len(text))
    masked = tokenizer.mask_token_id
    with torch.no_grad():
        for ids, mask, spans in parts:
            ids, mask = torch.tensor([ids]), torch.tensor([mask])
            whole = model(input_ids=ids, attention_mask=mask).logits.softmax(-1)[0, 1].item()
            for position, (start, end) in enumerate(tuple(span) for span in spans):
                hidden = ids.clone()
                hidden[0, position] = masked
                logits = model(input_ids=hidden, attention_mask=mask).logits
                seen[start:end] += 1
                total[start:end] += whole - logits.softmax(-1)[0, 1].item()
    assert seen.min() >= 1
    assert np.abs(total).max() > 0
    # Of one part, by this library's own model and coordinates.
    ids, _, spans = parts[0]
    own = Tokenizer.from_pretrained(classifier)
    body = text[: spans[-2][1]]
    assert own.encode(body).tolist() == ids
    native = Dnabert2ForSequenceClassification.from_pretrained(classifier)
    with torch.no_grad():
        batch = PackedBatch.from_padded(torch.tensor([ids]), torch.ones(1, len(ids)).long())
        wanted = native(batch).logits
        found = model(input_ids=torch.tensor([ids])).logits
    assert torch.allclose(found, wanted, atol=1e-5)
    assert spans_by_search(tokenizer, text, 20) == [tuple(span) for span in spans]


def pooled(model, tokenizer, texts, pooling):
    """Vectors as inference_dnabert2.py and embedding_analysis_dnabert2.py make them."""
    model.eval()
    vectors = []
    for i in range(0, len(texts), 16):
        inputs = tokenizer(
            texts[i : i + 16], return_tensors="pt", padding=True, truncation=True, max_length=512
        )
        with torch.no_grad():
            outputs = model(**inputs)
        states = outputs[0] if isinstance(outputs, tuple) else outputs.last_hidden_state
        if pooling == "mean":
            mask = inputs["attention_mask"].unsqueeze(-1)
            vectors.append((states * mask).sum(1) / mask.sum(1))
        else:
            vectors.append(states.max(1)[0] if pooling == "max" else states[:, 0])
    return torch.cat(vectors).numpy()


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_for_a_linear_probe(published, pooling):
    """DNABERT2_generic_sequence_classification: inference and embedding analysis."""
    tokenizer = AutoTokenizer.from_pretrained(str(published), trust_remote_code=True)
    model = AutoModel.from_pretrained(str(published), trust_remote_code=True)
    assert model.config.hidden_size == 24
    texts = [motif * n for n in range(6, 26) for motif in ("AC", "GT")]
    labels = [0, 1] * 20
    vectors = pooled(model, tokenizer, texts, pooling)
    states = native_states(published, texts)
    wanted = [rows.mean(0) if pooling == "mean" else rows[0] for rows in states]
    np.testing.assert_allclose(vectors, torch.stack(wanted), atol=1e-5)
    scaler = StandardScaler().fit(vectors)
    probe = LogisticRegression(max_iter=1000, random_state=42)
    probe.fit(scaler.transform(vectors), labels)
    assert probe.score(scaler.transform(vectors), labels) == 1


def test_a_random_model_as_the_baseline(published):
    """The same: ``--include_random_baseline``."""
    tokenizer = AutoTokenizer.from_pretrained(str(published), trust_remote_code=True)
    config = AutoConfig.from_pretrained(str(published), trust_remote_code=True)
    model = AutoModel.from_config(config, trust_remote_code=True)
    assert type(model) is dnabert2_fast.hf.HFDnabert2Model
    texts = sequences(5)
    vectors = pooled(model, tokenizer, texts, "max")
    trained = AutoModel.from_pretrained(str(published), trust_remote_code=True)
    assert np.isfinite(vectors).all()
    assert not np.allclose(vectors, pooled(trained, tokenizer, texts, "max"))


def test_vectors_sorted_by_length(published):
    """DNABERT_S: evaluate/utils.py. Under transformers 5, tokenizers have no batch_encode_plus."""
    texts = sequences(23)
    order = np.argsort([len(text) for text in texts])
    tokenizer = AutoTokenizer.from_pretrained(
        str(published),
        cache_dir=None,
        model_max_length=5000,
        padding_side="right",
        use_fast=True,
        trust_remote_code=True,
    )
    encode = tokenizer if TRANSFORMERS >= 5 else tokenizer.batch_encode_plus
    model = AutoModel.from_pretrained(str(published), trust_remote_code=True).eval()
    loader = torch.utils.data.DataLoader([texts[i] for i in order], batch_size=5)
    vectors = []
    for batch in loader:
        with torch.no_grad():
            inputs = encode(
                batch, max_length=5000, return_tensors="pt", padding="longest", truncation=True
            )
            states = model.forward(
                input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
            )[0]
        mask = inputs["attention_mask"].unsqueeze(-1)
        vectors.append((states * mask).sum(1) / mask.sum(1))
    got = torch.cat(vectors).numpy()[np.argsort(order)]
    wanted = torch.stack([rows.mean(0) for rows in native_states(published, texts)])
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    # The vectors of embed leave out [CLS] and [SEP].
    assert not np.allclose(got, embed(texts, str(published)), atol=1e-3)


class Origins(torch.nn.Module):
    """ORILINX: orilinx/model_architecture.py."""

    def __init__(self, folder):
        super().__init__()
        config = AutoConfig.from_pretrained(
            folder,
            trust_remote_code=True,
            local_files_only=True,
            return_dict=True,
            output_hidden_states=True,
            output_attentions=True,
        )
        encoder = AutoModel.from_pretrained(
            folder, config=config, trust_remote_code=True, local_files_only=True
        )
        lora = LoraConfig(
            task_type=TaskType.SEQ_CLS,
            r=16,
            lora_alpha=32,
            target_modules=["Wqkv", "dense", "gated_layers", "wo"],
            lora_dropout=0.1,
            bias="none",
        )
        self.dnabert = get_peft_model(encoder, lora)
        self.classifier = torch.nn.Linear(self.dnabert.config.hidden_size, 1)
        self.dnabert.gradient_checkpointing_enable()

    def forward(self, input_ids, attention_mask, **others):
        outputs = self.dnabert(
            input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True, **others
        )
        if isinstance(outputs, tuple):
            first, states = outputs[0], outputs[2]
        else:
            first, states = outputs.last_hidden_state, outputs.hidden_states
        return self.classifier(first[:, 0]).squeeze(-1), states


def test_origins_of_replication(published, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(
        str(published), trust_remote_code=True, local_files_only=True
    )
    torch.manual_seed(3)
    model = Origins(str(published))
    texts, labels = ["AC" * 20, "GT" * 20] * 4, torch.tensor([0.0, 1.0] * 4)
    batch = tokenizer(texts, padding=True, truncation=True, max_length=512, return_tensors="pt")
    batch = {name: batch[name] for name in ("input_ids", "attention_mask")}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        logits, states = model(**batch)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 < losses[0]
    assert len(states) == 3
    torch.save(model.state_dict(), tmp_path / "origins.pt")
    again = Origins(str(published))
    again.load_state_dict(torch.load(tmp_path / "origins.pt", weights_only=True))
    # Its predictions turn unpadding off on every module; here nothing has such a switch.
    switches = ("use_flash_attn", "flash_attn", "use_memory_efficient_attention", "unpad")
    assert not any(hasattr(part, name) for part in again.modules() for name in switches)
    with torch.inference_mode():
        found, wanted = again.eval()(**batch)[0], model.eval()(**batch)[0]
    assert torch.equal(found, wanted)
    assert ((found > 0) == labels.bool()).all()

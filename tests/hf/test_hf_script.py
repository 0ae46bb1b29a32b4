"""A fine-tuning program in the way of DNABERT-2's own, with nothing of ours but one import."""

import csv

import numpy as np
import pytest
import sklearn.metrics
import torch
import transformers
from helpers.checkpoints import save_published
from helpers.toys import write_toys
from peft import LoraConfig, get_peft_model

import dnabert2_fast.hf
from dnabert2_fast import Dnabert2ForSequenceClassification


@pytest.fixture
def checkpoint(tmp_path):
    """The published layout: pytorch_model.bin, a config with auto_map alone, the tokenizer."""
    folder = tmp_path / "DNABERT-2-117M"
    folder.mkdir()
    return save_published(folder)


@pytest.fixture
def tables(tmp_path):
    write_toys(tmp_path / "tables", lambda i, s: i % 2)
    return tmp_path / "tables"


class SupervisedDataset(torch.utils.data.Dataset):
    def __init__(self, path, tokenizer):
        with open(path) as file:
            data = list(csv.reader(file))[1:]
        output = tokenizer(
            [row[0] for row in data],
            return_tensors="pt",
            padding="longest",
            max_length=tokenizer.model_max_length,
            truncation=True,
        )
        self.input_ids = output["input_ids"]
        self.labels = [int(row[1]) for row in data]
        self.num_labels = len(set(self.labels))

    def __len__(self):
        return len(self.input_ids)

    def __getitem__(self, i):
        return {"input_ids": self.input_ids[i], "labels": self.labels[i]}


class Collator:
    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def __call__(self, instances):
        input_ids = torch.nn.utils.rnn.pad_sequence(
            [instance["input_ids"] for instance in instances],
            batch_first=True,
            padding_value=self.tokenizer.pad_token_id,
        )
        return {
            "input_ids": input_ids,
            "labels": torch.Tensor([instance["labels"] for instance in instances]).long(),
            "attention_mask": input_ids.ne(self.tokenizer.pad_token_id),
        }


def preprocess_logits_for_metrics(logits, _):
    return torch.argmax(logits[0] if isinstance(logits, tuple) else logits, dim=-1)


def compute_metrics(predicted):
    right, given = predicted.label_ids, predicted.predictions
    return {
        "accuracy": sklearn.metrics.accuracy_score(right, given),
        "matthews_correlation": sklearn.metrics.matthews_corrcoef(right, given),
    }


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("use_lora", [False, True])
def test_finetunes_as_the_official_script_does(checkpoint, tables, use_lora):
    transformers.set_seed(0)
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        str(checkpoint),
        cache_dir=None,
        model_max_length=20,
        padding_side="right",
        use_fast=True,
        trust_remote_code=True,
    )
    train, dev, test = (
        SupervisedDataset(tables / f"{part}.csv", tokenizer) for part in ("train", "dev", "test")
    )
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        str(checkpoint), cache_dir=None, num_labels=train.num_labels, trust_remote_code=True
    )
    assert type(model) is dnabert2_fast.hf.HFDnabert2ForSequenceClassification
    if use_lora:
        lora = LoraConfig(
            r=8,
            lora_alpha=32,
            target_modules=["Wqkv", "dense", "gated_layers", "wo"],
            lora_dropout=0.05,
            bias="none",
            task_type="SEQ_CLS",
            inference_mode=False,
        )
        model = get_peft_model(model, lora)
    trainer = transformers.Trainer(
        model=model,
        args=transformers.TrainingArguments(
            output_dir=str(tables / "output"),
            per_device_train_batch_size=8,
            per_device_eval_batch_size=16,
            learning_rate=1e-2,
            num_train_epochs=5,
            eval_strategy="steps",
            eval_steps=20,
            save_steps=20,
            load_best_model_at_end=True,
            dataloader_pin_memory=False,
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        ),
        preprocess_logits_for_metrics=preprocess_logits_for_metrics,
        compute_metrics=compute_metrics,
        train_dataset=train,
        eval_dataset=dev,
        data_collator=Collator(tokenizer),
    )
    trainer.train()
    assert trainer.evaluate(eval_dataset=test)["eval_matthews_correlation"] == 1
    # What safe_save_model_for_hf_trainer of the script does.
    state = {key: value.cpu() for key, value in trainer.model.state_dict().items()}
    trainer._save(str(tables / "best"), state_dict=state)
    if not use_lora:
        core = Dnabert2ForSequenceClassification.from_pretrained(tables / "best")
        assert np.array_equal(core.classifier.weight.detach(), model.classifier.weight.detach())

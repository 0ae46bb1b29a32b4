"""The model in the package: found by name, small, and better than a guess by token frequency."""

from dataclasses import replace

import numpy as np
import pytest

from dnabert2_fast import Dnabert2ForMaskedLM, Dnabert2Model, Tokenizer, embed, pseudo_likelihood
from dnabert2_fast._internal.vocabulary import hash_vocabulary
from dnabert2_fast.cli import main
from dnabert2_fast.cli.demo import LABELLED
from dnabert2_fast.finetuning.labels import read_labelled
from dnabert2_fast.model.weights import PACKAGED
from dnabert2_fast.pretraining.config import SIZES

GUESS_BY_FREQUENCY = 7.14  # nats, of held-out tokens: docs/models/mini.md


def test_it_knows_more_than_frequencies():
    sequences = read_labelled(LABELLED / "test.csv.gz").sequences[:20]
    model = Dnabert2ForMaskedLM.from_pretrained("mini")
    scores = pseudo_likelihood(sequences, model, Tokenizer.from_pretrained("mini"))
    nats = -sum(score.log_likelihood for score in scores)
    assert nats / sum(score.tokens for score in scores) < GUESS_BY_FREQUENCY


def test_it_fits_in_a_wheel():
    assert sum(path.stat().st_size for path in PACKAGED["mini"].iterdir()) < 16_000_000
    model = Dnabert2Model.from_pretrained("mini")
    assert model.config.vocab_size == Tokenizer.from_pretrained("mini").vocab_size == 4096


def test_its_config_is_what_pretrain_makes():
    """No dropout in fine-tuning: with 0.1 it learns nothing of mouse/4 (docs/log.md)."""
    config = Dnabert2Model.from_pretrained("mini").config
    vocabulary = hash_vocabulary(Tokenizer.from_pretrained("mini").vocabulary)
    assert config == replace(SIZES["mini"], vocabulary_sha256=vocabulary)
    assert config.hidden_dropout_prob == 0
    assert config.classifier_pooling == "cls"


def test_it_is_what_embed_takes(tmp_path, capsys, recwarn):
    sequences = ["ACGTTGCATTAGCA", "GGGCCC"]
    (tmp_path / "x.fa").write_text("".join(f">{x}\n{x}\n" for x in sequences))
    assert main(["embed", str(tmp_path / "x.fa"), "--out", str(tmp_path / "v.npy")]) == 0
    model = Dnabert2Model.from_pretrained(PACKAGED["mini"])
    recwarn.clear()  # drops the warning about the pooler, which only that line loads
    by_hand = embed(sequences, model, Tokenizer.from_pretrained(PACKAGED["mini"]))
    np.testing.assert_allclose(embed(sequences), by_hand, atol=1e-6)
    np.testing.assert_allclose(np.load(tmp_path / "v.npy"), by_hand, atol=1e-6)
    assert not recwarn.list
    np.testing.assert_allclose(embed(sequences, model), by_hand, atol=1e-6)
    with pytest.raises(ValueError, match="tokenizer: is required with a model that was not read"):
        embed(sequences, Dnabert2Model(model.config))


def test_a_folder_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mini").mkdir()
    for read in (Dnabert2Model, Tokenizer):
        with pytest.raises((ValueError, OSError), match="mini"):
            read.from_pretrained("mini")

"""Functions that apply a model have one shape: data, model, tokenizer, then keywords."""

import inspect
import os

import numpy as np
import pandas as pd
import pytest
import torch

from dnabert2_fast import (
    Dnabert2Config,
    Dnabert2ForMaskedLM,
    Dnabert2Model,
    Tokenizer,
    attribute,
    embed,
    embed_positions,
    fill_mask,
    pseudo_likelihood,
    read_fasta,
    score_variants,
)
from dnabert2_fast.genomics import AttributionConfig, DnaEmbedder, ScoringConfig
from dnabert2_fast.genomics.loading import load_encoder, load_model
from dnabert2_fast.io import FastaRecord, Reference

DNA = ["ACGTTGCATTAGCATT", "GATTACAGATTACA", "TTAACC"]
GENOME = Reference({"chr1": "ACGTTGCATTAGCATTTACGGATTAACGT" * 9})
VARIANTS = [("chr1", 120, "T", "G"), ("chr1", 121, "G", "A")]

ATTENTION = AttributionConfig("attention")
MASKED = [f"{text}[MASK]" for text in DNA]

# A function, its data, and how its result becomes numbers.
CALLS = {
    embed: (DNA, list),
    embed_positions: (DNA, list),
    attribute: (DNA, lambda found: [one.scores for one in found]),
    score_variants: (VARIANTS, lambda found: [one.l2 for one in found]),
    pseudo_likelihood: (DNA, lambda found: [one.log_likelihood for one in found]),
    fill_mask: (MASKED, lambda found: [[f.probability for f in one[0]] for one in found]),
}
EXTRA = {
    attribute: {"config": ATTENTION},
    score_variants: {"reference": GENOME, "config": ScoringConfig(window_bp=64, offsets_bp=(0,))},
}
functions = pytest.mark.parametrize("function", CALLS, ids=lambda one: one.__name__)


def run(function, data, **how):
    """Return the numbers that a function gives for each element."""
    return [
        np.asarray(one, np.float64)
        for one in CALLS[function][1](function(data, **EXTRA.get(function, {}), **how))
    ]


@pytest.fixture(scope="module")
def mini():
    return Dnabert2ForMaskedLM.from_pretrained("mini")


@pytest.fixture(scope="module")
def folder(mini, tmp_path_factory):
    made = tmp_path_factory.mktemp("model")
    mini.save_pretrained(made)
    Tokenizer.from_pretrained("mini").save(made / "tokenizer.json")
    return made


@functions
def test_the_shape(function):
    parameters = list(inspect.signature(function).parameters.values())
    data = ["variants", "reference"] if function is score_variants else ["sequences"]
    positional = [one for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
    keywords = [one for one in parameters if one.kind is one.KEYWORD_ONLY]
    assert [one.name for one in positional] == [*data, "model", "tokenizer"]
    assert [one.default for one in positional[-2:]] == ["mini", None]
    assert positional + keywords == parameters
    assert [(one.name, one.default) for one in keywords[:2]] == [
        ("device", "auto"),
        ("dtype", "auto"),
    ]
    assert all(one.default is not one.empty for one in keywords)


FORMS = {
    "generator": lambda data: (one for one in data),
    "array": np.array,
    "array of objects": lambda data: np.array(data, dtype=object),
    "Series": lambda data: pd.Series(data, index=range(7, 7 + len(data))),
    "bytes": lambda data: [one.encode() for one in data],
    "records": lambda data: [FastaRecord("x", one) for one in data],
}


@functions
@pytest.mark.filterwarnings("ignore:.*context_llr is left out")
def test_names_and_objects_and_forms_give_the_same(function, mini, folder):
    data = CALLS[function][0]
    want = run(function, data)
    assert np.isfinite(np.concatenate([one.ravel() for one in want])).all()
    tok = Tokenizer.from_pretrained("mini")
    for how in (
        {"model": mini},
        {"model": folder},
        {"model": str(folder / "model.safetensors")},
        {"model": mini, "tokenizer": "mini"},
        {"model": "mini", "tokenizer": tok},
        {"device": "cpu", "dtype": "float32"},
    ):
        for found, wanted in zip(run(function, data, **how), want, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    forms = {"generator": FORMS["generator"]} if function is score_variants else FORMS
    for form in forms.values():
        for found, wanted in zip(run(function, form(data), model=mini), want, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@functions
@pytest.mark.filterwarnings("ignore:.*context_llr is left out")
def test_a_model_in_training_computes_without_dropout(function, mini):
    want = run(function, CALLS[function][0][:1], model=mini)
    mini.train()
    found = run(function, CALLS[function][0][:1], model=mini)
    assert mini.training
    mini.eval()
    assert all(map(np.array_equal, found, want))


@functions
def test_what_is_no_model_is_named(function):
    with pytest.raises(TypeError, match=r"model: must be a name or .* \(got int\)"):
        run(function, CALLS[function][0], model=7)


@pytest.mark.parametrize("function", [fill_mask, pseudo_likelihood])
def test_an_encoder_predicts_no_tokens(function):
    model, _ = load_encoder("mini")
    with pytest.raises(TypeError, match=r"a Dnabert2ForMaskedLM \(got Dnabert2Model\)"):
        run(function, CALLS[function][0], model=model)


@pytest.mark.parametrize("function", [attribute, fill_mask])
def test_one_sequence_gives_one_answer(function, mini):
    one, *_ = data = CALLS[function][0]
    whole = function(data, mini, **EXTRA.get(function, {}))[0]
    for given in (one, one.encode(), FastaRecord("name", one)):
        found = function(given, mini, **EXTRA.get(function, {}))
        assert type(found) is type(whole)
    assert len(found.scores if function is attribute else found) == (
        len(one) if function is attribute else 1
    )


def test_records_of_a_file(tmp_path, mini):
    path = tmp_path / "x.fa"
    path.write_text("".join(f">{i}\n{text}\n" for i, text in enumerate(DNA)))
    assert np.array_equal(embed(read_fasta(path), mini), embed(path, mini))
    assert len(attribute(path, mini, config=ATTENTION)) == len(DNA)


def test_another_dtype_computes_on_a_copy(mini):
    half = embed(DNA, mini, dtype="bfloat16")
    assert mini.dtype == torch.float32
    exact = embed(DNA, mini)
    assert not np.array_equal(half, exact)
    np.testing.assert_allclose(half, exact, atol=0.1)
    assert np.array_equal(half, embed(DNA, "mini", dtype="bfloat16"))
    whole, _ = load_encoder("mini", dtype="int8")
    assert np.array_equal(embed(DNA, whole), embed(DNA, mini, dtype="int8"))
    with pytest.raises(ValueError, match="int8 cannot be converted"):
        embed(DNA, whole, dtype="float32")


def test_wrong_sequences_are_refused_before_a_model_is_read(monkeypatch):
    monkeypatch.setattr(Dnabert2Model, "from_pretrained", None)
    with pytest.raises(TypeError, match="element 0 must be"):
        embed([7])


def test_a_step_of_scikit_learn_takes_a_model_object(mini):
    found = DnaEmbedder(mini).fit(DNA).transform(DNA)
    np.testing.assert_allclose(found, embed(DNA), atol=1e-6)


def test_models_without_a_name_need_a_tokenizer():
    model = Dnabert2Model(
        Dnabert2Config(hidden_size=12, num_hidden_layers=1, num_attention_heads=2)
    )
    with pytest.raises(ValueError, match=r"tokenizer: is required .* \(got None\)"):
        load_model(model)
    assert load_model(model, os.fspath("dnabert2"))[1].vocab_size == 4096

"""A tokenizer with as many ids as the model but other tokens: refused by every call."""

import json
import shutil

import numpy as np
import pytest

from dnabert2_fast import (
    Dnabert2Config,
    Dnabert2ForMaskedLM,
    Dnabert2ForSequenceClassification,
    Dnabert2Model,
    Tokenizer,
    attribute,
    cli,
    embed,
    embed_positions,
    fill_mask,
    pseudo_likelihood,
    score_variants,
)
from dnabert2_fast._internal.vocabulary import hash_of_file, hash_vocabulary
from dnabert2_fast.errors import CheckpointError
from dnabert2_fast.finetuning import Predictor, Task
from dnabert2_fast.genomics import Variant, likelihood_track
from dnabert2_fast.io import Reference

SAID = "the vocabulary is not the one that the model was trained with"
DNA = "ACGTTGCATTAGCATTTACG"


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.fa").write_text(f">c\n{DNA}\n")
    header = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    (tmp_path / "x.vcf").write_text(f"{header}c\t6\t.\tG\tC\t.\t.\t.\n")
    return tmp_path


@pytest.fixture(scope="module")
def mini():
    return Dnabert2ForMaskedLM.from_pretrained("mini")


@pytest.fixture(scope="module")
def other():
    return Tokenizer.from_pretrained("dnabert2")


@pytest.mark.parametrize(
    "call",
    [
        lambda model, tok: embed([DNA], model, tok),
        lambda model, tok: embed([DNA], "mini", tok),
        lambda model, tok: list(embed_positions([DNA], model, tok)),
        lambda model, tok: attribute(DNA, model, tok),
        lambda model, tok: pseudo_likelihood([DNA], model, tok),
        lambda model, tok: fill_mask("ACG[MASK]T", model, tok),
        lambda model, tok: score_variants(
            [Variant("c", 5, "G", "C")], Reference("x.fa"), model, tok
        ),
        lambda model, tok: likelihood_track("x.fa", model, tok, "x.bw"),
        lambda model, tok: Predictor(
            Dnabert2ForSequenceClassification.from_pretrained("mini"),
            tok,
            Task("multiclass", ("a", "b")),
        ),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_python(files, mini, other, call):
    with pytest.raises(CheckpointError, match=SAID):
        call(mini, other)


@pytest.mark.parametrize(
    "line",
    [
        "embed x.fa --out out.npy",
        "attribute x.fa --out out.bedgraph",
        "likelihood x.fa --out out.tsv",
        "fill-mask ACG[MASK]T",
        "score-variants x.vcf --reference x.fa --out out.vcf",
    ],
)
def test_commands(files, capsys, line):
    assert cli.main([*line.split(), "--model", "mini", "--tokenizer", "dnabert2"]) == 2
    assert SAID in capsys.readouterr().err
    assert not list(files.glob("out*"))


def test_a_mistyped_model_is_not_called_a_tokenizer(files, capsys):
    assert cli.main(["embed", "x.fa", "--out", "out.npy", "--model", "minni"]) == 2
    assert "minni: no such model or tokenizer. Did you mean mini?" in capsys.readouterr().err


def test_models_carry_their_vocabulary(tmp_path, mini, other):
    """Saved models have the field; of a model without it, the file beside it is read."""
    tok = Tokenizer.from_pretrained("mini")
    mini.save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert saved["vocabulary_sha256"] == hash_vocabulary(tok.vocabulary)
    config = Dnabert2Config(hidden_size=12, num_hidden_layers=1, num_attention_heads=2)
    Dnabert2Model(config).save_pretrained(tmp_path / "published")
    model = Dnabert2Model.from_pretrained(tmp_path / "published")
    assert np.isfinite(embed([DNA], model, tok)).all()
    other.save(tmp_path / "published" / "tokenizer.json")
    model = Dnabert2Model.from_pretrained(tmp_path / "published")
    assert np.isfinite(embed([DNA], model, other)).all()
    with pytest.raises(CheckpointError, match=SAID):
        embed([DNA], model, tok)
    # Another file, put into the folder of a model that has the field.
    shutil.copy(tmp_path / "published" / "tokenizer.json", tmp_path / "saved")
    with pytest.raises(CheckpointError, match=SAID):
        embed([DNA], str(tmp_path / "saved"))


def test_the_hash_of_a_file_is_that_of_its_tokenizer(tmp_path, shared):
    for path in sorted((shared / "data" / "tokenizers").glob("*/tokenizer.json")):
        assert hash_of_file(path) == hash_vocabulary(Tokenizer.from_file(path).vocabulary)
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    assert hash_of_file(tmp_path / "tokenizer.json") is None

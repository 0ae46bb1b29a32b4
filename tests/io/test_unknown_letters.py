"""A letter without a token is named by file, line, record and position, however it is read."""

import gzip
import json
import os
import re
import warnings

import pytest

from dnabert2_fast import (
    Dnabert2ForMaskedLM,
    Dnabert2ForSequenceClassification,
    Tokenizer,
    build_corpus,
    cli,
    embed,
    embed_file,
    embed_positions,
    predict_file,
    pseudo_likelihood,
    score_variants,
)
from dnabert2_fast.errors import TokenizerError
from dnabert2_fast.finetuning import Task
from dnabert2_fast.genomics.attribution import AttributionConfig
from dnabert2_fast.genomics.attribution.config import AttributionOutput
from dnabert2_fast.genomics.attribution.file import attribute_file
from dnabert2_fast.genomics.embedding import EmbeddingConfig
from dnabert2_fast.genomics.likelihood import TrackConfig, likelihood_table, likelihood_track
from dnabert2_fast.genomics.loading import load_encoder
from dnabert2_fast.genomics.variants import ScoringConfig
from dnabert2_fast.io import Reference, SequenceFile

strict = Tokenizer.from_pretrained("mini", unknown="error")
LINE = "ACGTTGCATTAGCATTTACG"
# Position 43 of the record "b", which is in line 8.
RECORDS = f">a\n{LINE}\n{LINE}\n>b x\n{LINE}\n\n{LINE}\nTTAN{LINE}\n>b\n{LINE}\n"
NAMED = r"x\.fa:8: record \"b\": 'N' at 43 \(0-based\) is not in the vocabulary"


@pytest.fixture(scope="module")
def model():
    return Dnabert2ForMaskedLM.from_pretrained("mini")


@pytest.fixture
def classifier(tmp_path):
    """A folder whose tokenizer has no unknown token."""
    folder = tmp_path / "m"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Dnabert2ForSequenceClassification.from_pretrained("mini").save_pretrained(folder)
    strict.save(folder / "tokenizer.json")
    file = json.loads((folder / "tokenizer.json").read_text())
    file["model"]["unk_token"] = None
    (folder / "tokenizer.json").write_text(json.dumps(file))
    Task("multiclass", ("other", "promoter"), window_bp=8).save(folder)
    return folder


ENCODER, _ = load_encoder("mini")
READ = {
    "encode_batch": lambda path, model: strict.encode_batch(path),
    "encode_batch_detailed": lambda path, model: strict.encode_batch_detailed(path),
    "encode_windows": lambda path, model: strict.encode_windows(path, max_length=8),
    "embed": lambda path, model: embed(path, ENCODER, strict, context_bp=8, both_strands=True),
    "embed_positions": lambda path, model: embed_positions(path, ENCODER, strict),
    "pseudo_likelihood": lambda path, model: pseudo_likelihood(path, model, strict),
    "embed_file": lambda path, model: embed_file(
        SequenceFile(path, window_bp=9), ENCODER, strict, path.with_suffix(".npy"),
        EmbeddingConfig(context_bp=4),
    ),
    "likelihood_table": lambda path, model: likelihood_table(
        SequenceFile(path, window_bp=9), model, strict, path.with_suffix(".tsv"), mask_stride=9
    ),
    "likelihood_track": lambda path, model: likelihood_track(
        path, model, strict, path.with_suffix(".bedgraph"), TrackConfig(window_bp=16)
    ),
    "attribute_file": lambda path, model: attribute_file(
        path, model, strict, AttributionOutput(path.with_suffix(".parquet")),
        AttributionConfig(method="occlusion"),
    ),
    "build_corpus": lambda path, model: build_corpus(
        [path], path.with_suffix(""), strict, window_bp=10, min_bp=1, other_letters="keep",
        both_strands=True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_every_function_names_the_record(tmp_path, model, monkeypatch, name, pack):
    monkeypatch.setattr("dnabert2_fast.genomics.embedding.file.CHUNK_SEQUENCES", 1)
    monkeypatch.setattr("dnabert2_fast.io.fasta.CHUNK_BP", 10)
    text = RECORDS
    if name in ("likelihood_track", "attribute_file"):  # names must differ
        text = text.replace(">b\n", ">c\n")
    path = tmp_path / "x.fa"
    path.write_bytes(pack(text.encode()))
    with pytest.raises(TokenizerError, match=NAMED):
        READ[name](path, model)
    assert [file.name for file in tmp_path.iterdir()] == ["x.fa"]


def test_predictions(tmp_path, classifier):
    path = tmp_path / "x.fa"
    path.write_text(RECORDS)
    with pytest.raises(TokenizerError, match=NAMED):
        predict_file(path, tmp_path / "y.csv", classifier)
    (tmp_path / "x.csv").write_text(f"sequence,label\n{LINE},other\n{LINE}A-{LINE},other\n")
    said = r"x\.csv:3: record \"1\": '-' at 21 "
    with pytest.raises(TokenizerError, match=said):
        predict_file(tmp_path / "x.csv", tmp_path / "y.csv", classifier)
    arguments = ["evaluate", str(classifier), str(tmp_path / "x.csv"), "--out", str(tmp_path / "e")]
    assert cli.main(arguments) == 2


def test_fine_tuning(tmp_path, classifier, capsys):
    for split in ("train", "dev", "test"):
        rows = [f"{LINE},0", f"{LINE[::-1]},1", f"{'N' * (split == 'test')}ACGT,1"]
        (tmp_path / f"{split}.csv").write_text("\n".join(["sequence,label", *rows]))
    (classifier / "task.json").unlink()
    arguments = ["--data", str(tmp_path), "--out", str(tmp_path / "out")]
    assert cli.main(["finetune", str(classifier), *arguments]) == 2
    assert re.search(r"test\.csv:4: record \"2\": 'N' at 0 ", capsys.readouterr().err)


def test_variants(tmp_path, model):
    path = tmp_path / "x.fa"
    path.write_text(f">a\n{LINE}\n>c\n{LINE}\nN\n")
    said = r"x\.fa:5: record \"c\": 'N' at 20 "
    for position, both_strands in ((15, True), (18, False)):
        change = ("c", position, LINE[position], "A" if LINE[position] != "A" else "C")
        config = ScoringConfig(window_bp=12, both_strands=both_strands)
        with pytest.raises(TokenizerError, match=said):
            score_variants([change], Reference(path), model, strict, config=config)
    with pytest.raises(TokenizerError, match=r"^the reference: record \"c\": 'N' at 3 "):
        genome = Reference({"c": "ACGNA"})
        score_variants(
            [("c", 1, "C", "T")], genome, model, strict, config=ScoringConfig(window_bp=8)
        )


def test_regions_and_windows_count_from_the_start_of_the_record(tmp_path, model):
    path = tmp_path / "x.fa"
    path.write_text(f">a\n{LINE}\n{LINE}\n>b\n{LINE}\nACGNA\n")
    (tmp_path / "x.bed").write_text("a\t3\t30\nb\t15\t25\n")
    source = SequenceFile(path, regions=tmp_path / "x.bed", window_bp=4)
    with pytest.raises(TokenizerError, match=r"x\.fa:6: record \"b\": 'N' at 23 "):
        likelihood_table(source, model, strict, tmp_path / "x.tsv")
    (tmp_path / "x.bed").write_text("b\t15\t25\tpeak\t0\t-\n")
    with pytest.raises(TokenizerError, match=r"x\.fa:6: record \"b\": 'N' at 23 "):
        likelihood_table(source, model, strict, tmp_path / "x.tsv")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes")
def test_a_pipe_has_no_line_to_look_up(tmp_path):
    import threading

    os.mkfifo(tmp_path / "x.fa")
    writer = threading.Thread(target=lambda: (tmp_path / "x.fa").write_text(RECORDS))
    writer.start()
    with pytest.raises(TokenizerError, match=r"x\.fa: record \"b\": 'N' at 43 "):
        strict.encode_batch(tmp_path / "x.fa")
    writer.join()


def test_tables_and_lists(tmp_path, model):
    (tmp_path / "x.csv").write_text(f"sequence\n{LINE}\nAC*\n")
    with pytest.raises(TokenizerError, match=r"x\.csv: record \"1\": '\*' at 2 "):
        likelihood_table(tmp_path / "x.csv", model, strict, tmp_path / "y.tsv")
    with pytest.raises(TokenizerError, match=r"^sequence 1: '\*' at 42 "):
        embed([LINE, LINE + LINE + "AC*"], ENCODER, strict, context_bp=8, both_strands=True)

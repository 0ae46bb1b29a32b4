"""One form of tables for all commands: .csv, .tsv, .gz and .parquet hold the same rows."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from helpers.predictors import make

from dnabert2_fast import Dnabert2ForMaskedLM, Tokenizer, cli, embed, predict_file
from dnabert2_fast.finetuning import PredictConfig, Task
from dnabert2_fast.genomics import AttributionConfig, ScoringConfig, likelihood_table, score_vcf
from dnabert2_fast.genomics.attribution.config import AttributionOutput
from dnabert2_fast.genomics.attribution.file import attribute_file
from dnabert2_fast.genomics.embedding.file import embed_file
from dnabert2_fast.genomics.loading import load_encoder, load_model
from dnabert2_fast.io.table_writer import kind_of_table, require_ending, table_writer

ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
SCHEMA = pa.schema({"name": pa.string(), "n": pa.int64(), "p": pa.float32(), "q": pa.float64()})
ROWS = [
    ["a", 'a "quoted" word', "tab\there", "comma, here", None, ""],
    [1, 2, None, 4, 5, 6],
    [0.1, float("nan"), 1e-30, None, 2, -1 / 3],
    [1 / 3, 1e-200, float("nan"), None, 5, 123456789.5],
]


def read(path):
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    return pd.read_csv(path, sep="\t" if ".tsv" in path.name else ",")


@pytest.mark.parametrize("ending", ENDINGS)
def test_all_cells_return(tmp_path, ending):
    path = tmp_path / f"x{ending}"
    with table_writer(path, SCHEMA) as write:
        write([column[:2] for column in ROWS])
        write(pa.table([column[2:] for column in ROWS], schema=SCHEMA))
        assert not path.exists()
    found = read(path)
    assert found.columns.tolist() == SCHEMA.names
    assert found["name"].tolist()[:4] == ROWS[0][:4]
    assert found["n"].tolist()[3:] == [4, 5, 6]
    np.testing.assert_array_equal(found["p"].astype(np.float32), np.array(ROWS[2], np.float32))
    np.testing.assert_allclose(found["q"], np.array(ROWS[3], float), rtol=1e-7)
    if ending == ".tsv":
        assert path.read_text().startswith("name\tn\tp\tq\na\t1\t0.1\t0.33333333\n")


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_rows_and_errors(tmp_path, ending):
    path = tmp_path / f"x{ending}"
    with table_writer(path, SCHEMA):
        pass
    assert read(path).columns.tolist() == SCHEMA.names
    path.unlink()
    with pytest.raises(RuntimeError, match="in the middle"), table_writer(path, SCHEMA) as write:
        write(ROWS)
        raise RuntimeError("in the middle")
    assert not list(tmp_path.iterdir())


def test_endings():
    for name in ("x.csv", "X.CSV", "x.tsv.bgz", "a/b.parquet"):
        require_ending(name)
    for name in ("x", "x.csv.zst", "x.parquet.gz", ".csv/x", "-"):
        assert kind_of_table(name) is None
        with pytest.raises(
            ValueError, match=r"^tokens: must end in \.csv, \.tsv or \.parquet .got "
        ):
            require_ending(name, "tokens")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    dna = "ACGTTGCATTAGCATTTACGGATTAACGT" * 9
    (folder / "x.fa").write_text(f">chr1\n{dna}\n>chr2\n{dna[7:60]}\n")
    header = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    (folder / "x.vcf").write_text(f"{header}chr1\t121\trs1\tT\tG,C\t.\t.\t.\n")
    make(folder / "classifier", Task("multiclass", ("no", "yes"), window_bp=60))
    table = pd.DataFrame({"dna": [dna[:70], dna[7:60]], "kind": ["no", "yes"], "name": ["a", "b"]})
    table.to_csv(folder / "t.tsv", sep="\t", index=False)
    table.to_parquet(folder / "t.parquet")
    return folder


@pytest.fixture(scope="module")
def mini():
    return Dnabert2ForMaskedLM.from_pretrained("mini"), Tokenizer.from_pretrained("mini")


WRITERS = {
    "embed": lambda files, out, model: embed_file(files / "x.fa", *model, out),
    "predict": lambda files, out, model: predict_file(
        files / "x.fa", out, files / "classifier", PredictConfig(rows="windows")
    ),
    "likelihood": lambda files, out, model: likelihood_table(
        files / "x.fa", *model, out, mask_stride=9
    ),
    "score_vcf": lambda files, out, model: score_vcf(
        files / "x.vcf", files / "x.fa", *load_encoder("mini"), out, ScoringConfig(window_bp=64)
    ),
    **{
        name: lambda files, out, model, name=name: attribute_file(
            files / "x.fa",
            *model,
            AttributionOutput(**{name: out}),
            AttributionConfig("attention", both_strands=False),
        )
        for name in ("out", "tokens", "motifs")
    },
}


@pytest.mark.parametrize("function", ["embed", "likelihood", "tokens"])
def test_functions_of_files_take_names(files, mini, tmp_path, function):
    for name, model in (("a.csv", mini), ("b.csv", ("mini", None))):
        WRITERS[function](files, tmp_path / name, model)
    one, other = (read(tmp_path / name) for name in ("a.csv", "b.csv"))
    pd.testing.assert_frame_equal(one, other, rtol=1e-4, atol=1e-5)


def test_variants_are_scored_by_the_name_of_a_classifier(files, tmp_path):
    classifier = files / "classifier"
    for name, model in (("a.csv", load_model(classifier)), ("b.csv", (classifier, None))):
        config = ScoringConfig(window_bp=64)
        score_vcf(files / "x.vcf", files / "x.fa", *model, tmp_path / name, config)
    one, other = (read(tmp_path / name) for name in ("a.csv", "b.csv"))
    pd.testing.assert_frame_equal(one, other)
    assert one["log_odds"].notna().all()


@pytest.mark.parametrize("function", WRITERS)
def test_all_endings_of_a_function_hold_the_same(files, mini, tmp_path, function):
    tables = []
    for ending in (".tsv.gz", ".parquet"):
        out = tmp_path / f"y{ending}"
        WRITERS[function](files, out, mini)
        tables.append(read(out))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["y.parquet", "y.tsv.gz"]
    whole = tables[-1]
    assert len(whole) or function == "motifs"
    if function == "embed":
        vectors = np.stack(whole.pop("embedding"))
        names = [f"embedding{i}" for i in range(256)]
        for table in tables[:-1]:
            np.testing.assert_array_equal(table[names].to_numpy(np.float32), vectors)
        tables = [table.drop(columns=names, errors="ignore") for table in tables]
        np.testing.assert_allclose(vectors, embed(files / "x.fa"), atol=1e-5)
    for table in tables[:-1]:
        pd.testing.assert_frame_equal(table, whole, check_dtype=False, rtol=1e-7)


@pytest.mark.parametrize(
    "line",
    [
        "embed x.fa --out y.txt",
        "likelihood x.fa --out y.txt",
        "score-variants x.vcf --reference x.fa --out y.txt",
        "attribute x.fa --tokens y.txt",
        "predict classifier x.fa --out y.txt",
    ],
)
def test_another_ending_is_refused_before_the_model_is_read(files, monkeypatch, capsys, line):
    monkeypatch.chdir(files)
    monkeypatch.setattr("dnabert2_fast.model.pretrained.Pretrained.from_pretrained", None)
    assert cli.main(line.split()) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "must end in .csv, .tsv or .parquet" in said
    assert "(got y.txt)" in said


def test_columns_by_name(files, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(files)
    (files / "u.csv").write_text((files / "t.tsv").read_text().replace("\t", ","))
    found = []
    for table in ("t.tsv", "t.parquet", "u.csv"):
        out = tmp_path / f"{table[:1]}{len(found)}.csv.gz"
        line = f"predict classifier {table} --sequence-column dna --out {out}"
        assert cli.main(line.split()) == 0, capsys.readouterr().err
        found.append(gzip.decompress(out.read_bytes()))
        scores = tmp_path / f"{table}.scores"
        line = f"evaluate classifier {table} --sequence-column dna --label-column kind --out"
        assert cli.main([*line.split(), str(scores)]) == 0
        written = pd.read_csv(scores / "predictions.csv")
        assert written["label"].tolist() == ["no", "yes"]
        assert written["prediction"].tolist() == read(out)["prediction"].tolist()
    assert found[0] == found[1] == found[2]
    capsys.readouterr()
    line = "predict classifier t.tsv --sequence-column dn --out y.csv"
    assert cli.main(line.split()) == 2
    assert (
        "has no column 'dn' (got 'dna, kind, name'). Did you mean dna?" in capsys.readouterr().err
    )
    assert not Path("y.csv").exists()

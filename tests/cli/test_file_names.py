"""Files and folders whose names are not UTF-8, as input and as output of every command."""

import contextlib
import io
import os
import re
import shutil
import sys
import warnings

import pytest

from dnabert2_fast import Dnabert2ForSequenceClassification, Tokenizer, cli
from dnabert2_fast.finetuning import Task

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are Linux's")

LINE = "ACGTTGCATTAGCATTTACG"
HEAD = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"


def run(arguments):
    """Run a command without its output, which pytest-xdist could not send: it is not UTF-8."""
    with contextlib.redirect_stdout(io.StringIO()):
        return cli.main(arguments)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    r"""A folder called ``d\xff``, in which all names end with that byte before the suffix."""
    folder = tmp_path_factory.mktemp("names") / os.fsdecode(b"d\xff")
    (folder / "m").mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier = Dnabert2ForSequenceClassification.from_pretrained("mini")
    classifier.save_pretrained(folder.parent / "m")
    Tokenizer.from_pretrained("mini").save(folder.parent / "m" / "tokenizer.json")
    Task("multiclass", ("other", "promoter"), window_bp=300).save(folder.parent / "m")
    shutil.copytree(folder.parent / "m", folder / "m", dirs_exist_ok=True)
    table = "sequence,label\n" + f"{LINE},other\n{LINE[::-1]},promoter\n" * 3
    texts = {
        "fa": "".join(f">{n}\n{LINE[n:]}\n" for n in range(9)),
        "csv": table,
        "vcf": f"{HEAD}0\t3\t.\tG\tA\t.\t.\t.\n",
        "bed": "0\t3\t9\n",
    }
    for suffix, text in texts.items():
        (folder / os.fsdecode(b"x\xff." + suffix.encode())).write_text(text)
    Tokenizer.from_pretrained("mini").save(folder / os.fsdecode(b"t\xff.json"))
    return folder


@pytest.mark.parametrize(
    "line",
    [
        "tokenize {fa} --out {out}.tsv --tokenizer {tok}",
        "tokenize {fa} --out {out}.parquet",
        "train-tokenizer {fa} --out {out}.json --vocab-size 30",
        "info {tok} --on {fa} --plot {out}.png",
        "build-corpus {fa} --out {out} --window-bp 10 --tokenizer {tok} --valid-fraction 0",
        "embed {fa} --out {out}.npy --plot {out}.png",
        "embed {fa} --out {out}.h5ad",
        "embed {fa} --regions {bed} --out {out}.parquet",
        "predict m {fa} --out {out}.csv",
        "predict m {fa} --out {out}.parquet",
        "evaluate m {csv} --out {out}",
        "likelihood {fa} --model mini --out {out}.tsv --mask-stride 4",
        "likelihood {fa} --model mini --out {out}.parquet --mask-stride 4",
        "likelihood {fa} --model mini --out {out}.bedgraph --mask-stride 4",
        "attribute {fa} --model mini --method occlusion --out {out}.parquet --plots {out}",
        "score-variants {vcf} --reference {fa} --model mini --out {out}.vcf.gz",
        "score-variants {vcf} --reference {fa} --model mini --out {out}.parquet",
    ],
)
def test_names_that_are_not_utf8(inputs, tmp_path, monkeypatch, line):
    monkeypatch.chdir(inputs.parent)
    out = tmp_path / os.fsdecode(b"out\xff")
    names = {s: inputs / os.fsdecode(b"x\xff." + s.encode()) for s in ("fa", "csv", "vcf", "bed")}
    names |= {"tok": inputs / os.fsdecode(b"t\xff.json"), "out": out}
    assert run([part.format(**names) for part in line.split()]) == 0
    written = [path for path in tmp_path.iterdir() if path.name.startswith(out.name)]
    assert written
    assert len(written) == len(list(tmp_path.iterdir()))


@pytest.mark.parametrize(
    "line",
    [
        "likelihood {fa} --model mini --out {out}.bw",
        "finetune m --data . --out {out}",
        "pretrain . --out {out}",
        "gue --data . --out {out}",
        "embed {fa} --model {model} --out x.npy",
        "info {model}",
    ],
)
def test_where_a_library_needs_utf8(inputs, tmp_path, monkeypatch, capsys, line):
    monkeypatch.chdir(inputs.parent)
    names = {"fa": inputs / os.fsdecode(b"x\xff.fa"), "out": tmp_path / os.fsdecode(b"out\xff")}
    assert cli.main([part.format(model=inputs / "m", **names) for part in line.split()]) == 2
    said = capsys.readouterr().err
    assert re.search(
        r"^error: (--)?\w+: the path must be UTF-8 \(got .*\\xff.*\)\. Rename it\.$", said
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "line",
    [
        "build-corpus m/g.fa --window-bp 20 --out {out}",
        "pretrain c --size tiny --steps 1 --batch-tokens 256 --dtype float32 --out {out}",
        "evaluate m m/t.csv --out {out}",
        "gue --data d --systems kmers --out {out}",
    ],
)
def test_a_symlink_to_a_folder_that_is_not_there_is_followed(inputs, tmp_path, monkeypatch, line):
    monkeypatch.chdir(inputs.parent)
    (inputs.parent / "m" / "g.fa").write_text(f">a\n{LINE * 99}\n")
    (inputs.parent / "m" / "t.csv").write_text(f"sequence,label\n{LINE},other\nACGT,promoter\n")
    if not (inputs.parent / "c").exists():
        corpus = "build-corpus m/g.fa --window-bp 13 --valid-fraction 0.5 --out c"
        assert cli.main(corpus.split()) == 0
    tables = inputs.parent / "d" / "prom" / "prom_core_tata"
    tables.mkdir(parents=True, exist_ok=True)
    for split in ("train", "dev", "test"):
        rows = f"{LINE},0\n{LINE[::-1]},1\n" * 6
        (tables / f"{split}.csv").write_text(f"sequence,label\n{rows}")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "out")
    assert run([part.format(out=tmp_path / "link") for part in line.split()]) == 0
    assert (tmp_path / "link").is_symlink()
    assert any((tmp_path / "real" / "out").iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"real", "link"}

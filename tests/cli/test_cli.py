"""Every command: results on good input; one line and exit code 2 on bad, nothing left behind."""

import gzip
import json
import signal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from helpers.processes import Program

from dnabert2_fast import (
    Corpus,
    Dnabert2Config,
    Dnabert2Model,
    Tokenizer,
    cli,
    embed,
)
from dnabert2_fast.cli.demo import GENOME, LABELLED

tok = Tokenizer.from_pretrained("dnabert2")
RECORDS = {"a": "ACGTTGCATTAGCATTTACGGATTA", "b": "ttgacannnACGT", "c": "GATTACA"}


def run(capsys, *arguments):
    """Exit code, standard output, standard error of one call."""
    try:
        code = cli.main([str(a) for a in arguments])
    except SystemExit as leaving:  # tyro's own errors
        code = leaving.code
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def files(tmp_path):
    """A folder with a FASTA file, a tiny model, and bad things."""
    text = "".join(f">{name} words\n{sequence}\n" for name, sequence in RECORDS.items())
    (tmp_path / "x.fa").write_text(text)
    many = "".join(text.replace(">", f">{i}") for i in range(500))
    (tmp_path / "cut.fa.gz").write_bytes(gzip.compress(many.encode())[:-40])
    (tmp_path / "x.csv").write_text("chrom,start\n1,2\n")
    torch.manual_seed(0)
    shape = Dnabert2Config(
        hidden_size=24, num_hidden_layers=1, num_attention_heads=3, intermediate_size=16
    )
    Dnabert2Model(shape).save_pretrained(tmp_path / "model")
    tok.save(tmp_path / "model" / "tokenizer.json")
    return tmp_path


def test_usage(capsys):
    code, out, _ = run(capsys)
    assert code == 0
    assert all(command in out for command in cli.COMMANDS)
    assert run(capsys, "--version")[1].strip()
    code, _, err = run(capsys, "frobnicate")
    assert code == 2
    assert "frobnicate: is not a command" in err
    for command in cli.COMMANDS:
        code, out, _ = run(capsys, command, "--help")
        assert code == 0
        assert "usage: dnabert2-fast " + command in out


def test_tokenize(capsys, files):
    code, out, _ = run(capsys, "tokenize", files / "x.fa")
    assert code == 0
    want = [f"{n}\t{' '.join(map(str, tok.encode(s).tolist()))}" for n, s in RECORDS.items()]
    assert out.splitlines() == want
    assert run(capsys, "tokenize", files / "x.fa", "--out", files / "ids.tsv")[0] == 0
    assert (files / "ids.tsv").read_text() == out
    assert run(capsys, "tokenize", files / "x.fa", "--out", files / "ids.parquet")[0] == 0
    table = pq.read_table(files / "ids.parquet")
    assert table["name"].to_pylist() == list(RECORDS)
    assert table["input_ids"].to_pylist() == [tok.encode(s).tolist() for s in RECORDS.values()]
    code, out, _ = run(capsys, "tokenize", files / "x.fa", "--case", "compat", "--max-length", 6)
    compat = Tokenizer.from_pretrained("dnabert2", case="compat")
    row = out.splitlines()[1].split("\t")[1]
    assert row == " ".join(map(str, compat.encode(RECORDS["b"], max_length=6).tolist()))
    code, _, err = run(capsys, "tokenize", files / "x.fa", "--unknown", "error")
    assert code == 2
    assert "'n' at 6" in err


def test_train_tokenizer_and_info(capsys, files):
    out_path = files / "mine.json"
    code, out, _ = run(capsys, "train-tokenizer", GENOME, "--out", out_path, "--vocab-size", 100)
    assert code == 0
    assert "100 tokens" in out
    same = Tokenizer.train([GENOME], 100)
    assert Tokenizer.from_file(out_path).fingerprint == same.fingerprint
    code, out, _ = run(capsys, "info", out_path)
    assert code == 0
    assert "100 tokens, 5 special: [UNK] [CLS] [SEP] [PAD] [MASK]" in out
    assert same.fingerprint in out


def test_build_corpus_and_info(capsys, files):
    folder = files / "corpus"
    arguments = ("build-corpus", GENOME, "--out", folder, "--window-bp", 500, "--both-strands")
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    corpus = Corpus.open(folder)
    assert f"{len(corpus):,} training windows" in out
    code, out, _ = run(capsys, "info", folder, "--verify")
    assert code == 0
    assert "every checksum is correct" in out
    assert f"train: {len(corpus):,} windows, {corpus.tokens:,} tokens" in out
    shard = folder / "shard-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\xff")
    code, _, err = run(capsys, "info", folder, "--verify")
    assert code == 2
    assert "differs from its checksum" in err


def test_embed(capsys, files):
    model = Dnabert2Model.from_pretrained(files / "model")
    want = embed(list(RECORDS.values()), model, tok)
    code, out, _ = run(
        capsys, "embed", files / "x.fa", "--model", files / "model", "--out", files / "v.npy"
    )
    assert code == 0
    assert "3 vectors of 24" in out
    np.testing.assert_allclose(np.load(files / "v.npy"), want, atol=1e-6)
    assert (files / "v.npy.names.txt").read_text().split() == list(RECORDS)
    arguments = ("--model", files / "model", "--out", files / "v.parquet", "--pooling", "max")
    assert run(capsys, "embed", files / "x.fa", *arguments)[0] == 0
    got = np.array(pq.read_table(files / "v.parquet")["embedding"].to_pylist())
    np.testing.assert_allclose(
        got, embed(list(RECORDS.values()), model, tok, pooling="max"), atol=1e-6
    )
    code, out, _ = run(capsys, "info", files / "model")
    assert code == 0
    assert "1 layers, hidden 24" in out
    assert "pooler" in out


def test_pretrain_and_finetune(capsys, files):
    run(capsys, "train-tokenizer", GENOME, "--out", files / "t.json", "--vocab-size", 64)
    run(capsys, "build-corpus", GENOME, "--out", files / "c", "--tokenizer", files / "t.json")
    small = ("--size", "tiny", "--steps", 3, "--batch-tokens", 500, "--warmup-steps", 1)
    code, out, _ = run(capsys, "pretrain", files / "c", "--out", files / "run", *small)
    assert code == 0
    assert "evaluation loss" in out
    for split in ("train", "dev", "test"):
        with gzip.open(LABELLED / f"{split}.csv.gz", "rt") as handle:
            rows = handle.read().splitlines()[:41]
        (files / f"{split}.csv").write_text("\n".join(rows))
    arguments = ("--data", files, "--out", files / "classifier", "--epochs", 1)
    code, out, _ = run(capsys, "finetune", files / "run", *arguments)
    assert code == 0
    assert "mcc" in out
    assert json.loads((files / "classifier" / "metrics.json").read_text())["test"]
    (files / "test.csv").unlink()
    code, _, err = run(capsys, "finetune", files / "run", "--data", files, "--out", files / "no")
    assert (code, err.count("\n")) == (2, 1)
    assert "has no test.csv or test.csv.gz" in err
    assert not (files / "no").exists()


def test_doctor(capsys):
    code, out, _ = run(capsys, "doctor")
    assert code == 0
    assert "published vocabulary: works" in out
    assert "sdpa        runs, chosen by auto" in out
    assert "triton" in out


MODEL = ("--model", "model", "--out", "v.npy")
SCORED = ("--model", "model", "--reference")
BAD = [
    (("tokenize", "none.fa"), "none.fa: No such file or directory"),
    (("tokenize", "x.csv", "--out", "ids.tsv"), "x.csv: begins with"),
    (("tokenize", "cut.fa.gz", "--out", "ids.parquet"), "gzip stream is damaged or ends early"),
    (("tokenize", "x.fa", "--out", "ids.xlsx"), "must end in .parquet or .tsv"),
    (("tokenize", "x.fa", "--tokenizer", "x.csv"), "x.csv"),
    (("tokenize", "x.fa", "--tokenizer", "nowhere"), "nowhere"),
    (("train-tokenizer", "none.fa", "--out", "t.json"), "none.fa: No such file"),
    (("train-tokenizer", "cut.fa.gz", "--out", "t.json"), "gzip stream is damaged"),
    (("train-tokenizer", "x.fa", "--out", "t.json", "--vocab-size", "5"), "--vocab-size: must be"),
    (
        ("train-tokenizer", "x.fa", "--out", "t.json", "--window-bp", "0"),
        "--window-bp: must be at least",
    ),
    (("tokenize", "x.fa", "--out", "ids.tsv", "--max-length", "-1"), "--max-length: must be"),
    (
        ("embed", "x.fa", "--model", "model", "--out", "v.npy", "--window-bp", "0"),
        "--window-bp: must",
    ),
    (("build-corpus", "none.fa", "--out", "c"), "none.fa: No such file"),
    (("build-corpus", "x.csv", "--out", "c"), "x.csv: begins with"),
    (("build-corpus", "x.fa", "cut.fa.gz", "--out", "c"), "gzip stream is damaged"),
    (("build-corpus", "x.fa", "--out", "model"), "not a corpus"),
    (("build-corpus", "x.fa", "--out", "c", "--tokenizer", "x.fa"), "x.fa"),
    (("embed", "none.fa", *MODEL), "none.fa: No such file"),
    (
        ("embed", "x.csv", *MODEL),
        "x.csv: has no column 'sequence' (got chrom, start). Name it with --column",
    ),
    (("embed", "cut.fa.gz", *MODEL), "gzip stream is damaged"),
    (("embed", "x.fa", "--model", "nowhere", "--out", "v.npy"), "nowhere"),
    (("embed", "x.fa", "--model", "broken", "--out", "v.npy"), "broken/model.safetensors"),
    (("embed", "x.fa", *MODEL, "--tokenizer", "other.json"), "the model has 4096 ids, the tok"),
    (("embed", "x.fa", "--model", "model", "--out", "v.txt"), "or in .npy, .h5ad (got"),
    (("embed", "x.fa", *MODEL, "--attention", "magic"), 'got "magic"'),
    (("embed", "x.fa", *MODEL, "--device", "abacus"), 'device: "abacus"'),
    (
        ("score-variants", "x.csv", *SCORED, "x.fa", "--out", "y.vcf"),
        "x.csv: is not a VCF file",
    ),
    (
        ("score-variants", "none", *SCORED, "x.fa", "--out", "y.txt"),
        "or in .vcf, .vcf.gz (got y.txt)",
    ),
    (("attribute", "none.fa", "--model", "model", "--out", "y.bw"), "none.fa: No such file"),
    (("attribute", "cut.fa.gz", "--model", "model", "--out", "y.bw"), "gzip stream is damaged"),
    (("attribute", "x.fa", "--model", "nowhere", "--out", "y.bw"), "nowhere"),
    (("attribute", "x.fa", "--model", "broken", "--out", "y.bw"), "broken/model.safetensors"),
    (("likelihood", "x.fa", "--model", "model", "--out", "y.bw"), "model/model.safetensors"),
    (("fill-mask",), "sequences: give at least one"),
    (("fill-mask", "ACG[MASK]", "ACGT"), "sequence: has no [MASK]"),
    (("fill-mask", "[MASK]", "--top-k", "0"), "--top-k: must be"),
    (("fill-mask", "[MASK]", "--model", "nowhere"), "nowhere"),
    (("pretrain", "nowhere", "--out", "run"), "nowhere: is not a corpus"),
    (("pretrain", "model", "--out", "run"), "not a corpus"),
    (("finetune", "model", "--data", "nowhere", "--out", "ft"), "nowhere: has no train.csv"),
    (
        ("embed", "x.fa", *MODEL, "--plot", "x.foo"),
        "--plot: must end in .png, .svg, .pdf (got x.foo)",
    ),
    (("embed", "x.fa", *MODEL, "--plot", "x.png", "--part", "1/2"), "cannot be used with --part"),
    (("build-corpus", "x.fa", "--out", "c", "--merge"), "c: no part is built"),
    (
        ("build-corpus", "x.fa", "--out", "c", "--merge", "--part", "1/2"),
        "cannot be used with --part",
    ),
    (("info", "model", "--verify"), "model: is not a corpus"),
    (("info", "model", "--plot", "x.png"), "--plot: shows a tokenizer on genomes"),
    (("info", "nowhere"), "nowhere"),
    (("info", "nowhere", "--verify"), "nowhere"),
    (("info", "."), "neither a corpus (corpus.json) nor a checkpoint"),
    (("demo", "--out", "model"), "exists and is not a demo's folder"),
    (("demo", "--out", "thesis"), "exists and is not a demo's folder"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(a) for a, _ in BAD])
def test_bad_input_is_one_line_and_leaves_nothing(capsys, files, monkeypatch, arguments, message):
    monkeypatch.chdir(files)
    (files / "broken").mkdir()
    (files / "thesis").mkdir()
    for name in ("results.json", "summary.md"):  # of somebody else
        (files / "thesis" / name).write_text("# Precious")
    for name in ("config.json", "tokenizer.json"):
        (files / "broken" / name).write_bytes((files / "model" / name).read_bytes())
    (files / "broken" / "model.safetensors").write_bytes(b"\x00" * 40)
    Tokenizer.train(list(RECORDS.values()), 20).save(files / "other.json")
    before = {path: path.stat().st_mtime_ns for path in files.rglob("*")}
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert not out
    assert {path: path.stat().st_mtime_ns for path in files.rglob("*")} == before


def test_wrong_options_are_named(capsys, files):
    code, _, err = run(capsys, "embed", files / "x.fa", "--modle", "m", "--out", "v.npy")
    assert code == 2
    assert "--model" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("tokenize", "many.fa", "--out", "ids.tsv"),
        ("tokenize", "many.fa", "--out", "ids.parquet"),
        ("build-corpus", "many.fa", "many.fa", "many.fa", "--out", "corpus"),
        ("train-tokenizer", "many.fa", "--out", "t.json", "--vocab-size", "200"),
        ("embed", "many.fa", *MODEL, "--batch-tokens", "60"),
        ("attribute", "many.fa", "--model", "model", "--out", "y.bw", "--plots", "plots"),
    ],
)
def test_ctrl_c_leaves_nothing(capsys, files, monkeypatch, arguments):
    """The signal comes while the work is half done, whenever the command reports progress."""
    monkeypatch.chdir(files)
    monkeypatch.setattr("dnabert2_fast.io.fasta.CHUNK_BP", 300)
    (files / "many.fa").write_text("".join(f">{i}\n{'ACGTTGCA' * 20}\n" for i in range(20)))
    before = sorted(path.name for path in files.iterdir())
    reports = []

    def interrupt_the_third(*_):
        reports.append(1)
        if len(reports) == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("dnabert2_fast._internal.progress.Progress.update", interrupt_the_third)
    code, _, err = run(capsys, *arguments)
    assert (code, err) == (130, "interrupted\n")
    assert len(reports) == 3
    assert sorted(path.name for path in files.iterdir()) == before


def test_parts_of_a_manifest_are_merged(capsys, files, monkeypatch):
    monkeypatch.setattr("dnabert2_fast.corpus.plan.UNIT_BYTES", 1)
    table = ["path,species,group"]
    for i, species in enumerate(("fly", "fly", "yeast")):
        (files / f"{i}.fa").write_text(f">r{i}\n{'ACGTTGCAGA' * 90}\n")
        table.append(f"{i}.fa,{species},eukaryotes")
    (files / "m.csv").write_text("\n".join(table) + "\n")
    common = ("build-corpus", "--manifest", files / "m.csv", "--window-bp", 100)
    for part, units in (("2/2", 1), ("1/2", 2)):
        code, out, _ = run(capsys, *common, "--out", files / "c", "--part", part)
        assert code == 0
        assert f"part {part} is complete, {units} of 3 units" in out
    code, out, _ = run(capsys, *common, "--out", files / "c", "--merge")
    assert code == 0
    assert "  fly: " in out
    run(capsys, *common, "--out", files / "d")
    for path in (files / "c").iterdir():
        assert path.read_bytes() == (files / "d" / path.name).read_bytes()
    for part in ("0/2", "3/2", "x", "1/"):
        code, _, err = run(capsys, *common, "--out", files / "e", "--part", part)
        assert code == 2
        assert err.startswith("error: --part: ")


@pytest.mark.full
def test_ctrl_c_of_a_real_process(tmp_path):
    """The demo, which calls everything else, stopped from outside."""
    command = ("-m", "dnabert2_fast.cli", "demo", "--out", "demo")
    with Program(*command, cwd=tmp_path) as program:
        # Training has begun, and will take longer than this takes to be seen.
        program.wait_for(lambda: list(tmp_path.glob(".demo.*/pretrained/run.json")))
        program.send_signal(signal.SIGINT)
        ended = program.ended()
    assert ended.returncode == 130, ended.stderr
    assert ended.stderr.splitlines()[-1] == "interrupted"
    assert not list(tmp_path.iterdir())


ON_A_GENOME = {
    "score-variants": "x.vcf --reference {0} --out o.vcf",
    "embed": "{0} --regions x.bed --out o.npy",
    "attribute": "{0} --regions x.bed --out o.parquet",
    "likelihood": "{0} --regions x.bed --out o.tsv",
}


@pytest.mark.parametrize("command", ON_A_GENOME)
def test_a_genome_of_another_format_is_named_with_the_remedy(
    tmp_path, capsys, monkeypatch, command
):
    pytest.importorskip("pysam")
    monkeypatch.chdir(tmp_path)
    fields = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
    Path("x.vcf").write_text(f"{fields}\nchr1\t3\t.\tG\tA\t.\t.\t.\n")
    Path("x.bed").write_text("chr1\t0\t9\n")
    Path("g.2bit").write_bytes(b"\x43\x27\x41\x1a" + bytes(30))
    Path("g.fa.zst").write_bytes(pa.compress(b">chr1\nACGTTGCATT\n", "zstd", asbytes=True))
    for name, remedy in (
        ("g.2bit", "is a 2bit file; make it FASTA: twoBitToFa"),
        ("g.fa.zst", "bgzip: zstd -dc g.fa.zst | bgzip > g.fa.bgz"),
    ):
        assert cli.main([command, *ON_A_GENOME[command].format(name).split()]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {name}: is ")
        assert error.endswith(f"{remedy}\n")
        assert error.count("\n") == 1

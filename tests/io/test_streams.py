"""Pipes, standard streams and files of other kinds, by every way in which input is opened."""

import gzip
import io
import json
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
from test_fasta import bgzip

from dnabert2_fast import Tokenizer, build_corpus, cli, read_fasta
from dnabert2_fast._internal.resume import ResumeStore, fingerprint
from dnabert2_fast.errors import DataError, FastaError, InputWarning
from dnabert2_fast.io import (
    Reference,
    SequenceFile,
    read_bed,
    read_column,
    read_manifest,
    read_pieces,
    read_vcf,
)
from dnabert2_fast.io.regions import read_in_order
from dnabert2_fast.tokenizer import TrainingConfig

tok = Tokenizer.from_pretrained("dnabert2")
GUIDES = "".join(f">{n}\nACGTTGCATTAGCATTTACG\n" for n in range(9)).encode()
VCF = (
    b"##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n1\t3\t.\tG\tA\t.\t.\t.\n"
)
CASES = Path("../shared/cases/files")

pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes")


@pytest.fixture
def fifo(tmp_path):
    """A function that makes a named pipe and writes bytes into it, a few at a time."""
    threads = []

    def make(content, name="pipe"):
        path = tmp_path / name
        os.mkfifo(path)

        def write():
            with path.open("wb", buffering=0) as handle:
                for start in range(0, len(content), 7):
                    handle.write(content[start : start + 7])

        threads.append(threading.Thread(target=write, daemon=True))
        threads[-1].start()
        return path

    yield make
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


@pipes
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bgzip])
def test_a_pipe_is_read_whole_and_once(fifo, pack):
    assert len(list(read_fasta(fifo(pack(GUIDES))))) == 9


@pipes
def test_every_kind_of_input_is_read_from_a_pipe(fifo, tmp_path):
    with read_vcf(fifo(VCF, "v")) as (header, records):
        assert len(header) == 2
        assert [record.pos for record in records] == [3]
    assert len(read_bed(fifo(gzip.compress(b"1\t2\t4\n"), "b"), Reference({"1": "ACGTAC"}))) == 1
    assert list(read_column(fifo(b"id\tsequence\n1\tACGT\n", "t"), "sequence")) == ["ACGT"]
    assert [item.species for item in read_manifest(fifo(b"path,species\nx.fa,cat\n", "m"))] == [
        "cat"
    ]
    table = SequenceFile(fifo(b"dna,label\nAC GT,1\nTTGA,0\n", "c"), column="dna")
    assert [piece.sequence for piece in read_pieces(table)] == ["ACGT", "TTGA"]
    trained = Tokenizer.train([fifo(GUIDES, "g")], 30)
    assert trained.trained_on.sources[0].sequences == 9


@pipes
def test_what_needs_a_second_pass_says_so_at_once(fifo, tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)  # has no writer: a read would wait forever
    calls = [
        lambda: build_corpus([path], tmp_path / "c", tok),
        lambda: read_in_order(path),
        lambda: Reference(path),
        lambda: list(read_pieces(SequenceFile(path, regions=tmp_path / "x.bed"))),
    ]
    for call in calls:
        with pytest.raises(DataError, match=r"pipe: is a pipe, and .*Write it to a file first"):
            call()
    assert cli.main(["vocab-sizes", str(path), "--out", str(tmp_path / "o")]) == 2


def run(*arguments, stdin=b""):
    return subprocess.run(
        [sys.executable, "-m", "dnabert2_fast.cli", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        check=False,
    )


def test_standard_input_and_output(tmp_path):
    written = run("tokenize", "-", "--out", "-", stdin=GUIDES)
    assert (written.returncode, written.stdout.count(b"\n")) == (0, 9), written.stderr
    assert b"9 records" in written.stderr
    packed = run("tokenize", "-", stdin=gzip.compress(GUIDES))
    assert packed.stdout == written.stdout
    if Path("/dev/stdin").exists():
        named = run("tokenize", "/dev/stdin", "--out", "/dev/stdout", stdin=GUIDES)
        assert named.stdout == written.stdout


def test_stopped_work_on_a_pipe_is_never_taken_up(tmp_path):
    import torch

    (tmp_path / "x.fa").write_bytes(GUIDES)
    model = torch.nn.Linear(1, 1)
    model.dtype = torch.float32
    settings = [
        fingerprint(model, tok, TrainingConfig(), path=Path(path))
        for path in ("-", "-", tmp_path / "x.fa", tmp_path / "x.fa")
    ]
    assert settings[0] != settings[1]
    assert settings[2] == settings[3]
    store = ResumeStore(Path("-"), settings[0])
    with store.until_done():
        assert store.take(0, 1, lambda: [7]) == [7]
    assert not Path("-.parts").exists()


def test_content_decides_and_not_the_name(tmp_path):
    fasta = b">chr1 cat gattaca taga\nACGTACGT\nGGCC\n"
    for name in ("x.txt", "x.csv", "x.dat", "x.txt.gz"):
        (tmp_path / name).write_bytes(fasta)
        assert [piece.sequence for piece in read_pieces(tmp_path / name)] == ["ACGTACGTGGCC"]
        assert Tokenizer.train([tmp_path / name], 20).trained_on.sources[0].used_bp == 12
        with pytest.raises(DataError, match=r"is FASTA or FASTQ\. Use read_fasta"):
            list(read_column(tmp_path / name, "sequence"))
    (tmp_path / "x.fa").write_bytes(b"sequence,label\nACGT,1\n")
    assert [piece.sequence for piece in read_pieces(tmp_path / "x.fa")] == ["ACGT"]
    with pytest.raises(FastaError, match="begins with"):
        list(read_pieces(SequenceFile(tmp_path / "x.fa", column="dna")))


def test_white_space_is_dropped_by_every_reader(tmp_path):
    pytest.importorskip("pysam")
    letters = "ACGTACGTAC" * 12
    lines = [letters[i : i + 60] for i in range(0, 120, 60)]
    (tmp_path / "w.bed").write_text("a\t0\t120\n")
    ends = ("\n", "  \n", "\r\r\n", "\r\n", " \n")
    for number, text in enumerate(end.join([*lines, ""]) for end in ends):
        path = tmp_path / f"{number}.fa"
        path.write_bytes(f">a\n{text}".encode())
        [whole] = read_pieces(path)
        [region] = read_pieces(SequenceFile(path, regions=tmp_path / "w.bed"))
        assert whole.sequence == region.sequence == letters
    for number, blank in enumerate((" ", "  ")):
        path = tmp_path / f"within{number}.fa"
        spaced = [f"{line[:10]}{blank}{line[10:]}" for line in lines]
        path.write_text("\n".join([">a", *spaced]))
        assert next(read_pieces(path)).sequence == letters
        with pytest.raises(DataError, match="blanks within lines of letters"):
            next(read_pieces(SequenceFile(path, regions=tmp_path / "w.bed")))
    (tmp_path / "x.txt").write_text(" ACGT \nAC GT\n")
    assert [piece.sequence for piece in read_pieces(tmp_path / "x.txt")] == ["ACGT", "ACGT"]
    for name, text in (("d.fa", ">a\nACGT\n1CGT\n"), ("d.txt", "ACGT\n1CGT\n")):
        (tmp_path / name).write_text(text)
        with pytest.raises((FastaError, DataError), match=r"digit '1'"):
            list(read_pieces(tmp_path / name))
    (tmp_path / "d.bed").write_text("a\t0\t8\n")
    with pytest.raises(FastaError, match=r":3: .*digit '1'"):
        list(read_pieces(SequenceFile(tmp_path / "d.fa", regions=tmp_path / "d.bed")))


def test_bgzip_cut_at_a_block_is_warned_of(tmp_path, capsys):
    pytest.importorskip("pysam")
    path = tmp_path / "x.fa.gz"
    path.write_bytes(bgzip(GUIDES)[:-28])
    with pytest.warns(InputWarning, match=r"x\.fa\.gz: lacks the EOF marker"):
        assert len(list(read_fasta(path))) == 9
    with pytest.warns(InputWarning, match="lacks the EOF marker"):
        Reference(path)
    with pytest.warns(InputWarning, match="lacks the EOF marker"):
        build_corpus([path], tmp_path / "c", tok, min_bp=1, valid_fraction=0)
    with pytest.warns(InputWarning, match="lacks the EOF marker"):
        Tokenizer.train([path], 20)
    (tmp_path / "x.vcf.gz").write_bytes(bgzip(VCF)[:-28])
    with (
        pytest.warns(InputWarning, match="lacks the EOF marker"),
        read_vcf(tmp_path / "x.vcf.gz") as (_, records),
    ):
        assert len(list(records)) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputWarning)
        with pytest.raises(InputWarning, match="EOF marker"):
            list(read_fasta(path))
        with pytest.raises(InputWarning, match="EOF marker"):
            build_corpus([path], tmp_path / "d", tok, min_bp=1, valid_fraction=0)
    assert not (tmp_path / "d").exists()
    for strict in (False, True):
        out = tmp_path / f"{strict}.tsv"
        code = cli.main(["tokenize", str(path), "--out", str(out), *["--strict"] * strict])
        assert (code, out.exists()) == (2 * strict, not strict)
        assert f"{'error' if strict else 'warning'}: {path}: lacks" in capsys.readouterr().err


def test_a_damaged_block_of_bgzip_is_never_passed_over(tmp_path):
    whole = bgzip(GUIDES * 50)
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0x55
    (tmp_path / "x.fa.gz").write_bytes(damaged)
    with pytest.raises(FastaError, match="bgzip stream is damaged"):
        list(read_fasta(tmp_path / "x.fa.gz"))


RNA = b">a\nACGUUGCAUUAGCAUUUACG\n"


def read_lines(path):
    return read_column(path, "")


def test_rna_is_read_as_dna_where_it_is_asked_for(tmp_path, capsys):
    (tmp_path / "r.fa").write_bytes(RNA)
    (tmp_path / "r.txt").write_text("ACGUu\n")
    with pytest.warns(InputWarning, match=r"r\.fa: has U and no T.*--rna"):
        [record] = read_fasta(tmp_path / "r.fa")
    assert record.sequence == "ACGUUGCAUUAGCAUUUACG"
    messages = set()
    for path, read in ((tmp_path / "r.fa", read_fasta), (tmp_path / "r.txt", read_lines)):
        with pytest.warns(InputWarning) as caught:
            list(read(path))
        messages.add(str(caught[0].message).removeprefix(f"{path}: "))
    assert len(messages) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dna = "ACGTTGCATTAGCATTTACG"
        assert next(read_fasta(tmp_path / "r.fa", rna=True)).sequence == dna
        assert [p.sequence for p in read_pieces(SequenceFile(tmp_path / "r.fa", rna=True))] == [dna]
        assert list(read_column(tmp_path / "r.txt", "", rna=True)) == ["ACGTt"]
        assert Reference({"a": "ACGUu"}, rna=True).fetch("a", 0, 5) == "ACGTT"
        report = Tokenizer.train([tmp_path / "r.fa"], 20, TrainingConfig(rna=True)).trained_on
        assert report.sources[0].used_bp == 20
        corpus = build_corpus(
            [tmp_path / "r.fa"], tmp_path / "c", tok, rna=True, min_bp=1, valid_fraction=0
        )
        assert corpus.where(0).end == 20
    for command in ("tokenize", "info"):
        arguments = [str(tmp_path / "r.fa")]
        if command == "info":
            tok.save(tmp_path / "t.json")
            arguments = [str(tmp_path / "t.json"), "--on", *arguments]
        assert cli.main([command, *arguments, "--rna"]) == 0
        assert "has U" not in capsys.readouterr().err
        assert cli.main([command, *arguments]) == 0
        assert "has U and no T" in capsys.readouterr().err


@pytest.mark.parametrize("command", [name for name in cli.COMMANDS if name not in {
    "pretrain", "gue", "publish", "export-onnx", "install-skill", "doctor", "demo",
}])  # fmt: skip
def test_every_command_that_reads_sequences_has_rna(command, capsys):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    assert "--rna" in capsys.readouterr().out


def test_a_corpus_says_what_is_not_in_it(tmp_path, capsys):
    (tmp_path / "x.fa").write_bytes(b">a\n" + b"ACGT" * 50 + b"NNNRu\nACGT\n>b\nACGTNNNACGT\n")
    arguments = ["build-corpus", str(tmp_path / "x.fa"), "--out", str(tmp_path / "c")]
    assert cli.main([*arguments, "--window-bp", "100", "--valid-fraction", "0"]) == 0
    read = json.loads((tmp_path / "c" / "corpus.json").read_text())["read"][0]
    assert read["other_letters"] == {"N": 6, "R": 1, "u": 1}
    assert (read["windows"], read["too_short"], read["with_other_letters"]) == (2, 3, 0)
    said = capsys.readouterr().err
    assert "x.fa: not in the corpus: letters other than A, C, G, T: 'N' 6, 'R' 1, 'u' 1; " in said
    assert "3 windows with fewer than 10 bases (min_bp)" in said


def test_urls_are_named(tmp_path):
    import torch

    model, url = torch.nn.Linear(1, 1), "https://x.org/g.fa"
    model.dtype = torch.float32
    for call in (
        lambda: read_fasta(url),
        lambda: open_vcf(url),
        lambda: Reference(url),
        lambda: build_corpus([url], tmp_path / "c", tok),
        lambda: fingerprint(model, tok, TrainingConfig(), path=Path(url)),
    ):
        with pytest.raises((FastaError, DataError), match=r"is a URL.*[dD]ownload"):
            call()


def open_vcf(path):
    with read_vcf(path):
        pass


def test_text_of_other_packings(tmp_path):
    import bz2
    import lzma

    for number, pack in enumerate((gzip.compress, bz2.compress, lzma.compress, bgzip, bytes)):
        path = tmp_path / str(number)
        path.write_bytes(pack(VCF))
        with read_vcf(path) as (_, records):
            assert len(list(records)) == 1
        path.write_bytes(pack(b"\xef\xbb\xbf1\t2\t4\n"))
        assert len(read_bed(path, Reference({"1": "ACGTAC"}))) == 1
        path.write_bytes(pack(b"sequence\nACGT\n"))
        assert list(read_column(path, "sequence")) == ["ACGT"]


def test_bytes_are_read_in_any_amount(tmp_path):
    from dnabert2_fast.io.content import open_bytes

    (tmp_path / "x").write_bytes(gzip.compress(bytes(range(256)) * 9000))
    with open_bytes(tmp_path / "x") as handle:
        assert handle.read(3) == b"\0\1\2"
        assert handle.read() == (bytes(range(256)) * 9000)[3:]
    assert isinstance(handle, io.BufferedReader)


def test_results_on_standard_output_are_those_of_a_file(tmp_path, capfdbinary):
    from dnabert2_fast import Dnabert2ForMaskedLM, Dnabert2ForSequenceClassification
    from dnabert2_fast.finetuning import Task, predict_file
    from dnabert2_fast.genomics import likelihood_table, score_vcf
    from dnabert2_fast.genomics.variants import ScoringConfig

    model, mini = Dnabert2ForMaskedLM.from_pretrained("mini"), Tokenizer.from_pretrained("mini")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Dnabert2ForSequenceClassification.from_pretrained("mini").save_pretrained(tmp_path / "m")
    mini.save(tmp_path / "m" / "tokenizer.json")
    Task("multiclass", ("other", "promoter"), window_bp=300).save(tmp_path / "m")
    (tmp_path / "x.fa").write_bytes(GUIDES)
    (tmp_path / "x.vcf").write_bytes(VCF)
    genome, config = Reference({"1": "ACGTTGCATTAGCATTTACG" * 9}), ScoringConfig(window_bp=64)
    writers = {
        ".tsv": lambda out: likelihood_table(tmp_path / "x.fa", model, mini, out, mask_stride=9),
        ".vcf": lambda out: score_vcf(tmp_path / "x.vcf", genome, model, mini, out, config),
        ".csv": lambda out: predict_file(tmp_path / "x.fa", out, tmp_path / "m"),
    }
    for suffix, write in writers.items():
        write(tmp_path / f"y{suffix}")
        capfdbinary.readouterr()
        write("-")
        assert capfdbinary.readouterr().out == (tmp_path / f"y{suffix}").read_bytes()
    assert not [path for path in tmp_path.iterdir() if "parts" in path.name]

"""An interrupt while a file is read or decompressed is an interrupt, never a damaged file."""

import bz2
import gzip
import lzma
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest
from helpers.processes import run

from dnabert2_fast import Tokenizer, _native, build_corpus
from dnabert2_fast.finetuning.rows import read_rows
from dnabert2_fast.io import (
    Reference,
    read_bed,
    read_column,
    read_fasta,
    read_manifest,
    read_vcf,
)
from dnabert2_fast.io.content import open_bytes

# Several blocks of text, and no fewer of packed bytes.
LETTERS = "".join("ACGT"[(i * i // 7 + i // 3) % 4] for i in range(700_000))
FASTA = "".join(f">r{i}\n{LETTERS[i : i + 100_000]}\n" for i in range(0, 600_000, 100_000))
FASTQ = "".join(f"@r{i}\n{LETTERS[i : i + 400]}\n+\n{'I' * 400}\n" for i in range(1_500))
TABLE = "sequence,label\n" + "".join(f"{LETTERS[i : i + 400]},{i % 2}\n" for i in range(1_500))
BED = "".join(f"r0\t{i}\t{i + 50}\n" for i in range(40_000))
VCF = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n" + "".join(
    f"r0\t{i + 1}\t.\t{LETTERS[i]}\tN\t.\t.\tAC={i}\n" for i in range(30_000)
)
MANIFEST = "path,species\n" + "".join(f"{i}.fa,fly\n" for i in range(60_000))
PACKED = {
    "gz": (gzip.compress, "isal.igzip_lib", "IgzipDecompressor"),
    "bz2": (bz2.compress, "bz2", "BZ2Decompressor"),
    "xz": (lzma.compress, "lzma", "LZMADecompressor"),
}
tok = Tokenizer.from_pretrained("dnabert2")


def exhaust(read, path):
    for _ in read(path):
        pass


def tokenizers(path):
    Tokenizer.train([path], 64)


def count(path):
    _native.count_bases(path, fold_case=True, rna=False, report=lambda _: None)


def corpus(path):
    with tempfile.TemporaryDirectory() as folder:
        try:
            build_corpus([path], Path(folder, "corpus"), tok, threads=2)
        except BaseException:
            assert not list(Path(folder).iterdir())
            raise


def bed(path):
    genome = path.with_name("g.fa")
    if not genome.exists():
        genome.write_text(f">r0\n{LETTERS}\n")
    read_bed(path, Reference(genome))


def vcf(path):
    with read_vcf(path) as (_, records):
        exhaust(iter, records)


READERS = {
    "fasta": (FASTA, partial(exhaust, read_fasta)),
    "fastq": (FASTQ, partial(exhaust, read_fasta)),
    "bytes": (FASTA, lambda path: open_bytes(path).read()),
    "column": (TABLE, partial(exhaust, lambda path: read_column(path, "sequence"))),
    "rows": (TABLE, partial(exhaust, partial(read_rows, rna=False))),
    "bed": (BED, bed),
    "vcf": (VCF, vcf),
    "manifest": (MANIFEST, read_manifest),
    "train": (FASTA, tokenizers),
    "count": (FASTA, count),
    "corpus": (FASTA, corpus),
}


def interrupting(make, at, error):
    """Return a maker of decompressors that raise `error` at call `at` of all of them together."""
    calls = []

    class Decompressor:
        def __init__(self, *args, **kwargs):
            self._inner = make(*args, **kwargs)

        def decompress(self, *args):
            calls.append(1)
            if len(calls) == at:
                raise error
            return self._inner.decompress(*args)

        def __getattr__(self, name):
            return getattr(self._inner, name)

    return Decompressor, calls


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("reader", READERS)
def test_at_every_read(tmp_path, monkeypatch, reader, packing):
    text, read = READERS[reader]
    pack, module, name = PACKED[packing]
    path = tmp_path / f"x.csv.{packing}"
    path.write_bytes(pack(text.encode()))
    real = getattr(__import__(module, fromlist=[name]), name)
    at, reads = 1, 1
    while at <= reads:
        maker, calls = interrupting(real, at, KeyboardInterrupt())
        monkeypatch.setattr(f"{module}.{name}", maker)
        with pytest.raises(KeyboardInterrupt):
            read(path)
        if at == 1:  # how often it is called when nothing stops it
            maker, calls = interrupting(real, 0, None)
            monkeypatch.setattr(f"{module}.{name}", maker)
            read(path)
            reads = len(calls)
            assert reads > 1
        at += 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), MemoryError()])
def test_what_is_raised_is_what_arrives(tmp_path, monkeypatch, error):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(FASTA.encode()))
    real = __import__("isal.igzip_lib", fromlist=["x"]).IgzipDecompressor
    maker, _ = interrupting(real, 2, error)
    monkeypatch.setattr("isal.igzip_lib.IgzipDecompressor", maker)
    with pytest.raises(type(error)) as raised:
        exhaust(read_fasta, path)
    assert raised.value is error


@pytest.mark.parametrize("packing", PACKED)
def test_while_the_library_is_imported(tmp_path, monkeypatch, packing):
    """A library that is missing has a substitute; an interrupt is not a missing library."""
    pack, module, _ = PACKED[packing]
    path = tmp_path / "x"
    path.write_bytes(pack(FASTA.encode()))

    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == module:
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(KeyboardInterrupt):
        next(read_fasta(path))


# Interrupts itself at its second read, by the signal of Ctrl-C: handlers run in Python code.
STOPPED = """
import os, signal, sys
from isal import igzip_lib
real, calls = igzip_lib.IgzipDecompressor, []
class Decompressor:
    def __init__(self, *args, **kwargs):
        self._inner = real(*args, **kwargs)
    def decompress(self, *args):
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return self._inner.decompress(*args)
    def __getattr__(self, name):
        return getattr(self._inner, name)
igzip_lib.IgzipDecompressor = Decompressor
from dnabert2_fast.__main__ import entry_point
entry_point()
"""


@pytest.mark.parametrize("command", ["tokenize", "info"])
def test_a_real_signal(tmp_path, command):
    path = tmp_path / "x.fa.gz"
    path.write_bytes(gzip.compress(FASTA.encode() * 8))
    ended = run("-c", STOPPED, command, path, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (130, "interrupted\n")


# Ctrl-C while the first import runs, and while numpy is used for the first time.
IMPORTS = """
import builtins, signal, sys
real = builtins.__import__
def stopped(name, *args, **kwargs):
    if name == sys.argv[-1]:
        signal.raise_signal(signal.SIGINT)
    return real(name, *args, **kwargs)
builtins.__import__ = stopped
from dnabert2_fast.__main__ import entry_point
entry_point()
"""


@pytest.mark.parametrize("module", ["tyro", "numpy", "pyarrow"])
def test_while_the_command_line_is_imported(tmp_path, module):
    (tmp_path / "x.fa").write_text(FASTA)
    line = ["-c", IMPORTS, "tokenize", str(tmp_path / "x.fa"), "--tokenizer", module]
    ended = subprocess.run([sys.executable, *line], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, "interrupted\n")


# The numpy crate calls NumpyVersion at its first use of numpy, and panics where that raises.
FIRST_USE = """
import signal, sys
import numpy.lib
class NumpyVersion(numpy.lib.NumpyVersion):
    def __init__(self, version):
        signal.raise_signal(signal.SIGINT)
        super().__init__(version)
numpy.lib.NumpyVersion = NumpyVersion
from dnabert2_fast.__main__ import entry_point
entry_point()
"""


def test_at_the_first_use_of_numpy(tmp_path):
    (tmp_path / "x.fa").write_text(FASTA)
    ended = run("-c", FIRST_USE, "tokenize", "x.fa", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (130, "interrupted\n")

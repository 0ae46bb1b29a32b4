"""What importing costs."""

import subprocess
import sys

import pytest

from dnabert2_fast.cli import COMMANDS

LIGHT = """
import sys
import dnabert2_fast as d
from dnabert2_fast import Tokenizer, Corpus, build_corpus, read_fasta
from dnabert2_fast.corpus import CorpusConfig
import tempfile, pathlib
folder = pathlib.Path(tempfile.mkdtemp())
(folder / "x.fa").write_text(">a\\nACGTTGCATTAGCATTTACGGATTA\\n")
tok = Tokenizer.from_pretrained("dnabert2")
tok.encode("ACGTN"), tok.decode([5, 6]), tok.offsets([1, 5]), tok.encode_batch(["A"]).to_arrow()
tok.encode_batch(["ACGT"]).to_padded(); tok.save(folder / "t.json")
Tokenizer.train([folder / "x.fa"], 12)
config = CorpusConfig(min_bp=5, valid_fraction=0)
corpus = build_corpus([folder / "x.fa"], folder / "c", tok, config)
corpus.gather([0]), corpus.where(0), list(read_fasta(folder / "x.fa"))
from dnabert2_fast import cli
cli.main(["tokenize", str(folder / "x.fa")]), cli.main(["info", str(folder / "c")])
heavy = {"torch", "transformers", "sklearn", "matplotlib", "tokenizers", "safetensors"}
print("loaded:", sorted(heavy & set(sys.modules)))
"""


def test_tokenizing_and_corpora_leave_torch_unimported():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_tokenizing_and_building_a_corpus_leave_pandas_unimported(tmp_path):
    """Pyarrow imports it at a chance; it takes longer than a small corpus."""
    (tmp_path / "x.fa").write_text(">a\n" + "ACGTTGCA" * 50 + "\n")
    code = (
        "import sys; from dnabert2_fast import Tokenizer, build_corpus\n"
        "from dnabert2_fast.corpus import CorpusConfig\n"
        "from dnabert2_fast.tokenizer.file import tokenize_file\n"
        f"tok, folder = Tokenizer.from_pretrained('dnabert2'), {str(tmp_path)!r}\n"
        "build_corpus([folder + '/x.fa'], folder + '/c', tok, CorpusConfig(window_bp=100))\n"
        "tokenize_file(folder + '/x.fa', tok, out=folder + '/x.parquet')\n"
        "print('loaded:', sorted({'pandas'} & set(sys.modules)))"
    )
    pytest.importorskip("pandas")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_importing_the_package_loads_nothing():
    code = "import sys, dnabert2_fast; print(*(m for m in sys.modules if 'dnabert2_fast.' in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["dnabert2_fast._internal", "dnabert2_fast._internal.lazy"]


def test_embedding_leaves_the_compiler_unimported():
    """It takes as long as torch itself."""
    code = (
        "import sys; from dnabert2_fast import embed; embed(['ACGT'])\n"
        "heavy = {'torch._dynamo', 'torch._inductor', 'transformers', 'sklearn', 'matplotlib'}\n"
        "print('loaded:', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_help_is_light():
    """Every command's; torch and its like take seconds."""
    code = """
import sys
from contextlib import redirect_stdout
from io import StringIO
from dnabert2_fast.cli import COMMANDS, main
heavy = {"torch", "transformers", "sklearn", "scipy", "matplotlib", "pandas", "pysam", "ray"}
for command in COMMANDS:
    text = StringIO()
    try:
        with redirect_stdout(text):
            main([command, "--help"])
    except SystemExit as end:
        assert end.code == 0, command
    assert f"usage: dnabert2-fast {command}" in text.getvalue()
    print(command, *sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == len(COMMANDS)
    assert [line for line in lines if " " in line] == []

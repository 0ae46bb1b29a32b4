"""`embed --runtime onnx` gives the vectors of torch, in a process without torch."""

import os
import random
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnxruntime")
pytest.importorskip("onnxscript", reason="needs the extra onnx")
from helpers.checkpoints import save_tiny  # noqa: E402
from helpers.project import ROOT  # noqa: E402

from dnabert2_fast import Tokenizer, embed  # noqa: E402
from dnabert2_fast._internal.progress import progress  # noqa: E402
from dnabert2_fast.cli import main  # noqa: E402
from dnabert2_fast.errors import CheckpointError, DivergedError  # noqa: E402
from dnabert2_fast.genomics.embedding.config import EmbeddingConfig  # noqa: E402
from dnabert2_fast.genomics.embedding.onnx import OnnxEncoder  # noqa: E402

WITHOUT_TORCH = """
import sys

class Missing:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing)
from dnabert2_fast.cli import main
sys.exit(main(sys.argv[2:]))
"""
MISSING = "torch,transformers,safetensors,huggingface_hub,onnx,onnxscript"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The packaged model as a folder for ONNX Runtime."""
    folder = tmp_path_factory.mktemp("exported") / "mini"
    assert main(["export-onnx", "mini", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def sequences():
    draws = random.Random(1)
    lengths = [1, 2, 7, 40, 41, 300, 900, 2500, 2600, 0, 12, 300]
    found = ["".join(draws.choices("ACGTN", [9, 9, 9, 9, 1], k=n)) for n in lengths]
    return [*found, "NNNN"]


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"pooling": "max"},
        {"pooling": "cls", "both_strands": True},
        {"context_bp": 200, "both_strands": True},
        {"context_bp": 150, "pooling": "max", "layers": (6,)},
        {"batch_tokens": 50},
    ],
)
def test_vectors_are_those_of_torch(exported, sequences, how):
    tok = Tokenizer.from_pretrained(exported)
    encoder = OnnxEncoder(exported, threads=1)
    with pytest.warns(UserWarning, match="outside the vocabulary|no A, C, G or T"):
        want = embed(sequences, "mini", **how)
    with progress(None, "embedding", "sequences") as bar:
        got = encoder.embed_quietly(sequences, tok, EmbeddingConfig(**how), bar)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    assert got.dtype == np.float32


def test_the_command_without_torch(exported, sequences, tmp_path):
    lines = (f">s{i}\n{text}\n" for i, text in enumerate(sequences) if text)
    (tmp_path / "x.fa").write_text("".join(lines))
    command = ["embed", "x.fa", "--model", str(exported), "--runtime", "onnx", "--out"]
    for out in ("v.npy", "v.parquet"):
        ran = subprocess.run(
            [sys.executable, "-c", WITHOUT_TORCH, MISSING, *command, out],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT / "python")},
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, ran.stderr
    assert "12 vectors of 256 (float32 (onnxruntime))" in ran.stdout
    with pytest.warns(UserWarning, match="outside the vocabulary|no A, C, G or T"):
        want = embed([text for text in sequences if text], "mini")
    np.testing.assert_allclose(np.load(tmp_path / "v.npy"), want, rtol=1e-5, atol=1e-5)
    rows = pq.read_table(tmp_path / "v.parquet")["embedding"].to_pylist()
    np.testing.assert_array_equal(np.array(rows, np.float32), np.load(tmp_path / "v.npy"))


def test_what_runtime_onnx_refuses(exported, tmp_path, capsys):
    (tmp_path / "x.fa").write_text(">a\nACGTACGT\n")
    long = tmp_path / "long.fa"
    long.write_text(">a\n" + "".join(random.Random(2).choices("ACGT", k=40_000)) + "\n")
    command = ["embed", str(tmp_path / "x.fa"), "--out", str(tmp_path / "v.npy")]
    command += ["--runtime", "onnx", "--model", str(exported)]
    for changed, message in [
        (["--dtype", "int8"], "--runtime onnx: runs in float32 on the CPU. Leave out"),
        (["--layers", "0"], "--layers: must be the last one (-1) with --runtime onnx."),
        (["--model", "mini"], "mini: has no model.onnx. Run dnabert2-fast export-onnx"),
    ]:
        assert main([*command, *changed]) == 2
        assert message in capsys.readouterr().err
    assert main([command[0], str(long), *command[2:]]) == 2
    error = capsys.readouterr().err
    assert "at most 4,096 tokens with --runtime onnx" in error
    assert "Use --context-bp" in error
    assert main([command[0], str(long), *command[2:], "--context-bp", "1000"]) == 0


def test_damaged_folders(exported, tmp_path):
    for name in ("model.onnx", "config.json"):
        (tmp_path / name).write_bytes((exported / name).read_bytes())
    OnnxEncoder(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json: .*Export the model again"):
        OnnxEncoder(tmp_path)
    (tmp_path / "config.json").write_bytes((exported / "config.json").read_bytes())
    (tmp_path / "model.onnx").write_bytes((exported / "model.onnx").read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"model\.onnx: damaged"):
        OnnxEncoder(tmp_path)


@pytest.mark.full
def test_heads_and_infinite_states(tmp_path):
    from dnabert2_fast import Dnabert2ForMaskedLM, Dnabert2Model
    from dnabert2_fast.model.onnx import export_onnx

    sizes = {"hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 8}
    folder = save_tiny(tmp_path / "m", **sizes)
    export_onnx(Dnabert2ForMaskedLM.from_pretrained(folder), folder / "model.onnx")
    with pytest.raises(CheckpointError, match=r"is not an encoder \(got the outputs logits"):
        OnnxEncoder(folder)
    with pytest.warns(UserWarning, match="no pooler"):
        model = Dnabert2Model.from_pretrained(folder)
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight.fill_(float("inf"))
    export_onnx(model, folder / "model.onnx")
    tok = Tokenizer.from_pretrained(folder)
    with pytest.raises(DivergedError, match="NaN or infinite"), progress(None, "", "") as bar:
        OnnxEncoder(folder).embed_quietly(["ACGT"], tok, EmbeddingConfig(), bar)


def test_without_onnxruntime(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    remedy = r'needs onnxruntime: pip install .*\[onnxruntime\]"'
    with pytest.raises(ModuleNotFoundError, match=remedy):
        OnnxEncoder(exported)

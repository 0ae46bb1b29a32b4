"""Triton kernels without a GPU: the interpreter runs them, the compiler builds them for cards."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.processes import run
from helpers.project import ROOT

triton = pytest.importorskip("triton")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from dnabert2_fast.attention import (  # noqa: E402
    alibi_slopes,
    triton_kernels,
    triton_ranges,
    triton_varlen,
)
from dnabert2_fast.kernels import (  # noqa: E402
    triton_add_norm,
    triton_geglu,
    triton_masked_lm_loss,
)

POINTERS = {
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.int32: "*i32",
    torch.int64: "*i64",
}

# Memory that a block of threads may share, by compute capability.
SHARED_KB = {80: 163, 89: 99, 90: 227, 100: 227}


# Each kernel, forward and backward, at a few tiny shapes.
EACH_ONCE = "test_fused and not dropout_of_geglu or steep_slopes or blocks_met or single_tokens"


@pytest.fixture
def environment(tmp_path):
    """For kernels in a process of their own: the interpreter, and no cache outside the test."""
    mine = {"TRITON_INTERPRET": "1", "TRITON_CACHE_DIR": str(tmp_path / "cache")}
    outer = ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT")
    return {**mine, **dict.fromkeys(outer)}


def run_device_tests(folder, environment, *options):
    tests = Path(__file__).parent / "device"
    options = ("-p", "no:cacheprovider", f"--basetemp={folder / 'inner'}", *options)
    done = run("-m", "pytest", tests, *options, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="tests/kernels/device run on the GPU itself")
def test_each_kernel_under_the_interpreter(tmp_path, environment):
    run_device_tests(tmp_path, environment, "-k", EACH_ONCE)


@pytest.mark.full
@pytest.mark.skipif(torch.cuda.is_available(), reason="tests/kernels/device run on the GPU itself")
def test_kernels_under_the_interpreter(tmp_path, environment):
    run_device_tests(tmp_path, environment)


@pytest.mark.skipif(torch.cuda.is_available(), reason="here it would measure")
def test_the_gpu_benchmark_needs_a_gpu(tmp_path, environment):
    """Whatever it imports is there."""
    done = run(ROOT / "benches" / "gpu.py", cwd=tmp_path, env=environment)
    assert done.returncode == 2, done.stderr
    assert done.stderr == "error: torch finds no CUDA device; nothing to measure\n"


@pytest.mark.full
def test_the_gpu_benchmark_runs_in_all_its_parts(tmp_path, environment):
    bench, out = ROOT / "benches" / "gpu.py", tmp_path / "out"
    done = run(bench, "--smoke", "--budget-s", "1200", "--out", out, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    parts = ["machine", "peak", "product", "compile", "training", "attention", "fused", "backend"]
    parts += ["encoder", "embed", "mutants", "pretrain", "tiles"]
    assert list(dict.fromkeys(row["part"] for row in rows)) == parts
    assert not [row for row in rows if "failed" in row or "skipped" in row]
    assert (out / "table.md").read_text() in done.stdout
    assert "| training |" in done.stdout


@pytest.mark.full
def test_the_gpu_benchmark_lists_what_fails(tmp_path, environment):
    bench, out = ROOT / "benches" / "gpu.py", tmp_path / "out"
    done = run(bench, "--smoke", "--budget-s", "20", "--out", out, cwd=tmp_path, env=environment)
    assert done.returncode == 1
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    assert "no time was left" in [row.get("failed") for row in rows]
    assert "failed: tiles: no time was left" in done.stderr
    assert "| tiles |" in done.stdout


# What a wheel of torch brings with it, and no library of this package.
BARE = (
    "torch", "torchgen", "functorch", "triton", "numpy", "numpy.libs", "nvidia", "sympy", "mpmath",
    "networkx", "jinja2", "markupsafe", "filelock", "fsspec", "typing_extensions.py",
)  # fmt: skip


@pytest.mark.full
def test_the_gpu_benchmark_needs_torch_triton_and_numpy_alone(tmp_path):
    installed = Path(torch.__file__).parents[1]
    (tmp_path / "site").mkdir()
    for name in BARE:
        if (installed / name).exists():
            (tmp_path / "site" / name).symlink_to(installed / name)
    paths = f"{tmp_path / 'site'}:{ROOT / 'python'}"
    for part in ("machine", "encoder", "embed", "mutants", "training", "pretrain"):
        options = ("--smoke", "--part", part, "--out", tmp_path / "out")
        bare = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": paths}
        command = (sys.executable, "-S", ROOT / "benches" / "gpu.py", *options)
        done = subprocess.run(
            command, cwd=tmp_path, env=bare, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, part + done.stderr[-3000:]
    rows = [json.loads(line) for line in (tmp_path / "out/rows.jsonl").read_text().splitlines()]
    assert "safetensors" in rows[0]["missing"]
    assert rows[-1]["skipped"].startswith("needs packaging, pyarrow")


class Recorder:
    """Stands in for a kernel and records its launch arguments."""

    def __init__(self, kernel):
        self.kernel = kernel
        self.launches = []

    def __getitem__(self, grid):
        return lambda *args, **named: self.launches.append((args, named))


def compiled(kernel, args, named, capability):
    """Build one launch for a card that is not there; types and alignments as the launcher's."""
    options = {key: named[key] for key in ("num_warps", "num_stages") if key in named}
    given = {**dict(zip(kernel.arg_names, args, strict=False)), **named}
    signature, constants, attributes = {}, {}, {}
    for number, name in enumerate(kernel.arg_names):
        value = given[name]
        if kernel.params[number].is_constexpr or (isinstance(value, int) and value == 1):
            signature[name], constants[name] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[name] = POINTERS[value.dtype]
            attributes[(number,)] = [["tt.divisibility", 16]]
        elif isinstance(value, int):
            signature[name] = "i32"
            if value % 16 == 0:
                attributes[(number,)] = [["tt.divisibility", 16]]
        else:
            signature[name] = "fp32"
    source = ASTSource(kernel, signature=signature, constexprs=constants, attrs=attributes)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def run_everything(dtype, size, dropout_p):
    qkv = torch.zeros(4096, 3, 2, size, dtype=dtype, requires_grad=True)
    borders = torch.tensor([0, 2048, 4096], dtype=torch.int32)
    out = triton_varlen.attention_triton(
        *qkv.unbind(1),
        cu_seqlens=borders,
        max_seqlen=2048,
        alibi_slopes=alibi_slopes(2),
        dropout_p=dropout_p,
    )
    out.backward(out.detach())
    x = torch.zeros(64, 768, dtype=dtype, requires_grad=True)
    weight, bias = torch.zeros(768, requires_grad=True), torch.zeros(768, requires_grad=True)
    seed = torch.zeros(1, dtype=torch.int64)
    normed = triton_add_norm.add_norm(x, x, weight, bias, seed, 1e-12, dropout_p)[0]
    product = triton_geglu.geglu(normed, seed, dropout_p)
    table = torch.zeros(4096, 384, requires_grad=True)
    labels = torch.zeros(64, dtype=torch.int64)
    loss, *_ = triton_masked_lm_loss.masked_lm_loss(product, table, table[:, 0], labels)
    loss.backward()


def check_all_compile(monkeypatch, dtype, size, dropout_p, capability):
    recorders = []
    for module in (
        triton_ranges,
        triton_kernels,
        triton_add_norm,
        triton_geglu,
        triton_masked_lm_loss,
    ):
        for name in module.__all__:
            if isinstance(getattr(module, name), triton.JITFunction):
                recorders.append(Recorder(getattr(module, name)))
                monkeypatch.setattr(module, name, recorders[-1])
    run_everything(dtype, size, dropout_p)
    assert len(recorders) == 11
    for recorder in recorders:
        assert recorder.launches, recorder.kernel.fn.__name__
        for args, named in recorder.launches:
            built = compiled(recorder.kernel, args, named, capability)
            assert built.metadata.shared <= 1024 * SHARED_KB[capability]
            if "SKIP" in named and dtype != torch.float32:
                assert "mma" in built.asm["ptx"], "attention must run on tensor cores"


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """Compile with an empty cache of the test's own."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


@pytest.mark.full
@pytest.mark.usefixtures("own_cache")
def test_kernels_compile_in_small_tiles(monkeypatch):
    """Seconds instead of a minute: fewer numbers per thread, and no dropout."""
    small = triton_varlen.Tiles(32, 32, 4, 2)
    monkeypatch.setattr(triton_varlen, "tiles_for", lambda *_, **__: small)
    check_all_compile(monkeypatch, torch.float16, 16, 0.0, 90)


@pytest.mark.full
@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize(
    ("dtype", "size", "dropout_p", "capability"),
    [
        (torch.bfloat16, 64, 0.1, 90),
        (torch.float32, 64, 0.0, 80),
        (torch.float16, 128, 0.0, 80),
        (torch.float16, 16, 0.0, 89),
        (torch.bfloat16, 128, 0.0, 89),
        (torch.bfloat16, 128, 0.0, 90),
        (torch.bfloat16, 64, 0.0, 100),
    ],
)
def test_kernels_compile_for_every_card(monkeypatch, dtype, size, dropout_p, capability):
    check_all_compile(monkeypatch, dtype, size, dropout_p, capability)

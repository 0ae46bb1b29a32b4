"""Reports of `doctor` on faulty machines, each simulated."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from dnabert2_fast import attention, kernels
from dnabert2_fast._internal import extras
from dnabert2_fast.cli import doctor

CARD = "Some Card"


@pytest.fixture
def versions(monkeypatch):
    """Change the version of a library that the doctor finds; None for missing."""
    changed = {}
    installed = extras.version

    def version(package):
        if package not in changed:
            return installed(package)
        if changed[package] is None:
            raise extras.PackageNotFoundError(package)
        return changed[package]

    monkeypatch.setattr(extras, "version", version)
    return changed


@pytest.fixture
def card(monkeypatch):
    """A CUDA device that computes, with kernels that run."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: CARD)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(doctor, "_cannot_compute", lambda device: None)
    monkeypatch.setattr(attention, "_failure", lambda *_: None)
    monkeypatch.setattr(kernels, "unavailable_reason", lambda *_: None)
    attention._unavailable_reason.cache_clear()
    yield monkeypatch
    attention._unavailable_reason.cache_clear()


def no_card(monkeypatch, *, built_for, on_the_machine):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built_for)
    answer = SimpleNamespace(stdout=f"{on_the_machine}\nOther Card\n")
    monkeypatch.setattr(doctor.shutil, "which", lambda name: on_the_machine and sys.executable)
    monkeypatch.setattr(doctor.subprocess, "run", lambda *_, **__: answer)


def findings():
    """The lines under the last heading; none when nothing is wrong."""
    text = doctor.report()
    if text.endswith("Nothing is wrong"):
        return []
    return [line.removeprefix("  * ") for line in text.partition("Findings\n")[2].splitlines()]


def test_a_machine_without_a_card_is_well(monkeypatch):
    no_card(monkeypatch, built_for="12.8", on_the_machine=None)
    assert findings() == []


def test_every_missing_library_is_named_with_its_extra(versions):
    for extra in extras.extras().values():
        versions.update(dict.fromkeys(library.name for library in extra.libraries))
    text = doctor.report()
    for name, extra in extras.extras().items():
        assert extras.UNLOCKS[name] in text
        if extra.libraries:
            assert f"-> {extras.install(name)}" in text
    assert findings() == [
        "torch is missing: models cannot run, tokenizing and corpora can -> "
        + extras.install("model")
    ]
    assert "published vocabulary: works" in text


def test_torch_too_old(versions):
    versions["torch"] = "2.5.1+cpu"
    (finding,) = findings()
    assert finding.startswith("torch 2.5.1+cpu is not >=2.6: pretrain, embed")
    assert finding.endswith(extras.install("model").replace("install", "install --upgrade"))
    assert "torch 2.5.1+cpu is too old" in doctor.report()


def test_torch_that_cannot_be_imported(monkeypatch):
    def broken(name):
        raise OSError("libcudart.so.13: cannot open shared object file\nand more")

    monkeypatch.setattr(doctor, "import_module", broken)
    (finding,) = findings()
    assert "cannot be imported (libcudart.so.13: cannot open shared object file)" in finding
    assert finding.endswith("pip install --force-reinstall torch")


def test_a_build_for_the_cpu_on_a_machine_with_a_card(monkeypatch):
    no_card(monkeypatch, built_for=None, on_the_machine=CARD)
    (finding,) = findings()
    assert "is built without CUDA, and this machine has Some Card: models run on the CPU" in finding
    assert "https://pytorch.org/get-started" in finding


def test_a_driver_too_old_for_torch(monkeypatch):
    no_card(monkeypatch, built_for="13.2", on_the_machine=CARD)

    def zeros(*_, device):
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 12020).\n")

    monkeypatch.setattr(torch, "zeros", zeros)
    (finding,) = findings()
    assert finding.startswith("torch is built for CUDA 13.2 and cannot use Some Card (The NVIDIA")
    assert "models run on the CPU -> update the driver" in finding


def test_a_driver_that_fails_names_no_card(monkeypatch):
    no_card(monkeypatch, built_for="13.2", on_the_machine=CARD)

    def fails(*_, **__):
        raise subprocess.CalledProcessError(9, "nvidia-smi")

    monkeypatch.setattr(doctor.subprocess, "run", fails)
    assert findings() == []


def test_a_card_on_which_all_runs(card):
    card.setattr(attention, "find_spec", lambda name: True)
    assert findings() == []
    text = "Attention on Some Card, bfloat16 (--dtype auto)\n    triton      runs, chosen by auto"
    assert text in doctor.report()


def test_a_card_too_old_for_the_kernels(card):
    card.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    card.setattr(kernels, "unavailable_reason", lambda *_: "needs compute capability 8.0")
    assert findings() == [
        "Some Card: sdpa is used for attention; triton: needs compute capability 8.0 (this "
        "card has 7.5)",
        "Some Card: plain torch is used for GEGLU, norm and loss; triton: needs compute "
        "capability 8.0",
    ]
    assert "Attention on Some Card, float16 (--dtype auto)" in doctor.report()


def test_a_card_that_torch_no_longer_knows(card):
    card.setattr(
        doctor, "_cannot_compute", lambda device: "CUDA error: no kernel image is available"
    )
    (finding,) = findings()
    assert finding.startswith("Some Card: torch")
    assert "cannot compute on it (CUDA error: no kernel image is available): use the CPU" in finding


def test_triton_that_is_broken(card):
    broken = "failed on a small example: RuntimeError: Failed to find C compiler"
    card.setattr(attention, "find_spec", lambda name: name == "triton")
    card.setattr(attention, "_failure", lambda *_: broken)
    card.setattr(kernels, "unavailable_reason", lambda *_: broken)
    assert findings() == [
        f"Some Card: sdpa is used for attention; triton: {broken}",
        f"Some Card: plain torch is used for GEGLU, norm and loss; triton: {broken}",
    ]


def test_triton_that_is_missing(card):
    card.setattr(attention, "find_spec", lambda name: None)
    (finding,) = findings()
    assert finding == (
        "Some Card: sdpa is used for attention; triton: triton is not installed: pip install triton"
    )


def test_triton_that_cannot_be_imported_is_passed_over(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch, "linspace", lambda *_, **__: torch.ones(64))
    monkeypatch.setitem(sys.modules, "dnabert2_fast.kernels.triton_geglu", None)
    kernels.unavailable_reason.cache_clear()
    try:
        reason = kernels.unavailable_reason(torch.device("cuda", 0), torch.float32)
    finally:
        kernels.unavailable_reason.cache_clear()
    assert reason.startswith("failed on a small example: ModuleNotFoundError")


def test_a_device_that_fails_gives_its_reason(monkeypatch):
    assert doctor._cannot_compute(torch.device("cpu")) is None

    def fails(*_, **__):
        raise RuntimeError("CUDA error: no kernel image\nCompile with TORCH_USE_CUDA_DSA")

    monkeypatch.setattr(torch, "ones", fails)
    assert doctor._cannot_compute(torch.device("cpu")) == "CUDA error: no kernel image"


def test_an_extension_that_does_not_load(monkeypatch):
    monkeypatch.setitem(sys.modules, "dnabert2_fast.tokenizer", None)
    text = doctor.report()
    assert "the extension cannot be loaded" in text
    assert "pip install --force-reinstall --no-deps " in text

"""Which attention runs and why, and backends that use external libraries."""

import inspect
import math
import sys
from types import SimpleNamespace

import pytest
import torch
from helpers.attention import naive, packed

from dnabert2_fast import attention as package
from dnabert2_fast._internal.extras import install
from dnabert2_fast.attention import (
    alibi_slopes,
    attention,
    attention_weights,
    explain,
    flash,
    flex,
    report,
    xformers,
)
from dnabert2_fast.attention.weights import require_room
from dnabert2_fast.errors import BackendUnavailableError

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def fresh(monkeypatch):
    """Forget what was found out about backends, before and after."""
    caches = (package._unavailable_reason, package._failure)
    for cached in caches:
        cached.cache_clear()
    yield monkeypatch
    for cached in caches:
        cached.cache_clear()


def test_the_cpu_has_one_backend_and_reasons_for_the_others():
    statuses = {status.name: status for status in report(CPU, torch.float32)}
    assert set(statuses) == {"triton", "flash_attn", "flex", "sdpa", "xformers"}
    assert [name for name, status in statuses.items() if status.runs] == ["sdpa"]
    assert statuses["triton"].reason == "needs a CUDA device (got cpu)"
    assert statuses["flash_attn"].reason == "does not support float32"
    chosen = explain("auto", CPU, torch.float32)
    assert chosen.name == "sdpa"
    assert "triton: needs a CUDA device" in chosen.reason
    assert explain("sdpa", CPU, torch.float32).reason == "requested"


def test_an_explicit_choice_that_cannot_run_names_the_remedy():
    qkv, borders = packed([3], 1, 4)
    message = 'attention="triton": needs a CUDA device \(got cpu\). Use attention="auto"'
    with pytest.raises(BackendUnavailableError, match=message):
        attention(*qkv, **borders, alibi_slopes=alibi_slopes(1), backend="triton")
    with pytest.raises(BackendUnavailableError, match='must be one of "auto", "triton"'):
        attention(*qkv, **borders, alibi_slopes=alibi_slopes(1), backend="magic")


def test_a_card_too_old_or_a_library_that_is_missing(fresh):
    fresh.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    fresh.setattr(package, "_failure", lambda *_: None)
    statuses = {s.name: s for s in report(CUDA, torch.float16)}
    assert statuses["triton"].reason == "needs compute capability 8.0 (this card has 7.5)"
    assert statuses["flash_attn"].reason.endswith("is not installed: pip install flash-attn")
    assert statuses["xformers"].reason.endswith(install("xformers"))
    assert package.select("auto", CUDA, torch.float16) == "sdpa"
    package._unavailable_reason.cache_clear()
    fresh.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert package.select("auto", CUDA, torch.float16) == "triton"
    assert package.select("auto", CUDA, torch.float16, head_dim=160) == "flex"
    with pytest.raises(
        BackendUnavailableError, match=r"supports heads of at most 128 dimensions \(got 160\)"
    ):
        package.select("triton", CUDA, torch.float16, head_dim=160)


def test_what_fails_on_a_small_example_is_not_chosen(fresh):
    def broken(*args, **named):
        raise RuntimeError("no kernel image\nand more")

    def wrong(q, k, v, **named):
        return q + k + v

    def right(*args, **named):
        return package._load("sdpa")(*args, **named)

    def no_number(*args, **named):
        return right(*args, **named) * math.nan

    for function, reason in (
        (no_number, "is wrong by nan"),
        (broken, "failed on a small example: RuntimeError: no kernel image"),
        (wrong, "is wrong by"),
        (right, None),
    ):
        fresh.setitem(package._functions, "triton", function)
        package._failure.cache_clear()
        found = package._failure("triton", CPU, torch.float32)
        assert found is reason or found.startswith(reason)


@pytest.mark.parametrize("lengths", [[], [0], [1, 1, 1]])
def test_no_token_and_single_tokens(lengths):
    qkv, _ = packed(lengths, 2, 16)
    leaves = [x.requires_grad_() for x in qkv]
    borders = torch.tensor([0, *range(1, 1 + sum(lengths))], dtype=torch.int32)
    given = {"cu_seqlens": borders, "max_seqlen": max(lengths, default=0)}
    out = attention(*leaves, **given, alibi_slopes=alibi_slopes(2))
    out.sum().backward()
    assert torch.equal(out, leaves[2])
    assert all(x.grad is not None and torch.isfinite(x.grad).all() for x in leaves[2:])


def test_maps_are_the_weights():
    qkv, borders = packed([7, 1, 0, 12], 3, 8)
    slopes = alibi_slopes(3)
    weights = attention_weights(*qkv[:2], cu_seqlens=borders["cu_seqlens"], alibi_slopes=slopes)
    assert [tuple(x.shape) for x in weights] == [(3, n, n) for n in (7, 1, 0, 12)]
    values = qkv[2].split([7, 1, 0, 12])
    mixed = [(m @ v.transpose(0, 1)).transpose(0, 1) for m, v in zip(weights, values, strict=True)]
    assert torch.allclose(torch.cat(mixed).double(), naive(*qkv, [7, 1, 0, 12], slopes), atol=2e-6)


def test_maps_that_would_not_fit():
    borders = torch.tensor([0, 5, 60_005], dtype=torch.int32)
    require_room(borders[:2], 1000)
    with pytest.raises(ValueError, match="got 3,600,000,025"):
        require_room(borders, 1)


def test_xformers_gets_what_its_kernel_takes(monkeypatch):
    """A stand-in with the demands of memory_efficient_attention, which runs on GPUs alone."""

    def memory_efficient_attention(query, key, value, attn_bias, p):
        batch, rows, heads, _ = query.shape
        assert attn_bias.shape == (batch, heads, rows, key.shape[1])
        assert attn_bias.dtype == query.dtype
        assert attn_bias.stride(-2) % 8 == 0
        assert attn_bias.stride(-1) == 1
        assert p == 0
        parts = [x.transpose(1, 2) for x in (query, key, value)]
        out = torch.nn.functional.scaled_dot_product_attention(*parts, attn_mask=attn_bias)
        return out.transpose(1, 2)

    ops = SimpleNamespace(memory_efficient_attention=memory_efficient_attention)
    monkeypatch.setitem(sys.modules, "xformers", SimpleNamespace(ops=ops))
    monkeypatch.setitem(sys.modules, "xformers.ops", ops)
    monkeypatch.setattr(xformers, "QUERY_BLOCK", 16)
    lengths, slopes = [5, 5, 0, 1, 40, 13], alibi_slopes(3)
    qkv, borders = packed(lengths, 3, 8)
    out = xformers.attention_xformers(*qkv, **borders, alibi_slopes=slopes, dropout_p=0.0)
    assert torch.allclose(out.double(), naive(*qkv, lengths, slopes), atol=2e-6)


def test_flash_attn_gets_its_arguments_by_name(monkeypatch):
    def flash_attn_varlen_func(
        q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p=0.0,
        softmax_scale=None, causal=False, window_size=(-1, -1), softcap=0.0, alibi_slopes=None,
    ):  # fmt: skip
        assert cu_seqlens_q is cu_seqlens_k
        assert max_seqlen_q == max_seqlen_k
        lengths = cu_seqlens_q.diff().tolist()
        return naive(q, k, v, lengths, alibi_slopes).to(q.dtype)

    module = SimpleNamespace(flash_attn_varlen_func=flash_attn_varlen_func)
    monkeypatch.setitem(sys.modules, "flash_attn", module)
    qkv, borders = packed([4, 9], 2, 8)
    slopes = alibi_slopes(2)
    out = flash.attention_flash(*qkv, **borders, alibi_slopes=slopes, dropout_p=0.0)
    assert torch.allclose(out.double(), naive(*qkv, [4, 9], slopes), atol=2e-6)


@pytest.mark.slow
@torch.inference_mode()
def test_flex():
    """Compiled for the CPU, where it has a forward pass."""
    lengths, slopes = [5, 130, 1, 64], alibi_slopes(3)
    qkv, borders = packed(lengths, 3, 16)
    out = flex.attention_flex(*qkv, **borders, alibi_slopes=slopes, dropout_p=0.0)
    assert torch.allclose(out.double(), naive(*qkv, lengths, slopes), atol=2e-6)


def test_flex_refuses_dropout_and_takes_nothing():
    qkv, borders = packed([3], 1, 16)
    with pytest.raises(BackendUnavailableError, match="no dropout"):
        flex.attention_flex(*qkv, **borders, alibi_slopes=alibi_slopes(1), dropout_p=0.1)
    empty = torch.zeros(0, 1, 16)
    given = {"cu_seqlens": torch.zeros(1, dtype=torch.int32), "max_seqlen": 0}
    out = flex.attention_flex(
        empty, empty, empty, **given, alibi_slopes=alibi_slopes(1), dropout_p=0
    )
    assert out.shape == empty.shape


def test_backends_take_the_same_arguments():
    wanted = set(inspect.signature(attention).parameters) - {"backend"}
    for backend in package._BACKENDS.values():
        if backend.module == "triton_varlen":
            pytest.importorskip("triton")
        module = __import__(f"dnabert2_fast.attention.{backend.module}", fromlist=["x"])
        assert set(inspect.signature(getattr(module, backend.function)).parameters) == wanted


def test_scale_is_that_of_the_head():
    """One head of 4 numbers: two tokens, no bias, weights by hand."""
    q = torch.tensor([[[2.0, 0, 0, 0]], [[0.0, 0, 0, 0]]])
    v = torch.tensor([[[1.0, 0, 0, 0]], [[0.0, 0, 0, 0]]])
    borders = {"cu_seqlens": torch.tensor([0, 2], dtype=torch.int32), "max_seqlen": 2}
    out = attention(q, q, v, **borders, alibi_slopes=torch.zeros(1))
    assert math.isclose(out[0, 0, 0], math.exp(2) / (math.exp(2) + 1), rel_tol=1e-6)


def test_the_small_example_has_the_heads_of_the_model(fresh):
    """What runs with heads of 64 may fail with others."""

    def narrow(q, *args, **named):
        if q.shape[-1] < 16:
            raise NotImplementedError("heads of 16 at least")
        return package._load("sdpa")(q, *args, **named)

    fresh.setitem(package._functions, "triton", narrow)
    assert package._failure("triton", CPU, torch.float32, 24) is None
    reason = package._failure("triton", CPU, torch.float32, 8)
    assert reason == "failed on a small example: NotImplementedError: heads of 16 at least"


def test_flex_looks_positions_up_among_numbers_of_their_type(monkeypatch):
    """As torch before 2.12 demands; what is compiled is left out."""
    searchsorted = torch.searchsorted

    def strict(borders, positions, **named):
        assert borders.dtype == positions.dtype
        return searchsorted(borders, positions, **named)

    def attend(q, k, v, score_mod, block_mask):
        return v

    def make_mask(rule, b, heads, rows, columns, device):
        i = torch.arange(rows)
        together = rule(0, 0, i[:, None], i[None, :])
        assert together.tolist() == [[True, False, False], [False, True, True], [False, True, True]]

    monkeypatch.setattr(torch, "searchsorted", strict)
    monkeypatch.setattr(flex, "_compiled", lambda: (attend, make_mask))
    qkv, borders = packed([1, 2], 1, 16)
    flex.attention_flex(*qkv, **borders, alibi_slopes=alibi_slopes(1), dropout_p=0.0)

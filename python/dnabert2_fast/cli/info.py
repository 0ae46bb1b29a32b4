"""A short description of a tokenizer, a corpus, or a checkpoint."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

from dnabert2_fast._internal.checks import check_utf8
from dnabert2_fast.errors import Dnabert2Error

__all__ = ["describe"]


def describe(path: str | os.PathLike[str], *, verify: bool = False) -> str:
    """Return a description of a tokenizer.json, a corpus folder, or a checkpoint folder.

    Parameters
    ----------
    path : path
    verify : bool
        Recompute every checksum of a corpus.

    Raises
    ------
    FileNotFoundError
        When `path` does not exist.
    Dnabert2Error
        When it is not one of the three, or damaged.
    """
    path = Path(path)
    if (path / "corpus.json").exists():
        return _corpus(path, verify)
    if verify and path.exists():
        raise Dnabert2Error(f"{path}: is not a corpus; --verify needs one. Omit --verify.")
    if path.is_dir():
        if (path / "config.json").exists():
            return _checkpoint(path)
        raise Dnabert2Error(
            f"{path}: contains neither a corpus (corpus.json) nor a checkpoint (config.json). Give "
            "one of these folders, or a tokenizer.json."
        )
    return _tokenizer(path)


def _tokenizer(path: Path) -> str:
    from dnabert2_fast.tokenizer import Tokenizer

    tok = Tokenizer.from_file(path)
    specials = [tok.vocabulary[i] for i in sorted(tok.special_ids)]
    lengths = Counter(len(t) for i, t in enumerate(tok.vocabulary) if i not in tok.special_ids)
    longest = max(lengths)
    total = sum(lengths.values())
    mean = sum(n * count for n, count in lengths.items()) / total
    spread = ", ".join(f"{n}: {lengths[n]}" for n in sorted(lengths))
    return "\n".join(
        [
            f"tokenizer {path}",
            f"  {tok.vocab_size} tokens, {len(specials)} special: {' '.join(specials)}",
            f"  bases per token: mean {mean:.2f}, longest {longest}",
            f"  tokens by length: {spread}",
            f"  sha256 {tok.fingerprint}",
        ]
    )


def _corpus(path: Path, verify: bool) -> str:
    from dnabert2_fast.corpus.read import Corpus

    lines = [f"corpus {path}"]
    for split in ("train", "valid"):
        corpus = Corpus.open(path, split=split)
        lines.append(f"  {split}: {len(corpus):,} windows, {corpus.tokens:,} tokens")
        for species, tokens in corpus.by_species.items():
            if species:
                lines.append(f"    {species}: {tokens:,} tokens")
    lines.append(f"  windows: {_rule(corpus.settings)}")
    lines.append(f"  tokenizer sha256 {corpus.fingerprint}")
    if verify:
        corpus.verify()
        lines.append("  every checksum is correct")
    return "\n".join(lines)


def _rule(settings: dict[str, Any]) -> str:
    """Return a phrase about how windows were cut."""
    if "window_bp" not in settings:
        return "imported"
    window, shortest = settings["window_bp"], settings["min_window_bp"]
    whole = "whole runs" if settings["other_letters"] == "split" else "whole records"
    length = f"{shortest} to {window} bp" if shortest else f"{window} bp" if window else whole
    words = [length, f"other letters: {settings['other_letters']}"]
    if settings["stride_bp"] != window and window:
        words.append(f"every {settings['stride_bp']} bp")
    words += ["both strands"] * settings["both_strands"]
    words += ["duplicates dropped"] * settings["deduplicate"]
    return ", ".join(words)


def _checkpoint(path: Path) -> str:
    from safetensors import SafetensorError, safe_open

    from dnabert2_fast.model.weights import read_config

    config = read_config(path / "config.json")
    lines = [
        f"checkpoint {path}",
        f"  {config.num_hidden_layers} layers, hidden {config.hidden_size}, "
        f"{config.num_attention_heads} heads, GLU {config.intermediate_size}, "
        f"vocabulary {config.vocab_size}",
    ]
    weights = path / "model.safetensors"
    check_utf8("path", path)
    if weights.exists():
        try:
            with safe_open(weights, framework="numpy") as tensors:
                names = list(tensors.keys())
                shapes = [tensors.get_slice(name).get_shape() for name in names]
        except SafetensorError as error:
            raise Dnabert2Error(
                f"{weights}: is not a complete safetensors file ({error}). Copy it again."
            ) from None
        count = sum(_product(shape) for shape in shapes)
        heads = [
            what
            for prefix, what in [
                ("cls.", "masked LM"),
                ("classifier.", "classifier"),
                ("bert.pooler.", "pooler"),
                ("pooler.", "pooler"),
            ]
            if any(name.startswith(prefix) for name in names)
        ]
        lines.append(f"  {count:,} numbers in {len(names)} tensors; heads: {', '.join(heads)}")
    tokenizer = path / "tokenizer.json"
    lines.append(f"  tokenizer.json: {'here' if tokenizer.exists() else 'missing'}")
    return "\n".join(lines)


def _product(shape: list[int]) -> int:
    product = 1
    for n in shape:
        product *= n
    return product

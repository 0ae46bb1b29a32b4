"""A short description of a tokenizer, a corpus, a checkpoint, or a sequence file."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

from dnabert2_fast._internal.checks import check_utf8
from dnabert2_fast._internal.names import advice
from dnabert2_fast._internal.stopped import stopped_run
from dnabert2_fast._internal.strict_json import read_object
from dnabert2_fast.errors import Dnabert2Error
from dnabert2_fast.io.content import is_sequence_file, open_input
from dnabert2_fast.tokenizer._vocabulary import PACKAGED

__all__ = ["describe"]

CLASSES = 10
"""Class names to show."""


def describe(path: str | os.PathLike[str], *, verify: bool = False) -> str:
    """Return a description of a tokenizer, a corpus or checkpoint folder, or a sequence file.

    Parameters
    ----------
    path : path
        ``mini`` and ``dnabert2``, unless they are here, are what the package contains.
    verify : bool
        Recompute every checksum of a corpus.

    Raises
    ------
    Dnabert2Error
        When `path` does not exist, is something else, or damaged.
    """
    given, path = path, Path(path)
    if not path.exists():
        path = PACKAGED.get(os.fspath(given), path)
        path = path.parent if path.name == "tokenizer.json" else path  # of a model
    if not path.exists() and stopped_run(path) is None:
        raise Dnabert2Error(f"{path}: no such file or folder. {advice(path, PACKAGED)}")
    if (path / "corpus.json").exists():
        return _corpus(path, verify)
    if verify and path.exists():
        raise Dnabert2Error(f"{path}: is not a corpus; --verify needs one. Omit --verify.")
    if (unfinished := stopped_run(path)) is not None:
        return f"run {path}\n  {unfinished}"
    if path.is_dir():
        if (path / "config.json").exists():
            return _checkpoint(path)
        raise Dnabert2Error(
            f"{path}: contains neither a corpus (corpus.json) nor a checkpoint (config.json). Give "
            "one of these folders, a tokenizer.json, or a FASTA or FASTQ file."
        )
    if path.exists() and is_sequence_file(open_input(path)):
        return _sequences(path)
    return _tokenizer(path)


def _sequences(path: Path) -> str:
    from dnabert2_fast.io import read_fasta

    count = bases = other = longest = 0
    first, shortest = "", None
    for record in read_fasta(path):
        first = first or record.name
        length = len(record.sequence)
        count, bases = count + 1, bases + length
        other += length - sum(record.sequence.upper().count(base) for base in "ACGT")
        longest, shortest = max(longest, length), min(shortest or length, length)
    shape = f"{shortest:,} to {longest:,} letters" if count else "no records"
    return "\n".join(
        [
            f"sequences {path}",
            f"  {count:,} records of {shape}, the first is {first}",
            f"  {bases:,} letters, {other:,} of them other than A, C, G, T",
        ]
    )


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
    return "\n".join(lines + _task(path))


def _task(path: Path) -> list[str]:
    """Return what a folder of `finetune` was trained for, and its scores."""
    if not (path / "task.json").exists():
        return []
    task = read_object(path / "task.json")
    names = task.get("names") or []
    shown = ", ".join(names[:CLASSES])
    if len(names) > CLASSES:
        shown += f" and {len(names) - CLASSES} more"
    lines = [f"  task: {task.get('kind')}" + (f" of {len(names)}: {shown}" if names else "")]
    if window := task.get("window_bp"):
        lines.append(f"  longest training sequence: {window:,} bp, the window of predict")
    if (path / "run.json").exists():
        run = read_object(path / "run.json")
        source, data, mode = (run.get(name) for name in ("model", "data", "mode"))
        lines.append(f"  fine-tuned from {source} on {data}, mode {mode}")
    if (path / "metrics.json").exists():
        content = read_object(path / "metrics.json")
        for split, scores in content.get("mean", content).items():
            listed = [f"{k} {v:.3f}" for k, v in dict(scores).items() if isinstance(v, float)]
            lines.append(f"  {split}: {', '.join(listed)}")
    return lines


def _product(shape: list[int]) -> int:
    product = 1
    for n in shape:
        product *= n
    return product

"""Labels as text: numbers, equal forms of a number, what a table's labels mean, and doubts."""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path

from dnabert2_fast.errors import InputWarning
from dnabert2_fast.finetuning.config import Kind

__all__ = ["finite", "kind_of", "plain", "warn_of_classes", "warn_of_numbers"]

MISSING = ("nan", "na", "none", "null", "n/a", "<na>")  # a value or a class
COMMA = re.compile(r"[+-]?\d+,\d+")


def finite(text: str) -> float | None:
    """Return a finite number, with a decimal point or comma; None for other text.

    >>> finite("0,5"), finite("-1"), finite("nan"), finite("a")
    (0.5, -1.0, None, None)
    """
    try:
        value = float(text.replace(",", ".") if COMMA.fullmatch(text) else text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def plain(label: str) -> str:
    """Return a label in the form in which equal numbers are equal text.

    >>> plain("1.0"), plain("-1"), plain("0.5"), plain("007"), plain("yes")
    ('1', '-1', '0.5', '7', 'yes')
    """
    if label.isdecimal():
        return label.lstrip("0") or "0"
    value = finite(label)
    if value is None:
        return label
    return str(int(value)) if value.is_integer() and abs(value) < 1 << 53 else repr(value)


def kind_of(labels: set[str]) -> Kind:
    """Return what the labels of a training table mean; mixtures are classes, and refused later."""
    if any(";" in label for label in labels):
        return "multilabel"
    values = {finite(label) for label in labels}
    if None in values or all(map(str.isdecimal, labels)):
        return "multiclass"
    whole = all(value is not None and value.is_integer() for value in values)
    if whole and (len(values) == 2 or values == set(range(len(values)))):
        return "multiclass"  # -1 and 1; 0.0, 1.0, 2.0 as pandas writes classes after a gap
    return "regression"


def warn_of_classes(labels: set[str], found: tuple[str, ...], path: Path) -> None:
    """Warn of classes that may be meant otherwise."""
    numbers = finite(found[0]) is not None
    if numbers:
        usual = found == tuple(map(str, range(len(found)))) and all(map(str.isdecimal, labels))
    else:
        usual = not any(label.lower() in MISSING for label in labels)
    if usual or len(found) < 2:
        return
    listed = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
    remedy = " For numbers, use --task regression." if numbers and len(found) > 2 else ""
    warnings.warn(
        f"{path}: read label as {len(found):,} classes: {listed}.{remedy}",
        InputWarning,
        stacklevel=2,
    )


def warn_of_numbers(labels: set[str], path: Path, is_auto: bool) -> None:
    """Warn of numbers that may be meant otherwise."""
    parts = {part.strip() for label in labels for part in label.split(";")}
    commas = sorted(part for part in parts if COMMA.fullmatch(part))
    values = [finite(part) for part in parts]
    said = []
    if commas:
        said.append(f"read label with decimal commas: {commas[0]} is {finite(commas[0]):g}.")
    if is_auto and all(value is not None and value.is_integer() for value in values):
        said.append("read label as numbers. For classes, use --task multiclass.")
    if said:
        warnings.warn(f"{path}: {' '.join(said)}", InputWarning, stacklevel=2)

"""Marks for `torch.compile` that do not import the compiler.

``torch.compiler.assume_constant_result`` imports the compiler to set one attribute, which takes as
long as importing torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

__all__ = ["constant_result"]

Function = TypeVar("Function", bound=Callable[..., object])


def constant_result(function: Function) -> Function:
    """Make compiled code call a function once and store its result.

    >>> @constant_result
    ... def cores() -> int:
    ...     return 2
    >>> cores()
    2
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function

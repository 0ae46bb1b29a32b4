"""What `torch.compile` is told of a function, without importing the compiler.

``torch.compiler.assume_constant_result`` imports it to set one attribute, which takes as long as
importing torch, for everybody who never compiles.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

__all__ = ["constant_result"]

Function = TypeVar("Function", bound=Callable[..., object])


def constant_result(function: Function) -> Function:
    """Let compiled code call a function once, and keep what it returns.

    >>> @constant_result
    ... def cores() -> int:
    ...     return 2
    >>> cores()
    2
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function

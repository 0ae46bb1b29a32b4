"""Package attributes that are imported at their first use."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

__all__ = ["attach", "attribute"]


def attach(
    package: str, home: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package.

    Parameters
    ----------
    package : str
        Full name of the package.
    home : mapping of str to str
        For each public name, the module below `package` that defines it.

    Examples
    --------
    >>> get, names = attach("dnabert2_fast", {"Ragged": "ragged"})
    >>> get("Ragged").__name__, "Ragged" in names()
    ('Ragged', True)
    """
    return partial(attribute, package, home), lambda: [*vars(sys.modules[package]), *home]


def attribute(package: str, home: Mapping[str, str], name: str) -> Any:
    """Import and return a public name of a package.

    Parameters
    ----------
    package, home
        As in `attach`.
    name : str

    Raises
    ------
    AttributeError
        When the package has no such name.
    ModuleNotFoundError
        When a library is missing; names the extra to install.

    Examples
    --------
    >>> attribute("dnabert2_fast", {"Ragged": "ragged"}, "Ragged").__name__
    'Ragged'
    """
    if name not in home:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    from dnabert2_fast._internal.extras import EXTRA_OF, needs

    with needs(f"{package}.{name}", EXTRA_OF.get(name)):
        value = getattr(import_module(f"{package}.{home[name]}"), name)
    setattr(sys.modules[package], name, value)  # the next access does not call this function
    return value

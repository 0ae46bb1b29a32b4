"""Every public name shows how it is used, in lines that pytest runs as doctests."""

import inspect
import re

import pytest

import dnabert2_fast

HEADING = r"\n *Examples\n *-{8}\n"


def constructors(cls):
    """The class methods by which an instance is made, inherited ones of this package included."""
    for base in cls.__mro__:
        if base.__module__.startswith("dnabert2_fast."):
            for name, value in vars(base).items():
                if isinstance(value, classmethod) and not name.startswith("_"):
                    yield name, value.__func__


def documented():
    for name in dnabert2_fast.__all__:
        value = getattr(dnabert2_fast, name)
        yield pytest.param(value, HEADING + "(?s:.*)>>> ", id=name)
        if inspect.isclass(value):
            for method, function in constructors(value):
                yield pytest.param(function, ">>> ", id=f"{name}.{method}")


@pytest.mark.parametrize(("value", "wanted"), documented())
def test_there_is_an_example(value, wanted):
    assert re.search(wanted, value.__doc__ or ""), 'add a section "Examples" with >>> lines'

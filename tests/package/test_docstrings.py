"""Every public name shows how it is used, in lines that pytest runs as doctests."""

import inspect
import re
from importlib import import_module

import pytest

HEADING = r"\n *Examples\n *-{8}\n"
PACKAGES = (
    "tokenizer",
    "corpus",
    "io",
    "model",
    "pretraining",
    "finetuning",
    "genomics",
    "benchmark",
)

# Results are shown by what returns them; the others need a cluster, a plot or a file of their own.
WITHOUT_EXAMPLE = {
    "tokenizer": "Assessment Source Tokenized TrainingReport plot_assessments plot_vocab_sizes",
    "corpus": "Batch CorpusPlan Window as_dataset",
    "io": "Piece Span read_chunks",
    "model": "ClassifierOutput EncoderOutput MaskedLMOutput",
    "pretraining": "PretrainResult",
    "finetuning": "Answers FinetuneResult Task",
}


def constructors(cls):
    """The class methods by which an instance is made, inherited ones of this package included."""
    for base in cls.__mro__:
        if base.__module__.startswith("dnabert2_fast."):
            for name, value in vars(base).items():
                if isinstance(value, classmethod) and not name.startswith("_"):
                    yield name, value.__func__


def public():
    for package in ("", *PACKAGES):
        module = import_module(f"dnabert2_fast.{package}".rstrip("."))
        for name in module.__all__:
            value = getattr(module, name)
            if (inspect.isclass(value) or inspect.isfunction(value)) and (
                name not in WITHOUT_EXAMPLE.get(package, "").split()
            ):
                yield name, value


def documented():
    for name, value in dict(public()).items():
        yield pytest.param(value, HEADING + "(?s:.*)>>> ", id=name)
        if inspect.isclass(value):
            for method, function in constructors(value):
                yield pytest.param(function, ">>> ", id=f"{name}.{method}")


@pytest.mark.parametrize(("value", "wanted"), documented())
def test_there_is_an_example(value, wanted):
    assert re.search(wanted, value.__doc__ or ""), 'add a section "Examples" with >>> lines'

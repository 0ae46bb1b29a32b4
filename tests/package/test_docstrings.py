"""Docstrings of public names: sections of numpydoc, and an example that pytest runs."""

import ast
import inspect
import re
import textwrap
from functools import cached_property
from importlib import import_module

import pytest
from numpydoc.docscrape import NumpyDocString

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


# Made by their class methods, by Python, or by transformers with its own arguments.
NOT_CALLED = {"Corpus", "Tokenizer", "BaseException", "PreTrainedModel", "PreTrainedConfig"}
IN_FULL = (*PACKAGES, "attention", "errors", "hf", "optim", "ray")


def callables():
    """Yield every public function, class, method and property of this package, once."""
    found = {}
    for package in ("", *IN_FULL):
        module = import_module(f"dnabert2_fast.{package}".rstrip("."))
        for value in (getattr(module, name) for name in module.__all__):
            if inspect.isfunction(value):
                found[value] = value.__qualname__
            if not inspect.isclass(value):
                continue
            found[value] = value.__qualname__
            ours = [base for base in value.__mro__ if base.__module__.startswith("dnabert2_fast")]
            others = {name for base in value.__mro__ if base not in ours for name in vars(base)}
            for base in ours:
                for name, method in vars(base).items():
                    method = getattr(method, "__func__", method)
                    own = isinstance(method, (property, cached_property)) or (
                        inspect.isfunction(method) and method.__qualname__.startswith(base.__name__)
                    )
                    # A method of a library's class has that library's arguments.
                    if own and not name.startswith("_") and name not in others:
                        found[method] = f"{base.__name__}.{name}"
    return [pytest.param(value, id=name) for value, name in found.items()]


def names_of(section):
    return [name for field in section for name in re.split(", *", field.name)]


def raised(function):
    """Return the exceptions in the raise statements of a function that it does not catch."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    tried = [node for node in ast.walk(tree) if isinstance(node, ast.Try) and node.handlers]
    caught = {inner for node in tried for part in node.body for inner in ast.walk(part)}
    raises = [node for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    calls = [node.exc for node in raises if node.exc and node not in caught]
    names = [ast.unparse(call).partition("(")[0] for call in calls]
    return {name for name in names if name.endswith("Error")}


@pytest.mark.parametrize("value", callables())
@pytest.mark.filterwarnings("error")
def test_docstrings_have_the_sections_of_numpydoc(value):
    function = getattr(value, "fget", None) or getattr(value, "func", None) or value
    text = inspect.cleandoc(function.__doc__ or "")
    first, _, rest = text.partition("\n")
    assert first.endswith(".")
    assert len(first) <= 80
    assert not rest or rest.startswith("\n")
    sections = NumpyDocString(text)
    if function is not value:  # a property
        return
    if inspect.isclass(value) and NOT_CALLED & {base.__name__ for base in value.__mro__}:
        return
    signature = inspect.signature(value)
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    expected = [
        stars.get(parameter.kind, "") + name
        for name, parameter in signature.parameters.items()
        if name not in ("self", "cls")
    ]
    parameters = sections["Parameters"]
    if inspect.isclass(value) and not parameters:
        parameters = sections["Attributes"]
    assert sorted(names_of(parameters)) == sorted(expected)
    if inspect.isclass(value):
        return
    if signature.return_annotation not in (None, "None", "NoReturn"):
        assert sections["Returns"] or sections["Yields"]
    listed = {name for field in sections["Raises"] for name in re.split(", *", field.type)}
    assert raised(value) <= listed

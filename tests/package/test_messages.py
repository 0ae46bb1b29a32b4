"""Every error, warning and help text follows the rules for messages."""

import ast
import re
import runpy
from collections.abc import Iterator

import pytest
from helpers.project import ROOT

PACKAGE = ROOT / "python" / "dnabert2_fast"
FOUND = runpy.run_path(str(ROOT / ".ci" / "phrases.py"))["FOUND"]
# A message states what must hold, not what somebody expects, and never blames the user.
UNCLEAR = re.compile(
    r"\b(is|are) expected\b|\b(illegal|bad|you|your|please)\b|!$|  ", re.IGNORECASE
)


def text_of(node: ast.expr) -> str:
    """Return a string with {} for each value in it; empty for other expressions."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            text_of(part) if isinstance(part, ast.Constant) else "{}" for part in node.values
        )
    if isinstance(node, ast.BinOp):
        return text_of(node.left) + text_of(node.right)
    return ""


def messages() -> Iterator[tuple[str, str]]:
    """Yield every string given to an exception or a warning, with its position."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and node.args:
                called = ast.unparse(node.func)
                if called.endswith(("Error", "warnings.warn")) and (text := text_of(node.args[0])):
                    yield f"{name}:{node.lineno}", text


def helps() -> Iterator[tuple[str, str]]:
    """Yield the docstrings from which the commands make their help."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            command = isinstance(node, ast.FunctionDef) and name.startswith("cli/")
            settings = isinstance(node, ast.ClassDef) and node.name.endswith("Config")
            if (command or settings) and (text := ast.get_docstring(node)):
                yield f"{name}:{node.lineno}", text


def test_there_are_messages_and_helps():
    assert len(list(messages())) > 100
    assert len(list(helps())) > 30


@pytest.mark.parametrize(("where", "text"), messages())
def test_messages(where, text):
    assert not FOUND.search(text), where
    assert not UNCLEAR.search(text), where
    assert len(text) < 300, where


@pytest.mark.parametrize(("where", "text"), helps())
def test_helps(where, text):
    assert not FOUND.search(re.sub("`[^`]*`", "", text)), where
    first = text.splitlines()[0]
    assert len(first) <= 100, where
    assert first.endswith("."), where


def labels() -> Iterator[tuple[str, str]]:
    """Yield the labels and titles of plots."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                texts = [word.value for word in node.keywords if word.arg in ("xlabel", "ylabel")]
                if re.fullmatch("set_([xy]?label|title)|sup(title|xlabel)", node.func.attr):
                    texts += node.args[:1]
                yield from ((f"{name}:{node.lineno}", text_of(text)) for text in texts)


def test_labels_of_plots():
    found = dict(labels())
    assert len(found) > 20
    unclear = re.compile(r"\(bp\)|, 0-based|\bshare of\b|\bby chance\b|^(predicted|true|weight)$")
    assert not [(where, text) for where, text in found.items() if unclear.search(text)]
    assert not [(where, text) for where, text in found.items() if FOUND.search(text)]

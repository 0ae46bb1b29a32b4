"""Help of every command, and unknown commands and options."""

import re
from importlib.metadata import version

import pytest
from helpers.processes import run as python

from dnabert2_fast import cli
from dnabert2_fast.cli._parser import parse
from dnabert2_fast.corpus.plan import CorpusConfig


def shown(command, capsys, monkeypatch):
    """Return the help of a command, without its frame."""
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit) as left:
        cli.main([command, "--help"])
    assert left.value.code == 0
    return [line.strip("│| ") for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help(command, capsys, monkeypatch):
    lines = shown(command, capsys, monkeypatch)
    text = re.sub(r"\{[a-z]\S*\}", "CHOICE", "\n".join(lines))
    assert not re.search(r"\bNone\b|\bSTR\b|\{|default: \)", text)
    options = [at for at, line in enumerate(lines) if re.match("--?[a-z]", line)]
    assert options
    for at in options:  # the description is on the same line or the next one
        described = lines[at].partition("  ")[2].strip() or lines[at + 1]
        assert not described.startswith(("--", "(default", "(required")), lines[at]
        assert re.search("[a-z]", described), lines[at]


def test_help_names_values_and_defaults(capsys, monkeypatch):
    text = "\n".join(shown("embed", capsys, monkeypatch))
    assert "usage: dnabert2-fast embed [-h] [OPTIONS] FILE" in text
    assert "--model MODEL" in text
    assert "--regions FILE" in text
    assert "(default: mini)" in text
    assert "--out FOLDER" in "\n".join(shown("pretrain", capsys, monkeypatch))
    assert "--on FILE ..." in "\n".join(shown("info", capsys, monkeypatch))


def window(window_bp: int | None = 1000) -> int | None:
    """Return the length of a window."""
    return window_bp


def test_none_unsets_an_option():
    assert parse(window, ["--window-bp", "none"], "x") is None
    assert parse(window, ["--window-bp", "7"], "x") == 7
    assert parse(window, [], "x") == 1000
    assert parse(CorpusConfig, ["--window-bp", "none"], "x") == CorpusConfig(window_bp=None)
    assert parse(CorpusConfig, ["--rna", "--min_bp=3"], "x") == CorpusConfig(rna=True, min_bp=3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["embd"], "embd: is not a command. Did you mean embed?"),
        (["zzz"], "zzz: is not a command. See dnabert2-fast --help for the commands."),
        (
            ["embed", "x", "--otu", "y"],
            "--otu: is not an option of dnabert2-fast embed. Did you mean --out?",
        ),
        (
            ["demo", "--see_d=3"],
            "--see_d: is not an option of dnabert2-fast demo. Did you mean --seed?",
        ),
        (
            ["gue", "--no-x"],
            "--no-x: is not an option of dnabert2-fast gue. See dnabert2-fast gue --help.",
        ),
    ],
)
def test_unknown(arguments, message, capsys):
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_package_is_the_program(tmp_path):
    ended = python("-m", "dnabert2_fast", "--version", cwd=tmp_path)
    assert ended.stdout.strip() == version("dnabert2-fast")

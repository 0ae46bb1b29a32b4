"""Help of every command, and unknown commands and options."""

import re
import subprocess
from importlib.metadata import version
from shutil import which

import pytest
from helpers.processes import run as python

from dnabert2_fast import cli
from dnabert2_fast.cli import _parser
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
    examples = lines[lines.index("examples:") + 1 :]
    assert [line for line in examples if f"{command}" in line] == [
        line for line in examples if line
    ]
    assert len(examples) in ((2,) if command == "doctor" else (3, 4))  # with an empty line


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
        (["zzz"], "zzz: is not a command. Run dnabert2-fast --help."),
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
            "--no-x: is not an option of dnabert2-fast gue. Run dnabert2-fast gue --help.",
        ),
    ],
)
def test_unknown(arguments, message, capsys):
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("embed", "FILE and --out: required (got nothing)."),
        ("pretrain --out y", "FOLDER: required (got nothing)."),
        ("gue --out x", "--data: required (got nothing)."),
        ("demo --seed x", '--seed: must be an integer (got "x").'),
        ("demo --seed=", '--seed: must be an integer (got "").'),
        ("demo --seed", "--seed: requires a value (got nothing, expected INT)."),
        ("pretrain x --out y --steps 0.5", '--steps: must be an integer (got "0.5").'),
        ("pretrain x --out y --dropout a", '--dropout: must be a number (got "a").'),
        (
            "embed x --out y --pooling avg",
            '--pooling: must be one of "mean", "cls", "max" (got "avg").',
        ),
        (
            "finetune m --data x --out y --mode froz",
            '--mode: must be one of "full", "lora", "frozen" (got "froz"). Did you mean frozen?',
        ),
        ("doctor now", "now: is not an argument of dnabert2-fast doctor."),
        ("demo -q", "-q: is not an option of dnabert2-fast demo."),
    ],
)
def test_rejected_values_are_one_line(arguments, message, capsys):
    assert cli.main(arguments.split()) == 2
    command = arguments.split()[0]
    remedy = f"Run dnabert2-fast {command} --help."
    assert capsys.readouterr().err == f"error: {message} {remedy}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "pretrain --corpus c",
            "--corpus: is a positional argument of dnabert2-fast pretrain. Write its value alone.",
        ),
        (
            "embed --file c",
            "--file: is a positional argument of dnabert2-fast embed. Write its value alone.",
        ),
        ("pretrain x --out y --steps -1", "--steps: must be at least 1 (got -1)."),
        ("embed x --out y.npy --batch_tokens=0", "--batch_tokens: must be at least 1 (got 0)."),
        ("embed x --out y.npy --window-bp 0", "--window-bp: must be at least 1 (got 0)."),
        ("embed model --model mini --out y.npy", "model: No such file or directory"),
    ],
)
def test_options_are_named_as_typed(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_text(">a\nACGT\n")
    assert cli.main(arguments.split()) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_without_the_hook_of_tyro_its_own_error_is_printed(capsys, monkeypatch):
    monkeypatch.setattr(_parser, "tyro_errors", None)
    with pytest.raises(SystemExit) as left:
        cli.main(["demo", "--seed", "x"])
    assert left.value.code == 2
    assert "--seed" in capsys.readouterr().err


COMPLETE = """
source ./script
complete -p
try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _dnabert2_fast; echo "${COMPREPLY[*]-}"; }
try dnabert2-fast em
try dnabert2-fast embed --pooling m
try dnabert2-fast pretrain corpus --optimi
try dnabert2-fast embed --regions x.f
try dnabert2-fast embed x.f
echo "${#COMPREPLY[@]}"
"""


def test_completion_in_bash(capsys, tmp_path):
    assert cli.main(["--tyro-print-completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    (tmp_path / "x.fa").write_text(">a\nACGT\n")
    done = subprocess.run(
        ["bash", "-c", COMPLETE], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "complete -o default -F _dnabert2_fast dnabert2-fast",
        "embed",
        "mean max",
        "--optimizer",
        "x.fa",
        "",
        "0",  # nothing of its own, so that bash offers the names of files
    ]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_in_other_shells(shell, capsys):
    assert cli.main(["--tyro-print-completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(f"'{command}'" in script for command in cli.COMMANDS)
    if shell == "zsh":
        assert script.endswith('\n_tyro_dnabert2_fast "$@" || _files\n')


@pytest.mark.skipif(which("fish") is None, reason="needs the shell fish")
def test_completion_in_fish(capsys, tmp_path):
    assert cli.main(["--tyro-print-completion", "fish"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    (tmp_path / "reads.fa").write_text(">a\nACGT\n")
    lines = "embed --pooling me", "pretrain corpus --optimi", "embed reads.f"
    tried = "".join(f'complete -C "dnabert2-fast {line}"\n' for line in lines)
    done = subprocess.run(
        ["fish", "-c", f"source script\n{tried}"], cwd=tmp_path, capture_output=True, text=True
    )
    found = [line.partition("\t")[0] for line in done.stdout.splitlines()]
    assert found == ["mean", "--optimizer", "reads.fa"]


@pytest.mark.parametrize("shells", [[], ["sh"], ["bash", "x"]])
def test_completion_of_an_unknown_shell(shells, capsys):
    assert cli.main(["--tyro-print-completion", *shells]) == 2
    err = capsys.readouterr().err
    got = " ".join(shells) or "nothing"
    assert err == f"error: --tyro-print-completion: must be bash, zsh or fish (got {got}).\n"


def test_package_is_the_program(tmp_path):
    ended = python("-m", "dnabert2_fast", "--version", cwd=tmp_path)
    assert ended.stdout.strip() == version("dnabert2-fast")


# Ctrl-C while a library of the command line is imported.
STOPPED = """
import runpy, sys
class Stopped:
    def find_spec(self, name, *_):
        if name == "tyro":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Stopped())
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("module", ["dnabert2_fast", "dnabert2_fast.cli"])
def test_ctrl_c_during_imports(module, tmp_path):
    ended = python("-c", STOPPED, module, "--version", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (130, "interrupted\n")

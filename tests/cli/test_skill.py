"""The skill in the package: its commands have these arguments, and it is installed as it is."""

import functools
import inspect
import re
import shlex

import pytest

from dnabert2_fast import cli
from dnabert2_fast.cli import _parser
from dnabert2_fast.cli.skill import SKILL

LINES = re.findall(r"`dnabert2-fast ([a-z].*?)`", SKILL.read_text())


def test_it_is_installed(tmp_path, capsys):
    written = tmp_path / "skills" / "dnabert2-fast" / "SKILL.md"
    for _ in range(2):
        assert cli.main(["install-skill", str(tmp_path / "skills")]) == 0
        assert str(written) in capsys.readouterr().out
        assert written.read_bytes() == SKILL.read_bytes()
    assert written.read_text().startswith("---\nname: dnabert2-fast\ndescription: ")


@pytest.mark.parametrize("line", LINES)
def test_its_commands_have_these_arguments(line, monkeypatch):
    """They are parsed by the command's own parser, and nothing is run."""
    described = _parser.described

    def not_run(target):
        made = described(target)
        return made if inspect.isclass(made) else functools.wraps(made)(lambda *_, **__: None)

    monkeypatch.setattr(_parser, "described", not_run)
    command, *arguments = shlex.split(line)
    _parser.parse(_parser.target_of(cli.COMMANDS[command][1]()), arguments, command)


def test_it_routes_to_every_task():
    others = {"vocab-sizes", "fill-mask", "gue", "publish", "export-onnx", "install-skill", "demo"}
    assert {line.split()[0] for line in LINES} == set(cli.COMMANDS) - others

"""The README's code runs as printed, and its commands exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dnabert2_fast.cli import VERBS

README = Path(__file__).parents[1] / "README.md"
blocks = re.findall(r"^```(\w+)\n(.*?)^```", README.read_text(encoding="utf-8"), re.S | re.M)
python_blocks = [code for language, code in blocks if language == "python"]
shell_lines = [line for language, code in blocks if language == "sh" for line in code.splitlines()]


def test_the_first_screen():
    text = README.read_text(encoding="utf-8")
    first_screen = text.splitlines()[:45]
    assert len([line for line in python_blocks[0].splitlines() if line.strip()]) <= 12
    assert "make demo" in "\n".join(first_screen)
    assert "make test" in "\n".join(first_screen)


@pytest.mark.parametrize("code", python_blocks)
def test_code(code, tmp_path):
    """A new folder, nothing but what the README makes there itself."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    printed = [line.partition("# ")[2] for line in code.splitlines() if line.startswith("print(")]
    for expected, line in zip(printed, done.stdout.splitlines(), strict=True):
        assert line == expected


def test_commands_name_real_verbs():
    verbs = [line.split()[1] for line in shell_lines if line.startswith("dnabert2-fast ")]
    assert verbs
    assert set(verbs) <= set(VERBS)

"""Examples run as they stand, in an empty folder."""

import subprocess
import sys

import pytest
from helpers.project import ROOT

EXAMPLES = ROOT / "examples"


@pytest.mark.parametrize(
    ("name", "said", "made"),
    [
        ("species.py", "600 sequences", ["species.png"]),
        ("promoters.py", "613 sequences, MCC 0.", []),
    ],
)
def test_example(name, said, made, tmp_path):
    command = [sys.executable, "-W", "ignore", str(EXAMPLES / name)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert all((tmp_path / file).stat().st_size > 1000 for file in made)

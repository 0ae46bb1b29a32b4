"""Examples run unchanged, in an empty folder."""

import pytest
from helpers.processes import run
from helpers.project import ROOT

EXAMPLES = ROOT / "examples"


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "said", "made"),
    [
        ("species.py", "600 sequences", ["species.png"]),
        ("promoters.py", "613 sequences, MCC ", []),
    ],
)
def test_example(name, said, made, tmp_path):
    done = run(EXAMPLES / name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert all((tmp_path / file).stat().st_size > 1000 for file in made)

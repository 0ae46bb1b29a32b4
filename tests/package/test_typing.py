"""What a user's type checker sees of the package."""

import subprocess
import sys

from helpers.project import ROOT


def mypy(file):
    command = [sys.executable, "-m", "mypy", "--strict", str(file)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_users_program_has_types_throughout():
    done = mypy(ROOT / "tests" / "package" / "typing_sample.py")
    assert done.returncode == 0, done.stdout


def test_a_name_that_is_not_there_is_seen_through_the_lazy_imports(tmp_path):
    program = tmp_path / "wrong.py"
    program.write_text(
        "from dnabert2_fast import Tokenizer, Tokeniser\n"
        'Tokenizer.from_pretrained("dnabert2").encode(5)\n'
    )
    done = mypy(program)
    assert done.returncode == 1
    assert "Tokeniser" in done.stdout
    assert 'Argument 1 to "encode" of "Tokenizer" has incompatible type "int"' in done.stdout

"""The scripts beside the package use names and arguments that exist."""

import subprocess
import sys

import pytest
from helpers.project import ROOT

# Codes of mypy that scripts without annotations raise, and that do not concern names.
OTHER = "arg-type,assignment,call-overload,index,list-item,method-assign,misc,operator,union-attr"
CONFIG = f"""
[mypy]
check_untyped_defs = True
mypy_path = python:benches:.ci
ignore_missing_imports = True
follow_imports = silent
disable_error_code = {OTHER},var-annotated
"""


@pytest.mark.full
def test_scripts_use_names_that_exist(tmp_path):
    config = tmp_path / "mypy.ini"
    config.write_text(CONFIG)
    scripts = [*ROOT.glob("benches/*.py"), *ROOT.glob(".ci/*.py"), *ROOT.glob("docs/*.py")]
    assert len(scripts) > 20
    command = [sys.executable, "-m", "mypy", "--config-file", config]
    done = subprocess.run([*command, *scripts], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout

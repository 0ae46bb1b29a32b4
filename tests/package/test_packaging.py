"""Packages and workflow tools: what they install, require and run is what this version has."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from helpers.commands import parse_only
from helpers.project import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGING = ROOT / "packaging"
CARGO = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
VERSION = CARGO["version"]

# Names on PyPI and on conda-forge or bioconda.
CONDA = {
    "isal": "python-isal",
    "torch": "pytorch",
    "matplotlib": "matplotlib-base",
    "ray": "ray-data",
}


def requirements(texts):
    """Return versions by conda's names, without requirements on extras of this package."""
    found = {}
    for one in map(Requirement, texts):
        if one.name != "dnabert2-fast":
            name = canonicalize_name(one.name).replace("huggingface-hub", "huggingface_hub")
            found[CONDA.get(name, name)] = set(map(str, one.specifier))
    return found


def conda(specs):
    return {name: set(limits.split(",")) for name, limits in (spec.split(" ", 1) for spec in specs)}


EXTRAS = PROJECT["project"]["optional-dependencies"]
OPTIONAL = requirements(r for extra, rs in EXTRAS.items() if extra != "dev" for r in rs)


def test_every_yaml_file_can_be_read():
    files = [*PACKAGING.rglob("*.yaml"), *PACKAGING.rglob("*.yml")]
    assert len(files) >= 17
    for file in files:
        assert yaml.safe_load(file.read_text()), file


def test_the_recipe_requires_what_the_project_requires():
    recipe = yaml.safe_load((PACKAGING / "conda" / "recipe.yaml").read_text())
    assert recipe["context"]["version"] == VERSION
    needs = recipe["requirements"]
    run = conda(needs["run"])
    assert run.pop("python") == {PROJECT["project"]["requires-python"]}
    assert run == requirements(PROJECT["project"]["dependencies"])
    assert conda(needs["run_constraints"]) == OPTIONAL
    assert f"rust >={CARGO['rust-version']}" in needs["build"]
    (maturin,) = PROJECT["build-system"]["requires"]
    assert conda(needs["host"][2:]) == requirements([maturin])
    assert recipe["about"]["summary"] == PROJECT["project"]["description"]
    assert recipe["about"]["license"] == PROJECT["project"]["license"]
    assert recipe["about"]["license_file"] == PROJECT["project"]["license-files"]
    assert recipe["about"]["repository"] == CARGO["repository"]


def test_both_images_have_the_same_steps():
    container = (PACKAGING / "container" / "Containerfile").read_text()
    definition = (PACKAGING / "apptainer" / "dnabert2_fast.def").read_text()
    steps = [
        f'pip install --no-cache-dir "{PROJECT["build-system"]["requires"][0]}"',
        "/build/bin/maturin build --release --strip --locked --out /wheels",
        '--index-url https://download.pytorch.org/whl/cpu "torch>=2.6"',
        'pip install --no-cache-dir "$(ls /wheels/*.whl)[all]"',
        f"rust:{CARGO['rust-version']}-slim-bookworm",
        "python:3.12-slim-bookworm",
    ]
    for text in (container, definition):
        assert [step for step in steps if step not in text] == []
        assert re.search(rf'image\.version[ =]"?{re.escape(VERSION)}"?', text)
        assert {*re.findall(r"image\.licenses[ =]\"?([\w.-]+)", text)} == {"Apache-2.0"}
        copied = re.search(r"pyproject\.toml", text)
        assert copied
        for name in PROJECT["project"]["license-files"]:
            assert name in text  # the wheel contains them


def galaxy_lines():
    macros = ElementTree.parse(PACKAGING / "galaxy" / "macros.xml")
    assert macros.find("token[@name='@TOOL_VERSION@']").text == VERSION
    for file in sorted((PACKAGING / "galaxy").glob("dnabert2_fast_*.xml")):
        tool = ElementTree.parse(file)
        values = {"sequences.ext": "fasta", "table": "table.csv"}
        for one in [*macros.iter("param"), *tool.iter("param")]:
            chosen = one.find("option[@selected='true']")
            value = one.get("value") if chosen is None else chosen.get("value")
            name = one.get("name") or one.get("argument").strip("-").replace("-", "_")
            values.setdefault(name, one.get("truevalue") or value)
        command = " ".join(tool.find("command").text.split())
        (line,) = re.findall(r"dnabert2-fast (.*?)(?: &&|$)", command)
        line = re.sub(r"\$([a-z_]+(?:\.ext)?)", lambda match, v=values: v[match[1]], line)
        yield pytest.param(line, id=file.stem)


def snakemake_lines():
    for file in sorted((PACKAGING / "snakemake").glob("*/wrapper.py")):
        text = "".join(re.findall(r"^    \"(.*)\"$", file.read_text(), re.MULTILINE))
        line = text.removeprefix("dnabert2-fast ").replace(" {extra} {log}", "")
        line = re.sub(r"\{(?:snakemake\.\w+\.)?(\w+):q\}", r"\1", line)
        yield pytest.param(line, id=f"snakemake-{file.parent.name}")


def nextflow_lines():
    for file in sorted((PACKAGING / "nf-core").rglob("main.nf")):
        script = re.search(r'"""\n    dnabert2-fast (.*?)"""', file.read_text(), re.S)[1]
        line = " ".join(script.replace("\\\\\n", " ").replace("$args", "").split())
        yield pytest.param(re.sub(r"\$\{?(\w+)\}?", r"\1", line), id=f"nf-core-{file.parent.name}")


@pytest.mark.parametrize("line", [*galaxy_lines(), *snakemake_lines(), *nextflow_lines()])
def test_command_lines_have_these_arguments(line, monkeypatch):
    assert not re.search(r"[${}]", line)
    parse_only(line, monkeypatch)


def test_environments_have_the_version_and_limits_of_the_project():
    files = [*PACKAGING.rglob("environment.y*ml")]
    assert len(files) == 8
    for file in files:
        package, *others = yaml.safe_load(file.read_text())["dependencies"]
        assert re.sub(r".*::| ", "", package) == f"dnabert2-fast={VERSION}"
        for one in others:
            name, limit = re.fullmatch(r"(?:[\w-]+::)?([\w-]+) ?(>=\S+)", one).groups()
            assert OPTIONAL[name] == {limit}, file
    tags = {*re.findall(r"dnabert2-fast:([\d.]+)", read_all("*.nf"))}
    assert tags == {VERSION}


def read_all(pattern):
    return "\n".join(file.read_text() for file in PACKAGING.rglob(pattern))


def test_modules_describe_their_channels():
    for file in sorted((PACKAGING / "nf-core").rglob("main.nf")):
        text, meta = file.read_text(), yaml.safe_load((file.parent / "meta.yml").read_text())
        assert {*re.findall(r"emit: (\w+)", text)} == {*meta["output"]}
        inputs = [
            [name for part in (one if isinstance(one, list) else [one]) for name in part]
            for one in meta["input"]
        ]
        block = re.search(r"input:\n(.*?)\n\n", text, re.S)[1]
        lines = [re.findall(r"(?:val|path)[( ](\w+)", line) for line in block.splitlines()]
        assert lines == inputs
        assert f"process {meta['name'].upper()} " in text


def tool(name):
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not on the PATH; `make packages` installs it and runs this test")
    return found


def run(*command, cwd=None):
    """Run a command that finds this interpreter's dnabert2-fast."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.full
def test_snakemake_runs_the_workflow(tmp_path):
    workflow = PACKAGING / "snakemake" / "Snakefile"
    run(tool("snakemake"), "--cores", 1, "--snakefile", workflow, "--directory", tmp_path)
    made = ("predictions.csv", "vectors.parquet", "scored.vcf.gz", "run/metrics.json")
    assert all((tmp_path / name).stat().st_size > 100 for name in made)


@pytest.mark.full
def test_galaxy_tools_pass_their_tests():
    python = Path(tool("planemo")).with_name("python")
    assert "6 tests passed" in run(python, PACKAGING / "galaxy" / "run_tests.py")


@pytest.mark.full
def test_galaxy_tools_have_no_lint():
    run(tool("planemo"), "lint", "--fail_level", "warn", PACKAGING / "galaxy")


@pytest.mark.full
def test_the_recipe_can_be_rendered():
    python = Path(tool("hadolint")).with_name("python")  # beside py-rattler-build, a library
    assert run(python, PACKAGING / "conda" / "check.py").split() == ["dnabert2-fast", VERSION]


@pytest.mark.full
def test_the_containerfile_has_no_lint():
    run(tool("hadolint"), PACKAGING / "container" / "Containerfile")

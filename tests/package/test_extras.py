"""Which extra to install for what: the table, and what is said where a library is missing."""

import json
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from helpers.processes import run
from helpers.project import ROOT
from packaging.requirements import Requirement

from dnabert2_fast._internal.extras import (
    UNLOCKS,
    Found,
    base,
    extras,
    install,
    needs,
    remedy,
)
from dnabert2_fast.cli import main

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# Packages that import their modules only on first use.
PACKAGES = (
    "tokenizer",
    "corpus",
    "io",
    "model",
    "pretraining",
    "finetuning",
    "genomics",
    "benchmark",
)

# Imports every public name where only some of the optional libraries are to be had; prints the
# message of each that cannot be imported.
IMPORT_ALL = '''
import json, sys
blocked = set(sys.argv[1].split(","))

class Some:
    """A finder that does not find what is blocked."""

    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in blocked:
            return self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(Some, sys.meta_path)
for name in list(sys.modules):
    if name.partition(".")[0] in {*blocked, "dnabert2_fast"} and not name.endswith("._native"):
        del sys.modules[name]
from importlib import import_module
said = {}
for package in sys.argv[2].split(","):
    module = import_module(package)
    for name in module.__all__:
        try:
            getattr(module, name)
        except ModuleNotFoundError as error:
            said[f"{package}.{name}"] = str(error)
print(json.dumps(said))
'''


def libraries(name):
    return [library.name for library in extras()[name].libraries]


def modules(names):
    imported = {"scikit-learn": "sklearn", "umap-learn": "umap"}
    return {imported.get(p, p) for name in names for p in libraries(name)}


def closure(names):
    """The extras that come with some, themselves included."""
    inner = {i for name in names for i in extras()[name].contains}
    return closure(inner) | set(names) if inner else set(names)


def messages(*, available):
    blocked = modules(UNLOCKS) - modules(available)
    packages = ("dnabert2_fast", *(f"dnabert2_fast.{name}" for name in PACKAGES))
    done = run("-c", IMPORT_ALL, ",".join(blocked), ",".join(packages), cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_table_is_that_of_the_project():
    declared = set(PROJECT["optional-dependencies"]) - {"all", "dev"}
    assert set(UNLOCKS) == declared
    assert all(extra.libraries or extra.contains for extra in extras().values())
    assert {r.name for r in base()} == {Requirement(t).name for t in PROJECT["dependencies"]}


def test_the_guide_lists_every_extra():
    guide = (ROOT / "docs" / "guides" / "install.md").read_text()
    rows = [f"| `{name}` | {what} |" for name, what in UNLOCKS.items()]
    assert "\n".join(rows) in guide


@pytest.fixture(scope="module")
def wanted():
    """For every public name that needs a library: the extras that its message names."""
    said = messages(available=())
    light = {
        "Tokenizer",
        "Corpus",
        "TokenBatches",
        "build_corpus",
        "read_fasta",
        "genomics.Variant",
    }
    heavy = {"embed", "finetune", "predict", "score_variants", "genomics.DnaEmbedder"}
    assert not {f"dnabert2_fast.{name}" for name in light} & set(said)
    assert {f"dnabert2_fast.{name}" for name in heavy} < set(said)
    found = {}
    for name, message in said.items():
        pattern = rf'{re.escape(name)} needs \w+: pip install .*\[([\w,]+)\]"'
        found[name] = closure(re.fullmatch(pattern, message)[1].split(","))
    assert "finetune" in found["dnabert2_fast.finetune"]
    return found


# An extra covers those that it contains; the larger ones import transformers, which is slow.
LARGEST = ("gue", "finetune", "model")


@pytest.mark.parametrize(
    "extra", ["model", *(pytest.param(e, marks=pytest.mark.full) for e in LARGEST[:2])]
)
def test_a_name_that_lacks_a_library_names_one_extra_that_suffices(wanted, extra):
    larger = LARGEST[: LARGEST.index(extra)]
    names = {n for n, extras in wanted.items() if extra in extras and not extras & {*larger}}
    assert names
    assert not names & set(messages(available=closure([extra])))


def test_every_name_is_in_one_of_these_extras(wanted):
    assert all(extras & {*LARGEST} for extras in wanted.values())


@pytest.mark.parametrize(
    ("installed", "minimum", "enough"),
    [
        ("2.6.0+cpu", "2.6", True),
        ("2.6", "2.6.0", True),
        ("2.10.1", "2.6", True),
        ("2.5.9", "2.6", False),
        ("2.6rc1", "2.6", True),
        ("2.6.0a0+ecf3bae40a.nv25.01", "2.6", True),
        ("3.9.0.dev20260101", "4", False),
        (None, "1", False),
    ],
)
def test_new_enough(installed, minimum, enough):
    assert Found(Requirement(f"x>={minimum}"), installed).enough is enough


def test_needs_leaves_other_errors_alone():
    for missing in ("antigravity2", "dnabert2_fast.gone"):
        with pytest.raises(ModuleNotFoundError, match=r"^no$"), needs("this"):
            raise ModuleNotFoundError("no", name=missing)
    message = r"this needs torch: .*\[all\]"
    with pytest.raises(ModuleNotFoundError, match=message), needs("that"), needs("this", "all"):
        raise ModuleNotFoundError("no", name="torch.nn")
    assert remedy(None) is None


@pytest.mark.parametrize(
    ("module", "call", "message"),
    [
        ("matplotlib", "plot_embeddings", 'a plot needs matplotlib: pip install .*[plots]"'),
        ("umap", "umap", 'method="umap" needs umap: pip install .*[umap]"'),
        ("pyBigWig", "bigwig", 'a bigWig file needs pyBigWig: pip install .*[tracks]"'),
        ("pysam", "Reference", 'an indexed FASTA file needs pysam: pip install .*[variants]"'),
        ("datasets", "as_dataset", 'as_dataset needs datasets: pip install .*[datasets]"'),
    ],
)
def test_a_library_that_only_a_call_needs(monkeypatch, tmp_path, module, call, message):
    monkeypatch.setitem(sys.modules, module, None)
    for name in [n for n in sys.modules if n.startswith(f"{module}.")]:
        monkeypatch.setitem(sys.modules, name, None)

    def run():
        import numpy as np

        if call == "bigwig":
            from dnabert2_fast.io.tracks import _BigWig

            _BigWig(tmp_path / "x.bw", {"a": 1})
        elif call == "Reference":
            from dnabert2_fast.io import Reference

            (tmp_path / "x.fa").write_text(">a\nACGT\n")
            Reference(tmp_path / "x.fa")
        elif call == "as_dataset":
            from dnabert2_fast.corpus import as_dataset

            as_dataset(None)
        else:
            from dnabert2_fast.genomics import plot_embeddings

            method = "umap" if call == "umap" else "pca"
            vectors = np.random.default_rng(0).normal(size=(5, 3))
            plot_embeddings(vectors, tmp_path / "x.png", method=method)

    with pytest.raises(ModuleNotFoundError, match=message.replace("[", r"\[").replace("]", r"\]")):
        run()


def test_plots_are_checked_before_anything_is_read(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("matplotlib.figure", "logomaker"):
        monkeypatch.setitem(sys.modules, name, None)
    Path("x.fa").write_text(">a\nACGT\n")
    for line in (
        "vocab-sizes none.fa --out sizes",
        "info none.json --on x.fa --plot x.png",
        "embed none.fa --out x.npy --plot x.png",
        "attribute none.fa --plots logos",
        "evaluate none none.csv --out scores",
    ):
        assert main(line.split()) == 2
        err = capsys.readouterr().err.splitlines()[-1]
        assert re.fullmatch(r"error: a plot needs \w+: pip install .*\[plots\]\"", err), line


class Installed:
    """The metadata of a package that pip installed from somewhere."""

    def __init__(self, about):
        self.about = about

    def read_text(self, name):
        assert name == "direct_url.json"
        return self.about and json.dumps(self.about)


@pytest.mark.parametrize(
    ("about", "command"),
    [
        (None, 'pip install "dnabert2-fast[plots]"'),
        ({"url": "file:{0}", "dir_info": {}}, 'pip install "{0}[plots]"'),
        (
            {"url": "file:{0}", "dir_info": {"editable": True}},
            'pip install --editable "{0}[plots]"',
        ),
        ({"url": "file:{0}/gone", "dir_info": {}}, 'pip install "dnabert2-fast[plots]"'),
        ({"url": "https://x.org/{0}.whl"}, 'pip install "dnabert2-fast[plots]"'),
    ],
)
def test_the_remedy_works_from_a_clone(monkeypatch, tmp_path, about, command):
    if about is not None:
        about = {**about, "url": about["url"].format(tmp_path)}
    monkeypatch.setattr(metadata, "distribution", lambda name: Installed(about))
    install.cache_clear()
    try:
        assert install("plots") == command.format(tmp_path)
    finally:
        monkeypatch.undo()
        install.cache_clear()

"""Which extra to install for what: the table, and what is said where a library is missing."""

import json
import re
import sys
import tomllib

import pytest
from helpers.processes import run
from helpers.project import ROOT
from packaging.requirements import Requirement

from dnabert2_fast._internal.extras import UNLOCKS, Found, base, extras, needs, remedy

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
        pattern = rf'{re.escape(name)} needs \w+: pip install "dnabert2-fast\[([\w,]+)\]"'
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
        ("matplotlib", "plot_embeddings", 'a plot needs matplotlib: .*"dnabert2-fast[plots]"'),
        ("umap", "umap", 'method="umap" needs umap: pip install "dnabert2-fast[umap]"'),
        ("pyBigWig", "bigwig", 'a bigWig file needs pyBigWig: .*"dnabert2-fast[tracks]"'),
        ("pysam", "Reference", 'an indexed FASTA file needs pysam: .*"dnabert2-fast[variants]"'),
        ("datasets", "as_dataset", 'as_dataset needs datasets: .*"dnabert2-fast[datasets]"'),
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

"""The code of README and guides runs as printed, and pages have their form."""

import re
import subprocess
import sys

import pytest
from helpers.processes import run
from helpers.project import ROOT

from dnabert2_fast._internal.extras import UNLOCKS

DOCS = ROOT / "docs"
README, GUIDES = ROOT / "README.md", sorted((DOCS / "guides").glob("*.md"))
GUIDES += [DOCS / f"{page}.md" for page in ("index", "how_it_works", "coming_from")]


def blocks(path, language):
    found = re.findall(r"^```(\w+)\n(.*?)^```", path.read_text(encoding="utf-8"), re.S | re.M)
    return [code for kind, code in found if kind == language]


python_blocks = blocks(README, "python")
# What a guide shows later may build on what it showed before; what needs weights from the network
# is marked py instead of python.
programs = [*python_blocks, *("\n".join(blocks(guide, "python")) for guide in GUIDES)]
names = [*(f"README-{i}" for i in range(len(python_blocks))), *(guide.stem for guide in GUIDES)]
WHOLE_TOOLS = ("transformers", "gue")
PAGES = [README, *GUIDES, *(DOCS / f"{page}.md" for page in ("formats", "models/mini", "why_bpe"))]


def test_the_first_screen():
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    first_screen = text.splitlines()[:45]
    assert len([line for line in python_blocks[0].splitlines() if line.strip()]) <= 12
    assert "make demo" in "\n".join(first_screen)
    assert "make test" in "\n".join(first_screen)


@pytest.mark.parametrize(
    "guide", sorted((DOCS / "guides").glob("*.md")), ids=lambda guide: guide.stem
)
def test_a_guide_begins_with_a_result_and_ends_with_what_can_go_wrong(guide):
    text = guide.read_text(encoding="utf-8")
    introduction = text.partition("\n## ")[0]
    assert "```" in introduction
    assert re.search(r"^(\||!\[|```text|print\()", introduction, re.MULTILINE)
    assert re.findall("^## (.*)", text, re.MULTILINE)[-1] == "What can go wrong"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_lines_are_no_longer_than_100_characters(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if len(line) > 100 and not line.startswith("|")]


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(code, id=name, marks=pytest.mark.full if name in WHOLE_TOOLS else ())
        for code, name in zip(programs, names, strict=True)
    ],
)
def test_code(code, tmp_path):
    """A new folder, nothing but what the text makes there itself."""
    done = run("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    printed = [line.partition("# ")[2] for line in code.splitlines() if line.startswith("print(")]
    for expected, line in zip(printed, done.stdout.splitlines(), strict=True):
        assert line == expected


@pytest.mark.full
def test_the_site_builds_without_a_warning(tmp_path):
    """Every page is in a table of contents, every link has a target, every docstring is read."""
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", DOCS, tmp_path / "site"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "guide", sorted((DOCS / "guides").glob("*.md")), ids=lambda guide: guide.stem
)
def test_every_guide_has_an_install_line(guide):
    """For a clone, until the first release; the page of GPUs is about what is installed."""
    assert 'pip install "dnabert2-fast' not in guide.read_text() or guide.name == "install.md"
    assert re.search(r'^pip install "?\.', guide.read_text(), re.M) or guide.name == "gpu.md"
    for extras in re.findall(r'pip install "\.\[([\w,]+)\]"', guide.read_text()):
        assert set(extras.split(",")) <= {*UNLOCKS, "all"}

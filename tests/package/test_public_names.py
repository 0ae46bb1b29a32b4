"""What is public is what `docs/api` lists, and nothing else."""

import ast
import re
from importlib import import_module

import pytest
from helpers.project import ROOT

import dnabert2_fast

PACKAGE, PAGES = ROOT / "python" / "dnabert2_fast", ROOT / "docs" / "api"
# The command line, data files, and what packages share.
WITHOUT_PAGE = {"_internal", "cli", "data", "kernels"}
PUBLIC = sorted(page.stem for page in PAGES.glob("*.md") if page.stem != "index")
ENTRY = re.compile(r"^\.\. (?:auto\w+|py:data):: (\w+)$|\{py:obj\}`~dnabert2_fast\.(\w+)`", re.M)


def public_names(source):
    """Return the literal `__all__` of a file, which need not be importable."""
    for statement in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            return ast.literal_eval(statement.value)
    return None


def source_of(package):
    folder = PACKAGE / package
    return folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")


def listed(page):
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    return sorted(own or shared for own, shared in ENTRY.findall(text))


def test_names_at_the_root():
    assert sorted(dnabert2_fast.__all__) == dnabert2_fast.__all__ == listed("index")
    assert set(dnabert2_fast.__all__) <= set(dir(dnabert2_fast))
    for name in dnabert2_fast.__all__:
        public = getattr(dnabert2_fast, name)
        assert public.__doc__
        assert public.__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'tokeniser'"):
        dnabert2_fast.tokeniser  # noqa: B018


def test_every_package_has_a_page():
    packages = {path.name for path in PACKAGE.iterdir() if path.is_dir()} - {"__pycache__"}
    assert packages - WITHOUT_PAGE == set(PUBLIC) - {"errors"}


@pytest.mark.parametrize("package", PUBLIC)
def test_a_page_lists_the_public_names_of_its_package(package):
    assert listed(package) == sorted(public_names(source_of(package)))


def test_genomics_exports_what_its_packages_export():
    inner = (public_names(path) for path in PACKAGE.glob("genomics/*/__init__.py"))
    assert sorted(name for names in inner for name in names) == listed("genomics")


@pytest.mark.parametrize("package", [p for p in PUBLIC if "_HOME" in source_of(p).read_text()])
def test_a_package_finds_all_that_it_exports(package):
    """The lazy table is that of `__all__`; the import of each name is checked by mypy."""
    module = import_module(f"dnabert2_fast.{package}")
    assert set(module._HOME) == set(module.__all__) <= set(dir(module))

"""The map of the project leads to files that exist, and its figure is that of the contract."""

import re
import tomllib

from helpers.project import ROOT

DESIGN = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")


def test_a_newcomer_finds_every_file():
    assert len(DESIGN.splitlines()) <= 200
    found = re.findall(r"`([\w./-]+\.(?:py|rs)|[\w./-]+/)`", DESIGN)
    assert len(found) > 30
    homes = [ROOT, ROOT / "python/dnabert2_fast", ROOT / "rust/dnabert2-core/src"]
    assert [name for name in found if not any((home / name).exists() for home in homes)] == []


def test_the_figure_has_the_layers_of_the_contract():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (one["layers"] for one in contracts["contracts"] if one["name"][:6] == "Layers")
    figure = (ROOT / "docs/figures/layers.svg").read_text(encoding="utf-8")
    heights = []
    for row in layers:
        shown = [
            re.search(rf'y="([\d.]+)"[^>]*>{name}</text>', figure) for name in row.split(" | ")
        ]
        assert all(shown), row
        (height,) = {float(one[1]) for one in shown}
        heights.append(height)
    assert heights == sorted(heights)


# Probes of a device, and a compiler, which no test can have otherwise.
PATCHED = {"_cannot_compute", "_failure", "_compiled"}


def test_tests_patch_no_private_name():
    """Callbacks, options and public names serve; private ones change without notice."""
    found = [
        match[1]
        for path in (ROOT / "tests").rglob("test_*.py")
        for match in re.finditer(
            r"setattr\((?!torch\.)[\w.]+,\s*\"(_\w+)\"", path.read_text("utf-8")
        )
    ]
    assert set(found) == PATCHED

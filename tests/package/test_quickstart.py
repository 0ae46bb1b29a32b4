"""The quickstart notebook runs from top to bottom and ends in a figure."""

import pytest
from helpers.project import ROOT

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"


def outputs(notebook):
    """What each code cell printed, and the kinds of its last output."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    printed = [
        "".join(out.text for out in cell.outputs if out.get("name") == "stdout") for cell in cells
    ]
    return printed, list(cells[-1].outputs[-1].data)


@pytest.mark.full
def test_the_quickstart_runs_and_its_kept_outputs_are_true(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    kept_printed, kept_figure = outputs(notebook)
    nbclient.NotebookClient(
        notebook, timeout=1200, resources={"metadata": {"path": tmp_path}}
    ).execute()
    printed, figure = outputs(notebook)
    assert "image/png" in figure
    assert "image/png" in kept_figure
    assert printed[:4] == kept_printed[:4]  # later cells print learnt scores

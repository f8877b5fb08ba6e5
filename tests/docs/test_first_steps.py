"""The notebook runs from a folder of recordings to a figure, as it stands in docs."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "docs" / "first-steps.ipynb"


@pytest.mark.long
@pytest.mark.journey
def test_the_notebook_runs_and_ends_in_a_figure(tmp_path, monkeypatch):
    source = Path(__file__).parents[2] / "src"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(source), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    # no warning, and nothing that is loaded from elsewhere
    assert not [output.text for output in outputs if output.get("name") == "stderr"]
    assert "<script" not in str(outputs)
    assert (tmp_path / "runs" / "first-steps" / "report.html").is_file()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) <= 13
    said = "\n".join(str(output.get("data", {}).get("text/plain", "")) for output in outputs)
    assert "180 clips used" in said
    assert "excess gap" in said


def test_the_stored_notebook_shows_what_it_computed():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code), "run the notebook before storing it"
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]

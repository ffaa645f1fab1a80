"""The notebooks run as they are, on pictures that the demo draws, and are committed without output."""

import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
# jupyter_client warns about its own use of asyncio and of the platform's folders.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_notebook_runs(file: Path, pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(pictures, tmp_path / "demo/pictures")
    (tmp_path / "notebooks").mkdir()
    notebook = nbformat.read(file, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path / "notebooks")}}).execute()
    shown = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in data for data in shown)
    assert any("dg-card" in data.get("text/html", "") for data in shown)


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_notebook_holds_no_output_and_imports_the_public_api_only(file: Path) -> None:
    for cell in nbformat.read(file, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        assert "from dupegrid" not in cell.source
        assert "import dupegrid." not in cell.source

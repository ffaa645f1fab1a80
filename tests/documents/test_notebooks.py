"""The notebooks run as they are, from any folder, on pictures that the demo draws; committed without output."""

import shutil
import sys
import time
from pathlib import Path

import pytest

from dupegrid.storage.files import write_json
from tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LIMIT_S = 60  # of a notebook

# What each one shows, at least: plots, and words of what draws itself.
SHOWN = {
    "01_first_run": (1, ["dupegrid.Run", "dg-card", "unidentified"]),
    "02_threshold": (4, ["dg-pair", "dg-card", "Cut at 20"]),
    "03_matrix": (1, ["dask.array", "float64"]),
    "04_clusters_and_keepers": (0, ["data:image/jpeg", "largest_mse", "_copy", "dg-card"]),
    "05_leakage": (1, ["leaking_percent", "label_b", "data:image/jpeg", "drop"]),
    "06_dask_cluster": (1, ["127.0.0.1", "dg-card"]),
    "07_tidy_up": (0, ["quarantine", "not-same", "data:image/jpeg", "'where'"]),
}
# `%reset` would take __spec__ too, without which no process can be started.
FORGET = "for _name in set(get_ipython().user_ns) - set(get_ipython().user_ns_hidden): del globals()[_name]"


# jupyter_client warns about its own use of asyncio and of the platform's folders.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_notebooks_run_one_after_the_other_in_one_kernel(pictures: Path, tmp_path: Path) -> None:
    """Each begins without what the ones before it have named."""
    import nbformat  # here, as most processes of `make test` do without
    from jupyter_client.manager import KernelManager
    from nbclient import NotebookClient

    shutil.copytree(pictures, tmp_path / "demo/pictures")
    write_json(tmp_path / "demo/planted.json", {"plants": []})  # so that the demo draws none of its own
    resources = {"metadata": {"path": str(tmp_path)}}
    kernel = KernelManager(transport="ipc", connection_file=str(tmp_path / "kernel.json"))
    try:
        for file in NOTEBOOKS:
            print(file.stem, file=sys.stderr)  # shown where it fails
            start = time.monotonic()
            notebook = nbformat.read(file, as_version=4)
            notebook.cells.insert(0, nbformat.v4.new_code_cell(FORGET))
            NotebookClient(notebook, timeout=LIMIT_S, km=kernel, resources=resources).execute()
            print(f"{time.monotonic() - start:.1f} s", file=sys.stderr)
            outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
            plots, words = SHOWN[file.stem]
            assert sum("image/png" in output.get("data", {}) for output in outputs) >= plots, file.stem
            assert all(word in str(outputs) for word in words), file.stem
            assert "<script" not in str(outputs), file.stem
            said = [output["text"] for output in outputs if output.get("name") == "stderr"]
            assert not [text for text in said if "distributed" not in text], file.stem  # which grumbles when it is slow
    finally:
        kernel.shutdown_kernel(now=True)


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_notebook_holds_no_output_and_imports_the_public_api_only(file: Path) -> None:
    import nbformat

    for cell in nbformat.read(file, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        assert "from dupegrid" not in cell.source
        assert "import dupegrid." not in cell.source

"""Lists as the tools that they are for read them: skipped where these are not installed."""

import json
import os
from pathlib import Path

import pytest

import dupegrid
from tests.conftest import save


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dupegrid.Run:
    """Two copies of a picture, another one, and a file that is none."""
    folder = tmp_path_factory.mktemp("readers")
    for name, seed in (("a.png", 1), ("a, copy.png", 1), ("b.png", 2)):
        save(folder / "photos" / name, seed)
    (folder / "photos/broken.jpg").write_bytes(b"none")
    return dupegrid.run(folder / "photos", out=folder / "run", thumb=16, quiet=True)


def roles(run: dupegrid.Run) -> dict[str, str]:
    return dict(zip(run.clusters["path"].to_pylist(), run.clusters["role"].to_pylist(), strict=True))


def test_hugging_face_datasets(run: dupegrid.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    datasets = pytest.importorskip("datasets", reason="Hugging Face's datasets is not installed")
    photos = Path(run.config.paths[0])
    dupegrid.export(run, photos / "metadata.csv")
    try:
        cache = str(tmp_path / "cache")
        found = datasets.load_dataset("imagefolder", data_dir=str(photos), split="train", cache_dir=cache)
    finally:
        (photos / "metadata.csv").unlink()
    read = {str(photos / Path(row["image"].filename).name): row["role"] for row in found}
    assert {path: role for path, role in read.items() if role} == roles(run)
    assert len(found) == 3


def test_fiftyone(run: dupegrid.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its importer alone, as a data set of its own would need a MongoDB."""
    monkeypatch.setenv("FIFTYONE_DO_NOT_TRACK", "true")
    csv = pytest.importorskip("fiftyone.utils.csv", reason="FiftyOne is not installed")
    dupegrid.export(run, tmp_path / "x.csv", format="fiftyone")
    fields = {"role": str, "mse_to_keeper": float}
    with csv.CSVDatasetImporter(labels_path=str(tmp_path / "x.csv"), fields=fields) as importer:
        samples = list(importer)
    assert {s["filepath"]: s["role"] for s in samples if s.has_field("role")} == roles(run)  # empty cells are none
    assert len(samples) == 3


def test_difpy_gives_what_is_handed_on_for_it(run: dupegrid.Run, tmp_path: Path) -> None:
    """difPy reads no result: its own of the same pictures has the same shape, and the same sets."""
    difpy = pytest.importorskip("difPy", reason="difPy is not installed")
    built = difpy.build(str(run.config.paths[0]), show_progress=False, processes=1)
    theirs = difpy.search(built, show_progress=False, processes=1).result
    dupegrid.export(run, tmp_path / "x.json")
    ours = json.loads((tmp_path / "x.json").read_text())

    def sets(result: dict[str, list[list[object]]]) -> set[frozenset[str]]:
        return {frozenset(map(str, (name, *(path for path, _ in listed)))) for name, listed in result.items()}

    assert sets(ours) == sets(json.loads(json.dumps(theirs)))
    assert all(isinstance(mse, float) and os.path.isabs(path) for listed in ours.values() for path, mse in listed)

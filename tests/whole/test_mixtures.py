"""A run directory of two moments, as a copy made while it ran or a restored part leaves it: noticed, and mended."""

import shutil
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import dupegrid
from dupegrid.core.errors import DamagedError, DupegridError, StoreError
from tests.conftest import save
from tests.whole.test_resume import by_path

SETTINGS: dict[str, Any] = {
    "quiet": True,
    "thumb": 16,
    "scheduler": "sync",
    "cutoff": 400.0,
    "tile": 10,
    "matrix": True,
}
ARTIFACTS = (
    "thumbs.zarr",
    "levels.zarr",
    "sorted.zarr",
    "tiles.zarr",
    "matches.parquet",
    "index",
    "images.parquet",
    "files.parquet",
    "compared.parquet",
    "clusters.parquet",
    "receipt.json",
    "run.json",
)


@pytest.fixture(scope="module", params=["changed", "grown"])
def moments(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photos, a run of an earlier moment, one of now, and one that was never another.

    Since then some were changed, under the same names, or as many came and chunks were filled up.
    """
    folder = tmp_path_factory.mktemp("moments")
    for k in range(28):
        save(folder / f"photos/{k:02d}.png", k // 2)
    dupegrid.run(folder / "photos", out=folder / "earlier", **SETTINGS)
    shutil.copytree(folder / "earlier", folder / "now")
    for k in range(0, 28, 3):  # other pictures, of which others are alike
        save(folder / f"photos/{k if request.param == 'changed' else 60 + k:02d}.png", 50 + k // 6)
    dupegrid.run(folder / "photos", out=folder / "now", **SETTINGS)
    dupegrid.run(folder / "photos", out=folder / "fresh", **SETTINGS)
    return folder


def is_right(folder: Path, out: Path) -> bool:
    """Whether the tables and thumbnails of a run are those of a fresh one."""
    return shown(out) == of_fresh(folder)


def shown(out: Path) -> list[object]:
    run = dupegrid.open_run(out)
    return [
        by_path(run),
        run.stored_thumbs.rows(slice(None)).tobytes(),
        run.images.drop(["ctime_ns"]),
        [{**row, "cluster": 0} for row in run.clusters.to_pylist()],
        run.show(0).html,
    ]


@cache
def of_fresh(folder: Path) -> list[object]:
    return shown(folder / "fresh")


def looks(out: Path) -> None:
    """Whatever reads: each an error, or right."""
    dupegrid.report(out)
    dupegrid.cluster(out, threshold=50)


@pytest.mark.parametrize("name", ARTIFACTS)
@pytest.mark.parametrize("verb", ["run", "compare"])
def test_a_run_directory_of_two_moments_is_noticed_and_mended(
    moments: Path, tmp_path: Path, name: str, verb: str
) -> None:
    out = shutil.copytree(moments / "now", tmp_path / "run")
    shutil.rmtree(out / name) if (out / name).is_dir() else (out / name).unlink()
    copy = shutil.copytree if (moments / "earlier" / name).is_dir() else shutil.copy2
    copy(moments / "earlier" / name, out / name)
    _noticed_and_mended(moments, out, verb)


@pytest.mark.parametrize("verb", ["run", "compare"])
@pytest.mark.parametrize("part", range(6))
def test_files_of_two_moments_side_by_side_are_noticed_and_mended(
    moments: Path, tmp_path: Path, part: int, verb: str
) -> None:
    """Every sixth file is of the earlier moment, chunks and parts among them."""
    out = shutil.copytree(moments / "now", tmp_path / "run")
    files = sorted(path for path in (moments / "earlier").rglob("*") if path.is_file() and path.name != "lock")
    for path in files[part::6]:
        place = out / path.relative_to(moments / "earlier")
        place.parent.mkdir(exist_ok=True, parents=True)
        shutil.copy2(path, place)
    _noticed_and_mended(moments, out, verb)


@pytest.mark.parametrize("place", ["part-0*", "part-identical.parquet", "part-settled.parquet"])
def test_a_part_in_place_of_another_of_the_same_comparison_is_noticed_and_mended(
    moments: Path, tmp_path: Path, place: str
) -> None:
    """With as many rows and right digests: it is of another tile."""
    out = shutil.copytree(moments / "fresh", tmp_path / "run")
    first, *_, last = sorted((out / "matches.parquet").glob("part-0*"))
    shutil.copy2(first, last if "*" in place else out / "matches.parquet" / place)
    with pytest.raises(DamagedError, match="another part of it"):
        _ = dupegrid.open_run(out).matches
    dupegrid.run(moments / "photos", out=out, **SETTINGS)
    assert is_right(moments, out)


@pytest.mark.parametrize("name", ["images.parquet", "clusters.parquet"])
def test_a_table_that_another_tool_wrote_again_is_noticed_and_mended(moments: Path, tmp_path: Path, name: str) -> None:
    """Some rows were taken out of it: what was said of all of them goes with the file that had them."""
    out = shutil.copytree(moments / "fresh", tmp_path / "run")
    pq.write_table(pq.read_table(out / name).slice(0, 5), out / name)
    with pytest.raises(StoreError):
        _ = dupegrid.open_run(out).clusters
    dupegrid.run(moments / "photos", out=out, **SETTINGS)
    assert is_right(moments, out)


def _noticed_and_mended(moments: Path, out: Path, verb: str) -> None:
    with suppress(DupegridError):
        if verb == "compare":
            dupegrid.compare(out, orientations="rotations", quiet=True)
        looks(out)
        assert is_right(moments, out)
    again = dupegrid.run(moments / "photos", out=out, **SETTINGS)
    assert again.path == out
    assert is_right(moments, out)

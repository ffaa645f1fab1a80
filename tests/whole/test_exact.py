"""The whole run against the oracle, whatever the orientations, thumbnail, tiles, scheduler, scope or order of files."""

import runpy
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import threadpoolctl
from PIL import Image

import dupegrid
from dupegrid import Run
from dupegrid.pairs import kernel
from dupegrid.pairs import matrix as matrix_module
from tests.conftest import SHARED, named_matches, save
from tests.helpers import reference
from tests.helpers.clusters import dask_scheduler, dask_worker
from tests.helpers.forks import in_fork
from tests.helpers.tasks import blas_threads

PutIndex = Callable[..., Path]


def assert_exact(run: Run) -> None:
    """matches.parquet holds what the oracle holds, no more and no less."""
    thumbs = run.thumbs.compute()
    expected = reference.expected_matches(run.images, thumbs, run.config.model_dump())
    rows = run.matches.to_pylist()
    found = {(row["a"], row["b"]): (row["sse"], row["orientation"]) for row in rows}
    assert len(found) == len(rows)
    assert found == expected
    assert all(row["mse"] == row["sse"] / thumbs[0].size for row in rows)
    receipt = run.receipt
    decided = {k: v for k, v in receipt.pairs.items() if k != "total"}
    ok = receipt.images.ok
    assert receipt.pairs["total"] == ok * (ok - 1) // 2 == sum(decided.values())


@pytest.mark.slow
@pytest.mark.parametrize("orientations", ["none", "rotations", "all"])
@pytest.mark.parametrize("thumb", [16, 32])
def test_matches_are_the_oracles(
    pictures: Path, tmp_path: Path, put_index: PutIndex, orientations: str, thumb: int
) -> None:
    put_index(tmp_path / "run", thumb)
    run = dupegrid.run(pictures, out=tmp_path / "run", orientations=orientations, thumb=thumb, quiet=True)
    assert len(run.matches)
    assert_exact(run)


def test_against_compares_the_two_sides_only(pictures: Path, tmp_path: Path) -> None:
    save(tmp_path / "new/x.png", 1)
    save(tmp_path / "new/y.png", 1)
    save(tmp_path / "old/x.png", 1)
    run = dupegrid.run(tmp_path / "new", pictures, against=[tmp_path / "old"], out=tmp_path / "run", quiet=True)
    assert len(run.matches) == 2
    assert set(run.images["group"].to_pylist()) == {"a", "b"}
    assert run.receipt.pairs["other_group"] > 0
    assert_exact(run)


@pytest.mark.parametrize(("scope", "pairs"), [("all", 6), ("across", 4), ("within", 2)])
def test_scope(tmp_path: Path, scope: str, pairs: int) -> None:
    for name in ("p/1.png", "p/2.png", "q/1.png", "q/2.png"):
        save(tmp_path / name, 1)
    run = dupegrid.run(tmp_path / "p", tmp_path / "q", out=tmp_path / "run", scope=scope, quiet=True)
    assert len(run.matches) == pairs
    assert_exact(run)


@pytest.mark.parametrize("scope", ["all", "across", "within"])
def test_a_large_set_of_identical_pictures_is_listed_against_its_first(tmp_path: Path, scope: str) -> None:
    roots = [tmp_path / "p", tmp_path / "q"]
    for root in roots:
        for k in range(70):
            save(root / f"same{k:02d}.png", 1)
        save(root / "near.jpg", 1, quality=80)
        save(root / "other.png", 2)
    run = dupegrid.run(*roots, out=tmp_path / "run", scope=scope, tile=48, quiet=True)
    assert_exact(run)
    assert len(run.matches) < 70 * 4
    members = run.clusters.to_pylist()
    assert len([row for row in members if "other" not in row["path"]]) == 142
    assert run.receipt.pairs["identical"] > 70


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of 100 near pictures."""
    folder, random = tmp_path_factory.mktemp("crowd"), np.random.default_rng(4)
    smooth = np.tile(np.linspace(60, 190, 32), (32, 1))[:, :, None]
    (folder / "crowd").mkdir()
    for k in range(100):
        noise = random.normal(0, 4 + 16 * random.random(), (32, 32, 3))
        pixels = np.clip(np.rot90(smooth, k % 2) * (0.98 + 0.0005 * k) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "crowd" / f"{k:02d}.png")
    return dupegrid.index(folder / "crowd", out=folder / "run", thumb=32, threshold=300, quiet=True).path


@pytest.mark.slow
@pytest.mark.parametrize("orientations", ["none", "all"])
@pytest.mark.parametrize("tile", [1000, 10])
def test_a_crowd_of_near_pictures(
    crowd: Path, tmp_path: Path, orientations: str, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Products decide most of them, in large tiles; in small ones many are decided one by one."""
    products = []

    def counted(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        products.append(len(a) * len(b))
        return kernel.sse_block(a, b)

    monkeypatch.setattr("dupegrid.pairs.exact.sse_block", counted)
    settings = {"orientations": orientations, "tile": tile, "thumb": 32, "threshold": 300, "scheduler": "sync"}
    out = shutil.copytree(crowd, tmp_path / "run")
    run = dupegrid.run(crowd.parent / "crowd", out=out, quiet=True, **settings)
    assert bool(products) == (tile == 1000)
    assert 500 < len(run.matches) < 100 * 99 // 2
    assert_exact(run)


def test_a_crowd_is_cut_into_more_tiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that all cores work at it and progress shows; where few are near nothing is cut."""
    random = np.random.default_rng(5)
    folders = tmp_path / "crowd", tmp_path / "few"
    for k in range(60):
        noise = random.integers(0, 9, (16, 16, 3), np.uint8)
        for folder, pixels in zip(folders, (100 + noise, random.integers(0, 256, (16, 16, 3), np.uint8)), strict=True):
            folder.mkdir(exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{k:02d}.png")
    monkeypatch.setattr("dupegrid.pairs.compare._BLOCK", 8)
    monkeypatch.setattr("dupegrid.pairs.grid._NEAR_PAIRS", 300)
    settings = {"thumb": 16, "threshold": 50, "scheduler": "sync", "quiet": True}
    crowd, few = (dupegrid.run(folder, out=tmp_path / f"run-{folder.name}", **settings) for folder in folders)
    assert crowd.receipt.tiles == 6  # three strips of at most 24 images
    assert len(crowd.matches) == 60 * 59 // 2
    assert few.receipt.tiles == 1
    assert_exact(crowd)
    again = dupegrid.run(folders[0], out=tmp_path / "run-crowd", **settings)
    assert again.receipt == crowd.receipt


@pytest.mark.parametrize(("column", "values"), [("identical_to", [None, 0]), ("link_of", [None, 0])])
def test_the_oracle_does_not_believe_who_stands_for_whom(tmp_path: Path, column: str, values: list[int | None]) -> None:
    save(tmp_path / "photos/a.png", 1)
    save(tmp_path / "photos/b.png", 1)
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", thumb=16, quiet=True)
    place = run.images.column_names.index(column)
    wrong = run.images.set_column(place, column, [values])
    with pytest.raises(AssertionError):
        reference.expected_matches(wrong, run.thumbs.compute(), run.config.model_dump())
    assert_exact(run)


def sorted_tables(run: Run) -> tuple[object, ...]:
    return run.images, run.matches, run.clusters


@pytest.fixture(scope="module")
def baseline(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return dupegrid.run(
        pictures, out=tmp_path_factory.mktemp("baseline") / "run", orientations="all", tile=16, quiet=True
    )


@pytest.fixture
def cluster_address(tmp_path: Path) -> Iterator[str]:
    """A dask scheduler and two workers, each a process of its own."""
    with dask_scheduler(tmp_path) as (address, _), dask_worker(address, tmp_path), dask_worker(address, tmp_path):
        yield address


@pytest.mark.slow
@pytest.mark.usefixtures("workers_forked")
@pytest.mark.parametrize("scheduler", ["sync", "threads", "processes", "local", "tcp"])
def test_same_tables_whatever_the_scheduler(
    pictures: Path, tmp_path: Path, baseline: Run, scheduler: str, request: pytest.FixtureRequest
) -> None:
    address = request.getfixturevalue("cluster_address") if scheduler == "tcp" else scheduler
    out = tmp_path / "run"
    run = dupegrid.run(pictures, out=out, orientations="all", tile=16, scheduler=address, workers=2, quiet=True)
    assert sorted_tables(run) == sorted_tables(baseline)
    assert run.receipt == baseline.receipt


@pytest.mark.parametrize(("columns", "pairs"), [(1, 1), (5, 1 << 20), (16, 7), (8192, 1), (8192, 30)])
def test_same_tables_whatever_is_done_at_once(
    pictures: Path,
    tmp_path: Path,
    put_index: PutIndex,
    baseline: Run,
    columns: int,
    pairs: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dupegrid.pairs.tile._COLUMNS_AT_ONCE", columns)
    monkeypatch.setattr("dupegrid.pairs.tile._PAIRS_AT_ONCE", pairs)
    out = put_index(tmp_path / "run")
    run = dupegrid.run(pictures, out=out, orientations="all", tile=16, scheduler="sync", quiet=True)
    assert sorted_tables(run) == sorted_tables(baseline)
    assert run.receipt == baseline.receipt


@pytest.mark.slow
@pytest.mark.parametrize("tile", [1, 7, 40, 41, 1000])
def test_same_tables_whatever_the_tile_side(
    pictures: Path, tmp_path: Path, put_index: PutIndex, baseline: Run, tile: int
) -> None:
    run = dupegrid.run(pictures, out=put_index(tmp_path / "run"), orientations="all", tile=tile, quiet=True)
    assert sorted_tables(run) == sorted_tables(baseline)


def test_same_results_whatever_the_order_of_the_files(pictures: Path, tmp_path: Path) -> None:
    halves = [tmp_path / "p", tmp_path / "q"]
    for place, file in enumerate(sorted(pictures.iterdir())):
        target = halves[place % 2] / file.name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(file.read_bytes())
    runs = [
        dupegrid.run(*order, out=tmp_path / f"run{k}", quiet=True) for k, order in enumerate((halves, halves[::-1]))
    ]
    one, two = (
        [(row["cluster"], row["path"], row["role"], row["mse_to_keeper"]) for row in run.clusters.to_pylist()]
        for run in runs
    )
    assert named_matches(runs[0]) == named_matches(runs[1])
    assert runs[0].images["path"].to_pylist() != runs[1].images["path"].to_pylist()
    assert sorted(one) == sorted(two)


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["edits", "formats/exif", "formats/bridge"])
@pytest.mark.parametrize("orientations", ["none", "all"])
def test_real_pictures(data: Path, tmp_path: Path, folder: str, orientations: str) -> None:
    run = dupegrid.run(data / folder, out=tmp_path / "run", orientations=orientations, quiet=True)

    def check() -> None:
        sys.argv = ["check_run.py", str(run.path)]
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(SHARED / "check_run.py"), run_name="__main__")
        assert not ended.value.code

    assert in_fork(check) == 0
    if folder == "formats/exif":
        sizes = run.clusters.group_by("cluster").aggregate([("image", "count")])["image_count"].to_pylist()
        assert sizes == [9, 9]


def test_any_window_of_the_matrix_is_exact(
    pictures: Path, tmp_path: Path, put_index: PutIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In blocks of whatever size, each by one BLAS thread: with dask's threads more of them only fight."""
    run = dupegrid.run(pictures, out=put_index(tmp_path / "run", 16), thumb=16, quiet=True)
    thumbs, ok = run.thumbs.compute(), [status == "ok" for status in run.images["status"].to_pylist()]
    measured, threads = matrix_module.mse_block, set[int]()

    def noted(*given: Any) -> Any:
        threads.update(blas_threads())
        return measured(*given)

    monkeypatch.setattr(matrix_module, "mse_block", noted)
    with threadpoolctl.threadpool_limits(2):
        window = run.mse[5:22, 30:41].compute()
    assert threads == {1}
    monkeypatch.setattr(matrix_module, "_LAZY_SIDE", 1)
    small = dupegrid.open_run(run.path).mse
    assert run.mse.chunksize[0] == min(len(ok), 64) > small.chunksize[0]
    np.testing.assert_array_equal(small[5:22, 30:41].compute(), window)
    assert run.mse.shape == (len(ok), len(ok))
    for a in range(5, 22):
        for b in range(30, 41):
            value = window[a - 5, b - 30]
            if ok[a] and ok[b]:
                assert value == reference.best(thumbs[a], thumbs[b], "rotations")[0] / thumbs[a].size
            else:
                assert value != value  # NaN

"""Killed, starved of disk, damaged: the short form of `make test-crash`. And what a lock and a sweep do."""

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import dupegrid
from dupegrid.core.errors import DamagedError, RunDirError
from dupegrid.storage import run_dir as run_dir_module
from dupegrid.storage.lock import locked
from dupegrid.storage.schemas import MATCHES
from tests.conftest import draw_tree, save
from tests.helpers import crash
from tests.helpers.forks import in_fork

SETTINGS = {"scheduler": "sync", "quiet": True}
ARTIFACTS = [
    "thumbs.zarr/zarr.json",
    "thumbs.zarr/c.0.0.0.0",
    "levels.zarr/cosines/zarr.json",
    "levels.zarr/cosines/c.0.0",
    "files.parquet",
    "index/part-000000.parquet",
    "images.parquet",
    "sorted.zarr/zarr.json",
    "sorted.zarr/order/zarr.json",
    "sorted.zarr/order/c.0.0",
    "tiles.zarr/zarr.json",
    "tiles.zarr/c.0.0.0",
    "matches.parquet/part-0*.parquet",
    "matches.parquet/part-identical.parquet",
    "matches.parquet/part-settled.parquet",
    "compared.parquet",
    "settled.parquet",
    "receipt.json",
    "clusters.parquet",
    "run.json",
]


@pytest.fixture(scope="module", params=["first", "incremental"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> crash.Case:
    return crash.Case(tmp_path_factory.mktemp("case"), incremental=request.param == "incremental", pictures=12)


@pytest.mark.slow
@pytest.mark.parametrize("what", crash.trials(short=True))
def test_whatever_happens_the_tables_are_the_same(case: crash.Case, tmp_path: Path, what: str) -> None:
    said, is_well = crash.trials(short=True)[what](case, tmp_path)
    assert is_well, said


@pytest.mark.slow
@pytest.mark.parametrize("case", ["first"], indirect=True)
def test_a_full_disk_stops_a_run_and_with_room_it_goes_on(case: crash.Case, tmp_path: Path) -> None:
    try:
        said, is_well = crash.on_small_disks(case, tmp_path, short=True)
    except OSError as error:
        pytest.skip(str(error))
    assert is_well, said


@pytest.mark.slow
def test_a_comparison_that_is_killed_half_way_does_the_other_half(tmp_path: Path) -> None:
    said, is_well = crash.half_way(tmp_path, short=True)
    assert is_well, said


def test_what_another_run_changed_before_this_one_had_its_turn(
    image_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """run.json says what the tables are of."""
    out = dupegrid.run(image_tree, out=tmp_path / "run", **SETTINGS).path
    waited: list[Path] = []

    @contextmanager
    def after_another(run_dir: Path, _say: object) -> Iterator[None]:
        if not waited:
            waited.append(run_dir)
            dupegrid.compare(out, quiet=True, cutoff=900)
        with locked(run_dir):
            yield

    monkeypatch.setattr(run_dir_module, "locked", after_another)
    run = dupegrid.compare(out, quiet=True)
    assert run.is_compared
    assert run.config.cutoff == dupegrid.open_run(out).config.cutoff == 900
    assert dupegrid.open_run(out).matches == run.matches


def test_a_run_directory_has_one_run_at_a_time(image_tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with locked(out), pytest.raises(RunDirError, match=f"in use by process {os.getpid()} on .* since 20"):
        dupegrid.run(image_tree, out=out, **SETTINGS)
    run = dupegrid.run(image_tree, out=out, **SETTINGS)
    for verb in (dupegrid.compare, dupegrid.cluster, dupegrid.report):
        with locked(out), pytest.raises(RunDirError, match="in use"):
            verb(run)
    assert (out / "lock").read_bytes() == b""


def test_of_forty_contenders_one_has_the_lock(tmp_path: Path) -> None:
    start, stop = threading.Barrier(40), threading.Event()
    said: list[str] = []

    def contend() -> None:
        start.wait()
        try:
            with locked(tmp_path / "run"):
                said.append("mine")
                stop.wait(60)
        except RunDirError:
            said.append("not mine")

    contenders = [threading.Thread(target=contend) for _ in range(40)]
    for contender in contenders:
        contender.start()
    while len(said) < 40 and any(contender.is_alive() for contender in contenders):
        time.sleep(0.01)
    stop.set()
    for contender in contenders:
        contender.join()
    assert sorted(said) == ["mine"] + ["not mine"] * 39


def test_the_lock_of_a_dead_process_is_taken_over_at_once(tmp_path: Path) -> None:
    def die() -> None:
        with locked(tmp_path / "run"):
            os._exit(9)

    assert in_fork(die) == 9
    assert json.loads((tmp_path / "run/lock").read_text())["pid"] != os.getpid()
    with locked(tmp_path / "run"):
        assert json.loads((tmp_path / "run/lock").read_text())["pid"] == os.getpid()


def test_what_killed_writers_left_is_swept_away(image_tree: Path, tmp_path: Path) -> None:
    run = dupegrid.run(image_tree, out=tmp_path / "run", **SETTINGS)
    for name in ("thumbs.zarr/.c.0.0123456789abcdef0123456789abcdef", ".run.json.0123456789abcdef0123456789abcdef"):
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        (run.path / name).write_bytes(b"half")
    mine = run.path / ".keep"
    mine.write_bytes(b"a user's")
    dupegrid.run(image_tree, out=run.path, **SETTINGS)
    assert [path.name for path in run.path.rglob(".*")] == [".keep"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dupegrid.Run:
    """A run of a tree that has changed once."""
    tree, out = draw_tree(tmp_path_factory.mktemp("finished") / "tree"), tmp_path_factory.mktemp("finished") / "run"
    dupegrid.run(tree, out=out, **SETTINGS)
    (tree / "a/one.png").rename(tree / "z.png")
    (tree / "notes.txt").unlink()
    save(tree / "y.png", 1)
    return dupegrid.run(tree, out=out, **SETTINGS)


@pytest.fixture
def run(finished: dupegrid.Run, tmp_path: Path) -> dupegrid.Run:
    """A copy of that run."""
    return dupegrid.open_run(shutil.copytree(finished.path, tmp_path / "run"))


@pytest.mark.parametrize("name", ARTIFACTS)
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_whatever_is_damaged_is_made_again(run: dupegrid.Run, finished: dupegrid.Run, name: str, damage: str) -> None:
    """Ids and rows of what was removed included."""
    images, matches, clusters = finished.images, finished.matches, finished.clusters
    file = next(run.path.glob(name))
    data = file.read_bytes()
    if name == "run.json" and damage == "gone":
        return  # then it is no run directory
    file.unlink() if damage == "gone" else file.write_bytes(data[: len(data) // 2])
    again = dupegrid.run(*finished.config.paths, out=run.path, **SETTINGS)
    assert (again.images, again.matches, again.clusters) == (images, matches, clusters)
    assert file.exists() or "settled" in name  # then all is compared


@pytest.mark.parametrize("column", MATCHES.names)
def test_damage_in_any_column_of_the_matches_is_found_and_mended(
    run: dupegrid.Run, finished: dupegrid.Run, column: str
) -> None:
    """Clusters need some columns only, and a reader of the matches all."""
    matches, file = finished.matches, next((run.path / "matches.parquet").glob("part-0*"))
    facts = pq.read_metadata(file).row_group(0).column(MATCHES.names.index(column))
    data = bytearray(file.read_bytes())
    start = facts.dictionary_page_offset or facts.data_page_offset
    data[start + facts.total_compressed_size - 1] ^= 16  # the last byte of its last page
    file.write_bytes(data)
    with pytest.raises(DamagedError):
        _ = dupegrid.open_run(run.path).matches
    assert dupegrid.run(*finished.config.paths, out=run.path, **SETTINGS).matches == matches
    assert dupegrid.open_run(run.path).matches == matches


@pytest.mark.parametrize(
    "stores", [("sorted.zarr",), ("sorted.zarr", "tiles.zarr"), ("levels.zarr",), ("levels.zarr", "thumbs.zarr")]
)
def test_a_power_cut_that_empties_files(image_tree: Path, tmp_path: Path, stores: tuple[str, ...]) -> None:
    """What was written last is empty then, but for the file that was renamed over another."""
    for k in range(40):
        save(image_tree / f"more/{k}.png", 10 + k)
    run = dupegrid.run(image_tree, out=tmp_path / "run", orientations="all", **SETTINGS)
    tables = run.images, run.matches, run.clusters
    written = [file for store in stores for file in sorted((run.path / store).rglob("*")) if file.is_file()]
    assert len(written) > 3 * len(stores)
    for file in written:
        if file.parent.name not in ("sorted.zarr", "levels.zarr"):
            file.write_bytes(b"")
    for name in ("clusters.parquet", "report.html"):
        (run.path / name).unlink()
    again = dupegrid.run(image_tree, out=tmp_path / "run", orientations="all", **SETTINGS)
    assert (again.images, again.matches, again.clusters) == tables

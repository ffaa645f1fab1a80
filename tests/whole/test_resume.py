"""What is finished is never done again; what is not is never believed."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dupegrid
from dupegrid.core.errors import DupegridError
from dupegrid.images import index as index_module
from dupegrid.pairs import sort
from dupegrid.pairs.bounds import median_splits
from dupegrid.pairs.matches import PartWriter
from dupegrid.storage.arrays import Thumbs, Tiles
from dupegrid.storage.run_dir import RunDir
from tests.conftest import EVERY, named_matches, save
from tests.whole.test_exact import assert_exact

SETTINGS = {"orientations": "all", "tile": 8, "scheduler": "sync", "quiet": True}


class InjectedError(DupegridError):
    """The fault that the tests inject: one that is raised at once, and sets nothing aside."""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Counts the writes of chunks and marks; at the number 'stop_at' the write fails, before or after it was made."""
    state = {"chunks": 0, "marks": 0, "stop_at": -1, "after": 0}

    def watched(kind: str, write):
        def call(*arguments: object) -> None:
            state[kind] += 1
            stop = state["chunks"] + state["marks"] == state["stop_at"]
            if stop and not state["after"]:
                raise InjectedError
            write(*arguments)
            if stop:
                raise InjectedError

        return call

    monkeypatch.setattr(Thumbs, "put", watched("chunks", Thumbs.put))
    monkeypatch.setattr(Tiles, "mark", watched("marks", Tiles.mark))
    return state


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dupegrid.Run:
    return dupegrid.run(pictures, out=tmp_path_factory.mktemp("whole") / "run", **SETTINGS)


def copy_of(run: dupegrid.Run, folder: Path) -> dupegrid.Run:
    return dupegrid.open_run(shutil.copytree(run.path, folder / "run"))


def test_tiles_of_another_order_are_not_believed(
    pictures: Path, tmp_path: Path, whole: dupegrid.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version of numpy may sort the same images otherwise."""
    run = copy_of(whole, tmp_path)
    for number, mark in enumerate(sorted((run.path / "tiles.zarr").glob("c.*"))):
        if number % 2:
            mark.unlink()
    shutil.rmtree(run.path / "sorted.zarr")
    monkeypatch.setattr(sort, "median_splits", lambda points, *rest: median_splits(-points, *rest))
    again = dupegrid.run(pictures, out=tmp_path / "run", **SETTINGS)
    assert_exact(again)
    assert again.matches == whole.matches


def assert_same(run: dupegrid.Run, other: dupegrid.Run) -> None:
    assert (run.images, run.matches, run.clusters) == (other.images, other.matches, other.clusters)
    assert run.receipt == other.receipt


def by_path(run: dupegrid.Run) -> tuple[dict[str, dict], set, set]:
    """The tables of a run without ids and removed files."""
    unlike = ("id", "identical_to", "link_of")
    rows = [row for row in run.images.to_pylist() if row["status"] != "removed"]
    images = {row["path"]: {key: row[key] for key in row if key not in unlike} for row in rows}
    paths = run.images["path"].to_pylist()
    clusters = {
        (row["path"], row["role"], paths[row["keeper"]], row["mse_to_keeper"]) for row in run.clusters.to_pylist()
    }
    return images, named_matches(run), clusters


def assert_same_but_for_ids(run: dupegrid.Run, other: dupegrid.Run) -> None:
    assert by_path(run) == by_path(other)
    pairs = run.receipt.pairs
    assert pairs["total"] == sum(pairs.values()) - pairs["total"] == other.receipt.pairs["total"]
    assert run.receipt.matches == len(run.matches)


@pytest.mark.slow
def test_stopped_at_any_write_and_run_again(
    pictures: Path, tmp_path: Path, whole: dupegrid.Run, calls: dict[str, int]
) -> None:
    """Before a write or after it; a run that is to be stopped later goes on with a copy of what the last one left."""
    dupegrid.run(pictures, out=tmp_path / "count", **SETTINGS)
    writes = calls["chunks"] + calls["marks"]
    assert writes > 15
    stopped = tmp_path / "stopped"
    for stop_at in range(1, writes + 1):
        for after in (0, 1):
            calls.update(chunks=0, marks=0, stop_at=1, after=after)
            with pytest.raises(InjectedError):
                dupegrid.run(pictures, out=stopped, **SETTINGS)
            if (2 * stop_at + after) % EVERY:
                continue
            out = shutil.copytree(stopped, tmp_path / f"run{stop_at}{after}")
            calls.update(chunks=0, marks=0, stop_at=-1)
            assert_same(dupegrid.run(pictures, out=out, **SETTINGS), whole)
            assert calls["chunks"] + calls["marks"] == writes - stop_at + 1 - after


def test_a_second_run_does_nothing_again(pictures: Path, whole: dupegrid.Run, calls: dict[str, int]) -> None:
    assert_same(dupegrid.run(pictures, out=whole.path, **SETTINGS), whole)
    assert calls["chunks"] == calls["marks"] == 0


def test_a_lost_chunk_is_made_again_not_read_as_black(
    pictures: Path, tmp_path: Path, whole: dupegrid.Run, calls: dict[str, int]
) -> None:
    run = copy_of(whole, tmp_path)
    (run.path / "thumbs.zarr/c.1.0.0.0").unlink()
    (run.path / "index/part-000000.parquet").unlink()
    calls.update(chunks=0)
    assert_same(dupegrid.run(pictures, out=run.path, **SETTINGS), whole)
    assert calls["chunks"] == 2


def test_a_lost_part_of_the_matches_is_made_again(
    pictures: Path, tmp_path: Path, whole: dupegrid.Run, calls: dict[str, int]
) -> None:
    run = copy_of(whole, tmp_path)
    parts = sorted((run.path / "matches.parquet").iterdir())
    parts[0].unlink()
    calls.update(marks=0)
    assert_same(dupegrid.run(pictures, out=run.path, **SETTINGS), whole)
    assert calls["marks"] == 1


def test_a_damaged_chunk_is_an_error_not_a_result(pictures: Path, tmp_path: Path) -> None:
    run = dupegrid.index(pictures, out=tmp_path / "run", **SETTINGS)
    chunk = run.path / "thumbs.zarr/c.0.0.0.0"
    data = bytearray(chunk.read_bytes())
    data[1000] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(dupegrid.DupegridError, match="damaged"):
        dupegrid.compare(run.path, quiet=True)


@pytest.mark.parametrize("name", ["thumbs.zarr/c.2.0.0.0", "levels.zarr/cosines/c.2.0"])
@pytest.mark.parametrize("verb", ["run", "index"])
def test_what_only_a_reader_finds_damaged_is_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, verb: str
) -> None:
    """A run that has all it needs reads no thumbnails, so whoever looks at one tells the next run."""
    for k in range(12):
        save(tmp_path / f"photos/{k:02d}.png", k)
    settings: dict[str, Any] = {"thumb": 16, "scheduler": "sync", "cutoff": 500.0}
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", **settings)
    chunk = run.path / name
    note, other = chunk.with_name(".damaged"), chunk.with_name(chunk.name.replace("c.2", "c.0"))
    whole = {file: file.read_bytes() for file in (chunk, other)}
    for file, data in whole.items():
        file.write_bytes(data[:10] + bytes([data[10] ^ 1]) + data[11:])
    again = getattr(dupegrid, verb)
    again(tmp_path / "photos", out=run.path, **settings)
    assert all(file.read_bytes() != data for file, data in whole.items()), "else nothing is shown here"
    with pytest.raises(dupegrid.DupegridError, match=f"{chunk} is damaged .*: run 'dupegrid run' again"):
        dupegrid.open_run(run.path).thumbs_of(np.array([8]))
    capsys.readouterr()
    again(tmp_path / "photos", out=run.path, **settings)
    said = capsys.readouterr().err
    assert all(f"{file} is damaged (its checksum does not match): making it again" in said for file in whole)
    assert ({file: file.read_bytes() for file in whole}, note.exists()) == (whole, False)
    assert_same(dupegrid.open_run(run.path), run)
    note.write_bytes(b"")  # somebody's, where all is whole
    mine = [chunk.with_name(stray) for stray in ("notes.txt", "notes.txt.damaged", "zarr.json.damaged")]
    for file in mine:
        file.write_bytes(b"mine")
    inode = chunk.stat().st_ino
    again(tmp_path / "photos", out=run.path, **settings)
    assert "damaged" not in capsys.readouterr().err
    assert (chunk.stat().st_ino, note.exists()) == (inode, False)
    assert {file.read_bytes() for file in mine} == {b"mine"}


def test_a_changed_collection_is_taken_up(image_tree: Path, tmp_path: Path) -> None:
    first = dupegrid.run(image_tree, out=tmp_path / "run", **SETTINGS)
    assert len(first.matches) == 1
    (image_tree / "a/one.png").unlink()
    save(image_tree / "new.png", 2)
    save(image_tree / "b/other.jpg", 5)
    again = dupegrid.run(image_tree, out=tmp_path / "run", **SETTINGS)
    fresh = dupegrid.run(image_tree, out=tmp_path / "fresh", **SETTINGS)
    assert_same_but_for_ids(again, fresh)
    assert len(again.matches) == 0


@pytest.mark.parametrize(
    ("change", "chunks", "marks"),
    [
        ({"threshold": 60.0}, 0, True),
        ({"orientations": "none"}, 0, True),
        ({"scope": "within"}, 0, True),
        ({"cutoff": 300.0}, 0, True),
        ({"workers": 2, "scheduler": "threads"}, 0, False),
    ],
)
def test_a_changed_setting_does_again_only_what_it_must(
    pictures: Path,
    tmp_path: Path,
    whole: dupegrid.Run,
    calls: dict[str, int],
    change: dict[str, object],
    chunks: int,
    marks: bool,
) -> None:
    copy_of(whole, tmp_path)
    calls.update(chunks=0, marks=0)
    again = dupegrid.run(pictures, out=tmp_path / "run", **(SETTINGS | change))
    assert calls["chunks"] == chunks
    assert bool(calls["marks"]) == marks
    assert_same(again, dupegrid.run(pictures, out=tmp_path / "fresh", **(SETTINGS | change)))


def test_rows_come_before_marks(
    pictures: Path, tmp_path: Path, whole: dupegrid.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the mark of a chunk or tile is about to be written, its rows are already under their final name."""
    seen = []

    def chunk_is_ready(thumbs: Thumbs, number: tuple[int], _data: object) -> None:
        seen.append((tmp_path / f"run/index/part-{number[0]:06d}.parquet").exists())
        raise InjectedError

    monkeypatch.setattr(Thumbs, "put", chunk_is_ready)
    with pytest.raises(InjectedError):
        dupegrid.run(pictures, out=tmp_path / "run", **SETTINGS)
    monkeypatch.undo()
    written = []
    close, mark = PartWriter.close, Tiles.mark

    def closed(writer: PartWriter) -> int:
        parts = close(writer)
        written.append(writer._tile)
        return parts

    monkeypatch.setattr(PartWriter, "close", closed)
    monkeypatch.setattr(
        Tiles, "mark", lambda tiles, i, j, counts: (seen.append((i, j) in written), mark(tiles, i, j, counts))
    )
    dupegrid.run(pictures, out=tmp_path / "run", **SETTINGS)
    assert len(seen) > 10
    assert all(seen)
    assert index_module.index_progress(RunDir(tmp_path / "run"), whole.config).done == len(list(pictures.iterdir()))

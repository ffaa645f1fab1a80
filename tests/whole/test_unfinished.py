"""A piece of work that fails at every try is set aside: the rest is finished, what is missing is said, and goes on."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dupegrid
from dupegrid.core.errors import StoreError, UnfinishedError
from dupegrid.images import index as index_module
from dupegrid.images import thumbnail_hashes as hashes_module
from dupegrid.pairs import compare as compare_module
from dupegrid.pairs import matrix as matrix_module
from dupegrid.pairs import relations as relations_module
from tests.conftest import save
from tests.helpers.forks import command
from tests.helpers.tasks import index_chunk_or_die

SETTINGS: dict[str, Any] = {"quiet": True, "thumb": 16, "tile": 8, "cutoff": 500.0, "retries": 0}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So many that there are several chunks and tiles; every two are equal."""
    folder = tmp_path_factory.mktemp("photos")
    for k in range(40):
        save(folder / f"{k:02d}.png", k // 2)
    return folder


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dupegrid.Run:
    return dupegrid.run(photos, out=tmp_path_factory.mktemp("whole") / "run", **SETTINGS)


def assert_same(run: dupegrid.Run, whole: dupegrid.Run) -> None:
    assert (run.images, run.matches, run.clusters) == (whole.images, whole.matches, whole.clusters)
    assert run.receipt == whole.receipt
    assert dupegrid.status(run.path).missing == []
    assert not (run.path / "unfinished.json").exists()


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_a_chunk_that_fails_is_set_aside(
    photos: Path, whole: dupegrid.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheduler: str
) -> None:
    out, real, done = tmp_path / "run", index_module.index_chunk, []

    def index_chunk(*arguments: Any) -> int:
        if arguments[-1] in (1, 3):
            raise OSError(5, "Input/output error")
        done.append(arguments[-1])
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(index_module, "index_chunk", index_chunk)
        with pytest.raises(
            UnfinishedError, match=r"index: 8 pictures are missing, those of chunk 1 \(OSError"
        ) as raised:
            dupegrid.run(photos, out=out, scheduler=scheduler, **SETTINGS)
    assert "\n" not in str(raised.value)
    chunks = dupegrid.open_run(whole.path).stored_thumbs.count
    assert sorted(done) == [k for k in range(chunks) if k not in (1, 3)]
    state = dupegrid.status(out)
    assert [(piece.what, piece.count, piece.unit) for piece in state.missing] == [
        ("chunk 1", 4, "pictures"),
        ("chunk 3", 4, "pictures"),
    ]
    assert state.index.done == 32
    for name in ("receipt.json", "clusters.parquet", "images.parquet", "report.html"):
        assert not (out / name).exists()
    done.clear()
    monkeypatch.setattr(index_module, "index_chunk", lambda *them: done.append(them[-1]) or real(*them))
    assert_same(dupegrid.run(photos, out=out, **SETTINGS), whole)
    assert sorted(done) == [1, 3], "and it goes on there"


@pytest.mark.usefixtures("workers_forked")
def test_a_chunk_that_kills_its_workers_is_set_aside(photos: Path, whole: dupegrid.Run, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_module, "index_chunk", index_chunk_or_die)
        with pytest.raises(UnfinishedError, match=r"index: 4 pictures are missing, those of chunk 2 \(.*died"):
            dupegrid.run(photos, out=out, scheduler="processes", workers=1, **SETTINGS)
    assert dupegrid.status(out).index.done == 36
    assert_same(dupegrid.run(photos, out=out, **SETTINGS), whole)


def test_a_tile_that_fails_is_set_aside_and_the_command_says_it_in_a_line(
    photos: Path, whole: dupegrid.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, real = dupegrid.run(photos, out=tmp_path / "run", **SETTINGS).path, compare_module.compare_tile
    assert (out / "clusters.parquet").exists()

    def compare_tile(job: Any, tile: np.ndarray) -> int:
        if tile.tolist() == [0, 1]:
            raise RuntimeError("no\nluck")
        return real(job, tile)

    words = ("compare", out, "--orientations", "all", "--retries", 0)
    with monkeypatch.context() as patch:
        patch.setattr(compare_module, "compare_tile", compare_tile)
        ended, again = command(*words), command(*words)
    assert ended.returncode == again.returncode == 1
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("dupegrid: ")]
    assert "64 pairs are missing, those of tile 0, 1 (RuntimeError: no\\nluck" in line
    for name in ("receipt.json", "clusters.parquet"):
        assert not (out / name).exists()
    with pytest.raises(StoreError, match="not fully compared"):
        dupegrid.cluster(out)
    said = command("status", out).stdout
    assert "missing, as it failed at every try: run again to go on there" in said
    assert "  compare tile 0, 1: 64 pairs (RuntimeError: no\\nluck" in said
    state = json.loads(command("status", out, "--json").stdout)
    assert state["compare"]["done"] == state["compare"]["total"] - 1
    assert state["missing"][0]["what"] == "tile 0, 1"
    fresh = dupegrid.run(photos, out=tmp_path / "fresh", orientations="all", **SETTINGS)
    assert command(*words).returncode == 0
    assert dupegrid.open_run(out).matches == fresh.matches
    assert dupegrid.status(out).missing == []


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 pairs of pictures whose files are not equal, and one more, so that the last chunk is not full."""
    folder = tmp_path_factory.mktemp("mixed")
    for k in range(20):
        for ending in ("png", "jpg"):
            save(folder / f"{k}.{ending}", k)
    save(folder / "more.png", 20)
    return folder


def test_relations_that_fail_are_set_aside(mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {**SETTINGS, "out": tmp_path / "run", "relations": True}

    def tell(_job: Any, _number: int) -> int:
        raise RuntimeError("no luck")

    with monkeypatch.context() as patch:
        patch.setattr(relations_module, "tell", tell)
        with pytest.raises(UnfinishedError, match=r"relate: 20 pairs are missing, those of piece 0 \(RuntimeError"):
            dupegrid.run(mixed, **settings)
        left = dupegrid.open_run(tmp_path / "run")
        assert (len(left.clusters), (left.path / "report.html").exists()) == (40, True), "all else is finished"
        assert [piece.what for piece in dupegrid.status(left.path).missing] == ["piece 0"]
        with pytest.raises(UnfinishedError, match="relate: 20 pairs"):
            dupegrid.compare(left.path, quiet=True, retries=0)
    run = dupegrid.run(mixed, **settings)
    assert len(run.relations) == len(run.matches)
    assert dupegrid.status(run.path).missing == []


@pytest.mark.parametrize(
    ("flag", "module", "task"),
    [
        ({"relations": True}, relations_module, "tell"),
        ({"matrix": True}, matrix_module, "_store_chunk"),
        ({"hash": "shift:4"}, hashes_module, "_hash_chunk"),
    ],
    ids=["relations", "matrix", "hash"],
)
def test_what_is_not_asked_for_any_more_is_not_missing(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: Any, module: Any, task: str
) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("no luck")

    with monkeypatch.context() as patch:
        patch.setattr(module, task, fails)
        with pytest.raises(UnfinishedError):
            dupegrid.run(mixed, out=tmp_path / "run", **SETTINGS, **flag)
    missing = dupegrid.status(tmp_path / "run").missing
    assert sum(piece.count for piece in missing) == {"relations": 20, "matrix": 1, "hash": 41}[next(iter(flag))]
    run = dupegrid.run(mixed, out=tmp_path / "run", **SETTINGS)
    assert dupegrid.status(run.path).missing == []
    assert not (run.path / "unfinished.json").exists()


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'{"made_by": "dupegrid", "missing": [{"what": 3}]}'])
def test_what_is_said_to_be_missing_may_be_damaged(whole: dupegrid.Run, tmp_path: Path, data: bytes) -> None:
    run = tmp_path / "run"
    os.system(f"cp -r {whole.path} {run}")
    (run / "unfinished.json").write_bytes(data)
    assert dupegrid.status(run).missing == []

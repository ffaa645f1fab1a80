"""What comes with comparing: metrics, filters, the stored matrix, moving the threshold, explaining, estimating."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
import zarr

import dupegrid
from dupegrid.app.command import verbs_look
from dupegrid.core.errors import ConfigError, DupegridError, UsageError
from dupegrid.core.values import in_bytes
from dupegrid.pairs import compare as compare_module
from dupegrid.pairs import matrix as matrix_module
from dupegrid.pairs.job import Job
from dupegrid.pairs.strip import Strip
from dupegrid.storage.arrays import Matrix
from tests.conftest import picture, save
from tests.helpers import reference
from tests.helpers.forks import command
from tests.whole.test_exact import assert_exact

PutIndex = Callable[..., Path]


def largest_difference(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A metric of the user's: the largest difference of any value."""
    return np.array([np.abs(row.astype(int) - y.astype(int)).max(axis=1) for row in x]).reshape(len(x), len(y))


def wrong_shape(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.zeros(len(x))


@pytest.mark.parametrize(
    ("metric", "threshold"), [("mae", 5.0), ("tests.pairs.test_features:largest_difference", 60.0)]
)
@pytest.mark.parametrize("tile", [None, 7])
def test_other_metrics_go_through_the_same_tiles(
    pictures: Path, tmp_path: Path, put_index: PutIndex, metric: str, threshold: float, tile: int | None
) -> None:
    put_index(tmp_path / "run", thumb=16)
    settings = {"metric": metric, "threshold": threshold, "cutoff": threshold, "thumb": 16, "tile": tile}
    run = dupegrid.run(pictures, out=tmp_path / "run", orientations="all", quiet=True, **settings)
    thumbs, status = run.thumbs.compute().astype(int), run.images["status"].to_pylist()
    expected = {}
    for a in range(len(thumbs)):
        for b in range(a + 1, len(thumbs)):
            if status[a] == status[b] == "ok":
                turns = reference.ORIENTATIONS["all"]
                differences = [np.abs(thumbs[a] - reference.turn(thumbs[b], name)) for name in turns]
                scores = [d.mean() if metric == "mae" else d.max() for d in differences]
                if min(scores) <= threshold:
                    expected[a, b] = (min(scores), turns[int(np.argmin(scores))])
    rows = run.matches.to_pylist()
    assert {(row["a"], row["b"]): (row["score"], row["orientation"]) for row in rows} == expected
    assert len(expected) > 5
    for row in rows:
        sse = reference.sse(thumbs[row["a"]], reference.turn(thumbs[row["b"]], row["orientation"]))
        assert (row["sse"], row["mse"]) == (sse, sse / thumbs[0].size)
    pairs = run.receipt.pairs
    assert pairs["exact"] == pairs["total"]
    assert len(run.clusters)


def test_a_metric_that_is_none_is_named(pictures: Path, tmp_path: Path) -> None:
    for metric in ("tests.pairs.test_features:nothing", "no.such:thing", "tests.pairs.test_features:NAMES", "ssim"):
        with pytest.raises(ConfigError, match="metric"):
            dupegrid.run(pictures, out=tmp_path / "run", metric=metric, quiet=True)
    with pytest.raises(ConfigError, match="wrong_shape' returned shape"):
        dupegrid.run(pictures, out=tmp_path / "run", metric="tests.pairs.test_features:wrong_shape", quiet=True)


NAMES = ("not", "a", "function")


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of one picture in several sizes and aspects, upright and turned."""
    folder = tmp_path_factory.mktemp("sizes")
    (folder / "photos").mkdir()
    for k, size in enumerate([(96, 72), (96, 72), (192, 144), (72, 96), (96, 60), (96, 96), (100, 50)]):
        for copy in range(2):
            picture(1, size).save(folder / f"photos/{k}{copy}.png")
    return dupegrid.index(folder / "photos", out=folder / "run", quiet=True).path


def gone_on_with(indexed: Path, out: Path, **settings: object) -> dupegrid.Run:
    """A run that finds this index in its place."""
    return dupegrid.run(indexed.parent / "photos", out=shutil.copytree(indexed, out), quiet=True, **settings)


@pytest.fixture(scope="module", params=product(["none", "rotations"], [None, 4]))
def whole(request: pytest.FixtureRequest, sizes: Path, tmp_path_factory: pytest.TempPathFactory) -> dupegrid.Run:
    """All of it compared, in these orientations and tiles."""
    orientations, tile = request.param
    out = tmp_path_factory.mktemp("whole") / "run"
    return gone_on_with(sizes, out, orientations=orientations, tile=tile, threshold=3000)


@pytest.mark.parametrize("settings", [{"same_size": True}, {"max_aspect": 1.3}, {"same_size": True, "max_aspect": 1.0}])
def test_filters_of_size_and_aspect(
    sizes: Path, whole: dupegrid.Run, tmp_path: Path, settings: dict[str, object]
) -> None:
    as_whole = {key: getattr(whole.config, key) for key in ("orientations", "tile", "threshold")}
    run = gone_on_with(sizes, tmp_path / "run", **as_whole, **settings)
    sides = list(zip(run.images["width"].to_pylist(), run.images["height"].to_pylist(), strict=True))
    if run.config.orientations != "none":
        sides = [(max(side), min(side)) for side in sides]

    def asked_for(a: int, b: int) -> bool:
        (aw, ah), (bw, bh) = sides[a], sides[b]
        aspects = sorted((aw / ah, bw / bh))
        same = not settings.get("same_size") or sides[a] == sides[b]
        return same and aspects[1] / aspects[0] <= settings.get("max_aspect", np.inf) + 1e-12

    kept = {(row["a"], row["b"], row["sse"]) for row in run.matches.to_pylist()}
    assert kept == {(r["a"], r["b"], r["sse"]) for r in whole.matches.to_pylist() if asked_for(r["a"], r["b"])}
    assert 0 < len(kept) < len(whole.matches)
    pairs = run.receipt.pairs
    assert pairs["filter"] > 0
    assert pairs["total"] == sum(count for name, count in pairs.items() if name != "total")


@pytest.mark.usefixtures("one_chunk")
def test_a_flood_of_copies_stays_small(tmp_path: Path) -> None:
    """400 copies of one picture and 300 of another among 60 are 125,000 pairs; a line each is enough."""
    photos = tmp_path / "photos"
    for seed in range(60):
        save(photos / f"other{seed}.png", seed + 10)
    for seed, count in ((1, 400), (2, 300)):
        data = save(photos / f"copies{seed}.png", seed).read_bytes()
        for k in range(count - 1):
            (photos / f"copies{seed}_{k}.png").write_bytes(data)
    run = dupegrid.run(photos, out=tmp_path / "run", thumb=16, quiet=True)
    assert len(run.matches) == 399 + 299
    assert [run.clusters["cluster"].to_pylist().count(k) for k in (0, 1)] == [400, 300]
    assert run.receipt.pairs["identical"] > 100_000
    assert_exact(run)


def test_the_stored_matrix(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix_module, "_SIDE", 16)
    written = []
    write = Matrix.write

    def failing(matrix: Matrix, number: tuple[int, int], block: np.ndarray) -> None:
        written.append(number)
        if len(written) == 4:
            raise DupegridError("stop")
        write(matrix, number, block)

    settings = {"out": tmp_path / "run", "matrix": True, "thumb": 16, "scheduler": "sync", "quiet": True}
    monkeypatch.setattr(Matrix, "write", failing)
    with pytest.raises(DupegridError, match="stop"):
        dupegrid.run(pictures, **settings)
    before = len(written)
    run = dupegrid.run(pictures, **settings)
    stored = zarr.open_array(run.path / "mse.zarr", mode="r")[:]
    np.testing.assert_array_equal(stored, run.mse.compute())
    np.testing.assert_array_equal(stored, stored.T)
    chunks = -(-len(stored) // 16)
    assert len(written) - before < chunks * (chunks + 1)  # one finished pair of chunks was not made again
    count = len(written)
    dupegrid.run(pictures, **settings)
    assert len(written) == count


def test_a_matrix_that_does_not_fit_the_disk_is_refused(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr(matrix_module.shutil, "disk_usage", lambda _: Usage)
    with pytest.raises(UsageError, match=r"takes .* and the disk has 1\.0 kB left"):
        dupegrid.run(pictures, out=tmp_path / "run", matrix=True, quiet=True)


@pytest.fixture(scope="module")
def wide(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dupegrid.Run:
    return dupegrid.run(pictures, out=tmp_path_factory.mktemp("wide") / "run", threshold=50, cutoff=3000, quiet=True)


@pytest.mark.parametrize("threshold", [0, 5, 50, 1000, 3000])
def test_any_threshold_after_the_fact(
    wide: dupegrid.Run, pictures: Path, tmp_path: Path, put_index: PutIndex, threshold: float
) -> None:
    put_index(tmp_path / "run")
    fresh = dupegrid.run(pictures, out=tmp_path / "run", threshold=threshold, cutoff=threshold, quiet=True)
    cut = wide.at(threshold)
    assert cut.matches == fresh.matches
    # With a wider cutoff more is known of bridges; all else is the same.
    columns = ["cluster", "image", "role", "keeper"]
    assert cut.clusters.select(columns) == fresh.clusters.select(columns)


def test_a_threshold_over_the_cutoff_is_refused(wide: dupegrid.Run) -> None:
    with pytest.raises(UsageError, match="cutoff 3000"):
        wide.at(3001)


def test_explain_agrees_with_the_tables(wide: dupegrid.Run) -> None:
    for row in wide.matches.to_pylist()[::7]:
        found = wide.explain(row["a"], row["b"])
        assert found.mse[found.best] == row["mse"]
        assert found.best == row["orientation"]
        assert found.mse[found.best] == min(found.mse.values())
        assert list(found.bounds) == ["23 cosines", "96 cosines", "191 cosines"]
        bounds = [*found.bounds.values(), row["mse"]]
        assert all(low <= high * (1 + 1e-4) + 1e-9 for low, high in pairwise(bounds))
        at = found.joined_at
        assert at is not None
        assert at <= row["mse"]
        for threshold, together in ((at, True), (np.nextafter(at, -1), False)):
            if threshold >= 0:
                members = wide.at(threshold).clusters.to_pylist()
                label = {member["image"]: member["cluster"] for member in members}
                assert (label.get(row["a"], -1) == label.get(row["b"], -2)) == together


def test_explain_takes_paths_and_unreadable_files(wide: dupegrid.Run) -> None:
    name = Path(wide.images["path"][3].as_py()).name
    assert wide.explain(name, 0).b.id == 3
    assert wide.explain(wide.images["path"][3].as_py(), "0").b.id == 3
    bad = wide.images["status"].to_pylist().index("truncated")
    found = wide.explain(0, bad)
    assert (found.mse, found.best, found.joined_at) == ({}, None, None)
    assert wide.explain(bad, bad).joined_at is None
    assert [wide.explain(each, each).joined_at for each in range(3)] == [0, 0, 0], "also of one without a match"
    with pytest.raises(UsageError, match="no image ends with"):
        wide.explain("nowhere.jpg", 0)
    with pytest.raises(UsageError, match=r"ends with nowhere\\xff\.jpg: "):
        wide.explain("nowhere\udcff.jpg", 0)
    with pytest.raises(UsageError, match=r"no image 9{5000}: this"):
        wide.explain("9" * 5000, 0)
    with pytest.raises(UsageError, match=r"no image 999999: this run has \d+, counted from 0"):
        wide.explain(0, 999_999)
    assert "<img" in found._repr_html_()


def test_explain_answers_where_its_picture_cannot_be_written(
    wide: dupegrid.Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "replace", refused)
    before = sorted(os.listdir(wide.path))
    verbs_look.explain(str(wide.path), "0", "1")
    assert f"picture     not written to {wide.path}: Read-only file system" in capsys.readouterr().out
    verbs_look.explain(str(wide.path), "0", "1", as_json=True)
    assert json.loads(capsys.readouterr().out)["picture"] is None
    assert sorted(os.listdir(wide.path)) == before


def test_explain_and_estimate_from_the_command_line(wide: dupegrid.Run, pictures: Path) -> None:
    def said(*words: object) -> str:
        done = command(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    row = wide.matches.to_pylist()[0]
    words = ["explain", wide.path, row["path_a"], str(row["b"])]
    assert f"{row['mse']:.4f} {row['orientation']} (best)" in said(*words)
    assert Path(json.loads(said(*words, "--json"))["picture"]).read_bytes().startswith(b"\x89PNG")
    cost = json.loads(said("estimate", pictures, "--json"))
    assert cost["images"] == len(list(pictures.iterdir()))
    assert cost["pairs"] == cost["images"] * (cost["images"] - 1) // 2
    assert all(cost[key] > 0 for key in ("images_per_s", "pairs_per_s", "memory_bytes", "disk_bytes", "bytes_read"))
    assert "at most" in said("estimate", pictures)


@pytest.mark.parametrize("memory", ["1MB", "30MB", 10**9])
def test_threads_share_the_memory_and_what_they_hold_changes_no_table(
    pictures: Path,
    tmp_path: Path,
    put_index: PutIndex,
    wide: dupegrid.Run,
    memory: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Threads are what is taken by default. A piece is so many whole blocks as fit, and one at least."""
    put_index(tmp_path / "run")
    held, blocks, read = [], [], compare_module.read_piece

    def weighed(job: Job, rows: slice) -> Strip:
        piece = read(job, rows)
        arrays = [piece.ids, piece.home, piece.starts, piece.cosines]
        arrays += [array for turned in piece.turned for array in vars(turned).values()]
        held.append(sum(array.nbytes for array in arrays))
        blocks.append(len(piece.starts) - 1)
        return piece

    monkeypatch.setattr(compare_module, "_BLOCK", 4)
    monkeypatch.setattr(compare_module, "read_piece", weighed)
    run = dupegrid.run(pictures, out=tmp_path / "run", cutoff=3000, memory=memory, workers=16, quiet=True)
    assert run.matches == wide.matches
    for size, count in zip(held, blocks, strict=True):
        assert count == 1 or 4 * size <= in_bytes(memory) // 16
    assert (len(held) > 1) == (memory == "1MB")

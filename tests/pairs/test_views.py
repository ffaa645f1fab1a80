"""Several looks at each picture: matches against brute force over looks and orientations; going on; what is refused."""

import dataclasses
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import dupegrid
from dupegrid.app.run_json import versions
from dupegrid.core.config import load_config
from dupegrid.core.errors import ConfigError, RunDirError, StoreError
from dupegrid.images import views
from dupegrid.images.chunk import create_stores, write_chunk
from dupegrid.images.decoded import Reading
from dupegrid.images.recipe import decode
from dupegrid.pairs import looks
from dupegrid.storage.files import FORMAT, write_json
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.schemas import IMAGES
from dupegrid.storage.tables import write_table
from tests.helpers import reference
from tests.helpers.images import KINDS, thumbs

LOOKS = ("full", "centre95", "centre90")


def indexed(out: Path, pictures: np.ndarray, **chosen: object) -> Path:
    """A run directory of thumbnails by all looks, uint8 (looks, n, S, S, 3), that never were files."""
    _, n, side = pictures.shape[:3]
    config = load_config(paths=["/nowhere"], thumb=side, looks=LOOKS[: len(pictures)], **chosen)
    out.mkdir(parents=True, exist_ok=True)
    run_dir, chunk = RunDir(out), 8
    create_stores(run_dir, n, side, chunk, "made", config.looks)
    for number in range(-(-n // chunk)):
        write_chunk(run_dir, number, pictures[:, number * chunk : (number + 1) * chunk])
    known = {
        "id": np.arange(n),
        "path": [f"/nowhere/{k}.jpg" for k in range(n)],
        "path_raw": pa.array([b"/nowhere/%d.jpg" % k for k in range(n)]),
        "size_bytes": np.full(n, 9),
        **dict.fromkeys(("mtime_ns", "ctime_ns", "device", "inode"), np.zeros(n, np.int64)),
        "width": np.full(n, 64, np.int32),
        "height": np.full(n, 64, np.int32),
        "status": ["ok"] * n,
        "root": np.zeros(n, np.int32),
    }
    table = pa.table({f.name: known[f.name] if f.name in known else pa.nulls(n, f.type) for f in IMAGES})
    write_table(run_dir.images, table.cast(IMAGES), {"fingerprint": "made", "seals": run_dir.seals()})
    saved = {"format": FORMAT, "config": config.model_dump(), "fingerprint": "made", "versions": versions()}
    write_json(run_dir.run_json, saved | {"unreadable_folders": []})
    return out


def expected(pictures: np.ndarray, cutoff: float, choice: str) -> dict[tuple[int, int], tuple[int, str, str, str]]:
    """By brute force: of each pair the least over orientations and looks, the first at a tie."""
    found, names = {}, reference.ORIENTATIONS[choice]
    looks, n = pictures.shape[:2]
    for a in range(n):
        for b in range(a + 1, n):
            sse, turn, x, y = min(
                (reference.sse(pictures[x, a], reference.turn(pictures[y, b], name)), turn, x, y)
                for turn, name in enumerate(names)
                for x in range(looks)
                for y in range(looks)
            )
            if sse / pictures[0, 0].size <= cutoff:
                found[a, b] = sse, names[turn], LOOKS[x], LOOKS[y]
    return found


def rows(run: dupegrid.Run) -> dict[tuple[int, int], tuple[int, str, str, str]]:
    listed = run.matches.to_pylist()
    found = {(r["a"], r["b"]): (r["sse"], r["orientation"], r["look_a"], r["look_b"]) for r in listed}
    assert len(found) == len(listed)
    assert list(found) == sorted(found)
    return found


@pytest.mark.parametrize("choice", ["none", "rotations", "all"])
@settings(max_examples=3)
@given(st.lists(st.sampled_from(KINDS), min_size=2, max_size=3), st.integers(2, 9), st.integers(0, 999))
def test_matches_are_the_least_over_looks(
    tmp_path_factory: pytest.TempPathFactory, choice: str, kinds: list[str], n: int, seed: int
) -> None:
    pictures = np.stack([thumbs(kind, n, seed + 7 * k) for k, kind in enumerate(kinds)])
    out = indexed(tmp_path_factory.mktemp("run"), pictures, cutoff=6000, orientations=choice, tile=3)
    run = dupegrid.compare(out, quiet=True, scheduler="sync")
    assert rows(run) == expected(pictures, 6000, choice)
    total, *decided = run.receipt.pairs.values()
    count = n * len(kinds)
    assert total == count * (count - 1) // 2 == sum(decided)


def test_many_matches_are_folded_part_by_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "_FOLDED_AT_ONCE", 40)
    pictures = np.stack([thumbs("near", 14, seed) for seed in (1, 1, 2)])
    run = dupegrid.compare(indexed(tmp_path / "run", pictures, cutoff=500), quiet=True, scheduler="sync")
    assert len(list((run.path / "matches.parquet").glob("part-0*.parquet"))) > 3
    assert rows(run) == expected(pictures, 500, "rotations")


def test_a_fold_that_was_stopped_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "_FOLDED_AT_ONCE", 40)
    pictures = np.stack([thumbs("near", 9, seed) for seed in (1, 1)])
    out = indexed(tmp_path / "run", pictures, cutoff=500)
    for writes in range(1, 9):
        left = iter(range(writes))

        def until(*given: object, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt
            write_table(*given)

        monkeypatch.setattr(looks, "write_table", until)
        with suppress(KeyboardInterrupt):
            dupegrid.compare(out, quiet=True, scheduler="sync")
    run = dupegrid.open_run(out)
    assert rows(run) == expected(pictures, 500, "rotations")
    assert run.receipt.matches == len(run.matches)


def smooth(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(60, 200, (9, 9, 3)).astype(np.uint8)
    return Image.fromarray(pixels).resize((320, 240), Image.Resampling.BICUBIC)


def cropped(image: Image.Image, share: float) -> Image.Image:
    left, top = image.width * share / 2, image.height * share / 2
    return image.crop((round(left), round(top), round(image.width - left), round(image.height - top)))


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crops")
    for k, share in enumerate((0.05, 0.10, 0.05, 0.10)):
        smooth(k).save(folder / f"{k}.png")
        cropped(smooth(k), share).rotate(90 * k, expand=True).save(folder / f"{k}-crop.jpg", quality=92)
    return folder


def test_crops_are_found_going_on_too(tmp_path: Path, crops: Path) -> None:
    out, files = tmp_path / "run", sorted(crops.iterdir())
    some = tmp_path / "some"
    some.mkdir()
    for file in files[:5]:
        (some / file.name).hardlink_to(file)
    chosen = {"out": out, "looks": "full,centre90,centre95", "quiet": True, "scheduler": "sync"}
    first = dupegrid.run(some, **chosen)
    (first.run_dir.matches / "part-00000-00000-000.parquet").unlink()  # as if it was killed before its mark
    first.run_dir.receipt.unlink()
    first.run_dir.collapsed.unlink()
    assert len(dupegrid.run(some, **chosen).matches) == 2
    (first.run_dir.matches / "part-00000-00000-000.parquet").unlink()  # or lost later
    (first.run_dir.matches / "mine.txt").write_text("not ours")
    assert len(dupegrid.run(some, **chosen).matches) == dupegrid.open_run(out).receipt.matches == 2
    for file in files[5:]:
        (some / file.name).hardlink_to(file)
    run = dupegrid.run(some, **chosen)
    assert run.receipt.pairs["earlier"] == 15 * 14 // 2
    assert run.config.looks == LOOKS
    again = dupegrid.run(some, **{**chosen, "out": tmp_path / "again"})
    by_path = [
        {(r["path_a"], r["path_b"], r["sse"], r["look_a"], r["look_b"]) for r in done.matches.to_pylist()}
        | {(r["path_b"], r["path_a"], r["sse"], r["look_b"], r["look_a"]) for r in done.matches.to_pylist()}
        for done in (run, again)
    ]
    assert by_path[0] == by_path[1]
    assert {(Path(a).name[0], Path(b).name[0]) for a, b, *_ in by_path[0]} == {(str(k), str(k)) for k in range(4)}
    assert dupegrid.status(out).compare.done == dupegrid.status(out).compare.total
    assert len(dupegrid.cluster(out).clusters) == 8
    explained = run.explain("0.png", "0-crop.jpg")
    assert sorted(explained.looks or ()) in (["centre95", "full"], ["centre90", "centre95"])
    ids = explained.a.id, explained.b.id
    (own,) = (row for row in run.matches.to_pylist() if (row["a"], row["b"]) == ids)
    assert (own["mse"], own["look_a"], own["look_b"]) == (explained.mse[own["orientation"]], *(explained.looks or ()))
    with pytest.raises(RunDirError, match=r"looks = full,centre95,centre90, asked for is full: choose another --out"):
        dupegrid.run(some, out=out, quiet=True)


def test_stored_looks_are_those_of_the_decoder_after_damage(tmp_path: Path, crops: Path) -> None:
    run = dupegrid.run(crops, out=tmp_path / "run", looks=LOOKS, quiet=True, scheduler="sync")
    before = rows(run)
    (tmp_path / "run/levels.zarr/thumbs_centre95/c.0.0.0.0").unlink()
    with pytest.raises(StoreError):
        run.explain(0, 1)
    run = dupegrid.run(crops, out=tmp_path / "run", looks=LOOKS, quiet=True, scheduler="sync")
    assert rows(run) == before
    reading = Reading(64, looks=LOOKS)
    found = [decode(Path(path).read_bytes(), reading) for path in run.images["path"].to_pylist()]
    stored = views.looks_at(run.run_dir, np.arange(len(found)))
    whole = dataclasses.replace(reading, looks=("full",))
    for image, path, of_store in zip(found, run.images["path"].to_pylist(), stored, strict=True):
        assert image.thumb is not None
        assert image.crops is not None
        assert (of_store == np.stack([image.thumb, *image.crops])).all()
        assert (decode(Path(path).read_bytes(), whole).thumb == image.thumb).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"looks": "centre95"},
        {"looks": "full,centre95.5"},
        {"looks": "full,left"},
        {"looks": "full,centre99,centre98,centre97,centre96,centre95"},
        {"looks": LOOKS, "metric": "mae"},
        {"looks": LOOKS, "scheduler": "gpu"},
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="look"):
        load_config(**wrong)


def test_sets_of_identical_pictures_by_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dupegrid.images.index.COLLAPSE_OVER", 3)
    (tmp_path / "photos").mkdir()
    for k in range(6):
        smooth(1).save(tmp_path / f"photos/same{k:02d}.png")
    cropped(smooth(1), 0.10).save(tmp_path / "photos/zcrop.png")
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", looks=LOOKS, quiet=True, scheduler="sync")
    assert len(run.matches) == 6
    assert {(row["a"], row["b"]) for row in run.matches.to_pylist()} == {(0, k) for k in range(1, 7)}

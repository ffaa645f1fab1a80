"""A collection that changes: only what is new is opened and compared, and the tables are those of a fresh run."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import dupegrid
from dupegrid.app import api
from dupegrid.core.errors import DamagedError
from dupegrid.images import hashing as hashing_module
from dupegrid.images import index as index_module
from dupegrid.images import sandbox
from dupegrid.storage.schemas import FILES
from dupegrid.storage.tables import read_metadata, read_table, write_table
from tests.conftest import LONG, picture, refuse_listing, save
from tests.helpers import reference
from tests.helpers.crash import kill
from tests.helpers.forks import FORKING, in_fork
from tests.helpers.pages import Page
from tests.images.test_sandbox import MISBEHAVING
from tests.whole.test_resume import by_path

ROUNDS = 6 if LONG else 4  # of changes; all of them in `make test-crash`
SETTINGS = {"scheduler": "sync", "quiet": True, "cutoff": 400.0}


class Folder:
    """A folder of pictures, some alike, that is changed at random."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self._random = np.random.default_rng(seed)
        self._made = 0
        for _ in range(12):
            self.add()

    def _any(self) -> Path:
        files = sorted(file for file in self.path.rglob("*") if file.is_file())
        return files[self._random.integers(len(files))]

    def _new(self) -> Path:
        self._made += 1
        place = self.path / f"folder{self._random.integers(3)}" / f"{self._random.integers(1000)}-{self._made}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def add(self) -> None:
        save(self._new(), int(self._random.integers(8)))

    def add_broken(self) -> None:
        self._new().write_bytes(b"\x89PNG\r\n\x1a\nnothing")

    def change(self) -> None:
        save(self._any(), int(self._random.integers(8)))

    def remove(self) -> None:
        self._any().unlink()

    def rename(self) -> None:
        self._any().rename(self._new())

    def give(self, other: "Folder") -> None:
        self._any().rename(other._new())

    def copy_and_remove(self) -> None:
        old, new = self._any(), self._new()
        shutil.copy2(old, new)
        old.unlink()

    def link(self) -> None:
        self._new().hardlink_to(self._any())

    def step(self) -> None:
        for _ in range(self._random.integers(1, 6)):
            kinds = [self.add, self.add, self.change, self.remove, self.rename, self.copy_and_remove, self.link]
            kinds[self._random.integers(len(kinds))]()
        self.add_broken()


def assert_same_but_for_names_of_one_file(run: dupegrid.Run, fresh: dupegrid.Run) -> None:
    """Which of the names of a file stands for all goes by ids; so do the pairs that are listed for it."""
    (images, _, clusters), (fresh_images, _, fresh_clusters) = by_path(run), by_path(fresh)
    assert images == fresh_images
    assert clusters == fresh_clusters
    if run.config.metric == "mse":
        expected = reference.expected_matches(run.images, run.thumbs.compute(), run.config.model_dump())
        if run.config.same_size:
            size = [tuple(sorted((row["width"] or 0, row["height"] or 0))) for row in run.images.to_pylist()]
            expected = {pair: value for pair, value in expected.items() if size[pair[0]] == size[pair[1]]}
        found = {(row["a"], row["b"]): (row["sse"], row["orientation"]) for row in run.matches.to_pylist()}
        assert found == expected
    pairs = run.receipt.pairs
    assert pairs["total"] == sum(pairs.values()) - pairs["total"] == fresh.receipt.pairs["total"]
    assert run.receipt.matches == len(run.matches)
    linked = [row["path"] for row in run.images.to_pylist() if row["link_of"] is not None]
    assert len(linked) == len(fresh.images) - fresh.images["link_of"].null_count


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "settings"),
    [
        (1, {}),
        (2, {"orientations": "all", "tile": 4}),
        (3, {"same_size": True, "thumb": 16}),
        (4, {"metric": "mae", "threshold": 10.0, "cutoff": 10.0, "thumb": 16}),
        (5, {"scope": "across"}),
        (7, {"against": True}),  # pictures move between its sides too
        (6, {"matrix": True}),
    ],
)
def test_any_change_gives_the_tables_of_a_fresh_run(tmp_path: Path, seed: int, settings: dict[str, object]) -> None:
    folder, other = Folder(tmp_path / "a", seed), Folder(tmp_path / "b", seed + 100)
    settings, paths = SETTINGS | {"thumb": 32} | settings, [folder.path, other.path]
    if "against" in settings:
        settings |= {"against": paths.pop()}
    for round_number in range(ROUNDS):
        again = dupegrid.run(*paths, out=tmp_path / "run", **settings)
        fresh = dupegrid.run(*paths, out=tmp_path / f"fresh{round_number}", **settings)
        assert_same_but_for_names_of_one_file(again, fresh)
        if settings.get("metric") != "mae" and round_number:
            assert again.receipt.pairs["earlier"] > again.receipt.pairs["total"] / 4
        assert list(again.images["id"].to_pylist()) == list(range(len(again.images)))
        folder.step()
        other.step()
        folder.give(other)


def test_a_set_of_identical_pictures_that_grows_and_loses_its_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "COLLAPSE_OVER", 3)
    monkeypatch.setattr(reference, "COLLAPSE_OVER", 3)
    folder = Folder(tmp_path / "a", 7)
    for round_number in range(5):
        again = dupegrid.run(folder.path, out=tmp_path / "run", **SETTINGS)
        fresh = dupegrid.run(folder.path, out=tmp_path / f"fresh{round_number}", **SETTINGS)
        assert_same_but_for_names_of_one_file(again, fresh)
        lowest = next(row["path"] for row in again.images.to_pylist() if row["status"] == "ok")
        os.unlink(lowest)
        folder.step()
    assert again.images["identical_to"].null_count < again.images["link_of"].null_count


def test_which_name_stands_for_a_file_or_a_set_goes_by_ids_also_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was killed when it had listed the files has given them their ids: what comes later has higher ones.

    A fresh run gives them by the order of names, so another name stands for the same pictures; the rest is the same.
    """
    monkeypatch.setattr(index_module, "COLLAPSE_OVER", 2)
    monkeypatch.setattr(reference, "COLLAPSE_OVER", 2)
    photos = tmp_path / "photos"
    first = save(photos / "b.png", 1)
    for seed, name in ((2, "e.png"), (2, "f.png"), (3, "g.png")):
        save(photos / name, seed)

    def killed() -> None:
        monkeypatch.setattr(index_module, "index_chunk", lambda *_: kill())
        dupegrid.run(photos, out=tmp_path / "run", **SETTINGS)

    assert in_fork(killed) == -signal.SIGKILL
    (photos / "a.png").hardlink_to(first)
    save(photos / "d.png", 2)
    again = dupegrid.run(photos, out=tmp_path / "run", **SETTINGS)
    fresh = dupegrid.run(photos, out=tmp_path / "fresh", **SETTINGS)
    assert_same_but_for_names_of_one_file(again, fresh)
    assert [stood_for(run) for run in (again, fresh)] == [
        {"a.png": "b.png", "d.png": "e.png", "f.png": "e.png"},
        {"b.png": "a.png", "e.png": "d.png", "f.png": "d.png"},
    ]


def stood_for(run: dupegrid.Run) -> dict[str, str]:
    """The name of each image that another stands for, with the name of that one."""
    names = [os.path.basename(path) for path in run.images["path"].to_pylist()]
    return {
        name: names[other]
        for name, other in zip(names, run.images["identical_to"].to_pylist(), strict=True)
        if other is not None
    }


def test_only_what_is_new_is_opened(tmp_path: Path, opened: list[str]) -> None:
    folder = tmp_path / "photos"
    for k in range(12):
        save(folder / f"{k:02d}.png", k)
    run = dupegrid.run(folder, out=tmp_path / "run", **SETTINGS)
    ids = dict(zip(run.images["path"].to_pylist(), run.images["id"].to_pylist(), strict=True))
    steps: list[tuple[Callable[[], object], list[str]]] = [
        (lambda: None, []),
        (lambda: save(folder / "new.png", 50), ["new.png"]),
        (lambda: save(folder / "03.png", 51), ["03.png"]),
        (lambda: (folder / "04.png").unlink(), []),
        (lambda: (folder / "05.png").rename(folder / "moved.png"), []),
        (lambda: (shutil.copy2(folder / "06.png", tmp_path / "kept"), (folder / "06.png").unlink()), []),
        (lambda: shutil.move(tmp_path / "kept", folder / "back.png"), ["back.png"]),
        (lambda: (shutil.copy2(folder / "07.png", folder / "far.png"), (folder / "07.png").unlink()), []),
    ]
    for change, expected in steps:
        opened.clear()
        change()
        run = dupegrid.run(folder, out=tmp_path / "run", **SETTINGS)
        assert opened == expected
    rows = {row["path"]: row for row in run.images.to_pylist()}
    assert rows[str(folder / "04.png")]["status"] == "removed"
    assert rows[str(folder / "moved.png")]["id"] == ids[str(folder / "05.png")]
    assert rows[str(folder / "back.png")]["id"] == ids[str(folder / "06.png")]
    assert rows[str(folder / "far.png")]["id"] == ids[str(folder / "07.png")]
    assert str(folder / "05.png") not in rows
    assert "removed" not in [run.images["status"][row["a"]].as_py() for row in run.matches.to_pylist()]


def test_a_moved_picture_that_cannot_be_read_for_its_hash_keeps_its_id(
    tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = [save(tmp_path / f"photos/{seed}.png", seed) for seed in range(3)]
    before = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", **SETTINGS).images
    photos[1].rename(tmp_path / "photos/z.png")
    opened.clear()
    monkeypatch.setattr(hashing_module, "_hash", lambda *_: None)
    after = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", **SETTINGS).images
    assert opened == ["z.png"]
    assert after["path"].to_pylist() == [str(tmp_path / f"photos/{name}.png") for name in (0, "z", 2)]
    assert after["file_hash"] == before["file_hash"]


def test_a_file_that_could_not_be_read_is_tried_again(tmp_path: Path, opened: list[str]) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    file = save(tmp_path / "photos/a.png", 1)
    save(tmp_path / "photos/b.png", 1)
    file.chmod(0)
    assert len(dupegrid.run(tmp_path / "photos", out=tmp_path / "run", **SETTINGS).matches) == 0
    file.chmod(0o600)
    assert len(dupegrid.run(tmp_path / "photos", out=tmp_path / "run", **SETTINGS).matches) == 1


def test_no_thumbnail_is_left_of_pictures_that_broke(tmp_path: Path) -> None:
    """All of a chunk, whose thumbnails were read for those that are as they were."""
    photos = [save(tmp_path / f"photos/{seed}.png", seed) for seed in range(3)]
    dupegrid.run(tmp_path / "photos", out=tmp_path / "run", **SETTINGS)
    for photo in photos:
        photo.write_bytes(photo.read_bytes()[:60])
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", **SETTINGS)
    assert run.images["status"].to_pylist() == ["truncated"] * 3
    assert not run.run_dir.thumbs().rows(slice(0, 3)).any()


@pytest.mark.parametrize("place", [-1, -6])
def test_what_is_known_of_removed_files_survives_damage(tmp_path: Path, place: int) -> None:
    """To the rows of its chunk, which cannot be made again."""
    folder = tmp_path / "photos"
    for k in range(6):
        save(folder / f"{k}.png", k)
    dupegrid.run(folder, out=tmp_path / "run", **SETTINGS)
    (folder / "4.png").unlink()
    before = dupegrid.run(folder, out=tmp_path / "run", **SETTINGS).images
    assert before["width"].null_count == 0
    for part in (tmp_path / "run/index").glob("part-*"):
        data = bytearray(part.read_bytes())
        data[place] ^= 8
        part.write_bytes(data)
    again = dupegrid.run(folder, out=tmp_path / "run", **SETTINGS)
    assert again.images == before
    assert not list((tmp_path / "run/index").glob("_*"))


@pytest.mark.parametrize("name", ["path_raw", "removed"])
def test_a_listing_that_somebody_made_up_is_made_again_from_the_rows(tmp_path: Path, name: str) -> None:
    save(tmp_path / "photos/a.png", 1)
    save(tmp_path / "photos/b.png", 2)
    first = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", **SETTINGS)
    listed = first.run_dir.files
    table = read_table(listed, FILES)
    nulls = pa.nulls(len(table), FILES.field(name).type)
    made_up = table.set_column(FILES.names.index(name), FILES.field(name), nulls)
    write_table(listed, made_up, read_metadata(listed))
    again = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", **SETTINGS)
    assert again.images == first.images


def test_files_of_a_folder_that_cannot_be_listed_are_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("in/a.png", "in/b.png", "c.png"):
        save(tmp_path / "photos" / name, 1)
    first = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", **SETTINGS)
    refuse_listing(monkeypatch, b"in")
    again = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", **SETTINGS)
    assert again.images == first.images
    assert again.summary.unreadable_folders


def test_other_limits_touch_only_the_files_they_concern(tmp_path: Path, opened: list[str]) -> None:
    for k, size in enumerate([(40, 30), (80, 60), (160, 120)]):
        (tmp_path / "photos").mkdir(exist_ok=True)
        picture(k, size).save(tmp_path / f"photos/{k}.png")
    for most, expected, ok in (
        (5000, ["0.png", "1.png", "2.png"], 2),
        (20000, ["2.png"], 3),
        (2000, ["1.png", "2.png"], 1),
    ):
        opened.clear()
        run = dupegrid.index(tmp_path / "photos", out=tmp_path / "run", max_pixels=most, **SETTINGS)
        assert sorted(opened) == expected
        assert run.images["status"].to_pylist().count("ok") == ok


def test_names_of_one_file_are_compared_once_and_take_no_room(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    first, other = save(photos / "a.png", 1), save(photos / "z.png", 2)
    for name in ("b.png", "c.png"):
        (photos / name).hardlink_to(first)
    shutil.copy(other, photos / "y.png")
    run = dupegrid.run(photos, out=tmp_path / "run", **SETTINGS)
    assert run.images["link_of"].to_pylist() == [None, 0, 0, None, None]
    assert run.images["identical_to"].to_pylist() == [None, 0, 0, None, None]
    assert [(row["a"], row["b"]) for row in run.matches.to_pylist()] == [(0, 1), (0, 2), (3, 4)]
    assert run.summary.duplicate_bytes == other.stat().st_size
    page = Page.of(run.path)
    named = [os.path.basename(page.paths[place]) for place in page.data["pictures"]["link"]]
    assert sorted(named) == [b"b.png", b"c.png"]
    assert set(page.data["pictures"]["frees_nothing"]) == set(page.data["pictures"]["link"])
    assert "another name of one file" in run.show(0).html


def test_a_listed_file_that_lies_under_a_path_too_is_one_row(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        save(tmp_path / f"photos/{name}.png", 1)
    file = tmp_path / "list"
    file.write_text(f"{tmp_path}/photos/a.png\n{tmp_path}/nowhere.png\n")
    runs = [dupegrid.run(tmp_path / "photos", files_from=file, out=tmp_path / "run", **SETTINGS) for _ in range(3)]
    assert [row["status"] for row in runs[0].images.to_pylist()] == ["ok", "ok", "ok", "changed"]
    assert runs[0].images == runs[1].images == runs[2].images


def test_files_that_a_pipe_names_are_there_still_when_something_damaged_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [save(tmp_path / f"photos/{name}.png", 1) for name in ("a", "b")]
    end, start = os.pipe()
    os.write(start, b"\n".join(map(os.fsencode, files)))
    os.close(start)
    compare, tries = api._compare, []

    def damaged_at_first(chosen: dupegrid.Run, *others: Any) -> None:
        tries.append(chosen)
        if len(tries) == 1:
            raise DamagedError(chosen.run_dir.receipt, "as this test says")
        compare(chosen, *others)

    monkeypatch.setattr(api, "_compare", damaged_at_first)
    run = dupegrid.run(files_from=f"/dev/fd/{end}", out=tmp_path / "run", **SETTINGS)
    os.close(end)
    assert len(tries) == 2
    assert run.images["status"].to_pylist() == ["ok", "ok"]


def test_a_timeout_is_tried_again_with_more_time(tmp_path: Path) -> None:
    save(tmp_path / "photos/a.png", 1)
    settings = {**SETTINGS, "out": tmp_path / "run"}
    assert dupegrid.run(tmp_path / "photos", file_timeout=1e-6, **settings).images["status"].to_pylist() == ["timeout"]
    assert dupegrid.run(tmp_path / "photos", file_timeout=60.0, **settings).images["status"].to_pylist() == ["ok"]


@pytest.fixture
def trouble(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], None]]:
    """Has decoders do what pictures that end in MISBEHAVE say, as they would on a machine in trouble, or not."""
    start = sandbox._START

    def set_to(there: bool) -> None:
        sandbox._close_idle()
        troubled = start.replace("serve()\n", MISBEHAVING + "\nserve()\n", 1)
        monkeypatch.setattr(sandbox, "_START", troubled if there else start)

    monkeypatch.setattr(sandbox, "subprocess", FORKING)
    yield set_to
    sandbox._close_idle()


def misbehaving(folder: Path, how: bytes) -> dict[str, object]:
    """Four pictures, of which one, b.png, is whole but its decoder gets into trouble; settings of a run of them."""
    for k, name in enumerate(("a", "b", "c", "d")):
        save(folder / f"photos/{name}.png", k)
    with open(folder / "photos/b.png", "ab") as file:
        file.write(b"MISBEHAVE " + how)
    limit_s = 0.7 if how == b"sleep" else 20.0  # where many wait for a core, a crash may take a second
    return {**SETTINGS, "out": folder / "run", "file_timeout": limit_s}


PASSING = [(b"sleep", "timeout"), (b"crash", "decode_error")]


@pytest.mark.parametrize(("how", "status"), PASSING)
def test_l1_l2_what_a_passing_trouble_cost_is_got_back_by_the_next_run(
    tmp_path: Path, opened: list[str], trouble: Callable[[bool], None], how: bytes, status: str
) -> None:
    settings = misbehaving(tmp_path, how)
    for there, expected, found in ((True, ["a", "b", "c", "d"], status), (False, ["b"], "ok"), (False, [], "ok")):
        trouble(there)
        opened.clear()
        run = dupegrid.run(tmp_path / "photos", **settings)
        assert [name.removesuffix(".png") for name in opened] == expected
        assert run.images["status"].to_pylist() == ["ok", found, "ok", "ok"]
    assert run.images["width"].to_pylist() == [96] * 4


@pytest.mark.slow
@pytest.mark.parametrize(("how", "status"), PASSING)
def test_l1_l2_what_fails_in_two_runs_is_left_alone(
    tmp_path: Path, opened: list[str], trouble: Callable[[bool], None], how: bytes, status: str
) -> None:
    """Until the file changes, or, if it took too long, the settings do; not when others beside it are new."""
    settings = misbehaving(tmp_path, how)
    trouble(True)
    late = status == "timeout"

    def longer() -> None:
        settings["file_timeout"] = 0.8 if late else 21.0

    def change() -> None:
        with open(tmp_path / "photos/b.png", "ab") as file:
            file.write(b" MISBEHAVE " + how)

    steps: list[tuple[Callable[[], object], list[str]]] = [
        (lambda: None, ["a.png", "b.png", "c.png", "d.png"]),
        (lambda: None, ["b.png"]),
        (lambda: None, []),
        (lambda: save(tmp_path / "photos/e.png", 7), ["e.png"]),
        (lambda: save(tmp_path / "photos/a.png", 8), ["a.png"]),
        (lambda: None, []),
        (longer, ["b.png"] if late else []),
        (lambda: None, []),
        (change, ["b.png"]),
        (lambda: None, ["b.png"]),
        (lambda: None, []),
    ]
    images = None
    for number, (act, expected) in enumerate(steps):
        opened.clear()
        act()
        run = dupegrid.run(tmp_path / "photos", **settings)
        assert sorted(opened) == expected, number
        assert run.images["status"].to_pylist()[:4] == ["ok", status, "ok", "ok"]
        assert number != 2 or run.images == images
        images = run.images


def test_a_lower_limit_holds_for_broken_pictures_too(tmp_path: Path) -> None:
    file = save(tmp_path / "photos/a.png", 1)
    file.write_bytes(file.read_bytes()[:2000])
    settings = {**SETTINGS, "out": tmp_path / "run"}
    assert dupegrid.run(tmp_path / "photos", **settings).images["status"].to_pylist() == ["truncated"]
    again = dupegrid.run(tmp_path / "photos", max_pixels=100, **settings)
    assert again.images["status"].to_pylist() == ["too_large"]


def test_a_matrix_of_other_images_is_removed(tmp_path: Path) -> None:
    save(tmp_path / "photos/a.png", 1)
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", matrix=True, **SETTINGS)
    assert (run.path / "mse.zarr").exists()
    save(tmp_path / "photos/b.png", 1)
    dupegrid.run(tmp_path / "photos", out=tmp_path / "run", matrix=False, **SETTINGS)
    assert not (run.path / "mse.zarr").exists()

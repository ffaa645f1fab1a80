"""Whatever lies where a run writes, and is not dupegrid's, keeps every byte: under --out, under RUN, for every verb."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import dupegrid
from dupegrid.app.command import verbs_look
from dupegrid.core.errors import DupegridError
from dupegrid.storage.ours import remove
from dupegrid.storage.places import is_folder, is_place
from tests.conftest import save

SETTINGS = {"quiet": True, "thumb": 8, "scheduler": "sync", "cutoff": 500.0}
FILES = (
    "lock",
    "run.json",
    "receipt.json",
    "files.parquet",
    "images.parquet",
    "hashes.parquet",
    "compared.parquet",
    "clusters.parquet",
    "report.html",
    "settled.parquet",
    "explain-0-1.png",
)
FOLDERS = (
    "index",
    "thumbs.zarr",
    "levels.zarr",
    "looks.parquet",
    "sorted.zarr",
    "tiles.zarr",
    "matches.parquet",
    "mse.zarr",
    "relations.parquet",
)
INSIDE = (
    "index/part-000000.parquet",
    "thumbs.zarr/zarr.json",
    "thumbs.zarr/c.0.0.0.0",
    "levels.zarr/cosines",
    "levels.zarr/cosines/c.0.0",
    "sorted.zarr/order/c.0.0",
    "tiles.zarr/c.0.0.0",
    "matches.parquet/part-identical.parquet",
    "relations.parquet/part-equal.parquet",
)
VERBS: dict[str, Callable[[Path, Path], object]] = {
    "run": lambda photos, out: dupegrid.run(photos, out=out, **SETTINGS, matrix=True, relations=True),
    "index": lambda photos, out: dupegrid.index(photos, out=out, **SETTINGS),
    "compare": lambda _photos, out: dupegrid.compare(out, orientations="none", quiet=True),
    "cluster": lambda _photos, out: dupegrid.cluster(out, threshold=20),
    "report": lambda _photos, out: dupegrid.report(out),
    "status": lambda _photos, out: dupegrid.status(out),
    "explain": lambda _photos, out: verbs_look.explain(str(out), "0", "1", as_json=True),
}


def contents(folder: Path) -> dict[str, object]:
    """Every path below a folder with its bytes, or where a link leads, or what else it is."""
    return {str(path): content(path) for path in sorted(folder.rglob("*"))}


def content(path: Path) -> object:
    """The bytes of a file, or where a link leads, or what else it is."""
    if path.is_symlink():
        return "link", os.readlink(path)
    if path.is_file():
        return path.read_bytes()
    return "folder" if path.is_dir() else "other"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Photos, and a finished run on them."""
    folder = tmp_path_factory.mktemp("finished")
    for k in range(4):
        save(folder / f"photos/{k}.png", k // 2)
    dupegrid.run(folder / "photos", out=folder / "run", **SETTINGS)
    return folder / "photos", folder / "run"


def victims(folder: Path) -> Path:
    """A user's own files, some of which look much like those of a run."""
    save(folder / "best.jpg", 3)
    (folder / "notes.txt").write_text("my notes")
    (folder / "folder/c.0.0.0.0").parent.mkdir(parents=True)
    for name in ("c.0.0.0.0", "part-000000.parquet", "zarr.json", "thesis.txt"):
        (folder / "folder" / name).write_text("mine")
    return folder


def put(path: Path, kind: str, victim: Path) -> None:
    """Put a decoy in a place, instead of what is there."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "link":
        path.symlink_to(victim / "folder" if "." not in path.name or path.suffix == ".zarr" else victim / "best.jpg")
    elif kind == "hard link":
        os.link(victim / "best.jpg", path)
    elif kind == "file":
        path.write_text("my notes")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        shutil.copytree(victim / "folder", path)


def tried(verb: str, photos: Path, out: Path) -> str:
    """What a verb says when it refuses, in one line; nothing where it does not."""
    try:
        VERBS[verb](photos, out)
    except DupegridError as error:
        return str(error).replace("\n", "two lines!")
    return ""


@pytest.mark.parametrize("verb", VERBS)
def test_decoys_in_a_run_directory_keep_every_byte(finished: tuple[Path, Path], tmp_path: Path, verb: str) -> None:
    photos, template = finished
    cases = [(name, kind) for name in FILES for kind in ("link", "hard link", "file", "pipe", "folder")]
    cases += [(name, kind) for name in FOLDERS for kind in ("link", "file", "folder", "pipe")]
    cases += [(name, kind) for name in INSIDE for kind in ("link", "hard link", "pipe")]
    untouched, mine = contents(template), victims(tmp_path / "mine")
    before = contents(mine)
    for name, kind in cases:
        if name == "lock" and kind == "folder":
            continue  # there is none to be had
        out = shutil.copytree(template, tmp_path / "run", copy_function=shutil.copyfile)
        put(out / name, kind, mine)
        decoy = content(out / name)
        inside = contents(out / name) if kind == "folder" else {}
        said = tried(verb, photos, out)
        assert "two lines!" not in said
        assert contents(mine) == before, (verb, name, kind)
        if kind in ("link", "pipe", "file"):
            assert content(out / name) == decoy, (verb, name, kind)
        if kind == "link" and verb not in ("status", "explain") and name != "explain-0-1.png":
            assert str(name).split("/")[0] in said, (verb, name, kind)
        if kind == "folder" and name in FOLDERS:
            assert inside.items() <= contents(out / name).items(), (verb, name)
        shutil.rmtree(out)
    assert contents(template) == untouched


@pytest.mark.parametrize("verb", VERBS)
def test_decoys_under_out_keep_every_byte(tmp_path: Path, verb: str) -> None:
    """A folder that is no run directory, whatever in it looks like one."""
    for k in range(4):
        save(tmp_path / f"photos/{k}.png", k // 2)
    layouts = [
        {"run.json": '{"cmd": "train"}', "index/thesis.txt": "x", "report.html": "<p>mine"},
        {"run.json": json.dumps({"format": 2, "config": {}, "fingerprint": "x", "digest": "0"}), "images.parquet": "x"},
        {"run.json": "", "report.html": "<p>mine"},
        {"run.json": "", "index/part-000000.parquet": "mine"},
        {"run.json": '{"command": "dupegrid run photos"}', "index/part-000000.parquet": "mine", "thesis.txt": "x"},
        {"run.json": '{"made_by": "dupegrid-like"', "index/_images.parquet": "mine"},
        {"lock": "my notes"},
        {"lock": "null"},
        {"lock": "5"},
        {"index/part-000000.parquet": "mine"},
        {"tiles.zarr/zarr.json": '{"zarr_format": 3}', "tiles.zarr/c.0.0.0": "mine"},
    ]
    for number, layout in enumerate(layouts):
        out = tmp_path / f"out{number}"
        for name, text in layout.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_text(text)
        before = contents(out)
        assert tried(verb, tmp_path / "photos", out), layout
        assert contents(out) == before, layout
    mine = victims(tmp_path / "mine")
    for number, name in enumerate(("lock", "run.json", "tiles.zarr", "index")):
        out = tmp_path / f"linked{number}"
        out.mkdir()
        put(out / name, "link", mine)
        before = contents(mine) | contents(out)
        assert tried(verb, tmp_path / "photos", out), name
        assert contents(mine) | contents(out) == before, name


@pytest.mark.skipif(os.geteuid() != 0, reason="giving files to another user takes root")
@pytest.mark.parametrize("verb", VERBS)
def test_another_users_out_in_a_shared_folder(finished: tuple[Path, Path], tmp_path: Path, verb: str) -> None:
    """Sticky, as /tmp is: the other may have made --out, or files in it, before."""
    photos, template = finished
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o1777)
    mine = victims(tmp_path / "mine")
    for theirs in (".", "lock", "report.html", "tiles.zarr", "index"):
        out = tmp_path / "shared" / f"out-{theirs}"
        shutil.copytree(template, out)
        os.chown(out / theirs, 12345, 12345)
        if theirs == ".":
            put(out / "report.html", "link", mine)
        before = contents(mine) | contents(out)
        said = tried(verb, photos, out)
        assert said or verb in ("status", "explain"), theirs
        changed = {path for path, data in (contents(mine) | contents(out)).items() if before.get(path) != data}
        assert changed <= {str(out / "lock"), str(out / "explain-0-1.png")}, theirs


def test_a_report_of_ours_is_known_again_and_an_edited_one_is_too(finished: tuple[Path, Path], tmp_path: Path) -> None:
    photos, template = finished
    shutil.copytree(template, tmp_path / "run")
    page = tmp_path / "run/report.html"
    page.write_text(page.read_text().replace("duplicate", "copy"))
    dupegrid.report(tmp_path / "run")
    assert page.read_text() == (template / "report.html").read_text().replace(str(template), str(tmp_path / "run"))
    assert tried("run", photos, tmp_path / "run") == ""


def test_a_foreign_file_under_the_name_of_a_part_is_refused(finished: tuple[Path, Path], tmp_path: Path) -> None:
    photos, template = finished
    foreign = {
        "matches.parquet/part-00009-00009-009.parquet": "a picture",
        "index/part-000009.parquet": "another",
        "index/_images.parquet": "a third",
        "report.html": "<h1>My notes on dupegrid</h1>",
    }
    for name, text in foreign.items():
        out = shutil.copytree(template, tmp_path / name.replace("/", "-"))
        (out / name).write_text(text)
        assert name.rsplit("/", 1)[-1] in tried("run", photos, out), name
        assert (out / name).read_text() == text
    out = shutil.copytree(template, tmp_path / "other")
    (out / "matches.parquet/part-9-9-9.parquet").write_text("not a name of ours")
    dupegrid.run(photos, out=out, **{**SETTINGS, "orientations": "none"})
    assert (out / "matches.parquet/part-9-9-9.parquet").read_text() == "not a name of ours"


def test_what_lies_beside_the_artifacts_stays(finished: tuple[Path, Path], tmp_path: Path) -> None:
    photos, template = finished
    shutil.copytree(template, tmp_path / "run")
    mine = [
        "index/thesis.txt",
        "thumbs.zarr/.DS_Store",
        "matches.parquet/notes.parquet",
        "levels.zarr/cosines/mine",
        "my.ipynb",
    ]
    for name in mine:
        (tmp_path / "run" / name).write_text("mine")
    save(photos / "later.png", 9)
    try:
        for settings in ({"orientations": "none"}, {"orientations": "all", "cutoff": 900.0}):
            dupegrid.run(photos, out=tmp_path / "run", **{**SETTINGS, **settings})
    finally:
        (photos / "later.png").unlink()
    assert [(tmp_path / "run" / name).read_text() for name in mine] == ["mine"] * len(mine)


def test_all_that_a_run_writes_is_at_a_place_of_ours(finished: tuple[Path, Path]) -> None:
    _, run = finished
    written = {str(path.relative_to(run)): path.is_dir() for path in run.rglob("*") if path.name != "lock"}
    assert len(written) > 20
    assert all(is_place(place) and is_folder(place) == is_dir for place, is_dir in written.items())


@pytest.mark.parametrize("folder", ["relaid", f".relaid.{'0' * 32}", "levels.zarr"])
def test_of_a_folder_all_that_is_ours_is_removed_and_nothing_else(tmp_path: Path, folder: str) -> None:
    inside = tmp_path / folder / ("" if folder == "levels.zarr" else "levels.zarr")
    for place in ("zarr.json", "cosines/zarr.json", "cosines/c.0.0", "checks/c.0.0"):
        (inside / place).parent.mkdir(parents=True, exist_ok=True)
        (inside / place).write_text("ours")
    (inside / "cosines/mine.txt").write_text("mine")
    remove(tmp_path / folder)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {inside / "cosines/mine.txt"}
    assert not (inside / "checks").exists()
    (inside / "cosines/mine.txt").unlink()
    remove(tmp_path / folder)
    assert list(tmp_path.iterdir()) == []

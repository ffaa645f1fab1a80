"""Links and what they lead to, paths as the system resolves them, roots by name, what the settings leave out."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import dupegrid
from dupegrid.core.config import load_config
from dupegrid.core.errors import DupegridError, InputError
from dupegrid.images.discover import discover
from tests.conftest import noise, refuse_listing
from tests.images.test_identity import SETTINGS

# Links


@pytest.mark.parametrize("listed", [False, True])
def test_a_link_is_never_kept_over_its_target(tmp_path: Path, listed: bool) -> None:
    """L3: who deletes duplicates would lose the file."""
    photos = tmp_path / "photos"
    noise(photos / "original.png", 1)
    (photos / "a-link.png").symlink_to("original.png")
    (tmp_path / "a-way").symlink_to("photos")
    places: tuple[Path, ...] = (photos,)
    settings: dict[str, object] = {"follow_symlinks": True}
    names = ["a-link.png", "original.png"]
    if listed:
        (tmp_path / "list").write_text(f"{tmp_path}/a-way/original.png\n{photos}/original.png\n")
        places, settings, names = (), {"files_from": tmp_path / "list"}, ["original.png", "original.png"]
    run = dupegrid.run(*places, out=tmp_path / "run", **settings, **SETTINGS)
    rows = run.images.to_pylist()
    assert [os.path.basename(row["path"]) for row in rows] == names
    assert [(row["link_kind"], row["link_of"]) for row in rows] == [("symbolic", 1), (None, None)]
    assert {row["image"]: row["role"] for row in run.clusters.to_pylist()} == {0: "duplicate", 1: "keep"}
    assert run.summary.duplicate_bytes == 0


def test_hard_and_symbolic_links_are_told_apart(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    noise(photos / "b.png", 1)
    (photos / "c.png").hardlink_to(photos / "b.png")
    (photos / "a.png").symlink_to("c.png")
    (tmp_path / "far").mkdir()
    noise(tmp_path / "far/z.png", 1)
    (photos / "way").symlink_to(tmp_path / "far")
    run = dupegrid.run(photos, out=tmp_path / "run", follow_symlinks=True, **SETTINGS)
    rows = [(os.path.basename(row["path"]), row["link_kind"], row["link_of"]) for row in run.images.to_pylist()]
    assert rows == [
        ("a.png", "symbolic", 1),
        ("b.png", "hard", None),
        ("c.png", "hard", 1),
        ("z.png", "symbolic", None),
    ]
    assert run.clusters["image"][0].as_py() == 1
    assert dupegrid.run(photos, out=tmp_path / "run", follow_symlinks=True, **SETTINGS).images == run.images


# Paths


@pytest.fixture
def crossing(tmp_path: Path) -> Path:
    """A folder in which link/../pics is real/pics, though pics lies beside link."""
    noise(tmp_path / "real/pics/right.png", 1)
    (tmp_path / "real/inner").mkdir()
    noise(tmp_path / "pics/wrong.png", 2)
    (tmp_path / "link").symlink_to("real/inner")
    return tmp_path


@pytest.mark.parametrize("relative", [False, True])
def test_two_dots_after_a_link_lead_where_the_system_goes(
    crossing: Path, monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    """M1: in PATH, --against, --out, --ignore-path and --files-from."""
    monkeypatch.chdir(crossing)
    start = "" if relative else f"{crossing}/"
    run = dupegrid.run(f"{start}link/../pics", out=f"{start}link/../run", **SETTINGS)
    assert [os.path.basename(path) for path in run.images["path"].to_pylist()] == ["right.png"]
    assert (crossing / "real/run/run.json").exists()
    (crossing / "list").write_text(f"{start}link/../pics/right.png\n{start}nowhere/../x.png\n")
    listing = discover(load_config(files_from=str(crossing / "list")))
    assert os.fsencode(crossing / "real/pics/right.png") in listing.files.table()["path_raw"].to_pylist()
    assert len(listing.files) == 2
    config = load_config(paths=["pics"], against=[f"{start}link/../pics"], ignore_path=[f"{start}link/../pics"])
    assert config.against == config.ignore_path == (str(crossing / "real/pics"),)


def test_photos_reached_through_a_link_keep_that_name(crossing: Path) -> None:
    (crossing / "way").symlink_to("real")
    listing = discover(load_config(paths=[f"{crossing}/way/./pics/"]))
    assert listing.files.table()["path_raw"].to_pylist() == [os.fsencode(crossing / "way/pics/right.png")]


@pytest.mark.parametrize(
    "refused",
    [
        lambda photos, out: dupegrid.run("ftp://host/photos", out=out),
        lambda photos, out: dupegrid.run(photos, out="ftp://host/run"),
        lambda photos, out: dupegrid.run(photos, against="gs://me@bucket", out=out),
        lambda photos, out: dupegrid.run(files_from="https://host/list", out=out),
        lambda photos, out: dupegrid.run(files_from=photos / "list", out=out),
        lambda photos, out: dupegrid.run("photos\0", out=out),
        lambda photos, out: dupegrid.run(photos, out="run\0"),
        lambda photos, out: dupegrid.run([photos, 5], out=out),
        lambda photos, out: dupegrid.run(photos, out=[out]),
        lambda photos, out: dupegrid.run(5, out=out),
        lambda photos, out: dupegrid.run(f"{photos}/nowhere/../../photos", out=out),
        lambda photos, out: dupegrid.open_run(None),
    ],
)
def test_what_is_no_path_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[[Path, Path], object]
) -> None:
    """D3 and more: `--out s3://...` made a folder of that name."""
    monkeypatch.chdir(tmp_path)
    noise(tmp_path / "photos/a.png", 1)
    (tmp_path / "photos/list").write_text("photos/a.png\ns3://bucket/a.png\n")
    with pytest.raises(DupegridError) as raised:
        refused(tmp_path / "photos", tmp_path / "run")
    assert raised.value.exit_code == 2
    assert len(str(raised.value).splitlines()) == 1
    assert os.listdir(tmp_path) == ["photos"]


def test_paths_of_bytes_and_thresholds_of_text_are_understood(tmp_path: Path) -> None:
    noise(tmp_path / "photos/\udcff.png", 1)
    noise(tmp_path / "photos/b.png", 1)
    run = dupegrid.run(os.fsencode(tmp_path / "photos"), out=os.fsencode(tmp_path / "run"), **SETTINGS)
    assert run.config.paths == (str(tmp_path / "photos"),)
    assert len(run.at("50").clusters) == 2
    assert dupegrid.cluster(run.path, "20").config.threshold == 20
    assert run.explain(b"\xff.png", os.fsencode(tmp_path / "photos/b.png")).mse["identity"] == 0
    for wrong in ("much", [1]):
        with pytest.raises(DupegridError, match="give a number"):
            run.at(wrong)
        with pytest.raises(DupegridError, match="give a number"):
            dupegrid.cluster(run.path, wrong)


def test_lines_of_a_list_that_are_addresses_are_refused(tmp_path: Path) -> None:
    """D3."""
    (tmp_path / "list").write_text("s3://bucket/a.png\n")
    with pytest.raises(InputError, match="only folders and files of this machine"):
        discover(load_config(files_from=str(tmp_path / "list")))


# Roots


def sides_of(run: dupegrid.Run) -> dict[str, tuple[str, str | None]]:
    roots = run.config.roots
    return {
        row["path"]: (roots[row["root"]], row["group"]) for row in run.images.to_pylist() if row["root"] is not None
    }


def test_files_of_a_folder_that_cannot_be_listed_stay_under_their_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W5: roots were kept by number, which changes when a PATH is added or two change places."""
    p, q, s = (tmp_path / name for name in "pqs")
    for k, folder in enumerate((p, q, s)):
        noise(folder / "a.png", k)
        noise(folder / "shut/b.png", 7)
    settings = {"against": s, "out": tmp_path / "run", **SETTINGS}
    before = sides_of(dupegrid.run(p, q, **settings))
    new = noise(tmp_path / "new/c.png", 20)
    refuse_listing(monkeypatch, b"shut")
    swapped = dupegrid.run(q, new.parent, p, **settings)
    assert sides_of(swapped) == before | {str(new): (str(new.parent), "a")}
    across = dupegrid.run(p, q, out=tmp_path / "across", scope="across", **SETTINGS)
    assert sides_of(across) == {str(folder / "a.png"): (str(folder), None) for folder in (p, q)}


def test_removed_files_have_the_root_they_would_be_under_now(tmp_path: Path) -> None:
    p, q = tmp_path / "p", tmp_path / "q"
    for seed, folder in enumerate((p, q)):
        noise(folder / "a.png", 1)
        noise(folder / "b.png", 2 + seed)  # what is of the same bytes would have been moved there
    dupegrid.run(p, out=tmp_path / "run", **SETTINGS)
    (p / "b.png").unlink()
    run = dupegrid.run(q, p, out=tmp_path / "run", **SETTINGS)
    assert {path: root for path, (root, _) in sides_of(run).items()}[str(p / "b.png")] == str(p)
    (tmp_path / "list").write_text(f"{q}/b.png\n")
    dupegrid.run(files_from=tmp_path / "list", out=tmp_path / "listed", **SETTINGS)
    run = dupegrid.run(p, out=tmp_path / "listed", **SETTINGS)
    assert {row["path"]: row["root"] for row in run.images.to_pylist()} == {f"{q}/b.png": None, f"{p}/a.png": 0}


@pytest.mark.parametrize(
    "settings",
    [{"extensions": [".png"]}, {"ignore_name": ["sub"]}, {"ignore_path": ["sub"]}, {"follow_symlinks": False}],
)
def test_files_that_the_settings_leave_out_are_told_from_those_that_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object]
) -> None:
    photos = tmp_path / "photos"
    noise(photos / "a.png", 1)
    monkeypatch.chdir(photos)
    noise(photos / "gone.png", 2)
    noise(photos / "sub/b.bmp", 3)
    noise(tmp_path / "far/c.png", 4)
    (photos / "sub/c.png").symlink_to(tmp_path / "far/c.png")
    first = dupegrid.run(photos, out=tmp_path / "run", **{"follow_symlinks": True}, **SETTINGS)
    (photos / "gone.png").unlink()
    run = dupegrid.run(photos, out=tmp_path / "run", **({"follow_symlinks": True} | settings), **SETTINGS)
    rows = {os.path.basename(row["path"]): row for row in run.images.to_pylist() if row["status"] == "removed"}
    assert rows.pop("gone.png")["error"] is None
    assert rows
    assert all("left out by" in row["error"] for row in rows.values())
    whole = dupegrid.run(photos, out=tmp_path / "run", **{"follow_symlinks": True}, **SETTINGS)
    assert whole.clusters == first.clusters
    assert {row["status"] for row in whole.images.to_pylist() if "gone" not in row["path"]} == {"ok"}

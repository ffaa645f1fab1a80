"""Every regular file once, in one order, and nothing opened that should not be."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import dupegrid
from dupegrid.core.config import load_config
from dupegrid.core.errors import InputError
from dupegrid.images import discover as discover_module
from dupegrid.images.discover import Listing, discover
from dupegrid.images.listing import Found
from tests.conftest import refuse_listing, save


def listed(*roots: Path, **settings: object) -> Listing:
    return discover(load_config(paths=[str(root) for root in roots], **settings))


def names(listing: Listing) -> list[str]:
    return [os.path.basename(os.fsdecode(path)) for path in listing.files.table()["path_raw"].to_pylist()]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", "sub/c.jpg", "sub/.hidden", "@sub/d.jpg", "sub/notes.txt"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "tree"


def test_every_file_in_the_order_of_the_bytes_of_its_path(tree: Path) -> None:
    listing = listed(tree)
    paths = listing.files.table()["path_raw"].to_pylist()
    assert paths == sorted(paths)
    assert len(paths) == 6
    assert listing.files.table()["id"].to_pylist() == list(range(6))


def test_filters(tree: Path) -> None:
    assert names(listed(tree, extensions=["jpg", ".png"])) == ["d.jpg", "a.PNG", "b.jpg", "c.jpg"]
    assert "d.jpg" not in names(listed(tree, ignore_name=["@su*"]))
    assert names(listed(tree, ignore_path=[tree / "sub"])) == ["d.jpg", "a.PNG", "b.jpg"]


def test_nested_and_repeated_roots_give_each_file_once(tree: Path) -> None:
    listing = listed(tree / "sub", tree, tree)
    assert len(listing.files) == 6
    assert listing.files.table()["root"].to_pylist() == [0, 0, 0, 1, 1, 1]


def test_a_root_may_be_a_file(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is listed once, under that root, whichever comes first; what leaves files out leaves it out too."""
    for roots, numbers in (((tree / "b.jpg", tree), [0, 1, 1, 1, 1, 1]), ((tree, tree / "b.jpg"), [0, 0, 0, 0, 0, 1])):
        listing = listed(*roots)
        assert sorted(names(listing)) == sorted(names(listed(tree)))
        assert listing.files.table()["root"].to_pylist() == numbers
        assert names(listing)[numbers.index(roots.index(tree / "b.jpg"))] == "b.jpg"
    both = listed(tree / "b.jpg", tree / "a.PNG", tree / "b.jpg")
    assert (names(both), both.files.table()["root"].to_pylist()) == (["b.jpg", "a.PNG"], [0, 1])
    os.link(tree / "b.jpg", tree / "hard.jpg")
    assert names(listed(tree / "b.jpg", tree / "hard.jpg")) == ["b.jpg", "hard.jpg"]
    (tmp_path / "link.jpg").symlink_to(tree / "b.jpg")
    assert (names(listed(tmp_path / "link.jpg")), listed(tmp_path / "link.jpg").links_left_alone) == ([], 1)
    followed = listed(tmp_path / "link.jpg", follow_symlinks=True)
    assert followed.files.table()["link_kind"].to_pylist() == ["symbolic"]
    for left_out in ({"ignore_name": ["b*"]}, {"ignore_path": [tree / "b.jpg"]}, {"extensions": [".png"]}):
        assert names(listed(tree / "b.jpg", **left_out)) == []
    with pytest.raises(InputError, match="both a PATH and --against"):
        listed(tree / "b.jpg", against=[tree / "b.jpg"])
    monkeypatch.setattr("dupegrid.images.discover._MOST_FILES", 1)
    with pytest.raises(InputError, match="2 files are too many PATHs"):
        listed(tree / "b.jpg", tree / "a.PNG")


def test_a_file_that_is_named_by_way_of_a_link_is_there_once(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tree)
    listing = listed(tree, tmp_path / "link" / "b.jpg", tree / "b.jpg", extensions=["jpg"])
    assert sorted(names(listing)) == ["b.jpg", "c.jpg", "d.jpg"]
    assert listing.files.table()["root"].to_pylist() == [0, 0, 1]


def test_a_file_that_goes_as_it_is_listed_is_said(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = discover_module._Walk.alone

    def gone(walk: discover_module._Walk, path: bytes) -> Iterator[Found]:
        os.unlink(path)
        return alone(walk, path)

    monkeypatch.setattr(discover_module._Walk, "alone", gone)
    listing = listed(tree / "b.jpg")
    assert (names(listing), listing.unreadable_folders) == ([], (str(tree / "b.jpg"),))


def test_what_was_thrown_away_is_left_out_unless_it_is_asked_for(tree: Path) -> None:
    """A copy in a trash could be kept in the place of the picture, and be gone with the trash."""
    inside = (
        ".Trash-1000/files",
        ".Trashes/501",
        "$RECYCLE.BIN/S-1-5",
        "home/.local/share/Trash/files",
        "sub/#recycle",
    )
    for name in (*inside, "Trash", "sub/.Trash-x", "home/.local/share/Trashes"):
        (tree / name).mkdir(parents=True)
        (tree / name / "z.jpg").write_bytes(name.encode())
    listing = listed(tree)
    assert names(listing).count("z.jpg") == 3
    assert sorted(listing.trashes) == sorted(
        str(tree / name)
        for name in (".Trash-1000", ".Trashes", "$RECYCLE.BIN", "home/.local/share/Trash", "sub/#recycle")
    )
    named = discover(load_config(paths=[str(tree), str(tree / ".Trash-1000"), str(tree / "$RECYCLE.BIN/S-1-5")]))
    assert names(named).count("z.jpg") == 5
    assert str(tree / ".Trash-1000") not in named.trashes
    assert listed(tree / "sub", ignore_path=[tree / "sub/#recycle"]).trashes == ()


def test_what_programs_keep_for_themselves_is_left_out_unless_it_is_asked_for(tree: Path) -> None:
    """A preview of a picture that is gone could be kept in place of a copy, and Picasa's original of the picture."""
    programs = (
        "DCIM/.thumbnails",
        "home/.cache/thumbnails",
        "sub/@eaDir",
        "sub/.@__thumb",
        "Lightroom/Catalog Previews.lrdata",
        "cloud/appdata_oc1x/preview",
        "sub/.picasaoriginals",
        "A.photoslibrary/resources/derivatives",
        "B.photolibrary/Thumbnails",
    )
    own = ("thumbnails", "preview", "Previews", "A.photoslibrary/originals", "B.photolibrary/Masters", "derivatives")
    for name in (*programs, *own):
        (tree / name / "deep").mkdir(parents=True)
        (tree / name / "deep/z.jpg").write_bytes(name.encode())
    listing = listed(tree)
    assert names(listing).count("z.jpg") == len(own)
    assert sorted(listing.programs) == sorted(str(tree / name) for name in programs)
    assert names(listed(tree / "sub/@eaDir")).count("z.jpg") == 1


def test_links_and_pipes_are_left_alone(tree: Path) -> None:
    (tree / "link.jpg").symlink_to(tree / "b.jpg")
    (tree / "loop").symlink_to(tree)
    (tree / "dangling.jpg").symlink_to(tree / "nowhere")
    os.mkfifo(tree / "pipe.jpg")
    listing = listed(tree)
    assert len(listing.files) == 6
    assert listing.links_left_alone == 3


def test_links_are_followed_where_that_is_asked_for(tree: Path, tmp_path: Path) -> None:
    (tree / "link.jpg").symlink_to(tree / "b.jpg")
    (tree / "loop").symlink_to(tree)
    (tree / "sub/again").symlink_to(tree / "sub")
    (tree / "dangling.jpg").symlink_to(tree / "nowhere")
    (tmp_path / "far").mkdir()
    (tmp_path / "far/e.jpg").write_bytes(b"e")
    (tree / "far").symlink_to(tmp_path / "far")
    listing = listed(tree, follow_symlinks=True)
    assert sorted(names(listing)) == sorted(["link.jpg", "e.jpg", *names(listed(tree))])
    assert listing.links_left_alone == 1


@pytest.mark.parametrize(("start", "end"), [(b"", b"\0"), (b"", b"\n"), (b"\xef\xbb\xbf", b"\r\n")])
def test_files_from_a_list(tree: Path, tmp_path: Path, start: bytes, end: bytes) -> None:
    wanted = [tree / "b.jpg", tree / "sub/c.jpg", tree / "b.jpg", tree / "gone.jpg"]
    file = tmp_path / "list"
    file.write_bytes(start + end.join(os.fsencode(path) for path in wanted) + end)
    listing = discover(load_config(files_from=str(file)))
    assert names(listing) == ["b.jpg", "gone.jpg", "c.jpg"]
    assert listing.files.table()["size_bytes"].to_pylist() == [5, 0, 9]
    both = discover(load_config(paths=[str(tree / "@sub")], files_from=str(file), extensions=[".jpg"]))
    assert both.files.table()["root"].to_pylist() == [0, 1, 1, 1]
    file.write_bytes(os.fsencode(tree))
    with pytest.raises(InputError, match="names the folder"):
        discover(load_config(files_from=str(file)))
    with pytest.raises(InputError, match="cannot read"):
        discover(load_config(files_from=str(tmp_path / "none")))


def test_what_a_list_names_under_a_folder_of_the_other_side_is_listed_once(tmp_path: Path) -> None:
    for name in ("in/a.jpg", "out/b.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    file = tmp_path / "list"
    file.write_text(f"{tmp_path}/in/a.jpg\n{tmp_path}/out/b.jpg\n")
    files = discover(load_config(files_from=str(file), against=[str(tmp_path / "in")])).files.table()
    found = [(os.fsdecode(row["path_raw"])[-5:], row["group"]) for row in files.to_pylist()]
    assert found == [("a.jpg", "b"), ("b.jpg", "a")]


def test_a_folder_that_cannot_be_listed_is_told(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_listing(monkeypatch, b"sub")
    listing = listed(tree)
    assert listing.unreadable_folders == (str(tree / "sub"),)
    assert len(listing.files) == 3


def test_a_file_whose_path_is_too_long_is_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    for _ in range((4000 - len(os.fsencode(tmp_path))) // 100):
        os.mkdir("d" * 99)
        os.chdir("d" * 99)
    save(Path("a.png"), 1)
    save(Path("b" * 250 + ".png"), 1)
    run = dupegrid.index(tmp_path / "deep", out=tmp_path / "run", scheduler="sync", quiet=True)
    assert run.images["status"].to_pylist() == ["ok", "unreadable"]


def test_bad_roots(tree: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        listed(tree / "nowhere")
    with pytest.raises(InputError, match="is neither a file nor a folder"):
        listed(Path("/dev/null"))
    with pytest.raises(InputError, match="no PATH"):
        listed()


def test_a_device_is_no_list_of_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a device"):
        discover(load_config(files_from="/dev/zero"))

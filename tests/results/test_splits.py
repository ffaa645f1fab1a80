"""Which split and label an image has, by a table or by folders."""

import pytest

from dupegrid.core.errors import UsageError
from dupegrid.results.named import ids_of
from dupegrid.results.questions.splits import by_path, label_by_folder, split_by_folder
from tests.helpers.pairs import images_table

PATHS = [b"/d/train/cat/1.jpg", b"/d/test/cat/1.jpg", b"/d/test/dog/2.jpg", b"/d/test/dog/\xff.jpg"]


@pytest.mark.parametrize(
    ("wanted", "place"),
    [
        (PATHS[0], 0),
        (b"train/cat/1.jpg", 0),
        (b"./test/cat/1.jpg", 1),
        (b"/test/cat/1.jpg", 1),
        (b"2.jpg", 2),
        (b"d/test/dog/2.jpg", 2),
        (b"\xff.jpg", 3),
        (b".jpg", -1),
        (b"og/2.jpg", -1),
        (b"x/d/test/dog/2.jpg", -1),
        (b"", -1),
        (None, -1),
    ],
)
def test_a_path_is_found_by_its_end(wanted: bytes | None, place: int) -> None:
    assert ids_of([wanted], PATHS).tolist() == [place]


def test_a_name_is_found_whose_accents_are_apart_as_on_macos_unless_it_is_there_as_it_stands() -> None:
    apart, typed = "/d/cafe\u0301.jpg".encode(), "caf\u00e9.jpg".encode()
    assert ids_of([typed, b"cafe\xcc\x81.jpg", b"\xff", b"1.jpg"], [apart]).tolist() == [0, 0, -1, -1]
    assert ids_of([typed], [apart, b"/d/" + typed]).tolist() == [1]
    with pytest.raises(UsageError, match="several"):
        ids_of([typed], [apart, b"/e/cafe\xcc\x81.jpg"])


def test_an_end_of_several_paths_is_refused() -> None:
    with pytest.raises(UsageError, match=r"several pictures of this run end with cat/1\.jpg"):
        ids_of([b"cat/1.jpg"], PATHS)
    assert ids_of([b"a"], [b"a", b"b/a"]).tolist() == [0]  # the whole path of one


def test_two_values_for_one_picture_are_refused() -> None:
    images = images_table(["/d/a.jpg", "/d/b.jpg"])
    values, unknown = by_path(images, [b"a.jpg", b"/d/a.jpg", b"c.jpg"], ["x", "x", "y"])
    assert (values.to_pylist(), unknown) == (["x", None], 1)
    with pytest.raises(UsageError, match="is in two rows, as 'x' and 'y'"):
        by_path(images, [b"a.jpg", b"/d/a.jpg"], ["x", "y"])


@pytest.mark.parametrize(
    ("paths", "splits"),
    [
        (["/d/train/cat/1", "/d/test/cat/1"], ["train", "test"]),
        (["/d/cat/Train/1", "/d/dog/TEST/1", "/d/dog/val/deep/1"], ["Train", "TEST", "val"]),
        (["/test/d/a/1", "/test/d/b/x/1", "/test/d/2"], ["a", "b", None]),
        (["/d/train/1", "/d/other/1"], ["train", "other"]),
        (["/d/train/1"], ["train"]),
        (["s3://b/cat/1", "s3://b/dog/1", "s3://b/dog/x/1"], ["cat", "dog", "dog"]),
        (["/d/train/1", "https://host/test/1"], ["train", "test"]),
        ([], []),
    ],
)
def test_splits_by_folders(paths: list[str], splits: list[str | None]) -> None:
    assert split_by_folder(images_table(paths)).to_pylist() == splits


def test_what_was_not_read_has_no_part_in_the_folders() -> None:
    images = images_table(["/d/train/cat/1", "/d/test/dog/1", "/notes"], failed=[False, False, True])
    assert split_by_folder(images).to_pylist() == ["train", "test", None]
    assert label_by_folder(images).to_pylist() == ["cat", "dog", None]

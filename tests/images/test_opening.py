"""A file is read as it was listed, whatever happens to it meanwhile and whatever its file system says."""

import hashlib
import os
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dupegrid.images import opening, recipe
from dupegrid.images.decoded import Decoded, Reading
from dupegrid.images.decoder import File
from dupegrid.images.opening import OpenedFile, read_from
from dupegrid.images.sandbox import decode_files
from tests.conftest import picture, save


@contextmanager
def growing(path: Path) -> Iterator[None]:
    """Another program appends to a file all the time; it has begun."""
    begun, stop = threading.Event(), threading.Event()

    def append() -> None:
        with open(path, "ab", buffering=0) as file:
            while not stop.is_set() and file.tell() < 1 << 28:
                file.write(bytes(1 << 16))
                begun.set()

    thread = threading.Thread(target=append)
    thread.start()
    begun.wait()
    yield
    stop.set()
    thread.join()


@contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def decoded(path: Path, size_bytes: int, mtime_ns: int = 0) -> Decoded:
    return recipe.decode_file(OpenedFile(os.fsencode(path)), size_bytes, mtime_ns, Reading(32))


def say(monkeypatch: pytest.MonkeyPatch, size_bytes: int) -> None:
    """A file system that says of each file that it has so many bytes."""
    fstat = os.fstat

    def told(descriptor: int) -> os.stat_result:
        return os.stat_result((*fstat(descriptor)[:6], size_bytes, 0, 0, 0))

    monkeypatch.setattr(os, "fstat", told)


def test_no_more_is_read_of_a_file_that_grows_than_shows_it(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", 1)
    listed = path.read_bytes()
    with growing(path), opened(path) as descriptor:
        assert read_from(descriptor, len(listed))[:-1] == listed
    assert decoded(path, len(listed)).status == "changed"


@pytest.mark.parametrize("large", [False, True])
def test_a_file_that_begins_to_grow_once_it_is_open_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    monkeypatch.setattr(recipe, "_READ_AT_ONCE_BYTES", 0 if large else 1 << 24)
    path = save(tmp_path / "a.png", 1)
    status = path.stat()
    file = OpenedFile(os.fsencode(path))
    with growing(path):
        found = recipe.decode_file(file, status.st_size, status.st_mtime_ns, Reading(32))
    assert (found.status, found.error) == ("changed", "the file changed while it was read")


def test_a_file_that_shrinks_once_it_is_open_has_changed(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", 1)
    status = path.stat()
    file = OpenedFile(os.fsencode(path))
    os.truncate(path, 100)
    assert recipe.decode_file(file, status.st_size, status.st_mtime_ns, Reading(32)).status == "changed"


def test_a_file_that_holds_more_than_is_said_is_not_taken_for_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else two that differ at their ends would have one hash."""
    path = save(tmp_path / "a.png", 1)
    size_bytes = path.stat().st_size
    path.write_bytes(path.read_bytes() + b"an end of its own")
    say(monkeypatch, size_bytes)
    assert decoded(path, size_bytes).status == "changed"


def test_a_file_of_which_no_size_is_said_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", 1)
    data = path.read_bytes()
    say(monkeypatch, 0)
    found = decoded(path, 0)
    assert (found.status, found.file_hash) == ("ok", hashlib.blake2b(data, digest_size=16).hexdigest())
    monkeypatch.setattr(opening, "_UNKNOWN_BYTES", len(data))
    assert decoded(path, 0).status == "ok"
    monkeypatch.setattr(opening, "_UNKNOWN_BYTES", len(data) - 1)
    assert decoded(path, 0).status == "too_large"
    assert decoded(Path("/proc/version"), 0).status == "unidentified"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "HEIF", "AVIF", "JPEG2000", "TGA"])
def test_a_look_at_what_a_large_file_is_leaves_it_at_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    monkeypatch.setattr(recipe, "_READ_AT_ONCE_BYTES", 0)
    path = tmp_path / "a"
    picture(1).save(path, format)
    data = path.read_bytes()
    with opened(path) as descriptor:
        assert recipe._is_picture(descriptor)
        assert os.lseek(descriptor, 0, os.SEEK_CUR) == 0
    found = decoded(path, len(data))
    assert (found.status, found.file_hash) == ("ok", hashlib.blake2b(data, digest_size=16).hexdigest())


@pytest.mark.parametrize(
    "start", [b"", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", b"RIFF\0\0\0\0WEBPVP8 ", b"II*\0\x08\0\0\0"]
)
def test_a_file_of_a_terabyte_with_nothing_in_it_is_one_row(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(start)
    os.truncate(path, 1 << 40)
    ((_, found),) = decode_files([File(os.fsencode(path), 1 << 40, path.stat().st_mtime_ns)], Reading(32), 30.0)
    assert found.status in ("unidentified", "unsupported", "too_large", "decode_error", "truncated")


def test_what_one_read_does_not_give_is_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system gives 2 GiB at once, and a file of 3 GiB is not to take 6."""
    size_bytes, read = 1 << 25, os.read
    path = tmp_path / "a"
    path.touch()
    os.truncate(path, size_bytes)
    monkeypatch.setattr(os, "read", lambda descriptor, most: read(descriptor, min(most, size_bytes // 3)))
    with opened(path) as descriptor:
        tracemalloc.start()
        assert len(read_from(descriptor, size_bytes)) == size_bytes
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert most < 1.5 * size_bytes

"""What in a run directory is ours. Only that is opened for writing, replaced or removed, and no link is followed.

A run directory may come from a stranger, or lie where others write. What is ours goes by its place (places.py) and, for
the files beside run.json, by what the file holds. Whatever else is in the folder is left alone.
"""

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from dupegrid.core.errors import RunDirError
from dupegrid.core.text import printable
from dupegrid.storage.bucket import BucketPath
from dupegrid.storage.places import ASIDE, final_name, is_folder, is_picture, is_place

MADE_BY: Final = {"made_by": "dupegrid"}  # in all JSON and tables that we write, by which they are known again
# No link is followed and no pipe waited for; to read from a place in a pipe is an error anyway.
TO_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

# What we write into each kind of file; in JSON at both ends, so that one flipped bit leaves the other to know it by.
_SIGNS: Final = {
    "zarr.json": re.compile(rb'"made_by": "dupegrid"|"digest": "[0-9a-f]{24}"'),  # zarr sorts what it writes
    ".json": re.compile(rb'"made_by": "dupegrid"|"digest": "[0-9a-f]{24}"\s*}\s*}?\s*$'),
    ".jsonl": re.compile(rb'"made_by": "dupegrid"'),
    ".parquet": re.compile(rb"made_by\x18\x08dupegrid"),
    ".log": re.compile(rb"^dupegrid \S+ run, begun "),
    ".html": re.compile(rb'<meta name="generator" content="dupegrid">'),
    ".png": re.compile(rb"Software\x00dupegrid"),
}
_SIGNED: Final = (".json", ".parquet", ".html", ".log")
_ZARR: Final = re.compile(rb'\{\s*"(shape|attributes|zarr_format|node_type)"')  # how one begins
_EDGE_BYTES: Final = 1 << 14  # of a file, at either end


def to_read(path: str | Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a regular file of a run directory, an opener for `open`: no link is followed, no pipe waited for.

    Raises OSError where it cannot be opened, RunDirError where it is no regular file.
    """
    descriptor = os.open(path, flags | TO_READ)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise _refused(path, "is no regular file")


def opened(path: Path, at_once_bytes: int = 1 << 22) -> IO[bytes]:
    """A file of a run directory to read from, as `to_read` opens it.

    In a bucket, one of so many bytes is read by one request, a larger one where it is wanted.
    """
    return path.reading(at_once_bytes) if isinstance(path, BucketPath) else open(path, "rb", opener=to_read)


def to_change(path: Path, flags: int) -> int:
    """A descriptor of a file of one name that belongs to us, made if need be. RunDirError where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise _refused(path, "is no file of dupegrid's") from None
        shown = printable(str(path if os.path.lexists(path) else path.parent))
        raise RunDirError(f"cannot write to {shown}: {error.strerror}; choose a folder you can write to") from None
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid == os.geteuid():
        return descriptor
    os.close(descriptor)
    raise _refused(path, "is no file of dupegrid's")


def refuse_links(run_dir: Path) -> None:
    """Raise RunDirError, naming the place, where something beside run.json is a link or of another kind than ours is.

    Enough for a reader, as `to_read` follows no link either.
    """
    if not isinstance(run_dir, BucketPath):
        for _ in _entries(run_dir, inside=False):
            pass


def leftovers(run_dir: Path) -> list[Path]:
    """The temporary files that killed writers left at places of ours.

    Raises RunDirError, naming the place, where something is at a place of ours that is a link, belongs to another user
    or was not written by dupegrid.
    """
    if isinstance(run_dir, BucketPath):  # no links, no users, and an object is there when it is whole
        for path in run_dir.iterdir():
            if is_place(path.name) and not is_folder(path.name) and path.is_file():
                _check_written(path)
        return []
    if os.stat(run_dir).st_uid != os.geteuid():
        raise RunDirError(
            f"{printable(str(run_dir))} belongs to another user, who may change it at any time: "
            "name a folder of your own, or a new one inside it"
        )
    found = []
    for place, entry in _entries(run_dir):
        if final_name(entry.name) != entry.name:
            found.append(Path(entry.path))
            continue
        if "/" not in place and entry.stat(follow_symlinks=False).st_uid != os.geteuid():
            raise _refused(entry.path, "belongs to another user")
        if entry.is_file() and entry.name.endswith(_SIGNED):
            _check_written(Path(entry.path))
    return found


def remove(path: Path) -> None:
    """Remove a file of ours, or all files of ours in a folder and the folder if that leaves it empty.

    Does nothing where there is none. RunDirError where a link or another kind of file is in its place.
    """
    if isinstance(path, BucketPath):
        if is_folder(path.name):
            path.unlink_below([name for name in path.below() if is_place(f"{path.name}/{name}")])
        else:
            path.unlink()
        return
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISREG(mode):
        path.unlink(missing_ok=True)
        return
    place = ASIDE if final_name(path.name) == ASIDE else path.name
    if not stat.S_ISDIR(mode) or not is_folder(place):
        raise _refused(path, "is no file of dupegrid's")
    for _, entry in _entries(path, f"{place}/"):
        if entry.is_dir(follow_symlinks=False):
            _remove_folder(entry.path)
        else:
            os.unlink(entry.path)
    _remove_folder(path)


def _remove_folder(path: str | Path) -> None:
    with contextlib.suppress(OSError):  # something is in it that is not ours
        os.rmdir(path)


def check_picture(path: Path) -> None:
    """Raise RunDirError where a picture of `explain` would take the place of something that it did not draw."""
    with contextlib.suppress(FileNotFoundError):
        is_file = isinstance(path, BucketPath) or stat.S_ISREG(os.lstat(path).st_mode)
        if not is_file or not is_known(path):
            raise _refused(path, "was not drawn by dupegrid")


def is_known(path: Path) -> bool:
    """Whether a file is empty, one that we wrote, or one that may have been ours before it was damaged."""
    with opened(path) as file:
        head = file.read(_EDGE_BYTES)
        file.seek(max(0, file.seek(0, os.SEEK_END) - _EDGE_BYTES))
        tail = file.read(_EDGE_BYTES)
    kind = path.name if path.name in _SIGNS else path.suffix
    if not head or _SIGNS[kind].search(head) or _SIGNS[kind].search(tail):
        return True
    if kind == ".parquet":
        return head.startswith(b"PAR1") and not tail.endswith(b"PAR1")
    return path.name == "zarr.json" and _ZARR.match(head) is not None and not tail.endswith(b"}")


def _check_written(path: Path) -> None:
    if path.name.endswith(_SIGNED) and not is_known(path):
        raise _refused(path, "was not written by dupegrid")


def _entries(folder: Path, place: str = "", inside: bool = True) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """What a folder at a place of ours has at places of ours, each with its entry; what is in a folder comes before it.

    Places are relative to the run directory, and end with the name that an unfinished file will get. RunDirError where
    something is a link, or a folder where a file should be or the reverse.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            name = final_name(entry.name)
            at, is_unfinished = place + name, name != entry.name
            if not (is_place(at) or (is_unfinished and is_picture(at))):
                continue
            if entry.is_symlink():
                raise _refused(entry.path, "is a link")
            is_dir = entry.is_dir(follow_symlinks=False)
            should_be = at == ASIDE if is_unfinished else is_folder(at)
            if is_dir != should_be or not (is_dir or entry.is_file(follow_symlinks=False)):
                raise _refused(entry.path, "is no folder" if should_be else "is no regular file")
            if is_dir and inside and not is_unfinished:
                yield from _entries(Path(entry.path), f"{at}/")
            yield at, entry


def _refused(path: str | Path, problem: str) -> RunDirError:
    return RunDirError(
        f"{printable(str(path))} {problem}, and dupegrid changes nothing that is not its own: "
        "move it away, or choose another --out"
    )

"""What in a run directory is ours. Only that is opened for writing, replaced or removed, and no link is followed.

A run directory may come from a stranger, or lie where others write. What is ours goes by its place (`_PLACES` names
every one that a run writes to) and, for the files beside run.json, by what the file holds. Whatever else is in the
folder is left alone.
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

LOCK: Final = "lock"
LOG: Final = "run.log"  # what a run in the background says
MADE_BY: Final = {"made_by": "dupegrid"}  # in all JSON and tables that we write, by which they are known again
# No link is followed and no pipe waited for; to read from a place in a pipe is an error anyway.
TO_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

_ARRAY: Final = r"(zarr\.json|c(\.\d+)+)"
_GROUP: Final = rf"({_ARRAY}|\w+|\w+/{_ARRAY})"
FOLDERS: Final = {
    "index": r"(part-\d{6,}|_images)\.parquet",
    "matches.parquet": r"part-(\d{5,}-\d{5,}-\d{3,}|identical|settled)\.parquet",
    "looks.parquet": r"part-(\d{5,}-\d{5,}-\d{3,}|identical|settled)\.parquet",
    "relations.parquet": r"part-(\d{6,}|equal)\.parquet",
    "decisions.parquet": r"part-\d{20}-[0-9a-f]{32}\.parquet",
    "thumbs.zarr": _ARRAY,
    "tiles.zarr": _ARRAY,
    "mse.zarr": _ARRAY,
    "levels.zarr": _GROUP,
    "sorted.zarr": _GROUP,
}
ASIDE: Final = "relaid"  # a folder of stores that are made aside, to be put in place when whole
_FILES: Final = (
    "run.json",
    "receipt.json",
    "unfinished.json",
    "progress.json",
    LOG,
    "files.parquet",
    "images.parquet",
    "hashes.parquet",
    "compared.parquet",
    "settled.parquet",
    "settled-matches.parquet",
    "clusters.parquet",
    "report.html",
    "plan.parquet",
    "journal.jsonl",
)
_PLACES: Final = re.compile(
    rf"{ASIDE}|({ASIDE}/)?("
    + "|".join([*map(re.escape, _FILES), *(rf"{re.escape(name)}(/{inside})?" for name, inside in FOLDERS.items())])
    + ")"
)
_UNFINISHED: Final = re.compile(r"((?:.*/)?)\.([^/]+)\.[0-9a-f]{32}")
_PICTURE: Final = re.compile(r"explain-\d+-\d+\.png")

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


def opened(path: Path) -> IO[bytes]:
    """A file of a run directory to read from, as `to_read` opens it."""
    return path.reading() if isinstance(path, BucketPath) else open(path, "rb", opener=to_read)


def to_write(path: str | Path, flags: int) -> int:
    """A descriptor of a file that was not there before, an opener for `open`."""
    return os.open(path, flags | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)


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
    if isinstance(run_dir, BucketPath):
        _check_known(run_dir)
        return []
    if os.stat(run_dir).st_uid != os.geteuid():
        raise RunDirError(
            f"{printable(str(run_dir))} belongs to another user, who may change it at any time: "
            "name a folder of your own, or a new one inside it"
        )
    found = []
    for place, entry in _entries(run_dir):
        if _UNFINISHED.fullmatch(place):
            found.append(Path(entry.path))
            continue
        if "/" not in place and entry.stat(follow_symlinks=False).st_uid != os.geteuid():
            raise _refused(entry.path, "belongs to another user")
        if place.endswith(_SIGNED) and entry.is_file() and not is_known(Path(entry.path)):
            raise _refused(entry.path, "was not written by dupegrid")
    return found


def _check_known(run_dir: BucketPath) -> None:
    for path in run_dir.iterdir():
        if path.name in _FILES and path.is_file() and not is_known(path):
            raise _refused(path, "was not written by dupegrid")


def remove(path: Path) -> None:
    """Remove a file of ours, or all files of ours in a folder and the folder if that leaves it empty.

    Does nothing where there is none. RunDirError where a link or another kind of file is in its place.
    """
    if isinstance(path, BucketPath):
        if path.name not in FOLDERS:
            path.unlink()
            return
        path.unlink_below([name for name in path.below() if is_place(f"{path.name}/{name}")])
        return
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISDIR(mode):
        if not stat.S_ISREG(mode):
            raise _refused(path, "is a link" if stat.S_ISLNK(mode) else "is no regular file")
        path.unlink(missing_ok=True)
        return
    unfinished = _UNFINISHED.fullmatch(path.name)
    if path.name == ASIDE or (unfinished and unfinished[2] == ASIDE):
        for name in filter(is_place, os.listdir(path)):
            remove(path / name)
        with contextlib.suppress(OSError):  # something is in it that is not ours
            os.rmdir(path)
        return
    if path.name not in FOLDERS:
        raise _refused(path, "is a folder")
    folders = [path]
    for place, entry in _entries(path.parent, only=path.name):
        if "/" in place:
            if entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
            else:
                os.unlink(entry.path)
    for folder in reversed(folders):
        with contextlib.suppress(OSError):  # something is in it that is not ours
            os.rmdir(folder)


def is_place(name: str) -> bool:
    """Whether a file or folder of this name in a run directory is one that a run writes."""
    return _PLACES.fullmatch(name) is not None


def parts_in(folder: Path) -> list[Path]:
    """The files of ours in a folder of part files, in the order of their names."""
    pattern = re.compile(FOLDERS[folder.name])
    return sorted(
        folder / name
        for name in (entry.name for entry in folder.iterdir())
        if pattern.fullmatch(name) and name[0] != "_"
    )


def is_of_a_lock(name: str) -> bool:
    """Whether a file is there before a run begins: the lock, the log, or an unfinished one, which is swept away."""
    unfinished = _UNFINISHED.fullmatch(name)
    return name in (LOCK, LOG) or (unfinished is not None and (is_place(unfinished[2]) or is_picture(unfinished[2])))


def is_picture(name: str) -> bool:
    """Whether a file of this name is a picture of `explain`."""
    return _PICTURE.fullmatch(name) is not None


def check_picture(path: Path) -> None:
    """Raise RunDirError where a picture of `explain` would take the place of something that it did not draw."""
    with contextlib.suppress(FileNotFoundError):
        if not isinstance(path, BucketPath) and not stat.S_ISREG(os.lstat(path).st_mode):
            raise _refused(path, "was not drawn by dupegrid")
        if not is_known(path):
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


def holds_stores(run_dir: Path) -> bool:
    """Whether a folder holds the thumbnails of a run, or what is reckoned from them, by their zarr.json."""
    for name in ("thumbs.zarr", "levels.zarr"):
        with contextlib.suppress(OSError), opened(run_dir / name / "zarr.json") as file:
            if _SIGNS["zarr.json"].search(file.read(_EDGE_BYTES)):
                return True
    return False


def _entries(run_dir: Path, inside: bool = True, only: str | None = None) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Whatever is at a place of ours: the place, relative to the run directory, and its entry; folders first.

    RunDirError where it is a link, or a folder where a file should be or the reverse.
    """
    waiting = [""] if only is None else [f"{only}/"]
    while waiting:
        folder = waiting.pop()
        with os.scandir(run_dir / folder) as entries:
            for entry in entries:
                place = folder + entry.name
                unfinished = _UNFINISHED.fullmatch(place)
                final = unfinished[1] + unfinished[2] if unfinished else place
                if not (_PLACES.fullmatch(final) or (unfinished and is_picture(final))):
                    continue
                if entry.is_symlink():
                    raise _refused(entry.path, "is a link")
                is_folder = entry.is_dir(follow_symlinks=False)
                should_be = _is_folder(final) if not unfinished else final == ASIDE
                if is_folder != should_be or not (is_folder or entry.is_file(follow_symlinks=False)):
                    raise _refused(entry.path, "is no folder" if should_be else "is no regular file")
                yield place, entry
                if is_folder and inside and not unfinished:
                    waiting.append(f"{place}/")


def _is_folder(place: str) -> bool:
    """Whether a place of ours is a folder: an artifact that holds files, or an array of a group."""
    name, _, inner = place.removeprefix(f"{ASIDE}/").partition("/")
    if inner:
        return FOLDERS[name] == _GROUP and re.fullmatch(r"\w+", inner) is not None
    return name == ASIDE or name in FOLDERS


def _refused(path: str | Path, problem: str) -> RunDirError:
    return RunDirError(
        f"{printable(str(path))} {problem}, and dupegrid changes nothing that is not its own: "
        "move it away, or choose another --out"
    )

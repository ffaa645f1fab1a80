"""Walk the roots: every regular file once, in an order that does not depend on the file system."""

import fnmatch
import os
import stat
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from dupegrid.config import Config
from dupegrid.errors import InputError
from dupegrid.records import FILES
from dupegrid.text import display_path, printable

Identity = tuple[int, int]  # device and inode
Found = tuple[bytes, os.stat_result]

_TOLD_EVERY = 1000  # files
_UNKNOWN: Final = os.stat_result([stat.S_IFREG] + [0] * 9)  # of a file; indexing says what is wrong with it


@dataclass(frozen=True)
class Listing:
    """What discover found: a row of `files` (schema FILES) a file, the folders not listed, the links not followed."""

    files: pa.Table
    unreadable_folders: tuple[str, ...] = ()
    links_left_alone: int = 0


def discover(config: Config, found: Callable[[int], None] = lambda _more: None) -> Listing:
    """Every regular file under the roots, each once, with ids 0..n-1 by root and then by the bytes of the path.

    Of roots inside each other, a file belongs to the innermost; of a root named twice, to the first. Pipes and devices
    are never opened, symbolic links only followed where that is asked for. `found` is told of more files now and then.
    Raises InputError when there is no root, or when a root does not exist, is not a folder, cannot be listed, or is on
    both sides of --against.
    """
    if not config.paths and not config.files_from:
        raise InputError("no PATH to search: name at least one folder of images")
    first: dict[Identity, int] = {}
    the_list = len(config.paths) if config.files_from else -1
    for number, root in enumerate(config.roots):
        if number != the_list:
            known = first.setdefault(_checked_root(root), number)
            if known < config.first_against <= number:
                raise InputError(f"{printable(root)} is both a PATH and --against: name it once")
    walk = _Walk(config, set(first))
    rows = _Rows()
    for number, root in enumerate(config.roots):
        if number == the_list:
            rows.add(number, walk.named(root, rows.paths()), found)
        elif number in first.values():
            rows.add(number, walk.files(os.fsencode(root)), found)
    return Listing(rows.table(config), tuple(walk.unreadable), walk.links_left_alone)


def _checked_root(root: str) -> Identity:
    shown = printable(root)
    try:
        status = os.stat(root)
        if not stat.S_ISDIR(status.st_mode):
            raise InputError(f"{shown} is a file: name the folder that holds it")
        with os.scandir(root):
            pass
    except FileNotFoundError:
        raise InputError(f"{shown} does not exist: check the spelling of the PATH") from None
    except OSError as error:
        raise InputError(f"cannot list {shown}: {error.strerror}; check its permissions") from None
    return status.st_dev, status.st_ino


class _Walk:
    """Lists the files below a root, apart from what is ignored and from other roots."""

    def __init__(self, config: Config, roots: set[Identity]) -> None:
        self.unreadable: list[str] = []
        self.links_left_alone = 0
        self._roots = roots
        self._been = set[Identity]()  # links and bind mounts lead to a folder more than once
        self._follow = config.follow_symlinks
        self._names = config.ignore_name
        self._ignored_files = set(map(os.fsencode, config.ignore_path))
        self._ignored_folders = {_identity(path) for path in config.ignore_path}
        self._extensions = None if config.extensions is None else tuple(map(os.fsencode, config.extensions))

    def files(self, root: bytes) -> Iterator[Found]:
        """The regular files below a folder, with their status; in no order."""
        folders = [] if _identity(root) in self._ignored_folders else [root]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if self._names and self._is_ignored(os.fsdecode(entry.name)):
                            continue
                        status = self._status(entry)
                        if status is None:
                            continue
                        if stat.S_ISDIR(status.st_mode):
                            if self._is_new(status):
                                folders.append(entry.path)
                        elif stat.S_ISREG(status.st_mode) and self._wanted(entry.path):
                            yield entry.path, status
            except OSError:
                self.unreadable.append(os.fsdecode(folder))

    def named(self, file: str, seen: set[bytes]) -> Iterator[Found]:
        """The regular files that a file names, but for those seen; what it names and is not there, as empty files."""
        for path in _paths_in(file):
            try:
                status = os.stat(path, follow_symlinks=self._follow)
            except OSError:
                status = _UNKNOWN
            if stat.S_ISDIR(status.st_mode):
                raise InputError(f"{printable(file)} names the folder {printable(display_path(path))}: name files only")
            self.links_left_alone += stat.S_ISLNK(status.st_mode)
            if stat.S_ISREG(status.st_mode) and path not in seen and self._wanted(path):
                seen.add(path)
                yield path, status

    def _status(self, entry: os.DirEntry[bytes]) -> os.stat_result | None:
        try:
            status = entry.stat(follow_symlinks=self._follow)
        except OSError as error:
            if entry.is_symlink():  # to nowhere, or in circles
                self.links_left_alone += 1
            elif entry.is_dir(follow_symlinks=False):
                self.unreadable.append(os.fsdecode(entry.path))
            elif entry.is_file(follow_symlinks=False) and not isinstance(error, FileNotFoundError):
                return _UNKNOWN
            return None
        self.links_left_alone += stat.S_ISLNK(status.st_mode)
        return status

    def _is_ignored(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self._names)

    def _is_new(self, status: os.stat_result) -> bool:
        identity = (status.st_dev, status.st_ino)
        new = identity not in self._roots and identity not in self._ignored_folders and identity not in self._been
        self._been.add(identity)
        return new

    def _wanted(self, path: bytes) -> bool:
        right_ending = self._extensions is None or path.lower().endswith(self._extensions)
        return right_ending and path not in self._ignored_files


class _Rows:
    """What was found, in columns: a million files took 412 MB with the table."""

    def __init__(self) -> None:
        self._paths: list[bytes] = []
        self._roots = array("i")
        kinds = {"size_bytes": "q", "mtime_ns": "q", "device": "Q", "inode": "Q"}
        self._numbers = {name: array(kind) for name, kind in kinds.items()}
        self._order: list[int] = []

    def add(self, root: int, files: Iterator[Found], found: Callable[[int], None]) -> None:
        """Take the files of a root, to be listed by the bytes of their paths."""
        start = len(self._paths)
        sizes, times, devices, inodes = self._numbers.values()
        for count, (path, status) in enumerate(files, 1):
            self._paths.append(path)
            self._roots.append(root)
            sizes.append(status.st_size)
            times.append(status.st_mtime_ns or 0)
            devices.append(status.st_dev)
            inodes.append(status.st_ino)
            if count % _TOLD_EVERY == 0:
                found(_TOLD_EVERY)
        found((len(self._paths) - start) % _TOLD_EVERY)
        self._order += sorted(range(start, len(self._paths)), key=self._paths.__getitem__)

    def paths(self) -> set[bytes]:
        """The paths found so far."""
        return set(self._paths)

    def table(self, config: Config) -> pa.Table:
        """All of it, schema FILES."""
        order = np.array(self._order, np.int64)
        roots = np.array(self._roots, np.int32)[order]
        sides = np.where(roots < config.first_against, "a", "b") if config.against else np.full(len(roots), None)
        columns = {
            "id": np.arange(len(order)),
            "path_raw": pa.array(self._paths, pa.binary()).take(pa.array(order)),
            "root": roots,
            "group": pa.array(sides, pa.string()),
            # Some file systems use all 64 bits of an inode: the same bits as int64 (`signed64`).
            **{name: np.array(values).view(np.int64)[order] for name, values in self._numbers.items()},
            "removed": np.zeros(len(order), bool),
            "known_hash": pa.nulls(len(order), pa.string()),
        }
        return pa.table(columns, schema=FILES)


def _paths_in(file: str) -> Iterator[bytes]:
    """The absolute paths in a file: ended by NUL where it has one, else one a line."""
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read {printable(file)}: {error.strerror}; give --files-from a file of paths"
        ) from None
    for path in data.split(b"\0" if b"\0" in data else b"\n"):
        if path:
            yield os.path.abspath(path)


def _identity(path: str | bytes) -> Identity | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino

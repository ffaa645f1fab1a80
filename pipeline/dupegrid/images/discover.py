"""Walk the roots: every regular file once, in an order that does not depend on the file system."""

import fnmatch
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from dupegrid.config import Config
from dupegrid.errors import InputError
from dupegrid.records import FILES, display_path, printable

Identity = tuple[int, int]  # device and inode


@dataclass(frozen=True)
class Listing:
    """What discover found: one row of `files` (schema FILES) per file, and the folders that could not be listed."""

    files: pa.Table
    unreadable_folders: tuple[str, ...] = field(default=())


def discover(config: Config) -> Listing:
    """Every regular file under the roots, each once, with ids 0..n-1 by root and then by the bytes of the path.

    Of roots inside each other, a file belongs to the innermost; of a root named twice, to the first. Symbolic links,
    pipes and devices are neither followed nor opened. Raises InputError when there is no root, or when a root does not
    exist, is not a folder, cannot be listed, or is on both sides of --against.
    """
    roots = [*config.paths, *config.against]
    if not config.paths:
        raise InputError("no PATH to search: name at least one folder of images")
    first: dict[Identity, int] = {}
    for number, root in enumerate(roots):
        known = first.setdefault(_checked_root(root), number)
        if known < len(config.paths) <= number:
            raise InputError(f"{printable(root)} is both a PATH and --against: name it once")
    walk = _Walk(config, set(first))
    rows = []
    for number, root in enumerate(roots):
        if number in first.values():
            found = sorted(walk.files(os.fsencode(root)), key=lambda entry: entry[0])
            rows += [(path, number, status) for path, status in found]
    return Listing(_table(rows, config), tuple(walk.unreadable))


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
        self._roots = roots
        self._names = config.ignore_name
        self._ignored_files = set(map(os.fsencode, config.ignore_path))
        self._ignored_folders = {_identity(path) for path in config.ignore_path}
        self._extensions = None if config.extensions is None else tuple(map(os.fsencode, config.extensions))

    def files(self, root: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
        """The regular files below a folder, with their lstat; in no order."""
        folders = [] if _identity(root) in self._ignored_folders else [root]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if any(fnmatch.fnmatchcase(os.fsdecode(entry.name), pattern) for pattern in self._names):
                            continue
                        status = entry.stat(follow_symlinks=False)
                        if stat.S_ISDIR(status.st_mode):
                            identity = (status.st_dev, status.st_ino)
                            if identity not in self._roots and identity not in self._ignored_folders:
                                folders.append(entry.path)
                        elif stat.S_ISREG(status.st_mode) and self._wanted(entry):
                            yield entry.path, status
            except OSError:
                self.unreadable.append(display_path(folder))

    def _wanted(self, entry: os.DirEntry[bytes]) -> bool:
        right_ending = self._extensions is None or entry.name.lower().endswith(self._extensions)
        return right_ending and entry.path not in self._ignored_files


def _identity(path: str | bytes) -> Identity | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _table(rows: list[tuple[bytes, int, os.stat_result]], config: Config) -> pa.Table:
    def group(root: int) -> str | None:
        if not config.against:
            return None
        return "a" if root < len(config.paths) else "b"

    columns = {
        "id": range(len(rows)),
        "path_raw": [path for path, _, _ in rows],
        "root": [root for _, root, _ in rows],
        "group": [group(root) for _, root, _ in rows],
        "size_bytes": [status.st_size for _, _, status in rows],
        "mtime_ns": [status.st_mtime_ns for _, _, status in rows],
        "device": [signed64(status.st_dev) for _, _, status in rows],
        "inode": [signed64(status.st_ino) for _, _, status in rows],
    }
    return pa.table({name: pa.array(values, FILES.field(name).type) for name, values in columns.items()}, schema=FILES)


def signed64(number: int) -> int:
    """An unsigned 64-bit number (some file systems use all of it for inodes) as the int64 with the same bits."""
    return number - (1 << 64) if number >= 1 << 63 else number

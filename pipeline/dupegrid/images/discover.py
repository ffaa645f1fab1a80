"""Walk the roots: every regular file once, in an order that does not depend on the file system."""

import fnmatch
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from dupegrid.config import Config
from dupegrid.errors import InputError
from dupegrid.records import FILES, display_path, printable


@dataclass(frozen=True)
class Listing:
    """What discover found: one row of `files` (schema FILES) per file, and the folders that could not be listed."""

    files: pa.Table
    unreadable_folders: tuple[str, ...] = field(default=())


def discover(config: Config) -> Listing:
    """Every regular file under the roots, each path once, with ids 0..n-1 by root and then by the bytes of the path.

    A file under several roots belongs to the first. Symbolic links, pipes and devices are neither followed nor opened.
    Raises InputError when there is no root, or when a root does not exist, is not a folder or cannot be listed.
    """
    roots = [*config.paths, *config.against]
    if not config.paths:
        raise InputError("no PATH to search: name at least one folder of images")
    for root in roots:
        _check_root(root)
    seen: set[bytes] = set()
    unreadable: list[str] = []
    rows: list[tuple[bytes, int, os.stat_result]] = []
    for number, root in enumerate(roots):
        found = sorted(_walk(os.fsencode(root), config, unreadable), key=lambda entry: entry[0])
        rows += [(path, number, status) for path, status in found if path not in seen]
        seen.update(path for path, _ in found)
    return Listing(_table(rows, config), tuple(dict.fromkeys(unreadable)))


def _check_root(root: str) -> None:
    shown = printable(root)
    try:
        if not stat.S_ISDIR(os.stat(root).st_mode):
            raise InputError(f"{shown} is a file: name the folder that holds it")
        with os.scandir(root):
            pass
    except FileNotFoundError:
        raise InputError(f"{shown} does not exist: check the spelling of the PATH") from None
    except OSError as error:
        raise InputError(f"cannot list {shown}: {error.strerror}; check its permissions") from None


def _walk(root: bytes, config: Config, unreadable: list[str]) -> Iterator[tuple[bytes, os.stat_result]]:
    ignored_paths = {os.fsencode(path) for path in config.ignore_path}
    extensions = None if config.extensions is None else tuple(os.fsencode(e) for e in config.extensions)
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.path in ignored_paths or _ignored_name(entry.name, config.ignore_name):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif entry.is_file(follow_symlinks=False) and _wanted(entry.name, extensions):
                        yield entry.path, entry.stat(follow_symlinks=False)
        except OSError:
            unreadable.append(display_path(folder))


def _ignored_name(name: bytes, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(os.fsdecode(name), pattern) for pattern in patterns)


def _wanted(name: bytes, extensions: tuple[bytes, ...] | None) -> bool:
    return extensions is None or name.lower().endswith(extensions)


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

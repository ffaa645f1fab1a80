"""Walk the roots: every regular file once, in an order that does not depend on the file system."""

import codecs
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from dupegrid.core.config import Config
from dupegrid.core.errors import InputError
from dupegrid.core.text import printable, shown_path
from dupegrid.core.values import resolved
from dupegrid.images.found import FoundFiles, ListedFiles
from dupegrid.images.listing import Found, has_extension, is_a_programs, is_ignored, is_ours, is_trash, names_below
from dupegrid.images.remote import is_address
from dupegrid.images.sources import Source, Sources, source

Identity = tuple[int, int] | bytes  # of a folder: device and inode, or where these say nothing its real path
_MOST_FILES: Final = 1000  # among the roots, each of which is asked of each whether the two are compared
_UNKNOWN: Final = os.stat_result([stat.S_IFREG] + [0] * 9)  # of a file; indexing says what is wrong with it


@dataclass
class Listing:
    """What discover found: the files, the folders not listed, the links not followed, what was left out."""

    files: ListedFiles
    unreadable_folders: tuple[str, ...] = ()
    links_left_alone: int = 0
    is_of_a_pipe: bool = False  # which names files once
    trashes: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()  # folders in which programs keep previews and the like

    def forget_files(self) -> None:
        """Let the files go, once they are in files.parquet: some 100 bytes each, and a run is long. Not of a pipe."""
        if not self.is_of_a_pipe:
            self.files = FoundFiles().listed(self.files.config)


def discover(config: Config, found: Callable[[int], None] = lambda _: None, before: Listing | None = None) -> Listing:
    """Every regular file under the roots, each once, with ids 0..n-1 by root and then by the bytes of the path.

    What a list of paths names comes after all else, but for what is under a root.

    A trash and a program's previews are left out, unless they are a root, or a root lies in them.

    Of roots inside each other, a file belongs to the innermost, which may be the file itself; of a root named twice, to
    the first. Pipes and devices are never opened, symbolic links only followed where that is asked for. `found` is told
    of more files now and then. Raises InputError when there is no root, or when a root does not exist, is neither file
    nor folder, cannot be listed, or is on both sides of --against. What was found `before` is found again, of a pipe.
    """
    if before is not None and before.is_of_a_pipe:
        return before
    if not config.paths and not config.files_from:
        raise InputError("no PATH to search: name at least one folder of images")
    sources = Sources.of(config)
    first: dict[Identity, int] = {}
    the_list = len(config.paths) if config.files_from else -1
    for number, root in enumerate(config.roots):
        if number != the_list:
            known = first.setdefault(_checked_root(root, sources), number)
            if known < config.first_against <= number:
                raise InputError(f"{printable(root)} is both a PATH and --against: name it once")
    searched = set(first.values())
    paths = {number: os.fsencode(config.roots[number]) for number in searched}
    named_files = {path for path in paths.values() if sources.place(path) is None and os.path.isfile(path)}
    files_at = {_place_of(path) for path in named_files}
    if len(named_files) > _MOST_FILES:
        raise InputError(f"{len(named_files):,} files are too many PATHs: list them in a file for --files-from")
    walk = _Walk(config, set(first), files_at)
    rows = FoundFiles()
    # The list last: what is found under a folder, of either side, is not listed again.
    for number, root in sorted(enumerate(config.roots), key=lambda entry: entry[0] == the_list):
        if number == the_list:
            rows.add(number, walk.named(root, rows.paths()), found)
        elif number in searched:
            path = paths[number]
            into, inside = sources.place(path), walk.alone if path in named_files else walk.files
            rows.add(number, inside(path) if into is None else walk.apart(path, source(into)), found)
    is_of_a_pipe = config.files_from is not None and not os.path.isfile(config.files_from)
    left_out = tuple(walk.trashes), tuple(walk.programs)
    return Listing(rows.listed(config), tuple(walk.unreadable), walk.links_left_alone, is_of_a_pipe, *left_out)


def _checked_root(root: str, sources: Sources) -> Identity:
    shown = printable(root)
    into = sources.place(os.fsencode(root))
    if into is not None:
        source(into)  # raises where it cannot be opened
        return os.fsencode(root if is_address(into) else os.path.realpath(root))
    try:
        status = os.stat(root)
        if stat.S_ISREG(status.st_mode):
            return _place_of(os.fsencode(root))
        if not stat.S_ISDIR(status.st_mode):
            raise InputError(f"{shown} is neither a file nor a folder: name the folder that holds it")
        with os.scandir(root):
            pass
    except FileNotFoundError:
        raise InputError(f"{shown} does not exist: check the spelling of the PATH, or connect its disk") from None
    except OSError as error:
        raise InputError(f"cannot list {shown}: {error.strerror}; check its permissions") from None
    return _folder(root, status)


def _place_of(file: bytes) -> bytes:
    """The path of a file by the folder that it really is in; the file itself may be a link."""
    folder, name = os.path.split(file)
    return os.path.join(os.path.realpath(folder), name)


class _Walk:
    """Lists the files below a root, apart from what is ignored and from other roots."""

    def __init__(self, config: Config, roots: set[Identity], files_at: set[bytes]) -> None:
        self.unreadable: list[str] = []
        self.trashes: list[str] = []
        self.programs: list[str] = []
        self.links_left_alone = 0
        self._roots = roots
        self._been = set[Identity]()  # links and bind mounts lead to a folder more than once
        self._follow = config.follow_symlinks
        self._names = config.ignore_name
        self._ignored_files = set(map(os.fsencode, config.ignore_path))
        self._files_at = files_at  # places of files that are roots
        self._names_at = set(map(os.path.basename, files_at))
        self._ignored_folders = {_identity(path) for path in config.ignore_path}
        self._config = config

    def files(self, root: bytes) -> Iterator[Found]:
        """The regular files below a folder, with their status; in no order."""
        folders = [] if _identity(root) in self._ignored_folders else [(root, False)]
        while folders:
            folder, over_link = folders.pop()
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if self._names and is_ignored(os.fsdecode(entry.name), self._names):
                            continue
                        status = None if is_ours(entry.name) else self._status(entry)
                        if status is None:
                            continue
                        links = over_link or (self._follow and entry.is_symlink())
                        if stat.S_ISDIR(status.st_mode):
                            if not self._is_new(_folder(entry.path, status)):
                                continue
                            if is_trash(entry.path):
                                self.trashes.append(os.fsdecode(entry.path))
                            elif is_a_programs(entry.path):
                                self.programs.append(os.fsdecode(entry.path))
                            else:
                                folders.append((entry.path, links))
                        elif stat.S_ISREG(status.st_mode) and self._wanted(entry.path):
                            yield entry.path, status, links
            except OSError:
                self.unreadable.append(os.fsdecode(folder))

    def alone(self, path: bytes) -> Iterator[Found]:
        """A regular file that is a root itself, unless it is ignored."""
        try:
            status = os.stat(path, follow_symlinks=self._follow)
        except OSError:
            self.unreadable.append(os.fsdecode(path))
            return
        self.links_left_alone += stat.S_ISLNK(status.st_mode)
        ignored = path in self._ignored_files or is_ignored(os.fsdecode(os.path.basename(path)), self._names)
        if stat.S_ISREG(status.st_mode) and has_extension(path, self._config) and not ignored:
            yield path, status, self._follow and os.path.islink(path)

    def apart(self, root: bytes, source: Source) -> Iterator[Found]:
        """The files below a root that is no folder; in no order."""
        start = root + b"/"
        others = tuple(path + b"/" for path in map(os.fsencode, self._config.roots) if path.startswith(start))
        ignored = tuple(os.fsencode(path) + b"/" for path in self._config.ignore_path)

        def wanted(path: bytes, is_folder: bool) -> bool:
            if (path + b"/").startswith(others + ignored) or not (is_folder or has_extension(path, self._config)):
                return False
            return not any(is_ignored(name, self._names) for name in names_below(start, path))

        for path, status in source.listed(root, wanted):
            yield path, status, False
        self.unreadable += map(os.fsdecode, source.unreadable)
        self.links_left_alone += source.links

    def named(self, file: str, seen: set[bytes]) -> Iterator[Found]:
        """The regular files that a file names, but for those seen; what it names and is not there, as empty files."""
        for path in _paths_in(file):
            try:
                status = os.stat(path, follow_symlinks=self._follow)
            except OSError:
                status = _UNKNOWN
            if stat.S_ISDIR(status.st_mode):
                raise InputError(f"{printable(file)} names the folder {shown_path(path)}: name files only")
            self.links_left_alone += stat.S_ISLNK(status.st_mode)
            if stat.S_ISREG(status.st_mode) and path not in seen and self._wanted(path):
                seen.add(path)
                yield path, status, self._follow and os.path.islink(path)

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

    def _is_new(self, identity: Identity) -> bool:
        new = identity not in self._roots and identity not in self._ignored_folders and identity not in self._been
        self._been.add(identity)
        return new

    def _wanted(self, path: bytes) -> bool:
        if not has_extension(path, self._config) or path in self._ignored_files:
            return False
        may_be_root = self._names_at and os.path.basename(path) in self._names_at
        return not may_be_root or _place_of(path) not in self._files_at


def _paths_in(file: str) -> Iterator[bytes]:
    """The absolute paths in a file: ended by NUL where it has one, else one a line, as Windows ends lines too."""
    try:
        with open(file, "rb") as names:
            mode = os.fstat(names.fileno()).st_mode
            if stat.S_ISBLK(mode) or (stat.S_ISCHR(mode) and not names.isatty()):
                raise InputError(f"{printable(file)} is a device: give --files-from a file of paths")
            data = names.read()
    except OSError as error:
        raise InputError(
            f"cannot read {printable(file)}: {error.strerror}; give --files-from a file of paths"
        ) from None
    data = data.removeprefix(codecs.BOM_UTF8)
    end = b"\0" if b"\0" in data else b"\n"
    if end == b"\n" and all(line.endswith(b"\r") for line in data.split(end)[:-1]):
        end = b"\r\n"
    for line in data.split(end):
        if line:
            yield _absolute(line, file)


def _absolute(line: bytes, file: str) -> bytes:
    """The path that a line of a file names, as `resolved` has it; of a file that is not there, as it stands."""
    if b".." not in line and b"://" not in line:
        return os.path.abspath(line)
    here = os.path.join(os.getcwdb(), line)
    try:
        return os.fsencode(resolved(line if b"://" in line else here))
    except ValueError as error:
        if b"://" in line:
            raise InputError(f"a path in {printable(file)} {printable(str(error))}") from None
        return here


def _identity(path: str | bytes) -> Identity | None:
    try:
        return _folder(path, os.stat(path))
    except OSError:
        return None


def _folder(path: str | bytes, status: os.stat_result) -> Identity:
    """What two paths of one folder, by links or mounts, have in common."""
    identity = (status.st_dev, status.st_ino)
    try:
        above = os.stat(os.fsencode(path) + b"/..")
    except OSError:  # it may be listed and not entered
        return identity
    # A folder is not in itself: its file system has one inode for all.
    return os.path.realpath(os.fsencode(path)) if (above.st_dev, above.st_ino) == identity else identity


def samples_of(listing: Listing, sources: Sources) -> tuple[tuple[bytes, ...], ...]:
    """Three paths of each root, the first, the middle and the last; or the archive that they are in."""
    spans = [(first, last - 1) for first, last in pairwise(listing.files.starts().tolist()) if first < last]
    ends = [np.array([first, (first + last) // 2, last]) for first, last in spans]
    samples = [listing.files.paths_at(places).to_pylist() for places in ends]
    lying_at = [[sources.place(path) or path for path in of_root] for of_root in samples]
    return tuple(tuple(path for path in of_root if not is_address(path)) for of_root in lying_at)

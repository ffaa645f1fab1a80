"""Names of files in folders that are held open: no link is followed on the way to them, and no file is replaced."""

import ctypes
import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from dupegrid.core.text import display_path

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PIECE_BYTES: Final = 1 << 20
_NOREPLACE: Final = 1
_KEPT_OPEN: Final = 100  # folders: a process may open some 1,000 files
_CANNOT: Final = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


class SkippedError(Exception):
    """A file is left alone, for this reason; `outcome` is what that counts as."""

    outcome = "skipped"


class MissingError(SkippedError):
    """A file is not there any more."""

    outcome = "missing"


class Place(NamedTuple):
    """A name in a folder, by its descriptor; `path` for messages."""

    folder: int
    name: bytes
    path: bytes

    def beside(self, name: bytes) -> "Place":
        """Another name in that folder."""
        return Place(self.folder, name, os.path.join(os.path.dirname(self.path), name))

    def status(self) -> os.stat_result | None:
        """The status of what is there, be it a link; None where nothing is."""
        try:
            return os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    @contextmanager
    def opened(self, flags: int = os.O_RDONLY) -> Iterator[int]:
        """A descriptor of a regular file. OSError where it cannot be opened, SkippedError where it is none."""
        safe = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        descriptor = os.open(self.name, flags | safe, 0o600, dir_fd=self.folder)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise SkippedError("is no regular file any more")
            yield descriptor
        finally:
            os.close(descriptor)

    def unlink(self) -> None:
        """Remove the name."""
        os.unlink(self.name, dir_fd=self.folder)

    def flush(self) -> None:
        """Have the disk know of the names in its folder; where it cannot be told, it is told in its own time."""
        try:
            os.fsync(self.folder)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
                raise


class Roots:
    """The folders that files are reached from, each kept open: what takes its place later is not looked into.

    Where a file of paths names files of very many folders, those that were needed last.
    """

    def __init__(self) -> None:
        self._opened: OrderedDict[bytes, int] = OrderedDict()

    def __enter__(self) -> "Roots":
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._opened.values():
            os.close(descriptor)
        self._opened.clear()

    @contextmanager
    def place(self, path: bytes, root: bytes, make: int | None = None) -> Iterator[Place]:
        """A path below a root. With `make`, the folders on the way are made where they are missing, with that mode.

        MissingError where a folder on the way is gone, SkippedError where it is a link or no folder.
        """
        *folders, name = path[len(root.rstrip(b"/")) + 1 :].split(b"/")
        if not path.startswith(root.rstrip(b"/") + b"/") or {b"", b".", b".."} & {*folders, name}:
            raise SkippedError(f"does not lie in {display_path(root)}")
        descriptor = os.dup(self._root(root))
        try:
            for folder in folders:
                below = _below(descriptor, folder, make)
                os.close(descriptor)
                descriptor = below
            yield Place(descriptor, name, path)
        finally:
            os.close(descriptor)

    def device(self, root: bytes) -> int:
        """The volume of a root."""
        return os.fstat(self._root(root)).st_dev

    def _root(self, root: bytes) -> int:
        if root not in self._opened:
            try:
                self._opened[root] = os.open(root, _FOLDER)
            except FileNotFoundError:
                raise MissingError(f"its folder {display_path(root)} is not there: is its disk connected?") from None
            if len(self._opened) > _KEPT_OPEN:
                os.close(self._opened.popitem(last=False)[1])
        self._opened.move_to_end(root)
        return self._opened[root]


def pieces_of(descriptor: int) -> Iterator[bytes]:
    """The bytes of an open file, to its end."""
    while piece := os.read(descriptor, _PIECE_BYTES):
        yield piece


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of some bytes, of which a call may take a part."""
    written = 0
    while written < len(data):
        written += os.write(descriptor, data[written:])


def move(source: Place, target: Place) -> None:
    """Give a file another name, also in another folder of its volume. FileExistsError where something has that name."""
    try:
        renameat2(source.folder, source.name, target.folder, target.name)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        os.link(source.name, target.name, src_dir_fd=source.folder, dst_dir_fd=target.folder, follow_symlinks=False)
        source.unlink()


def renameat2(source: int, name: bytes, target: int, new_name: bytes) -> None:
    """renameat2(2) with RENAME_NOREPLACE. OSError with ENOSYS where the system has no such call."""
    function = _renameat2()
    if function is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if function(source, name, target, new_name, _NOREPLACE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name, None, new_name)


def _renameat2() -> Callable[..., Any] | None:
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is not None:
        function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    return function


def _below(folder: int, name: bytes, make: int | None) -> int:
    """A descriptor of a folder in another."""
    for _ in range(2):
        try:
            return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
        except FileNotFoundError:
            if make is None:
                raise MissingError("is not there any more, nor is its folder") from None
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
            raise SkippedError(f"{display_path(name)}, on the way to it, is a link or no folder now") from None
        try:
            os.mkdir(name, make, dir_fd=folder)
        except FileExistsError:
            continue
        os.fsync(folder)
    raise SkippedError(f"{display_path(name)}, on the way to it, comes and goes")

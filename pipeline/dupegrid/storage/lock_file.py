"""The lock of a run directory as a file or as an object of a bucket: what it holds, when it was touched last."""

import errno
import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from dupegrid.core.errors import DupegridError, RunDirError
from dupegrid.core.text import printable
from dupegrid.storage.bucket import BucketPath
from dupegrid.storage.hold import ENTRY_BYTES
from dupegrid.storage.ours import to_change

_NO_LOCKS: Final = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # Lustre without flock says ENOSYS


class LockFile:
    """The lock on a disk, open; `has_it`: whether the system gave it to us, None where it has no locks for files."""

    def __init__(self, descriptor: int, has_it: bool | None) -> None:
        self._descriptor = descriptor
        self.is_anothers = has_it is False
        self.tells_of_processes = self.is_exclusive = bool(has_it)  # no process here has it besides

    def read(self) -> bytes:
        """What it holds."""
        return os.pread(self._descriptor, ENTRY_BYTES + 1, 0)

    def put(self, data: bytes, before: bytes | None) -> bool:
        """Have it hold `data`, if it holds `before`; whether it does now."""
        if self.read() != before:
            return False
        os.pwrite(self._descriptor, data, 0)
        os.ftruncate(self._descriptor, len(data))
        return True

    def touch(self, data: bytes) -> bool:
        """Say that its holder is alive, if it holds `data`; whether it does."""
        if self.read() != data:
            return False
        os.utime(self._descriptor)  # without a time: by the clock of the file system
        return True


class LockObject:
    """The lock in a bucket, by conditional writes: of two that would take it, one finds that it has changed."""

    is_anothers, tells_of_processes = False, False

    def __init__(self, place: BucketPath) -> None:
        self._place = place

    @property
    def is_exclusive(self) -> bool:
        """Whether one of two is refused: it is asked at a place where there is nothing."""
        probe: BucketPath = self._place.with_name(f".run.json.{uuid.uuid4().hex}")  # empty; a kill may leave it
        return probe.takes_conditions()

    def read(self) -> bytes | None:
        """What it holds; None where there is none."""
        try:
            return self._place.read_bytes()
        except FileNotFoundError:
            return None

    def put(self, data: bytes, before: bytes | None) -> bool:
        """Have it hold `data`, if it holds `before`; whether it does now."""
        return self._place.write_if(data, before)

    def touch(self, data: bytes) -> bool:
        """Say that its holder is alive, if it holds `data`; whether it does."""
        return self._place.write_if(data, data)


@contextmanager
def opened_lock(place: Path) -> Iterator[LockFile | LockObject]:
    """The lock at a place, which is made if need be. RunDirError where it cannot be used."""
    if isinstance(place, BucketPath):
        yield LockObject(place)
        return
    descriptor = to_change(place, os.O_RDWR)
    try:
        yield LockFile(descriptor, _has_it(descriptor, place.parent))
    finally:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # processes that were forked meanwhile have it too
        os.close(descriptor)


def touched_s(place: Path) -> float | None:
    """When the lock at a place was touched, by the clock of its file system or bucket; None where there is none."""
    try:
        return place.stat(follow_symlinks=False).st_mtime
    except (OSError, DupegridError):
        return None


def now_s(folder: Path) -> float:
    """What time it is by that clock: it is told by a file which is made for that."""
    probe = folder / f".run.json.{uuid.uuid4().hex}"  # a name that the next run sweeps away
    probe.touch(exist_ok=False)  # through no link
    try:
        return probe.stat(follow_symlinks=False).st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _has_it(descriptor: int, run_dir: Path) -> bool | None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        if error.errno in _NO_LOCKS:
            return None
        raise RunDirError(
            f"{printable(str(run_dir))} cannot be locked ({error.strerror}): choose a folder on another disk"
        ) from None
    return True

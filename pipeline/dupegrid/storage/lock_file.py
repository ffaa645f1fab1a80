"""The lock of a run directory as a file or as an object of a bucket: what it holds, when it was touched last."""

import errno
import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Final

from dupegrid.core.errors import DupegridError, RunDirError
from dupegrid.core.text import printable
from dupegrid.storage.bucket import BucketPath
from dupegrid.storage.hold import ENTRY_BYTES
from dupegrid.storage.ours import to_change
from dupegrid.storage.places import LOCK

_NO_LOCKS: Final = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # Lustre without flock says ENOSYS


class LockFile:
    """The lock on a disk, open; `has_it`: whether the system gave it to us, None where it has no locks for files."""

    def __init__(self, descriptor: int, run_dir: Path, has_it: bool | None) -> None:
        self._descriptor, self._run_dir = descriptor, run_dir
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

    def stamp(self) -> int:
        """Another one whenever it was touched."""
        return os.fstat(self._descriptor).st_mtime_ns

    def age_s(self) -> float:
        """For how long it was not touched, by the clock of the file system: that of a file which is made for it."""
        probe = self._run_dir / f".run.json.{uuid.uuid4().hex}"  # a name that the next run sweeps away
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            os.utime(descriptor)
            return (os.fstat(descriptor).st_mtime_ns - self.stamp()) / 1e9
        finally:
            os.close(descriptor)
            probe.unlink(missing_ok=True)


class LockObject:
    """The same in a bucket, by conditional writes: of two that would take it, one finds that it has changed."""

    is_anothers, tells_of_processes, is_exclusive = False, False, True

    def __init__(self, run_dir: BucketPath) -> None:
        self._object, self._run_dir = run_dir / LOCK, run_dir

    def read(self) -> bytes | None:
        """What it holds; None where there is none."""
        try:
            return self._object.read_bytes()
        except FileNotFoundError:
            return None

    def put(self, data: bytes, before: bytes | None) -> bool:
        """Have it hold `data`, if it holds `before`; whether it does now."""
        return self._object.write_if(data, before)

    def touch(self, data: bytes) -> bool:
        """Say that its holder is alive, if it holds `data`; whether it does."""
        return self._object.write_if(data, data)

    def stamp(self) -> float | None:
        """Another one whenever it was touched; None where there is none."""
        try:
            return self._object.modified_s()
        except FileNotFoundError:
            return None

    def age_s(self) -> float:
        """For how long it was not touched, by the clock of the bucket: that of an object which is made for it."""
        probe = self._run_dir / f".run.json.{uuid.uuid4().hex}"
        probe.write_bytes(b"")
        try:
            return probe.modified_s() - self._object.modified_s()
        finally:
            probe.unlink()


def stamp_of(run_dir: Path) -> float | None:
    """Another one whenever the lock of a run directory was touched; None where there is none. Changes nothing."""
    lock = run_dir / LOCK
    try:
        return lock.modified_s() if isinstance(lock, BucketPath) else lock.lstat().st_mtime_ns
    except (OSError, DupegridError):
        return None


def lock_of(run_dir: Path) -> AbstractContextManager[LockFile | LockObject]:
    """The lock of a run directory, which is made if need be. RunDirError where it cannot be used."""
    return nullcontext(LockObject(run_dir)) if isinstance(run_dir, BucketPath) else _opened(run_dir)


@contextmanager
def _opened(run_dir: Path) -> Iterator[LockFile]:
    descriptor = to_change(run_dir / LOCK, os.O_RDWR)
    try:
        yield LockFile(descriptor, run_dir, _has_it(descriptor, run_dir))
    finally:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # processes that were forked meanwhile have it too
        os.close(descriptor)


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

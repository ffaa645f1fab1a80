"""One run at a time in a run directory, and what a killed one left half written is swept away."""

import errno
import fcntl
import json
import os
import socket
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from dupegrid.core.errors import RunDirError
from dupegrid.core.text import printable
from dupegrid.storage.bucket import BucketPath
from dupegrid.storage.hold import ENTRY_BYTES, Hold, writing_for
from dupegrid.storage.ours import LOCK, leftovers, remove

_KEYS: Final = {"host", "pid", "since", "token"}


@contextmanager
def locked(run_dir: Path) -> Iterator[Hold]:
    """Hold the lock of a run directory, which is made if need be; what is written meanwhile goes to that hold only.

    RunDirError, naming the holder, if another run has it, or naming the place, if something that is not ours is at a
    place of ours. The system lets go of the lock of a process that ends, however it ends, so that of a dead one is
    taken over.
    """
    if isinstance(run_dir, BucketPath):
        with _in_bucket(run_dir) as hold, writing_for(hold):
            leftovers(run_dir)
            yield hold
        return
    descriptor = _opened(run_dir)
    try:
        _take(descriptor, run_dir)
        unfinished = leftovers(run_dir)
        hold = Hold(run_dir, uuid.uuid4().hex)
        _write(descriptor, hold.token)
        try:
            for file in unfinished:
                remove(file)
            with writing_for(hold):
                yield hold
        except BaseException:
            os.ftruncate(descriptor, 0)
            with suppress(OSError, RunDirError):  # tasks may be at work still: what they would rename goes (hold.py)
                for file in leftovers(run_dir):
                    remove(file)
            raise
        os.ftruncate(descriptor, 0)
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # processes that were forked meanwhile have it too
        os.close(descriptor)


@contextmanager
def _in_bucket(run_dir: BucketPath) -> Iterator[Hold]:
    """The same in a bucket, by conditional writes: of two that would take the lock, one finds that it has changed."""
    lock, hold = run_dir / LOCK, Hold(run_dir, uuid.uuid4().hex)
    try:
        before = lock.read_bytes()
    except FileNotFoundError:
        before = None
    except OSError as error:
        raise RunDirError(f"cannot write to {printable(str(run_dir))}: {error.strerror}") from None
    held = _entry(before or b"")
    if held is None:
        raise RunDirError(f"{printable(str(lock))} is no file of dupegrid's: move it away, or choose another --out")
    if held and (held.get("host") != socket.gethostname() or _is_alive(held.get("pid"))):
        raise RunDirError(
            f"{printable(str(run_dir))} is in use {_named(held)}: wait for it to end, "
            f"or if that run is over, delete {printable(str(lock))}"
        )
    data = _data(hold.token)
    try:
        if not lock.write_if(data, before):
            raise RunDirError(f"{printable(str(run_dir))} is in use by another process: wait for it to end, or stop it")
    except OSError as error:
        raise RunDirError(f"cannot write to {printable(str(run_dir))}: {error.strerror}") from None
    try:
        yield hold
    finally:
        with suppress(OSError):  # a bucket that is gone: the lock says that this process has ended
            lock.write_if(b"", data)


def _is_alive(pid: object) -> bool:
    try:
        os.kill(int(str(pid)), 0)
    except (ValueError, ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _opened(run_dir: Path) -> int:
    """The lock file of a run directory, to write to: only a regular file of one name that is ours by its content."""
    shown, flags = printable(str(run_dir / LOCK)), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(run_dir / LOCK, flags, 0o644)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise RunDirError(f"{shown} is no file of dupegrid's: move it away, or choose another --out") from None
        raise RunDirError(
            f"cannot write to {printable(str(run_dir))}: {error.strerror}; choose a folder you can write to"
        ) from None
    status = os.fstat(descriptor)
    ours = stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid == os.geteuid()
    if not ours or _held(descriptor) is None:
        os.close(descriptor)
        raise RunDirError(f"{shown} is no file of dupegrid's: move it away, or choose another --out")
    return descriptor


def _take(descriptor: int, run_dir: Path) -> None:
    shown = printable(str(run_dir))
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise RunDirError(f"{shown} cannot be locked ({error.strerror}): choose a folder on another disk") from None
        raise RunDirError(f"{shown} is in use {_holder(descriptor)}: wait for it to end, or stop it") from None
    host = (_held(descriptor) or {}).get("host", socket.gethostname())
    if host != socket.gethostname():
        # Not every network file system tells other hosts of a lock.
        raise RunDirError(
            f"{shown} is in use {_holder(descriptor)}: if that run is over, delete {printable(str(run_dir / LOCK))}"
        )


def _write(descriptor: int, token: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, _data(token), 0)


def _data(token: str) -> bytes:
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": now, "token": token}).encode()


def _held(descriptor: int) -> dict[str, str] | None:
    """What the lock says of its holder, nothing where nobody has it; None if it is not one that we wrote."""
    return _entry(os.pread(descriptor, ENTRY_BYTES + 1, 0))


def _entry(data: bytes) -> dict[str, str] | None:
    if not data:
        return {}
    try:
        entry = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and "host" in entry and entry.keys() <= _KEYS else None


def _holder(descriptor: int) -> str:
    return _named(_held(descriptor) or {})


def _named(held: dict[str, str]) -> str:
    names = {"by process": "pid", "on": "host", "since": "since"}
    return " ".join(f"{word} {held[key]}" for word, key in names.items() if key in held) or "by another process"

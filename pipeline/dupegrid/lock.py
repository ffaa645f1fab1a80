"""One run at a time in a run directory, and what a killed one left half written is swept away."""

import errno
import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dupegrid.errors import RunDirError
from dupegrid.records import printable, remove

LOCK: Final = "lock"
_UNFINISHED: Final = re.compile(r"\..*\.[0-9a-f]{32}|.*\.[0-9a-f]{32}\.partial")  # ours; zarr's


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Hold the lock of a run directory, which is made if need be. RunDirError, naming the holder, if another has it.

    The system lets go of the lock of a process that ends, however it ends, so that of a dead one is taken over.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(run_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise RunDirError(
            f"cannot write to {printable(str(run_dir))}: {error.strerror}; choose a folder you can write to"
        ) from None
    try:
        _take(descriptor, run_dir)
        _sweep(run_dir)
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _take(descriptor: int, run_dir: Path) -> None:
    shown = printable(str(run_dir))
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise RunDirError(f"{shown} cannot be locked ({error.strerror}): choose a folder on another disk") from None
        raise RunDirError(f"{shown} is in use {_holder(descriptor)}: wait for it to end, or stop it") from None
    host = _held(descriptor).get("host", socket.gethostname())
    if host != socket.gethostname():
        # Not every network file system tells other hosts of a lock.
        raise RunDirError(
            f"{shown} is in use {_holder(descriptor)}: if that run is over, delete {printable(str(run_dir / LOCK))}"
        )
    entry = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(entry).encode(), 0)


def _held(descriptor: int) -> dict[str, str]:
    try:
        return dict(json.loads(os.pread(descriptor, 1000, 0)))
    except ValueError:  # nobody, or one that was killed while writing
        return {}


def _holder(descriptor: int) -> str:
    held = _held(descriptor)
    names = {"by process": "pid", "on": "host", "since": "since"}
    return " ".join(f"{word} {held[key]}" for word, key in names.items() if key in held) or "by another process"


def _sweep(run_dir: Path) -> None:
    """Remove the temporary files of writers that were killed; nobody writes now."""
    for folder, folders, files in os.walk(run_dir):
        for name in [*folders, *files]:
            if _UNFINISHED.fullmatch(name):
                remove(Path(folder, name))


def is_of_a_lock(name: str) -> bool:
    """Whether a file is the lock, or an unfinished one that its next holder sweeps away."""
    return name == LOCK or _UNFINISHED.fullmatch(name) is not None

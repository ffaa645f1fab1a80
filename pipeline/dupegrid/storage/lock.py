"""One run at a time in a run directory, and what a killed one left half written is swept away.

The holder writes who it is into the lock, and touches it every 20 s. On a disk it also has the system's lock of that
file, which ends with its process. Where that says nothing, on another host, in a bucket or on a file system without
locks, who has not touched the lock for 2 minutes is over: by the clock of the file system, as those of hosts differ.
Should it wake up after all, its token is gone, and it writes nothing more (hold.py).
"""

import errno
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from dupegrid.core.errors import DupegridError, RunDirError
from dupegrid.core.text import printable
from dupegrid.storage.hold import ENTRY_BYTES, Hold, writing_for
from dupegrid.storage.lock_file import LockFile, LockObject, now_s, opened_lock, touched_s
from dupegrid.storage.ours import leftovers, opened, remove
from dupegrid.storage.places import LOCK

_KEYS: Final = {"host", "pid", "since", "token"}
_TOUCHED_EVERY_S: Final = 20.0
_OVER_AFTER_S: Final = 120.0
_LOOKS_EVERY_S: Final = 2.0
_SETTLES_S: Final = 1.0  # where nothing but the lock's content says who was first: the last one to write has it
_OF_A_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
_BEGINS: Final = b'{"host": "'


@contextmanager
def locked(run_dir: Path, say: Callable[[str], object] = str) -> Iterator[Hold]:
    """Hold the lock of a run directory, which is made if need be; what is written meanwhile goes to that hold only.

    RunDirError, naming the holder, if another run has it, or naming the place, if something that is not ours is at a
    place of ours. That of a dead run is taken over: at once where its process is known to have ended, else when there
    was no sign of it for 2 minutes, which are waited for; `say` is told so, in a line. DupegridError where the disk
    takes no more, now or from whoever has the lock.
    """
    with _disk_errors(run_dir), opened_lock(run_dir / LOCK) as lock:
        before = _its_turn(lock, run_dir, say)
        unfinished = leftovers(run_dir)
        hold = Hold(run_dir, uuid.uuid4().hex)
        data = _data(hold.token)
        _put(lock, data, before, run_dir)
        try:
            for file in unfinished:
                remove(file)
            with _touched(lock, data), writing_for(hold):
                yield hold
        except BaseException:
            _let_go(lock, data)
            with suppress(OSError, DupegridError):  # tasks may be at work still: what they would rename goes (hold.py)
                for file in leftovers(run_dir):
                    remove(file)
            raise
        _let_go(lock, data)


@contextmanager
def _disk_errors(run_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_A_DISK:
            raise
        place = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(run_dir)
        # Only a disk that fails says nothing of what it failed at.
        what = "read or write" if error.errno == errno.EIO else "write to"
        raise DupegridError(
            f"cannot {what} {printable(place)}: {os.strerror(error.errno)}; what was finished is kept: "
            "put that right and run the same command again"
        ) from error


def while_held(run_dir: Path) -> Iterator[None]:
    """Yields for as long as a run has a run directory, to whoever looks again and again: until it ends.

    One on another host is over where its lock was not touched for 2 minutes, by the clock here, as a reader can ask the
    file system for no time.
    """
    before, since_s = None, time.monotonic()
    while held := holder(run_dir):
        touched = touched_s(run_dir / LOCK)
        if touched != before:
            before, since_s = touched, time.monotonic()
        elif held.get("host") != socket.gethostname() and time.monotonic() - since_s >= _OVER_AFTER_S:
            return
        yield


def holder(run_dir: Path) -> dict[str, Any] | None:
    """What the lock says of the run that has a run directory: host, pid, since. None where nobody has it."""
    try:
        with opened(run_dir / LOCK) as file:
            held = _entry(file.read(ENTRY_BYTES + 1))
    except (OSError, DupegridError):
        return None
    over = not held or (held.get("host") == socket.gethostname() and not _is_alive(held.get("pid")))
    return None if over else held


def _its_turn(lock: LockFile | LockObject, run_dir: Path, say: Callable[[str], object]) -> bytes | None:
    """What the lock holds when nobody has it any more; RunDirError if somebody does, or if it is none of ours."""
    shown, before = printable(str(run_dir)), lock.read()
    held = _entry(before or b"")
    if held is None:
        raise RunDirError(
            f"{printable(str(run_dir / LOCK))} is no file of dupegrid's: move it away, or choose another --out"
        )
    here = held.get("host") == socket.gethostname()
    in_use = RunDirError(
        f"{shown} is in use {_named(held)}: wait for it to end, or stop it; "
        "a run that has died is taken over 2 minutes later"
    )
    if lock.is_anothers:
        raise in_use
    if not held or (here and (lock.tells_of_processes or not _is_alive(held.get("pid")))):
        return before
    touched, since_s = touched_s(run_dir / LOCK), time.monotonic()
    silent_s = 0.0 if touched is None else max(0.0, now_s(run_dir) - touched)
    if silent_s < _OVER_AFTER_S:
        if here:
            raise in_use
        say(f"{shown} was in use {_named(held)}: waiting whether there is a sign of it, for 2 minutes at most")
    while silent_s + time.monotonic() - since_s < _OVER_AFTER_S:
        time.sleep(_LOOKS_EVERY_S)
        is_touched, now = touched_s(run_dir / LOCK) != touched, lock.read()  # in this order: who lets go touches it too
        if not now:
            return now
        if is_touched or now != before:
            raise in_use
    say(f"{shown} was in use {_named(held)}, of whom there was no sign for 2 minutes: taken over")
    return before


def _put(lock: LockFile | LockObject, data: bytes, before: bytes | None, run_dir: Path) -> None:
    """Write our entry. RunDirError where another was faster; whatever fails, the lock is not ours then."""
    try:
        if lock.put(data, before):
            if lock.is_exclusive:
                return
            time.sleep(_SETTLES_S)
            if lock.read() == data:
                return
    except BaseException:
        _let_go(lock, data)
        raise
    raise RunDirError(f"{printable(str(run_dir))} is in use by another process: wait for it to end, or stop it")


@contextmanager
def _touched(lock: LockFile | LockObject, data: bytes) -> Iterator[None]:
    """Touch the lock now and then, as long as it is ours."""
    over = threading.Event()

    def touch() -> None:
        while not over.wait(_TOUCHED_EVERY_S):
            with suppress(OSError, DupegridError):  # it may pass; if not, what is written next says so
                if not lock.touch(data):
                    return

    thread = threading.Thread(target=touch, name="dupegrid-lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _let_go(lock: LockFile | LockObject, data: bytes) -> None:
    with suppress(OSError, DupegridError):  # a bucket that is gone: the lock says that this process has ended
        lock.put(b"", data)


def _is_alive(pid: object) -> bool:
    try:
        os.kill(int(str(pid)), 0)
    except (ValueError, ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _data(token: str) -> bytes:
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    entry = {"host": socket.gethostname(), "pid": os.getpid(), "since": now, "token": token}
    return json.dumps(entry).encode().ljust(ENTRY_BYTES)


def _entry(data: bytes) -> dict[str, Any] | None:
    """What the lock says of its holder, nothing where nobody has it; None if it is not one that we wrote.

    Of one that was half written when the power failed, cut or filled up with zeros, no more than that there is one.
    """
    if not data:
        return {}
    try:
        entry = json.loads(data)
    except (ValueError, RecursionError):
        begun = data.rstrip(b"\0 ")[: len(_BEGINS)]
        return {"token": ""} if _BEGINS.startswith(begun) and len(data) <= ENTRY_BYTES else None
    return entry if isinstance(entry, dict) and "host" in entry and entry.keys() <= _KEYS else None


def _named(held: dict[str, Any]) -> str:
    names = {"by process": "pid", "on": "host", "since": "since"}
    return " ".join(f"{word} {held[key]}" for word, key in names.items() if key in held) or "by another process"

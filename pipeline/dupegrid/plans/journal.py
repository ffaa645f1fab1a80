"""RUN/journal.jsonl: what was done with files, a line before each act and a line after it, never written over.

A line ends with a digest of itself and of the line before it. One that was cut off as it was written, at the end, does
not count: nothing was done yet, or what was done is seen on the disk. Any other damage is an error.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from dupegrid.core.errors import DupegridError, RunDirError, StoreError
from dupegrid.core.keys import fingerprint
from dupegrid.core.text import shown
from dupegrid.images.listing import ASIDE, QUARANTINE
from dupegrid.plans import trash
from dupegrid.plans.actions import Placing
from dupegrid.plans.roots import write_all
from dupegrid.storage.files import flush_folder
from dupegrid.storage.hold import check_hold
from dupegrid.storage.ours import MADE_BY, opened, to_change
from dupegrid.storage.run_dir import RunDir

_CHECK: Final = "check"
_ID: Final = re.compile(r"[0-9A-Za-z-]+")
_PATHS: Final = ("path", "root", "keeper", "keeper_root", "to", "to_root", "leads_to")


@dataclass
class Done:
    """An act, as its lines say: what was meant, what came of it, what became of it since."""

    id: str
    meant: dict[str, Any]  # of its first line; paths are bytes
    outcome: str | None = None  # 'done' or 'not done'; None: nobody knows yet
    after: dict[str, Any] = field(default_factory=dict)  # of its second line
    undo: str | None = None  # 'meant' or 'done'
    undo_ino: int | None = None  # the inode of what is put back

    @property
    def is_standing(self) -> bool:
        """Whether it was done, and not undone."""
        return self.outcome == "done" and self.undo != "done"

    @property
    def path(self) -> bytes:
        """The path of the file."""
        path: bytes = self.meant["path"]
        return path

    def value(self, name: str) -> Any:
        """What its second line says, else what its first does; None where neither does."""
        return self.after.get(name, self.meant.get(name))


class Journal:
    """All acts of a run directory, and more of them; see `reading` and `writing`."""

    def __init__(self, path: Path, data: bytes, descriptor: int | None = None) -> None:
        self.path = path
        self.acts: dict[str, Done] = {}
        self._descriptor = descriptor
        self._check, self._size, self._lines = "", 0, 0
        for line in data.splitlines(keepends=True):
            if line.endswith(b"\n"):  # else it was cut off
                self._take(line)

    def note(self, event: str, id: str, **facts: Any) -> None:
        """Write one line, through to the disk. DupegridError where that fails: nothing was written then."""
        assert self._descriptor is not None
        check_hold()
        texts = {name: _text(value) if name in _PATHS else value for name, value in facts.items()}
        at = datetime.now(UTC).isoformat(timespec="seconds")
        entry = {"event": event, "id": id, "at": at, **texts}
        if not self._lines:
            entry |= MADE_BY
        entry[_CHECK] = fingerprint(self._check, entry)
        line = json.dumps(entry).encode("ascii") + b"\n"
        try:
            write_all(self._descriptor, line)
            os.fsync(self._descriptor)
        except BaseException as error:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            if isinstance(error, OSError):
                raise DupegridError(
                    f"cannot write to {shown(self.path)}: {error.strerror}; nothing more is done to any file: "
                    "make room and run the same command again"
                ) from None
            raise
        self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            entry = json.loads(line)
            check = entry.pop(_CHECK)
            if check != fingerprint(self._check, entry):
                raise ValueError
            event, id = entry["event"], entry["id"]
            facts = {name: _raw(value) if name in _PATHS else value for name, value in entry.items()}
            if event == "meant":
                self.acts[id] = Done(id, facts)
            elif event in ("done", "not done"):
                self.acts[id].outcome, self.acts[id].after = event, facts
            elif event == "undo":
                self.acts[id].undo, self.acts[id].undo_ino = "meant", entry.get("ino")
            elif event in ("undone", "not undone"):
                self.acts[id].undo = "done" if event == "undone" else None
            else:
                raise ValueError
            if not _is_of_apply(self.acts[id]):
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise StoreError(
                f"{shown(self.path)} is damaged in line {self._lines + 1}: put back a copy of it, "
                "or move it away and look after what it names by hand"
            ) from None
        self._check, self._size, self._lines = check, self._size + len(line), self._lines + 1


def reading(run_dir: RunDir) -> Journal:
    """What was done by now; nothing where there is no journal."""
    path = run_dir.journal
    try:
        with opened(path) as file:
            return Journal(path, file.read())
    except FileNotFoundError:
        return Journal(path, b"")
    except OSError as error:
        raise RunDirError(f"cannot read {shown(path)}: {error.strerror}") from None


def _is_of_apply(done: Done) -> bool:
    """Whether an act names only places that apply chooses: no file is put back from another, whoever wrote it."""
    to, to_root, root = done.value("to"), done.value("to_root"), done.meant["root"]
    if _ID.fullmatch(done.id) is None or not done.path.startswith(b"/"):
        return False
    if to is None:
        return True
    if to == os.path.join(os.path.dirname(done.path), ASIDE % done.id.encode()):
        return bool(to_root == root)
    if done.meant["action"] == "trash":
        return trash.is_in_one(to, to_root, done.path)
    below = to[len(os.path.join(to_root, QUARANTINE, b"")) :]
    apply_id = below.partition(b"/")[0].decode("ascii")
    return (to, to_root) in [Placing((), apply_id, aside).set_aside(done.path, root) for aside in (None, to_root)]


@contextmanager
def writing(run_dir: RunDir) -> Iterator[Journal]:
    """The journal to write to, under the lock of the run directory; what was cut off at its end is taken away."""
    path = run_dir.journal
    with open(to_change(path, os.O_RDWR | os.O_APPEND), "r+b", buffering=0) as file:
        data = file.read()
        journal = Journal(path, data, file.fileno())
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.ftruncate(file.fileno(), whole)
        flush_folder(run_dir.path)
        yield journal


def _text(path: bytes | None) -> str | None:
    return None if path is None else path.decode("utf-8", "surrogateescape")


def _raw(path: str | None) -> bytes | None:
    return None if path is None else path.encode("utf-8", "surrogateescape")

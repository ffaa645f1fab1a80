"""A run that is watched from elsewhere: it notes how far it is in progress.json, which `status --watch` reads."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from dupegrid.app.opening import absolute
from dupegrid.app.terminal import Terminal
from dupegrid.core.errors import DupegridError
from dupegrid.core.progress import Advance, Reporter
from dupegrid.core.text import quantity, shown
from dupegrid.core.values import StrPath
from dupegrid.storage.bucket import BucketPath
from dupegrid.storage.files import read_json, write_json
from dupegrid.storage.lock import while_held
from dupegrid.storage.run_dir import RunDir

_NOTED_EVERY_S: Final = 1.0
_NOTED_IN_A_BUCKET_EVERY_S: Final = 10.0
_LOOKS_EVERY_S: Final = 0.5


class Noting:
    """A reporter that also notes each stage of a run in its run directory, every second at most."""

    def __init__(self, reporter: Reporter, run_dir: RunDir) -> None:
        self._reporter, self._run_dir = reporter, run_dir
        self._at: dict[str, Any] = {}  # what was noted last, and how far that is by now
        self._in_bucket = isinstance(run_dir.path, BucketPath)
        self._every_s = _NOTED_IN_A_BUCKET_EVERY_S if self._in_bucket else _NOTED_EVERY_S

    @contextmanager
    def stage(self, name: str, total: int | None, unit: str, done: int = 0) -> Iterator[Advance]:
        """Show a stage, and note it."""
        noted_s = time.monotonic()
        at: dict[str, Any] = {"stage": name, "done": done, "total": total, "unit": unit}

        def advance(units: int) -> None:
            nonlocal noted_s
            show_units(units)
            at["done"] += units
            self._at = at
            if time.monotonic() - noted_s >= self._every_s:
                noted_s = time.monotonic()
                self._note()

        with self._reporter.stage(name, total, unit, done) as show_units:
            self._at = at
            self._note()
            yield advance
            if not self._in_bucket:  # the next stage's note comes at once, and Google takes an object once a second
                self._note()

    def say(self, line: str) -> None:
        """Show one line."""
        self._reporter.say(line)

    @property
    def place(self) -> str:
        """How far the run is, for people."""
        if not self._at:
            return ""
        of = "" if self._at["total"] is None else f" of {quantity(self._at['total'])}"
        return f" at {self._at['stage']}, {quantity(self._at['done'])}{of} {self._at['unit']}"

    def _note(self) -> None:
        with suppress(OSError, DupegridError):  # what nobody may read stops nothing
            write_json(self._run_dir.progress, self._at, flushed=False)


@contextmanager
def noting(reporter: Reporter, run_dir: RunDir) -> Iterator[Noting]:
    """A reporter that notes what it shows for as long as the context lasts, in which the lock is held.

    A cell or a script that is interrupted is told what was kept and how to go on, below its traceback.
    """
    noted = Noting(reporter, run_dir)
    try:
        yield noted
    except KeyboardInterrupt as interrupt:
        kept = f"what was finished is kept in {shown(run_dir.path)}"
        interrupt.add_note(f"stopped{noted.place}; {kept}: run the same again to go on")
        raise
    finally:
        with suppress(OSError, DupegridError):
            run_dir.progress.unlink(missing_ok=True)


def events(run_dir: StrPath) -> Iterator[dict[str, Any]]:
    """What a run notes, as it changes: stage, done, total and unit. Ends when the run does, or if there is none."""
    watched, before = RunDir(absolute(run_dir)), dict[str, Any]()
    for _ in while_held(watched.path):
        now = _noted(watched)
        if now and now != before:
            yield now
            before = now
        time.sleep(_LOOKS_EVERY_S)


def show(run_dir: StrPath) -> None:
    """Show a run of another process as it shows itself, a bar a stage, until it ends."""
    found, reporter = events(run_dir), Terminal()
    event = next(found, None)
    while event is not None:
        stage, done = event["stage"], event["done"]
        with reporter.stage(stage, event["total"], event["unit"], done) as advance:
            while event is not None and event["stage"] == stage and event["done"] >= done:
                advance(event["done"] - done)
                done = event["done"]
                event = next(found, None)


def _noted(run_dir: RunDir) -> dict[str, Any]:
    """What is noted; nothing where that is not what a run notes."""
    try:
        noted = read_json(run_dir.progress)
    except DupegridError:
        return {}
    kinds = {"stage": str, "done": int, "total": int | None, "unit": str}
    return noted if noted.keys() == kinds.keys() and all(isinstance(noted[k], kinds[k]) for k in kinds) else {}

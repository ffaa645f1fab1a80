"""The hold of a run on its run directory: what another run has taken over, or has ended, writes nothing more.

A worker may live on when its run was interrupted or killed, and finish a task later. Each run has a token, which the
lock holds for as long as it has it (lock.py). A task makes its file beside the place, looks at the token, and renames
the file into place. The next run writes its own token first and then removes all files that wait to be renamed, so a
task that saw the old token either renamed before that, or has nothing left to rename.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Final, NamedTuple

from dupegrid.core.errors import SupersededError
from dupegrid.core.text import printable
from dupegrid.storage.ours import opened
from dupegrid.storage.places import LOCK

ENTRY_BYTES: Final = 512  # of what the lock holds: all are as long, so that of two that are written at once one is left


class Hold(NamedTuple):
    """A run directory, and the token of the run that has its lock."""

    run_dir: Path
    token: str


_current: ContextVar[Hold | None] = ContextVar("hold", default=None)


@contextmanager
def writing_for(hold: Hold) -> Iterator[None]:
    """Have all that is written meanwhile, in this thread, go to a run directory only while `hold` lasts.

    SupersededError where it has ended already.
    """
    before = _current.set(hold)
    try:
        check_hold()
        yield
    finally:
        _current.reset(before)


def current_hold() -> Hold:
    """The hold that this thread writes for."""
    hold = _current.get()
    assert hold is not None, "nothing is written outside of a lock"
    return hold


def check_hold() -> None:
    """Raise SupersededError if this thread writes for a run that no longer has its run directory."""
    hold = _current.get()
    if hold is None:
        return
    try:
        with opened(hold.run_dir / LOCK) as lock:
            entry = lock.read(ENTRY_BYTES)
    except OSError as error:
        if error.errno == errno.EIO:  # a disk that fails: the folder may well be there
            raise SupersededError(
                f"cannot read {printable(str(hold.run_dir / LOCK))}: {error.strerror}; nothing more is written: "
                "put that right and run the same command again"
            ) from None
        raise SupersededError(
            f"{printable(str(hold.run_dir))} is no longer there ({error.strerror}): nothing more is written; "
            "run again with --out where it is now"
        ) from None
    if hold.token.encode() not in entry:
        raise SupersededError(
            f"another run has {printable(str(hold.run_dir))} now: this one has stopped, and nothing is lost; "
            "run again when the other has ended"
        )

"""How much memory a task may take: what its process has, shared by the tasks that are at work in it at once."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

# Where a container is told how much it may take; nothing there, or 'max', where it is not.
_LIMITS: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")

_WINDOW_BYTES: Final = 1 << 28

_told: ContextVar[tuple[int, int] | None] = ContextVar("told", default=None)


@contextmanager
def process_has(size_bytes: int, threads: int) -> Iterator[None]:
    """Have tasks of this thread reckon with a process of so many bytes and threads: a worker knows its own limit."""
    before = _told.set((size_bytes, threads))
    try:
        yield
    finally:
        _told.reset(before)


@dataclass(frozen=True)
class Room:
    """What a comparison says of memory; it travels to the workers, each of which reckons with what it has itself."""

    setting_bytes: int | None  # for each process; None: half of what it has
    threads: int  # of a process that does not say how many it has
    processes: int  # that share a machine where they do not say how much each of them has

    def process_bytes(self) -> int:
        """The memory that tasks of this process may take together."""
        told = _told.get()
        own = told[0] if told and told[0] else machine_bytes() // self.processes
        return self.setting_bytes or own // 2

    def task_bytes(self) -> int:
        """The memory that one task may take."""
        told = _told.get()
        return self.process_bytes() // max(1, told[1] if told else self.threads)


def window_bytes(setting_bytes: int | None) -> int:
    """How much of something that grows a command holds at a time: a quarter of a GB, or less where it has little."""
    return min(_WINDOW_BYTES, Room(setting_bytes, 1, 1).process_bytes() // 8)


@cache
def machine_bytes() -> int:
    """The memory of this machine, or of the container that this process is in."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for place in _LIMITS:
        with suppress(OSError, ValueError):
            found.append(int(Path(place).read_text()))
    return min(found)

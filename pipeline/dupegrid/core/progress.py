"""What a stage tells of its progress; app/terminal.py shows it to a person."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

Advance = Callable[[int], None]


class Reporter(Protocol):
    """Shows the progress of stages and single lines to whoever waits."""

    def stage(self, name: str, total: int | None, unit: str, done: int = 0) -> AbstractContextManager[Advance]:
        """Show a stage of `total` units, of which `done` were done in an earlier run; yields what to call with more.

        `total` is None where nobody knows it before the end.
        """
        ...

    def say(self, line: str) -> None:
        """Show one line."""
        ...

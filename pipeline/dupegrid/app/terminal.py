"""What a person sees while waiting: a bar a stage on a terminal and in a notebook, plain lines elsewhere.

Always on standard error; in a notebook below the cell.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import IO, Any, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

from dupegrid.core.progress import Advance
from dupegrid.core.text import quantity

_WORTH_A_LINE_S = 2.0
_REDRAWN_EVERY_S = 0.5
_COUNTED_TO = 10_000_000
_COLUMNS = (
    TextColumn("{task.description:<9}"),
    BarColumn(),
    TaskProgressColumn(),
    TextColumn("{task.fields[of]}"),
    TextColumn("{task.fields[rate]}"),
    TimeRemainingColumn(elapsed_when_finished=True),
    TextColumn("{task.fields[left]}"),
)


class Terminal:
    """Shows each stage's progress, rate and time left. `quiet` shows nothing."""

    def __init__(self, stream: TextIO | None = None, quiet: bool = False, line_every_s: float = 5.0) -> None:
        stream = stream or sys.stderr  # None where it was closed
        self._console = Console(file=stream and cast(IO[str], _Unfailing(stream)), highlight=False)
        self._quiet = quiet or stream is None
        self._line_every_s = line_every_s
        self._is_notebook = stream is sys.stderr and self._console.is_jupyter

    def stage(self, name: str, total: int | None, unit: str, done: int = 0) -> AbstractContextManager[Advance]:
        """Show a stage of `total` units, of which `done` were done in an earlier run; yields what to call with more.

        `total` is None where nobody knows it before the end.
        """
        if self._quiet:
            return nullcontext(lambda _count: None)
        shown = self._cell if self._is_notebook else self._bar if self._console.is_terminal else self._lines
        return shown(name, total, unit, done)

    @contextmanager
    def _bar(self, name: str, total: int | None, unit: str, done: int) -> Iterator[Advance]:
        progress = Progress(SpinnerColumn(), *_COLUMNS, console=self._console, transient=total is None)
        with progress, _counted(progress, name, total, unit, done) as advance:
            yield advance

    @contextmanager
    def _cell(self, name: str, total: int | None, unit: str, done: int) -> Iterator[Advance]:
        """A bar below the cell of a notebook, drawn anew in its place, twice a second at most."""
        progress = Progress(*_COLUMNS, console=self._console)  # not started: what it draws by itself needs ipywidgets
        with _counted(progress, name, total, unit, done) as advance:
            place, drawn = None if total is None else _drawn(progress, None), time.monotonic()

            def shown(units: int) -> None:
                nonlocal place, drawn
                advance(units)
                if time.monotonic() - drawn >= _REDRAWN_EVERY_S:
                    place, drawn = _drawn(progress, place), time.monotonic()

            yield shown
        if total is not None or place is not None:
            _drawn(progress, place)

    @contextmanager
    def _lines(self, name: str, total: int | None, unit: str, done: int) -> Iterator[Advance]:
        start = last = time.monotonic()
        count = 0

        def advance(units: int) -> None:
            nonlocal count, last
            count += units
            now = time.monotonic()
            if now - last >= self._line_every_s and count:
                last = now
                rate = _rate(count, now - start, unit)
                if total is None:
                    self.say(f"{name}: {quantity(count)} {unit}, {rate}")
                else:
                    left = (total - done - count) * (now - start) / count
                    of = _of(done + count, total, unit)
                    percent = f"{100 * (done + count) // max(1, total)} %"
                    self.say(f"{name}: {', '.join(filter(None, (percent, of, rate)))}, {left:,.0f} s left")

        yield advance
        elapsed = time.monotonic() - start
        if total is None and elapsed < _WORTH_A_LINE_S:
            return
        if done and not count:
            self.say(f"{name}: all {_counted_in(done, unit)} done earlier")
        else:
            earlier = f", {quantity(done)} done earlier" if done else ""
            self.say(f"{name}: {_counted_in(count, unit)} in {elapsed:.1f} s, {_rate(count, elapsed, unit)}{earlier}")

    def say(self, line: str) -> None:
        """One line for a person."""
        if not self._quiet:
            self._console.print(line, markup=False, soft_wrap=True)


@contextmanager
def _counted(progress: Progress, name: str, total: int | None, unit: str, done: int) -> Iterator[Advance]:
    """A stage as a task of a bar; yields what to call with more units."""
    task = progress.add_task(name, total=total, completed=done, of=_of(done, total, unit), rate="", left="left")
    start, count = time.monotonic(), 0

    def advance(units: int) -> None:
        nonlocal count
        count += units
        rate = _rate(count, time.monotonic() - start, unit)
        left = "left" if total is None or done + count < total else ""
        progress.update(task, advance=units, of=_of(done + count, total, unit), rate=rate, left=left)

    yield advance
    left = "" if count else "done earlier" if done else ""
    progress.update(task, left=left, total=count if total is None else total)


def _drawn(progress: Progress, place: Any) -> Any:
    """Draw a bar below the cell, in its place if it has one by now; returns that."""
    from IPython.display import display

    bar = progress.make_tasks_table(progress.tasks)
    if place is None:
        return display(bar, display_id=True)  # type: ignore[no-untyped-call]
    place.update(bar)
    return place


class _Unfailing:
    """A stream that writes nothing more once it cannot be written: nobody reads what a run says on its way."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_open = True

    def write(self, text: str) -> int:
        self._tried(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._tried(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _tried(self, act: Callable[[], object]) -> None:
        try:
            if self._is_open:
                act()
        except (OSError, ValueError):  # gone, full; or closed
            self._is_open = False


def _of(done: int, total: int | None, unit: str) -> str:
    """How many of how many; of pairs, which are soon billions, the percentage says enough."""
    if total is None:
        return f"{quantity(done)} {unit}"
    return f"{done:,} of {total:,}" if total < _COUNTED_TO else ""


def _counted_in(count: int, unit: str) -> str:
    return f"{quantity(count)} {unit.removesuffix('s') if count == 1 else unit}"


def _rate(count: int, elapsed_s: float, unit: str) -> str:
    return f"{quantity(count / elapsed_s)} {unit}/s" if elapsed_s > 0 else f"0 {unit}/s"

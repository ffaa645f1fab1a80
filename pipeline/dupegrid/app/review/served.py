"""The review of a run in a browser: `dupegrid.review(run)`."""

import contextlib
import html
import os
import shutil
import signal
import tempfile
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dupegrid.app.opening import as_run
from dupegrid.app.review.reviewing import Reviewing
from dupegrid.app.review.web import ReviewServer
from dupegrid.app.run import Run
from dupegrid.core.values import StrPath


class Review(ReviewServer):
    """A review that is being served, until it is closed; a context manager too."""

    def __init__(self, run: Run, port: int = 0, read_only: bool = False) -> None:
        super().__init__(Reviewing(run), port, read_only)
        self._folder: str | None = None

    def open(self) -> None:
        """Open the page in a browser."""
        # By a file that nobody else may read: whoever uses the machine sees the words that a browser is started with.
        self._folder = self._folder or tempfile.mkdtemp(prefix="dupegrid-review-")
        page = Path(self._folder) / "open.html"
        address = html.escape(self.url)
        page.write_text(
            f'<!DOCTYPE html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={address}">'
            f'<title>dupegrid</title><a href="{address}">review</a>\n'
        )
        webbrowser.open(page.as_uri())

    @contextlib.contextmanager
    def ended_by_signals(self) -> Iterator[None]:
        """Have SIGINT and SIGTERM end the server, in place of what they did before."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, lambda *_: self.stop()) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def totals(self) -> dict[str, Any]:
        """What has been decided so far, and how many groups are."""
        return self.reviewing.totals()

    def close(self) -> None:
        """End the server. What was decided is on disk already."""
        super().close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> "Review":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Review({os.fspath(self.reviewing.run)!r})"  # without the token


def review(run: Run | StrPath, *, port: int = 0, browser: bool = True, read_only: bool = False) -> Review:
    """Serve the groups of a run to a browser on this machine, where a key decides each pair; returns at once.

    What is decided goes to decisions.parquet of the run; no picture is touched. `port` 0 takes any that is free. The
    review ends with `close()`, or with the program. Raises UsageError where the port is taken, StoreError where the run
    is not finished.
    """
    made = Review(as_run(run), port, read_only)
    if browser:
        made.open()
    return made

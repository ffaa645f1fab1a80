"""The review of a run in a browser: `dupegrid.review(run)`."""

import contextlib
import html
import os
import shutil
import signal
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from dupegrid.app.opening import opened
from dupegrid.app.reviewing import Reviewing
from dupegrid.app.run import Run
from dupegrid.app.web import ReviewServer
from dupegrid.core.values import StrPath

_LOOKS_EVERY_S: Final = 0.2


class Review:
    """A review that is being served, until it is closed; a context manager too."""

    def __init__(self, run: Run, port: int = 0, read_only: bool = False) -> None:
        self._reviewing = Reviewing(run)
        self._server = ReviewServer(self._reviewing, port, read_only)
        self._folder: str | None = None

    @property
    def url(self) -> str:
        """Where the page is, with the token that opens it: for you alone."""
        return self._server.url

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

    def wait(self, asked: threading.Event | None = None) -> None:
        """Wait until the review is closed, or somebody asks for its end."""
        while not (asked is not None and asked.is_set()) and not self._server.wait(_LOOKS_EVERY_S):
            pass

    @contextlib.contextmanager
    def signalled(self) -> Iterator[threading.Event]:
        """An event that SIGINT and SIGTERM set, in place of what they did before, for `wait`."""
        asked = threading.Event()
        before = {number: signal.signal(number, lambda *_: asked.set()) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield asked
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def totals(self) -> dict[str, Any]:
        """What has been decided so far, and how many groups are."""
        return self._reviewing.totals()

    def close(self) -> None:
        """End the server. What was decided is on disk already."""
        self._server.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> "Review":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Review({os.fspath(self._reviewing.run)!r})"  # without the token


def review(run: Run | StrPath, *, port: int = 0, browser: bool = True, read_only: bool = False) -> Review:
    """Serve the groups of a run to a browser on this machine, where a key decides each pair; returns at once.

    What is decided goes to decisions.parquet of the run; no picture is touched. `port` 0 takes any that is free. The
    review ends with `close()`, or with the program. Raises UsageError where the port is taken, StoreError where the run
    is not finished.
    """
    made = Review(opened(run), port, read_only)
    if browser:
        made.open()
    return made

"""A path -> the `Run` that is there."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dupegrid.app.run import Run
from dupegrid.core.config import load_config
from dupegrid.core.errors import RunDirError
from dupegrid.core.text import shown
from dupegrid.core.values import StrPath, resolved
from dupegrid.storage.bucket import bucket_path
from dupegrid.storage.files import FORMAT, read_json
from dupegrid.storage.ours import refuse_links


def as_run(run: StrPath | Run) -> Run:
    """A run as callers give it: itself, or its run directory."""
    return run if isinstance(run, Run) else open_run(run)


def open_run(run_dir: StrPath) -> Run:
    """Look into a run directory. RunDirError if it is none, or was made by a newer dupegrid."""
    path = absolute(run_dir)
    text = shown(path)
    if not (path / "run.json").is_file():
        if not path.is_dir():
            raise RunDirError(f"there is no run directory {text}: make one with 'dupegrid run PATH... --out RUN'")
        raise RunDirError(
            f"{text} is no run directory (it has no run.json): make one with 'dupegrid run PATH... --out RUN'"
        )
    refuse_links(path)
    try:
        saved = read_json(path / "run.json")
        if saved["format"] > FORMAT:
            raise RunDirError(f"{text} was made by a newer dupegrid (format {saved['format']}): upgrade dupegrid")
        if saved["format"] < FORMAT:
            raise RunDirError(
                f"{text} was made by an older dupegrid (format {saved['format']}): delete it or choose another --out"
            )
        if not isinstance(saved["fingerprint"], str):
            raise ValueError("it names no fingerprint")
        return Run(path, load_config(None, **saved["config"]))
    except (ValueError, KeyError, TypeError) as error:
        raise RunDirError(f"{text}/run.json cannot be read ({error}): delete the run directory and run again") from None


@contextmanager
def locked_run(run_dir: StrPath, say: Callable[[str], object]) -> Iterator[Run]:
    """The run that is there once its lock is held, as another run may have been at it; `say` is told of a wait."""
    with open_run(run_dir).run_dir.locked(say):
        yield open_run(run_dir)


def absolute(path: StrPath) -> Path:
    """A path as a Run keeps it."""
    try:
        text = os.fsdecode(path) if isinstance(path, str | bytes) else str(path)
        return bucket_path(text) or Path(resolved(path))
    except ValueError as error:
        raise RunDirError(f"the run directory {error}") from None

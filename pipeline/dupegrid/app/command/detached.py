"""A run in the background: in a session of its own, so that it goes on when its terminal is closed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from dupegrid.app.opening import absolute
from dupegrid.app.run_json import chosen_config
from dupegrid.core.errors import DupegridError, RunDirError
from dupegrid.core.text import printable, shown
from dupegrid.results.answers import Answer
from dupegrid.storage.bucket import BucketPath
from dupegrid.storage.lock import holder
from dupegrid.storage.ours import is_known, to_change
from dupegrid.storage.run_dir import RunDir

_BEGINS_S: Final = 10.0  # at most: until it has its run directory, or has ended
_LOOKS_EVERY_S: Final = 0.1


@dataclass(frozen=True)
class Detached(Answer):
    """A run that was started in the background."""

    run: str
    pid: int
    log: str


def detach(words: Sequence[str], out: str, paths: Sequence[str], config: str | None, settings: Any) -> Detached:
    """Start the command of these words in the background; what it says goes to run.log in the run directory.

    UsageError where its settings are wrong, DupegridError where it ends at once, with the last that it said.
    """
    run_dir = RunDir(absolute(out))
    if isinstance(run_dir.path, BucketPath):
        raise RunDirError("--detach keeps what the run says in its folder, and a bucket has none: leave it out")
    chosen_config(paths, run_dir, config, settings, lambda _: None)  # which says it itself
    ends = words.index("--") if "--" in words else len(words)  # what follows are PATHs, whatever they are called
    log = _opened(run_dir.log)
    try:
        # The current folder is where modules are looked for, or not, as it is here.
        safe = [] if sys.path[:1] in ([os.getcwd()], [""]) else ["-P"]
        asked = [word for word in words[:ends] if word != "--detach"]
        process = subprocess.Popen(
            [sys.executable, *safe, "-m", "dupegrid", *asked, *words[ends:]],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    finally:
        os.close(log)
    _begun(process, run_dir)
    return Detached(str(run_dir.path), process.pid, str(run_dir.log))


def _opened(path: Path) -> int:
    """run.log, to be added to: only one that is ours by its content."""
    descriptor = to_change(path, os.O_WRONLY | os.O_APPEND)
    if not is_known(path):
        os.close(descriptor)
        raise RunDirError(f"{shown(path)} is no file of dupegrid's: move it away, or choose another --out")
    os.set_blocking(descriptor, True)
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    os.write(descriptor, f"dupegrid {version('dupegrid')} run, begun {now}\n".encode())
    return descriptor


def _begun(process: subprocess.Popen[bytes], run_dir: RunDir) -> None:
    """Wait until a run has its run directory, for a while. DupegridError where it has failed by then."""
    end = time.monotonic() + _BEGINS_S
    while time.monotonic() < end and (code := process.poll()) is None:
        if (holder(run_dir.path) or {}).get("pid") == process.pid:
            return
        time.sleep(_LOOKS_EVERY_S)
    if code:
        said = run_dir.log.read_text(errors="replace").strip().splitlines()[-1]
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"has ended with exit code {code}"
        raise DupegridError(f"the run {how}: {printable(said.removeprefix('dupegrid: '))}")

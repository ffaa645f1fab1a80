"""Processes that we start: they run no stranger's file, leave the terminal's interrupts to us, and end with us."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, Final

from dupegrid.core.errors import ConfigError

SAFE_PATH: Final = "PYTHONSAFEPATH"  # keeps the current folder, which may be anybody's, out of a process' sys.path
_PROBE: Final = "dupegrid-probe"
_RAN_AGAIN: Final = 79  # exit code of a probe in which the user's script called us again
_starting = threading.RLock()


class Spawn(SpawnContext):
    """Starts processes, in any thread and at any time, and can kill those that it started."""

    def __init__(self) -> None:
        self._started: list[SpawnProcess] = []

    def Process(self, *args: Any, **options: Any) -> SpawnProcess:  # type: ignore[override]  # noqa: N802
        """A process that is started as the first line of this file says."""
        process = _Process(*args, **options)
        self._started.append(process)
        return process

    def kill(self) -> None:
        """End all processes at once."""
        for process in self._started:
            if process.pid is not None:
                process.kill()


class _Process(SpawnProcess):
    def start(self) -> None:
        with safe_path():
            # It does not see the SIGINT that a terminal sends to all; this process sees it afterwards.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                super().start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def safe_path() -> Iterator[None]:
    """Interpreters started while the context lasts do not look for modules in the current folder."""
    with _starting, kept_environment(SAFE_PATH):
        os.environ[SAFE_PATH] = "1"
        yield


@contextmanager
def kept_environment(*names: str) -> Iterator[None]:
    """These variables are afterwards what they were."""
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def check_main(scheduler: str) -> None:
    """ConfigError where a process cannot be started from this program, as it would run all of it again.

    Python imports the script of its parent into each process that it spawns.
    """
    main = sys.modules["__main__"]
    script = getattr(main, "__file__", None) if getattr(main, "__spec__", None) is None else None
    if script is None:
        return
    code: int | None = _RAN_AGAIN
    if os.path.exists(script):  # not '<stdin>'
        probe = Spawn().Process(target=int, name=_PROBE)
        probe.start()
        probe.join()
        code = probe.exitcode
    if code == _RAN_AGAIN:
        raise ConfigError(
            f"scheduler {scheduler!r} starts processes, and each of them would run this script again: "
            "put what it does in a file under 'if __name__ == \"__main__\":', or take scheduler 'threads'"
        )
    if code:
        raise ConfigError(
            f"scheduler {scheduler!r} starts processes, and {script} fails in them (exit code {code}): "
            "put that right, or take scheduler 'threads'"
        )


def end_probe() -> None:
    """End this process without a word if it is the one that tells whether a script has a main guard: it has none."""
    if multiprocessing.current_process().name == _PROBE:
        os._exit(_RAN_AGAIN)


def start_worker_process() -> None:
    """What a process of a pool does first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; only the parent answers
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    while parent is not None and os.getppid() == parent.pid:
        time.sleep(0.5)
    os._exit(1)

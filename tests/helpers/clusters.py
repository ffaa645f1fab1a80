"""Dask schedulers and workers, by the words of a user, each a process of its own."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.helpers.forks import started
from tests.helpers.tasks import waited_until

ROOT = Path(__file__).parents[2]


@contextmanager
def dask_scheduler(folder: Path, settings: Mapping[str, str] = {}) -> Iterator[tuple[str, BaseProcess]]:
    """A scheduler, with some settings of dask: its address and its process."""
    file = folder / "scheduler.json"
    words = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", file]
    with started(_commanded("scheduler", settings), *words, cwd=folder) as process:
        waited_until(lambda: file.exists() and file.read_text().rstrip().endswith("}"))  # not half of it
        yield json.loads(file.read_text())["address"], process


def dask_worker(address: str, folder: Path, before: str = "pass", *words: str) -> AbstractContextManager[BaseProcess]:
    """A worker in which this Python text is run first; without further words, one that is not started again."""
    preload = "def dask_setup(worker):\n" + textwrap.indent(before, "    ")
    given = ["--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard", "--preload", preload]
    return started(_commanded("worker"), address, *given, *(words or ["--no-nanny"]), cwd=folder)


def _commanded(name: str, settings: Mapping[str, str] = {}) -> str:
    """The text of a command of dask's. What it starts imports tasks.py beside this, which tasks of tests call."""
    return f"""
import os, dask
os.environ |= {dict(settings)!r}
os.environ["PYTHONPATH"] = os.pathsep.join([{str(ROOT)!r}, os.environ.get("PYTHONPATH", "")])
dask.config.refresh()
from distributed.cli.dask_{name} import main
main()
"""

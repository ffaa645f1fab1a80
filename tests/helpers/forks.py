"""Work in forks: they have at once what a process of its own imports for a second or two.

In forks of this process, or, where the work wants a process that is small and has one thread, of a server that has
imported the same.
"""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.context import ForkServerProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import dask
import pytest
from distributed import utils as of_distributed

from dupegrid.app.command import cli
from dupegrid.core import spawned
from dupegrid.images import sandbox
from tests.helpers.warm import parsed_app

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["tests.helpers.warm", "distributed.cli.dask_scheduler", "distributed.cli.dask_worker"])


# What `command` does with no decoder: one that is forked for nothing takes a third of the time of a status.
_WITHOUT_DECODERS = {"apply", "cluster", "compare", "decide", "evaluate", "explain", "export", "folders", "journal"}
_WITHOUT_DECODERS |= {"leakage", "plan", "report", "status", "top", "undo", "--help", "--version"}


def in_fork(work: Callable[[], object], decodes: bool = True) -> int:
    """Do some work in a fork that leads its own process group; its exit status, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setpgid(0, 0)
            gc.freeze()  # or a collection would copy every page that this process has from its parent
            if decodes:
                fork_decoders()
            work()
            code = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with suppress(ProcessLookupError):  # nobody it started is left
        os.killpg(pid, signal.SIGKILL)
    return code


def in_clean_fork(work: Callable[..., object], *arguments: object) -> int:
    """Like `in_fork`, with nothing of what this process has done so far: dask's threads, which a fork lacks, say.

    The work is a function of a module, without decoders that are forked.
    """
    process = _server.Process(target=_lead, args=(work, *arguments))
    process.start()
    process.join()
    with suppress(ProcessLookupError):  # nobody it started is left
        os.killpg(process.pid, signal.SIGKILL)
    return process.exitcode or 0


def _lead(work: Callable[..., object], *arguments: object) -> None:
    os.setpgid(0, 0)
    work(*arguments)


def command(*words: object, cwd: Path | None = None, limit_s: int = 120) -> subprocess.CompletedProcess[str]:
    """Call dupegrid as a user would, with the current folder in the path, as python -m has it."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:

        def work() -> None:
            signal.alarm(limit_s)
            if cwd is not None:
                os.chdir(cwd)
            sys.stdout, sys.stderr = out, err
            sys.argv, sys.path[:0] = ["dupegrid", *map(os.fsdecode, map(_text, words))], [os.getcwd()]
            code: object = 1
            cli.app = parsed_app  # type: ignore[assignment]
            try:
                cli.main()
            except SystemExit as ended:
                code = ended.code
            finally:
                out.flush()
                err.flush()
                os._exit(code if isinstance(code, int) else 1)

        code = in_fork(work, decodes=not words or _text(words[0]) not in _WITHOUT_DECODERS)
        return subprocess.CompletedProcess(words, code, *(file.seek(0) or file.read() for file in (out, err)))


def _text(word: object) -> str | bytes:
    return word if isinstance(word, bytes) else str(word)


@contextmanager
def started(
    text: str, *words: object, cwd: Path | None = None, out: Path | None = None, err: Path | None = None
) -> Iterator[BaseProcess]:
    """A process, a fork of the server, that executes Python text, as python -c has it, in a session of its own.

    What it writes goes to the files `out` and `err`. It is ended with its session when the context is left.
    """
    files = [str(file or os.devnull) for file in (out, err)]
    process = _server.Process(target=_execute, args=(text, list(map(str, words)), str(cwd or Path.cwd()), *files))
    process.start()
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):  # all have ended
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()  # it has no session yet
        process.join()


def executed(text: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """What comes of Python text in such a process, whose decoders are forked too."""
    text = f"from tests.helpers.forks import fork_decoders; fork_decoders(); del fork_decoders; {text}"
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        with started(text, cwd=cwd, out=out, err=err) as process:
            process.join()
        return subprocess.CompletedProcess(text, process.exitcode or 0, out.read_text(), err.read_text())


@contextmanager
def forked_workers() -> Iterator[None]:
    """Workers that are processes, of a pool or of dask's cluster here, are forks of the server.

    For tests of what they do; what they start with, and see of their surroundings, is tested with those of a user.
    """
    settings = {
        "distributed.worker.multiprocessing-method": "forkserver",
        "distributed.nanny.environ": dict(os.environ),
    }
    with pytest.MonkeyPatch.context() as patch, dask.config.set(settings):
        patch.setattr(spawned, "_Process", _ForkedWorker)
        patch.setattr(of_distributed, "_forkserver_preload_set", True)  # what is imported before is said above
        yield


class _ForkedWorker(ForkServerProcess):
    """A process of a pool."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._environment = dict(os.environ)

    def run(self) -> None:
        os.environ.clear()
        os.environ.update(self._environment)
        spawned._end_with_parent = _end_with_parent  # the server is the parent here, as the system has it
        fork_decoders()
        super().run()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _execute(text: str, words: list[str], cwd: str, out: str, err: str) -> None:
    os.setsid()
    os.chdir(cwd)
    for file, descriptor in ((out, 1), (err, 2)):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.argv = ["-c", *words]
    main = sys.modules["__main__"] = types.ModuleType("__main__")  # where functions of the text are looked for by name
    exec(text, main.__dict__)


def fork_decoders() -> None:
    """From now on decoders are forked from this process, where it would start others; one is there already."""
    sandbox.subprocess = FORKING  # type: ignore[attr-defined]
    sandbox._idle.append(sandbox._Process())


class _Forked:
    """A decoder, as subprocess.Popen has it."""

    def __init__(self, words: list[str], *, stderr: IO[bytes], pass_fds: list[int], **_: Any) -> None:
        (theirs_in, ours_in), (ours_out, theirs_out) = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                for descriptor, place in ((theirs_in, 0), (theirs_out, 1), (stderr.fileno(), 2)):
                    os.dup2(descriptor, place)
                (shared,) = pass_fds
                os.closerange(3, shared)
                os.closerange(shared + 1, os.sysconf("SC_OPEN_MAX"))
                os.chdir("/")
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                gc.freeze()  # as above
                sys.argv = words[words.index("-c") :]
                exec(sys.argv.pop(1), {"__name__": "__main__"})
                os._exit(0)
            except BaseException:
                os.write(2, traceback.format_exc().encode())
                os._exit(1)
        os.close(theirs_in)
        os.close(theirs_out)
        self.stdin, self.stdout = os.fdopen(ours_in, "wb", 0), os.fdopen(ours_out, "rb", 0)
        self._code: int | None = None

    def wait(self, timeout: float) -> int:
        end = time.monotonic() + timeout
        while self._code is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                self._code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > end:
                raise subprocess.TimeoutExpired("a decoder", timeout)
            else:
                time.sleep(0.001)
        return self._code

    def kill(self) -> None:
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)


# In the place of subprocess in sandbox.py: decoders are forked, and do what the text says that they would start with.
FORKING = SimpleNamespace(Popen=_Forked, PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired)

"""Decoding in processes of its own: a decoder may hang, crash, eat memory or write where it should not.

One process serves one thread of a worker, file after file, and is kept for the next. A file that takes longer than its
time or kills its process costs that file only: the process is replaced and goes on with the next one.
"""

import atexit
import contextlib
import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Final, NamedTuple

from dupegrid.errors import DupegridError
from dupegrid.images.thumbnail import Decoded, OpenedFile, Reading, decode_file, refuse_larger

_TRIES: Final = 2  # of a file whose process dies: what killed it may have been something else
_AHEAD: Final = 4  # files opened before their turn, so that a slow disk reads while we decode
_ANSWERS_AT_ONCE: Final = 16
_ANSWER_WITHIN_S: Final = 0.1  # what was not answered when a process dies is decoded again
_BASE_BYTES: Final = 1 << 30  # address space of a process without pictures
_BYTES_PER_PIXEL: Final = 16  # of the largest picture, with all copies that a decoder makes

# The package's own __init__ imports all of it, which takes a second; a process that decodes needs little of it.
_START: Final = """
import sys, types
package = types.ModuleType("dupegrid")
package.__path__ = [sys.argv[1]]
sys.modules["dupegrid"] = package
from dupegrid.images.sandbox import serve
serve()
"""


class File(NamedTuple):
    """A file as discover saw it."""

    path_raw: bytes
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class _Order:
    files: tuple[tuple[int, File], ...]  # with their places in the answer
    reading: Reading
    timeout_s: float


def decode_files(files: Sequence[File], reading: Reading, timeout_s: float) -> Iterator[tuple[int, Decoded]]:
    """Decode files in a process of its own: (place in `files`, what became of it), each once, in any order.

    A file that takes longer than `timeout_s` has status 'timeout'; one whose decoder dies, 'decode_error'.
    """
    left = dict(enumerate(files))
    deaths = dict.fromkeys(left, 0)
    while left:
        process = _taken()
        try:
            for place, decoded in process.answers(_Order(tuple(left.items()), reading, timeout_s)):
                del left[place]
                yield place, decoded
        except BaseException:  # whoever asked has gone
            process.close()
            raise
        if not left:
            _idle.append(process)
            return
        place, how, noise = process.buried()
        if place not in left:  # it died between two files
            place = next(iter(left))
        deaths[place] += 1
        if how == -signal.SIGALRM:
            del left[place]
            yield place, Decoded("timeout", f"not decoded within {timeout_s:g} s")
        elif deaths[place] == _TRIES:
            del left[place]
            yield place, Decoded("decode_error", f"its decoder died ({noise or _name(how)})")


class _Process:
    """A process that decodes, as its parent sees it."""

    def __init__(self) -> None:
        # Where the process says which file it is at, and what decoders write to descriptor 2.
        self._place, self._noise = _scratch("place"), _scratch("noise")
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, Path(__file__).parent.parent, str(self._place.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._noise,
            pass_fds=[self._place.fileno()],
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )

    def answers(self, order: _Order) -> Iterator[tuple[int, Decoded]]:
        """Answers to an order until it is done or the process dies."""
        orders, answers = self._process.stdin, self._process.stdout
        assert orders is not None
        assert answers is not None
        os.pwrite(self._place.fileno(), _packed(-1), 0)
        missing = len(order.files)
        try:
            pickle.dump(order, orders)
            orders.flush()
            while missing:
                found = pickle.load(answers)
                missing -= len(found)
                yield from found
        except (EOFError, OSError, pickle.UnpicklingError):
            return

    def buried(self) -> tuple[int, int, str]:
        """The place of the file a dead process was at, its exit code and last words.

        DupegridError if it never came to life.
        """
        how = self._process.wait()
        place = int.from_bytes(os.pread(self._place.fileno(), 8, 0), "little", signed=True)
        self._noise.seek(0)
        lines = self._noise.read().decode(errors="replace").strip().splitlines()
        self.close()
        if place < 0 and how > 0:
            raise DupegridError(f"the process that decodes does not start: {lines[-1] if lines else _name(how)}")
        return place, how, lines[-1] if lines else ""

    def close(self) -> None:
        """End the process."""
        for stream in (self._process.stdin, self._process.stdout, self._place, self._noise):
            if stream is not None:
                with contextlib.suppress(OSError):  # it was not told all
                    stream.close()
        self._process.kill()
        self._process.wait()


def _scratch(name: str) -> IO[bytes]:
    """An unnamed file: in memory where the system has such, as a disk may be full."""
    return os.fdopen(os.memfd_create(name), "w+b") if hasattr(os, "memfd_create") else tempfile.TemporaryFile()


_idle: list[_Process] = []


def _taken() -> _Process:
    try:
        return _idle.pop()
    except IndexError:
        return _Process()


@atexit.register
def _close_idle() -> None:
    while _idle:
        _idle.pop().close()


os.register_at_fork(after_in_child=_idle.clear)  # they serve the parent


def serve() -> None:
    """The process that decodes: orders on standard input, answers on standard output, until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the parent answers
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, whatever its decoder is at
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    place = int(sys.argv[2])
    orders, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # no decoder gets between our answers
    while True:
        try:
            order: _Order = pickle.load(orders)
        except EOFError:
            return
        refuse_larger(order.reading.max_pixels)
        most = _BASE_BYTES + _BYTES_PER_PIXEL * order.reading.max_pixels
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
        _serve(order, place, answers)


def _end_with_parent(parent: int) -> None:
    """End this process soon after its parent, whatever it decodes; a decoder that keeps Python's lock, at the alarm."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _serve(order: _Order, place_file: int, answers: IO[bytes]) -> None:
    waiting: list[tuple[int, Decoded]] = []
    answered_s = time.monotonic()
    opened: deque[OpenedFile] = deque()
    for number, (place, file) in enumerate(order.files):
        os.pwrite(place_file, _packed(place), 0)
        signal.setitimer(signal.ITIMER_REAL, order.timeout_s)
        while len(opened) < _AHEAD and number + len(opened) < len(order.files):
            opened.append(OpenedFile(order.files[number + len(opened)][1].path_raw, order.reading.follow_symlinks))
        decoded = decode_file(opened.popleft(), file.size_bytes, file.mtime_ns, order.reading)
        signal.setitimer(signal.ITIMER_REAL, 0)
        noise = _noise()
        if decoded.thumb is None and noise:
            decoded = replace(decoded, error=f"{decoded.error} ({noise})")
        waiting.append((place, decoded))
        late = time.monotonic() - answered_s > _ANSWER_WITHIN_S
        if late or len(waiting) == _ANSWERS_AT_ONCE or number == len(order.files) - 1:
            pickle.dump(waiting, answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()
            waiting, answered_s = [], time.monotonic()


def _noise() -> str:
    """What decoders wrote to descriptor 2 since the last call: the first line of it."""
    if not os.fstat(2).st_size:
        return ""
    text = os.pread(2, 500, 0).decode(errors="replace").strip()
    os.ftruncate(2, 0)
    os.lseek(2, 0, os.SEEK_SET)
    return text.splitlines()[0] if text else ""


def _packed(place: int) -> bytes:
    return place.to_bytes(8, "little", signed=True)


def _name(how: int) -> str:
    try:
        return signal.Signals(-how).name
    except ValueError:
        return f"exit code {how}"

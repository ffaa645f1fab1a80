"""Decoding in processes of its own: a decoder may hang, crash, eat memory or write where it should not.

One process serves one thread of a worker, file after file, and is kept for the next. A file that takes longer than its
time or kills its process costs that file only: the process is replaced and goes on with the next one.

That time is the decoder's own, by two clocks, neither of which goes on while the machine or the program is stopped: the
system's of what the process computes, and the parent's, which ticks while it waits for an answer.
"""

import atexit
import contextlib
import math
import os
import pickle
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from dupegrid.core.errors import DupegridError
from dupegrid.core.malloc import without_trimming
from dupegrid.images.decoded import Decoded, Reading
from dupegrid.images.decoder import File, Order, most_memory, packed, received, timed_out

_TRIES: Final = 2  # of a file whose process dies: what killed it may have been something else
_TICK_S: Final = 0.1  # of the parent's clock: one that took longer, as all was stopped, counts as one
_START_WITHIN_S: Final = 60.0
_END_WITHIN_S: Final = 2.0  # where SIGKILL does not end a process, as the kernel hangs, it is left to itself
_DIED: Final = "its decoder died"

# Python finds what it imports among its own modules (-I -S); then come the folders where this process found this
# package and the libraries, so that nothing beside them, nor in the current folder, takes the place of a module.
_START: Final = """
import sys
sys.path += sys.argv[2:]
from dupegrid.images.decoder import serve
serve()
"""
_IMPORTED_FROM: Final = [
    os.path.dirname(os.path.abspath(sys.modules[name].__path__[0]))
    for name in ("dupegrid", "numpy", "PIL", "pillow_heif")
]


class _Death(NamedTuple):
    place: int  # of the file it was at; -1 before the first
    late: bool  # it was ended, as its time for that file was up
    reason: str


def decode_files(files: Sequence[File], reading: Reading, timeout_s: float) -> Iterator[tuple[int, Decoded]]:
    """Decode files in a process of its own: (place in `files`, what became of it), each once, in any order.

    A file that takes longer than `timeout_s` has status 'timeout'; one whose decoder dies, 'decode_error'.
    """
    left = dict(enumerate(map(_absolute, files)))
    deaths = dict.fromkeys(left, 0)
    while left:
        process = _taken()
        try:
            for place, decoded in process.answers(Order(tuple(left.items()), reading, timeout_s)):
                del left[place]
                yield place, decoded
        except BaseException:  # whoever asked has gone
            process.close()
            raise
        if not left:
            _idle.append(process)
            return
        death = process.buried()
        if death.place < 0 and process.served:  # while it was idle
            continue
        between = death.place not in left  # two files
        place = next(iter(left)) if between else death.place
        deaths[place] += 1
        if death.late and not between:
            del left[place]
            yield place, timed_out(timeout_s)
        elif deaths[place] == _TRIES:
            del left[place]
            yield place, Decoded("decode_error", f"{_DIED} ({death.reason})")


def may_pass(status: str, error: str | None) -> bool:
    """Whether the machine may have been to blame for a failure: it took too long, or the decoder was killed."""
    return status == "timeout" or (status == "decode_error" and (error or "").startswith(_DIED))


def _absolute(file: File) -> File:
    if file.path_raw.startswith(b"/"):
        return file
    return file._replace(path_raw=os.path.join(os.getcwdb(), file.path_raw))


class _Process:
    """A process that decodes, as its parent sees it."""

    def __init__(self) -> None:
        # Where the process says which file it is at and finds its order, and what decoders write to descriptor 2: in
        # memory, as a disk may be full.
        self._shared, self._noise = (os.fdopen(os.memfd_create(name), "w+b") for name in ("order", "noise"))
        self._share(packed(-1))
        strangers = {name for name in os.environ if name.startswith("PYTHON")}
        own = {name: value for name, value in without_trimming().items() if name not in strangers}
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _START, str(self._shared.fileno()), *_IMPORTED_FROM],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._noise,
            pass_fds=[self._shared.fileno()],
            cwd="/",
            env={**own, "OPENBLAS_NUM_THREADS": "1"},
        )
        assert self._process.stdout is not None
        self._readable = select.poll()
        self._readable.register(self._process.stdout, select.POLLIN)
        self._at, self._spent_s, self._late, self._nonsense = -1, 0.0, False, ""
        self.served = False

    def answers(self, order: Order) -> Iterator[tuple[int, Decoded]]:
        """Answers to an order until it is done, the process dies or talks nonsense, or a file takes it too long."""
        data = pickle.dumps(order, pickle.HIGHEST_PROTOCOL)
        self._share(packed(-1) + data)
        self._at, self._spent_s = -1, 0.0
        missing = {place for place, _ in order.files}
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(packed(len(data)))
            while missing:
                found = self._found(order)
                places = {place for place, _ in found}
                if not places or len(places) < len(found) or not places <= missing:
                    raise ValueError(f"no answer of a decoder: it is of files {sorted(places)}")
                self.served = True
                missing -= places
                yield from found
        except (EOFError, OSError):
            return
        except (MemoryError, ValueError) as error:
            self._nonsense = str(error)
            self._process.kill()

    def _found(self, order: Order) -> list[tuple[int, Decoded]]:
        size = int.from_bytes(self._received(8, order.timeout_s), "little")
        if size > most_memory(order.reading):
            raise ValueError(f"no answer of a decoder: it would be {size} bytes long")
        return received(self._received(size, order.timeout_s))

    def _share(self, data: bytes) -> None:
        self._shared.seek(0)
        self._shared.write(data)
        self._shared.flush()

    def _received(self, size: int, timeout_s: float) -> memoryview:
        """The next bytes that the process writes; EOFError when it does not."""
        assert self._process.stdout is not None
        source = self._process.stdout.fileno()
        whole = left = np.empty(size, np.uint8).data  # whose memory is taken as it is filled
        while left:
            self._wait(timeout_s)
            count = os.readv(source, [left])
            if not count:
                raise EOFError
            left = left[count:]
        return whole

    def _wait(self, timeout_s: float) -> None:
        """Wait until there is something to read; EOFError once the process has been at one file for too long."""
        while True:
            place = self._place()
            if place != self._at:
                self._at, self._spent_s = place, 0.0
            limit_s = timeout_s if place >= 0 else _START_WITHIN_S
            tick_s = min(_TICK_S, limit_s - self._spent_s)
            if tick_s <= 0:
                self._late = True
                raise EOFError
            began_s = time.monotonic()
            ready = self._readable.poll(math.ceil(tick_s * 1000))
            self._spent_s += min(time.monotonic() - began_s, tick_s)
            if ready:
                return

    def _place(self) -> int:
        return int.from_bytes(os.pread(self._shared.fileno(), 8, 0), "little", signed=True)

    def buried(self) -> _Death:
        """How a process ended, which is ended first if it took too long. DupegridError if it never came to life."""
        how = self._ended()
        place = self._at if self._late else self._place()
        self._noise.seek(0)
        lines = self._noise.read().decode(errors="replace").strip().splitlines()
        self.close()
        reason = self._nonsense or (lines[-1] if lines else _name(how))
        if place < 0 and not self.served and (self._late or how > 0):
            reason = f"nothing was heard of it for {_START_WITHIN_S:g} s" if self._late else reason
            raise DupegridError(f"the process that decodes does not start: {reason}")
        return _Death(place, self._late or how == -signal.SIGPROF, reason)

    def _ended(self) -> int:
        """Its exit code, or that of SIGKILL if it does not end by itself."""
        if self._late:
            self._process.kill()
        for _ in range(2):
            try:
                return self._process.wait(_END_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return -signal.SIGKILL

    def close(self) -> None:
        """End the process."""
        for stream in (self._process.stdin, self._process.stdout, self._shared, self._noise):
            if stream is not None:
                with contextlib.suppress(OSError):  # it was not told all
                    stream.close()
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_WITHIN_S)


_idle: list[_Process] = []


def _taken() -> _Process:
    try:
        return _idle.pop()
    except IndexError:
        pass
    try:
        return _Process()
    except OSError as error:
        raise DupegridError(f"a process that decodes cannot be started: {error.strerror}") from None


@atexit.register
def _close_idle() -> None:
    while _idle:
        _idle.pop().close()


os.register_at_fork(after_in_child=_idle.clear)  # they serve the parent


def _name(how: int) -> str:
    try:
        return signal.Signals(-how).name
    except ValueError:
        return f"exit code {how}"

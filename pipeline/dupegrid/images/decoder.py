"""The process that decodes: told of orders by its parent (sandbox.py), it answers until its input ends."""

import os
import pickle
import resource
import signal
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import IO, Final, NamedTuple

from dupegrid.core.malloc import keep_memory
from dupegrid.images.decoded import Decoded, Reading
from dupegrid.images.opening import OpenedFile
from dupegrid.images.recipe import decode_file, limit_decoders

_AHEAD: Final = 4  # files opened before their turn, so that a slow disk reads while we decode
_ANSWERS_AT_ONCE: Final = 16
_ANSWER_WITHIN_S: Final = 0.1  # what was not answered when a process dies is decoded again
_BASE_BYTES: Final = 1 << 30  # address space of a process without pictures
_KEPT_BYTES: Final = 1 << 27  # of memory between two pictures: as much as those of 12 megapixels need
_BYTES_PER_PIXEL: Final = 16  # of the largest picture, with all copies that a decoder makes


class File(NamedTuple):
    """A file as discover saw it."""

    path_raw: bytes
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class Order:
    files: tuple[tuple[int, File], ...]  # with their places in the answer
    reading: Reading
    timeout_s: float


def timed_out(timeout_s: float) -> Decoded:
    return Decoded("timeout", f"not decoded within {timeout_s:g} s")


def serve() -> None:
    """The process that decodes: told of orders on standard input, answers on standard output, until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the parent answers
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process, whatever its decoder is at
    keep_memory(_KEPT_BYTES)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    shared = int(sys.argv[1])
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # no decoder gets between our answers
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    while size := os.read(0, 8):
        order: Order = pickle.loads(os.pread(shared, int.from_bytes(size, "little"), 8))
        limit_decoders(order.reading.max_pixels)
        most = _BASE_BYTES + _BYTES_PER_PIXEL * order.reading.max_pixels
        resource.setrlimit(resource.RLIMIT_AS, (most if soft == resource.RLIM_INFINITY else min(most, soft), hard))
        _serve(order, shared, answers)


def _end_with_parent(parent: int) -> None:
    """End this process soon after its parent, whatever it decodes; a decoder that keeps Python's lock, in its time."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _serve(order: Order, shared: int, answers: IO[bytes]) -> None:
    waiting: list[tuple[int, Decoded]] = []
    answered_s = time.monotonic()
    opened: deque[OpenedFile] = deque()
    for number, (place, file) in enumerate(order.files):
        os.pwrite(shared, packed(place), 0)  # before its time runs, so that none dies without a place
        began_s = time.thread_time()
        signal.setitimer(signal.ITIMER_PROF, order.timeout_s)
        while len(opened) < _AHEAD and number + len(opened) < len(order.files):
            ahead, other = order.files[number + len(opened)]
            os.pwrite(shared, packed(ahead), 0)  # to open it may take for ever
            opened.append(OpenedFile(other.path_raw, order.reading.follow_symlinks))
        os.pwrite(shared, packed(place), 0)
        decoded = decode_file(opened.popleft(), file.size_bytes, file.mtime_ns, order.reading)
        signal.setitimer(signal.ITIMER_PROF, 0)
        if time.thread_time() - began_s > order.timeout_s:  # that timer is no finer than the ticks of the system
            decoded = timed_out(order.timeout_s)
        noise = _noise()
        if decoded.status != "ok" and noise:
            decoded = replace(decoded, error=f"{decoded.error} ({noise})")
        waiting.append((place, decoded))
        late = time.monotonic() - answered_s > _ANSWER_WITHIN_S
        if late or order.reading.whole or len(waiting) == _ANSWERS_AT_ONCE or number == len(order.files) - 1:
            data = pickle.dumps(waiting, pickle.HIGHEST_PROTOCOL)
            answers.write(packed(len(data)))
            answers.write(data)
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


def packed(place: int) -> bytes:
    return place.to_bytes(8, "little", signed=True)

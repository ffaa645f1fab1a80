"""The process that decodes: told of orders by its parent (sandbox.py), it answers until its input ends."""

import gc
import json
import mmap
import os
import pickle
import resource
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate, pairwise
from typing import IO, Any, Final, NamedTuple

import numpy as np

from dupegrid.core.malloc import keep_memory
from dupegrid.images.decoded import Decoded, Reading
from dupegrid.images.opening import OpenedFile
from dupegrid.images.recipe import decode_file, limit_decoders

_AHEAD: Final = 4  # files opened before their turn, so that a slow disk reads while we decode
_ANSWERS_AT_ONCE: Final = 16
_ANSWER_BYTES: Final = 1 << 18  # written in one go, if it is no longer
_ANSWER_WITHIN_S: Final = 0.1  # what was not answered when a process dies is decoded again
_BASE_BYTES: Final = 1 << 30  # address space of a process without pictures
_KEPT_BYTES: Final = 1 << 27  # of memory between two pictures: as much as those of 12 megapixels need
_BYTES_PER_PIXEL: Final = 16  # of the largest picture, with all copies that a decoder makes
_ARRAYS: Final = tuple(map(Decoded._fields.index, ("thumb", "crops", "pixels")))
_HASH, _TAKEN = map(Decoded._fields.index, ("thumb_hash", "taken_at"))

PLACE_BYTES: Final = 8  # at the beginning of what the process shares with its parent: which file it is at


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


def most_memory(reading: Reading) -> int:
    """The bytes of address space that a process which decodes may take."""
    return _BASE_BYTES + _BYTES_PER_PIXEL * reading.max_pixels


def serve() -> None:
    """The process that decodes: told of orders on standard input, answers on standard output, until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the parent answers
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process, whatever its decoder is at
    keep_memory(_KEPT_BYTES)
    gc.freeze()  # what was imported is not looked through again
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    shared = int(sys.argv[1])
    place = mmap.mmap(shared, PLACE_BYTES)
    answers = os.fdopen(os.dup(1), "wb", buffering=_ANSWER_BYTES)
    os.dup2(2, 1)  # no decoder gets between our answers
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    while size := os.read(0, 8):
        order: Order = pickle.loads(os.pread(shared, int.from_bytes(size, "little"), PLACE_BYTES))
        limit_decoders(order.reading.max_pixels)
        most = most_memory(order.reading)
        resource.setrlimit(resource.RLIMIT_AS, (most if soft == resource.RLIM_INFINITY else min(most, soft), hard))
        _serve(order, place, answers)


def _end_with_parent(parent: int) -> None:
    """End this process soon after its parent, whatever it decodes; a decoder that keeps Python's lock, in its time."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _serve(order: Order, at: mmap.mmap, answers: IO[bytes]) -> None:
    waiting: list[tuple[int, Decoded]] = []
    answered_s = time.monotonic()
    opened: deque[OpenedFile] = deque()
    for number, (place, file) in enumerate(order.files):
        at[:] = packed(place)  # before its time runs, so that none dies without a place
        signal.setitimer(signal.ITIMER_PROF, order.timeout_s)  # ends this process when it computes for longer
        began_s = time.thread_time()
        while len(opened) < _AHEAD and number + len(opened) < len(order.files):
            ahead, other = order.files[number + len(opened)]
            at[:] = packed(ahead)  # to open it may take for ever
            opened.append(OpenedFile(other.path_raw, order.reading.follow_symlinks))
        at[:] = packed(place)
        decoded = decode_file(opened.popleft(), file.size_bytes, file.mtime_ns, order.reading)
        if time.thread_time() - began_s > order.timeout_s:  # the timer is no finer than the system's ticks
            decoded = timed_out(order.timeout_s)
        noise = _noise()
        if decoded.status != "ok" and noise:
            decoded = decoded._replace(error=f"{decoded.error} ({noise})")
        waiting.append((place, decoded))
        late = time.monotonic() - answered_s > _ANSWER_WITHIN_S
        if late or order.reading.whole or len(waiting) == _ANSWERS_AT_ONCE or number == len(order.files) - 1:
            answers.writelines(sent(waiting))
            answers.flush()
            waiting, answered_s = [], time.monotonic()
    signal.setitimer(signal.ITIMER_PROF, 0)


def _noise() -> str:
    """What decoders wrote to descriptor 2 since the last call: the first line of it."""
    if not os.lseek(2, 0, os.SEEK_CUR):
        return ""
    text = os.pread(2, 500, 0).decode(errors="replace").strip()
    os.ftruncate(2, 0)
    os.lseek(2, 0, os.SEEK_SET)
    return text.splitlines()[0] if text else ""


def sent(answers: list[tuple[int, Decoded]]) -> Iterator[bytes | memoryview]:
    """Answers as they travel: how long that is, then their pixels apart, so that these are not copied."""
    arrays: list[memoryview] = []
    data = json.dumps([(place, _spelled(decoded, arrays)) for place, decoded in answers]).encode()
    lengths = b"".join(packed(len(piece)) for piece in (data, *arrays))
    yield packed(8 + len(lengths) + len(data) + sum(map(len, arrays)))
    yield packed(1 + len(arrays))
    yield lengths
    yield data
    yield from arrays


def received(message: memoryview) -> list[tuple[int, Decoded]]:
    """The answers that were sent; their pixels stay where the message is. ValueError where there are none in it.

    Whoever wrote it ran C libraries on anybody's bytes: no answer has this process make or call what it did not expect.
    """
    try:
        count = int.from_bytes(message[:8], "little")
        ends = list(accumulate(message[8 : 8 + 8 * count].cast("Q"), initial=8 + 8 * count))
        if ends[-1] != len(message):
            raise ValueError(f"it is {len(message)} bytes long, not {ends[-1]}")
        data, *arrays = (message[start:end] for start, end in pairwise(ends))
        pixels = iter(arrays)
        return [(int(place), _decoded(fields, pixels)) for place, fields in json.loads(bytes(data))]
    except Exception as error:
        raise ValueError(f"no answer of a decoder: {error}") from None


def _spelled(decoded: Decoded, arrays: list[memoryview]) -> list[Any]:
    fields: list[Any] = list(decoded)
    for at in _ARRAYS:
        if (array := fields[at]) is not None:
            arrays.append(array.ravel().data)
            fields[at] = array.shape
    fields[_HASH] = decoded.thumb_hash and decoded.thumb_hash.hex()
    fields[_TAKEN] = decoded.taken_at and decoded.taken_at.isoformat()
    return fields


def _decoded(fields: list[Any], arrays: Iterator[memoryview]) -> Decoded:
    for at in _ARRAYS:
        if (shape := fields[at]) is not None:
            fields[at] = np.frombuffer(next(arrays), np.uint8).reshape(shape)
    fields[_HASH] = fields[_HASH] and bytes.fromhex(fields[_HASH])
    fields[_TAKEN] = fields[_TAKEN] and datetime.fromisoformat(fields[_TAKEN])
    return Decoded(*fields)


def packed(place: int) -> bytes:
    return place.to_bytes(8, "little", signed=True)

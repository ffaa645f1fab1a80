"""Files that lie in no folder -> files in a private folder for as long as they are read, a batch ahead."""

import os
import tempfile
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Final, NamedTuple

from dupegrid.core.errors import DupegridError, InputError
from dupegrid.core.text import printable, size_text
from dupegrid.images.decoded import Decoded
from dupegrid.images.decoder import File
from dupegrid.images.remote import is_address, reason
from dupegrid.images.sources import Source, Sources, source
from dupegrid.storage.hold import check_hold

_MOST_BYTES: Final = 1 << 32  # of a file; a decoder has less memory
_LOOKS_EVERY_S: Final = 0.5  # whether the run directory is still its own


class Batch(NamedTuple):
    """Some of the files that were asked for: their places among these, and where they lie now, or why not."""

    places: list[int]
    files: list[File]  # in the order of `places`
    failed: dict[int, Decoded]  # by place


def fetched(files: Sequence[File], sources: Sources) -> Generator[Batch, None, None]:
    """All files, in batches: those of folders as they are, the others fetched; each batch is there until the next.

    Looks now and then whether the run still has its run directory, as `check_hold` does.
    """
    apart: dict[bytes, list[int]] = {}
    here: list[int] = []
    for place, file in enumerate(files):
        into = sources.place(file.path_raw)
        (here if into is None else apart.setdefault(into, [])).append(place)
    if here:
        yield Batch(here, [files[place] for place in here], {})
    if not apart:
        return
    stop, pool = threading.Event(), ThreadPoolExecutor(1)
    with tempfile.TemporaryDirectory(prefix="dupegrid-", ignore_cleanup_errors=True) as folder:
        try:
            ahead: Future[Batch] | None = None
            for order in (*_orders(files, apart), None):
                batch = _waited_for(ahead) if ahead else None
                ahead = pool.submit(_fetch, os.fsencode(folder), files, order, stop) if order else None
                if batch:
                    yield batch
                    for file in batch.files:
                        os.unlink(file.path_raw)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


class _Order(NamedTuple):
    """The places of files of one source that are fetched together."""

    source: Source | None  # None: an archive that cannot be opened any more
    places: list[int]


def _orders(files: Sequence[File], apart: dict[bytes, list[int]]) -> list[_Order]:
    """What is fetched together: of one source, and no more bytes than it says, if that is several files."""
    orders: list[_Order] = []
    for into, places in apart.items():
        try:
            found, left = source(into), -1
        except InputError:
            if is_address(into):  # a library is lacking
                raise
            orders.append(_Order(None, places))
            continue
        for place in places:
            size_bytes = files[place].size_bytes
            if size_bytes > left:
                orders.append(_Order(found, []))
                left = found.batch_bytes
            orders[-1].places.append(place)
            left -= size_bytes
    return orders


def _waited_for(ahead: Future[Batch]) -> Batch:
    while True:
        check_hold()
        done, _ = wait([ahead], _LOOKS_EVERY_S)
        if done:
            return ahead.result()


def _fetch(folder: bytes, files: Sequence[File], order: _Order, stop: threading.Event) -> Batch:
    """Fetch those of an order into a folder, each under the number of its place among `files`."""
    sizes: dict[int, int] = {}
    failed: dict[int, Decoded] = {}

    def path_of(place: int) -> bytes:
        return folder + b"/%d" % place

    def save(place: int, pieces: Iterator[bytes]) -> None:
        try:
            sizes[place] = _saved(path_of(place), pieces, _limit(files[place]))
        except DupegridError:
            raise
        except Exception as error:  # of as many kinds as there are sources
            failed[place] = Decoded("unreadable", reason(error))

    wanted = []
    for place in order.places:
        size_bytes = files[place].size_bytes
        if size_bytes > _MOST_BYTES:
            failed[place] = Decoded("too_large", f"{size_text(size_bytes)}, more than is fetched of one file")
        elif size_bytes == 0 and files[place].mtime_ns:
            save(place, iter(()))  # a folder of a bucket is listed as an empty file, and none can be fetched
        else:
            wanted.append(place)
    why = "it is not there any more"
    try:
        if wanted and order.source:
            order.source.fetch([files[place] for place in wanted], lambda at, pieces: save(wanted[at], pieces), stop)
    except DupegridError:
        raise
    except Exception as error:
        why = reason(error)
    failed |= {place: Decoded("unreadable", why) for place in wanted if place not in sizes and place not in failed}
    there = sorted(sizes)
    return Batch(there, [File(path_of(place), files[place].size_bytes or sizes[place], 0) for place in there], failed)


def _limit(file: File) -> int:
    """How many bytes of a file are read: one more than are listed, for noticing that, if it is known how many."""
    return file.size_bytes + 1 if file.size_bytes or file.mtime_ns else _MOST_BYTES


def _saved(path: bytes, pieces: Iterator[bytes], limit: int) -> int:
    """Write a file, not far beyond the limit. Its size."""
    size_bytes = 0
    with _on_our_disk():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        for piece in pieces:
            with _on_our_disk():
                file.write(piece)
                file.flush()
            size_bytes += len(piece)
            if size_bytes >= limit:
                break
    return size_bytes


@contextmanager
def _on_our_disk() -> Iterator[None]:
    """Where a fetched file cannot be written, that is not the fault of its source."""
    try:
        yield
    except OSError as error:
        raise DupegridError(
            f"cannot write to {printable(tempfile.gettempdir())}: {error.strerror}; free some space there, or set "
            "TMPDIR to another folder"
        ) from None

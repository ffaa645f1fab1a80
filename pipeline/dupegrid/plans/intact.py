"""What a file is on the disk now, right before something is done with it: unchanged, and its keeper whole."""

import hashlib
import os
import stat
from typing import Any

from dupegrid.core.arrays import clamped64
from dupegrid.images.decoded import Decoded, Reading
from dupegrid.images.decoder import File
from dupegrid.images.relation import MOST_PIXELS, relation
from dupegrid.images.sandbox import decode_files
from dupegrid.plans.actions import Act, Stamp, stamps_of
from dupegrid.plans.roots import MissingError, Place, SkippedError, pieces_of

Identity = tuple[int, int, int, int]  # what stays of a file under another name: device, inode, size, mtime


def identity(status: os.stat_result) -> Identity:
    """What tells a file from another, and does not change with its names."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def unchanged(place: Place, was: Stamp) -> os.stat_result:
    """The status of a file that is as it was when indexed.

    Size and mtime have to be the same. Device, inode and change time may be others where the file holds the same bytes:
    another name of a file changes its change time, disks get other numbers, some file systems make inodes up. Raises
    MissingError where the file is gone, SkippedError where it is another or cannot be read.
    """
    status = regular(place)
    now = Stamp(**stamps_of(status), file_hash=was.file_hash)
    if now.size_bytes != was.size_bytes or (was.mtime_ns and now.mtime_ns != was.mtime_ns):
        raise SkippedError("has changed since it was indexed")
    if now == was and was.mtime_ns and was.ctime_ns and was.inode:
        return status
    if was.file_hash is None:
        raise SkippedError("has changed since it was indexed, and no hash says that it holds the same")
    if hash_of(place, status) != was.file_hash:
        raise SkippedError("holds other bytes than when it was indexed")
    return status


def regular(place: Place) -> os.stat_result:
    """The status of a regular file. MissingError where nothing is, SkippedError where it is of another kind."""
    status = place.status()
    if status is None:
        raise MissingError("is not there any more")
    if not stat.S_ISREG(status.st_mode):
        raise SkippedError("is a link, a folder or another kind of file now")
    return status


def hash_of(place: Place, status: os.stat_result) -> str:
    """The hash of a file, as file_hash of images.parquet. SkippedError where it is not the file of this status."""
    digest = hashlib.blake2b(digest_size=16)
    with place.opened() as descriptor:
        if identity(os.fstat(descriptor)) != identity(status):
            raise SkippedError("changed as it was looked at")
        for piece in pieces_of(descriptor):
            digest.update(piece)
        if identity(os.fstat(descriptor)) != identity(status):
            raise SkippedError("changed as it was looked at")
    return digest.hexdigest()


class Keepers:
    """Keepers that were decoded to their end in this apply, each once as long as it stays the same."""

    def __init__(self, timeout_s: float, max_pixels: int) -> None:
        self._timeout_s, self._reading = timeout_s, Reading(side=16, exact=True, max_pixels=max_pixels)
        self._whole: dict[bytes, tuple[Identity, int]] = {}

    def check(self, place: Place, was: Stamp, decodes: bool = True) -> os.stat_result:
        """The status of a keeper that is there, is unchanged and `decodes`. SkippedError otherwise.

        One that no run decodes is read to its end instead.
        """
        known = place.status()
        if known is not None and decodes and self._whole.get(place.path) == (identity(known), known.st_ctime_ns):
            return known
        try:
            status = unchanged(place, was)
        except SkippedError as reason:
            raise SkippedError(f"the picture to keep {reason}") from None
        if not decodes:
            if hash_of(place, status) != was.file_hash:
                raise SkippedError("the picture to keep holds other bytes than when it was indexed")
        else:
            found = decoded(place, status, self._reading, self._timeout_s)
            if found.status != "ok" or found.file_hash != was.file_hash:
                problem = f"{found.status}: {found.error}" if found.status != "ok" else "it holds other bytes"
                raise SkippedError(f"the picture to keep cannot be relied on ({problem})")
            if regular(place).st_ctime_ns != status.st_ctime_ns:
                raise SkippedError("the picture to keep changed as it was looked at")
            self._whole[place.path] = (identity(status), status.st_ctime_ns)
        return status

    def linked(self, place: Place) -> None:
        """Take note that a link of ours has given a keeper another change time."""
        status = place.status()
        if status is not None and place.path in self._whole and self._whole[place.path][0] == identity(status):
            self._whole[place.path] = (identity(status), status.st_ctime_ns)


def same_at_full_size(
    act: Act,
    drop: tuple[Place, os.stat_result],
    keeper: tuple[Place, os.stat_result],
    orientation: str,
    timeout_s: float,
) -> None:
    """Raise SkippedError unless two pictures are read again and are alike by all of their pixels, or byte for byte."""
    hashes = [hash_of(*file) for file in (drop, keeper)]
    if hashes != [act.was.file_hash, act.keeper_was.file_hash]:
        raise SkippedError("or the picture to keep holds other bytes than when it was indexed")
    if hashes[0] == hashes[1]:
        return
    reading = Reading(side=16, whole=True, max_pixels=MOST_PIXELS)
    both = [decoded(*file, reading, timeout_s) for file in (drop, keeper)]
    for found in both:
        if found.pixels is None:
            raise SkippedError(f"could not be compared at full size ({found.status}: {found.error})")
    if act.pair is not None and act.pair[0] > act.pair[1]:  # it is the second that is turned
        both.reverse()
    first, second = (found.pixels for found in both if found.pixels is not None)
    proven = both[0].beside is not None and both[0].beside == both[1].beside
    verdict = relation(first, second, orientation, proven)
    if verdict.relation == "edited":
        raise SkippedError(f"is not the picture to keep at full size: {verdict.reason}")


def decoded(place: Place, status: os.stat_result, reading: Reading, timeout_s: float) -> Decoded:
    """What becomes of a file in the processes that decode."""
    file = File(place.path, status.st_size, clamped64(status.st_mtime_ns))
    (answer,) = [found for _, found in decode_files([file], reading, timeout_s)]
    return answer


def still(place: Place, known: Identity, problem: str) -> None:
    """Raise SkippedError unless the same file is at a place."""
    status = place.status()
    if status is None or not stat.S_ISREG(status.st_mode) or identity(status) != known:
        raise SkippedError(problem)


def facts_of(status: os.stat_result) -> dict[str, Any]:
    """What the journal keeps of a file, enough to make it again from its bytes."""
    names = ("dev", "ino", "size", "mtime_ns", "atime_ns", "mode", "uid", "gid")
    return {name: getattr(status, f"st_{name}") for name in names}

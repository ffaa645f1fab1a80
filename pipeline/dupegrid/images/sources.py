"""Pictures that lie in no folder: which archive, bucket or server a path leads into, and what is there."""

import os
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from dupegrid.core.config import Config
from dupegrid.images.archives import Archive, archive, is_archive
from dupegrid.images.decoder import File
from dupegrid.images.listing import Stamps
from dupegrid.images.remote import Bucket, Save, Site, Wanted, is_address, place_of


class Source(Protocol):
    """A place with pictures, some of which are asked for together."""

    batch_bytes: int  # so many at most
    unreadable: list[bytes]  # folders, and what breaks off
    links: int  # that are not followed

    def listed(self, root: bytes, wanted: Wanted) -> Iterator[tuple[bytes, Stamps]]:
        """The files below a root that are wanted, in no order. InputError where it cannot be listed."""

    def fetch(self, files: Sequence[File], save: Save, stop: threading.Event) -> None:
        """Hand the bytes of files to `save`, which does not raise for what they are; not of those that are gone."""


class Sources(NamedTuple):
    """What is no folder among the places of a run."""

    archives: tuple[bytes, ...] = ()

    @staticmethod
    def of(config: Config) -> "Sources":
        """Those of a run."""
        paths = {*config.paths, *config.against}
        return Sources(tuple(sorted(os.fsencode(path) for path in paths if os.path.isfile(path) and is_archive(path))))

    def place(self, path: bytes) -> bytes | None:
        """The archive, bucket or server that a path leads into; None for what is in a folder."""
        if is_address(path):
            return place_of(path)
        if not self.archives:
            return None
        return next((known for known in self.archives if (path + b"/").startswith(known + b"/")), None)


def source(place: bytes) -> Source:
    """What is at a place. InputError where it cannot be opened, or a library for it is lacking."""
    if not is_address(place):
        return _Members(archive(place))
    return Site(place) if place.startswith(b"http") else Bucket(place)


class _Members:
    """The members of an archive."""

    def __init__(self, opened: Archive) -> None:
        self.batch_bytes = opened.batch_bytes
        self.unreadable = [] if opened.whole else [opened.path]
        self.links = opened.links
        self._archive = opened

    def listed(self, root: bytes, wanted: Wanted) -> Iterator[tuple[bytes, Stamps]]:
        for name in self._archive.members:
            if wanted(path := root + b"/" + name, False):
                yield path, self._archive.stamps(name)

    def fetch(self, files: Sequence[File], save: Save, stop: threading.Event) -> None:
        start = len(self._archive.path) + 1
        places = {file.path_raw[start:]: place for place, file in enumerate(files)}
        for name, pieces in self._archive.read(places):
            if stop.is_set():
                return
            save(places[name], _refused() if b".." in name.split(b"/") else pieces)


def _refused() -> Iterator[bytes]:
    raise OSError("its name leads out of the archive")
    yield b""

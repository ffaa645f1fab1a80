"""Pictures that lie in no folder: which archive, bucket or server a path leads into, and what is there."""

import os
from typing import NamedTuple

from dupegrid.core.config import Config
from dupegrid.images.archives import Archive, archive, is_archive
from dupegrid.images.remote import Bucket, Remote, Site, is_address, place_of

# A place with pictures: `batch_bytes` at most are asked for together, `unreadable` are folders and what breaks off, and
# `links` are not followed. `listed` raises InputError where it cannot be listed.
Source = Archive | Remote


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
        return archive(place)
    return Site(place) if place.startswith(b"http") else Bucket(place)

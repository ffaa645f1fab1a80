"""Zip and tar archives: what is in them, and their members, read in the order in which they lie."""

import calendar
import io
import lzma
import os
import stat
import struct
import tarfile
import threading
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import IO, Any, Final, NamedTuple

from dupegrid.core.errors import InputError
from dupegrid.core.text import printable, shown_path
from dupegrid.images.decoder import File
from dupegrid.images.listing import Save, Stamps, Wanted, stamps

_PIECE_BYTES: Final = 1 << 20
_NS: Final = 1_000_000_000
_ENCRYPTED: Final = 1  # bit of a zip member's flags
_UTF_8: Final = 1 << 11  # likewise
_TIMES: Final = 0x5455  # a zip member's extra field with times in seconds, UTC; the others are local, by two seconds

_ENDINGS: Final = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz")

# What reading a damaged archive raises; the standard library has no base for these.
_BROKEN: Final = (
    *(OSError, EOFError, RuntimeError, ValueError),
    *(struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError),
)


class Member(NamedTuple):
    """A file in an archive."""

    size_bytes: int
    mtime_ns: int  # 0 where it is not known
    at: int  # where it lies
    check: int  # a checksum of its bytes, or 0
    zipped: zipfile.ZipInfo | None = None


class Archive(ABC):
    """An archive as it is when it is opened: its members by their names, of several of one name the last.

    Names have neither empty parts nor '.'; those with '..' are listed, and not read. Links are counted, not followed.
    Where the archive breaks off, it is `unreadable`, and the members up to there are known.
    """

    batch_bytes: int = 1 << 26  # of members that are read together

    def __init__(self, path: bytes) -> None:
        self.path = path
        self.members: dict[bytes, Member] = {}
        self.links = 0
        self.unreadable: list[bytes] = []
        status = os.stat(path)
        self._proof = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino]

    def listed(self, root: bytes, wanted: Wanted) -> Iterator[tuple[bytes, Stamps]]:
        """The members that are wanted, in no order: the archive's own stamps, its place and checksum prove each."""
        for name, member in self.members.items():
            if wanted(path := root + b"/" + name, False):
                proof = [*self._proof, member.at, member.check]
                yield path, stamps(self.path, name, member.size_bytes, member.mtime_ns, proof)

    def fetch(self, files: Sequence[File], save: Save, stop: threading.Event) -> None:
        """Hand the bytes of members to `save`, which does not raise for what they are; not of those that are gone."""
        start = len(self.path) + 1
        places = {file.path_raw[start:]: place for place, file in enumerate(files)}
        names = sorted(places.keys() & self.members.keys(), key=lambda name: self.members[name].at)
        with self._opened() as archive:
            for name in names:
                if stop.is_set():
                    return
                save(places[name], self._pieces(archive, name))

    def _pieces(self, archive: Any, name: bytes) -> Iterator[bytes]:
        if b".." in name.split(b"/"):
            raise OSError("its name leads out of the archive")
        with self._file(archive, name) as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece

    @abstractmethod
    def _opened(self) -> AbstractContextManager[Any]:
        """The archive, as the standard library reads it."""

    @abstractmethod
    def _file(self, archive: Any, name: bytes) -> IO[bytes]:
        """A member of it, to be read. OSError where that cannot be."""


class Zip(Archive):
    """A zip archive, which is held open."""

    def __init__(self, path: bytes) -> None:
        super().__init__(path)
        self._zip = zipfile.ZipFile(os.fsdecode(path))
        for info in self._zip.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind == stat.S_IFLNK:
                self.links += 1
            elif not info.is_dir() and kind in (0, stat.S_IFREG):
                name = info.filename.encode("utf-8" if info.flag_bits & _UTF_8 else "cp437", "replace")
                member = Member(info.file_size, _modified_ns(info), info.header_offset, info.CRC, info)
                self.members[_plain(name)] = member

    def _opened(self) -> AbstractContextManager[Any]:
        return nullcontext(self._zip)

    def _file(self, archive: Any, name: bytes) -> IO[bytes]:
        info = self.members[name].zipped
        assert info is not None
        if info.flag_bits & _ENCRYPTED:
            raise OSError("it is encrypted")
        member: IO[bytes] = archive.open(info)
        return member


class Tar(Archive):
    """A tar archive: members are read where they lie; if it is compressed, all is that comes before the last one."""

    def __init__(self, path: bytes) -> None:
        super().__init__(path)
        with self._opened() as tar:
            if not isinstance(tar.fileobj, io.BufferedReader):  # compressed
                self.batch_bytes = 1 << 29
            try:
                while info := tar.next():
                    tar.members.clear()  # type: ignore[attr-defined]  # it would keep all that it has seen
                    if info.isfile():
                        self.members[_name(info)] = Member(info.size, int(info.mtime * _NS), info.offset, 0)
                    self.links += info.islnk() or info.issym()
            except _BROKEN:
                self.unreadable.append(path)

    def _opened(self) -> tarfile.TarFile:
        return tarfile.open(os.fsdecode(self.path))

    def _file(self, archive: Any, name: bytes) -> IO[bytes]:
        archive.fileobj.seek(self.members[name].at)
        info = tarfile.TarInfo.fromtarfile(archive)
        if _name(info) != name:
            raise OSError("the archive has changed since it was listed")
        member: IO[bytes] = archive.extractfile(info)
        return member


def archive(path: bytes) -> Archive:
    """The archive at a path, by what it holds and not by its name. InputError where it is none, or cannot be read."""
    shown = shown_path(path)
    try:
        status = os.stat(path)
        return _archive(path, (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino))
    except (tarfile.ReadError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{shown} is a file, and no zip or tar archive that can be read ({printable(str(error))}): name the folder "
            "that holds it"
        ) from None
    except _BROKEN as error:
        raise InputError(f"cannot list {shown}: {printable(str(error))}; check the file and its permissions") from None


@lru_cache(maxsize=2)
def _archive(path: bytes, _stamps: object) -> Archive:
    """Kept, as to read what is in an archive of 100,000 members takes a second."""
    try:
        return Tar(path)
    except tarfile.ReadError:
        return Zip(path)


def is_archive(path: str) -> bool:
    """Whether a file is an archive by what it holds, or calls itself one and then has to be one."""
    try:
        return path.lower().endswith(_ENDINGS) or tarfile.is_tarfile(path) or zipfile.is_zipfile(path)
    except _BROKEN:
        return False


def forget_archives() -> None:
    """Close those that are open."""
    _archive.cache_clear()


def _name(info: tarfile.TarInfo) -> bytes:
    return _plain(os.fsencode(info.name))


def _plain(name: bytes) -> bytes:
    return b"/".join(part for part in name.split(b"/") if part not in (b"", b"."))


def _modified_ns(info: zipfile.ZipInfo) -> int:
    """When a zip member was modified; 0 where that is not known."""
    extra = info.extra
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        if kind == _TIMES and size >= 5 and extra[4] & 1 and len(extra) >= 9:
            return int(struct.unpack_from("<i", extra, 5)[0]) * _NS
        extra = extra[4 + size :]
    try:
        return calendar.timegm(info.date_time) * _NS
    except ValueError:
        return 0

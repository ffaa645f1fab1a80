"""Pictures in buckets and on web servers: their listing and their bytes, many requests at once."""

import html
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from dupegrid.core.errors import InputError, RunDirError
from dupegrid.core.text import printable, shown_path
from dupegrid.images.decoder import File
from dupegrid.images.listing import Save, Stamps, Wanted, stamps
from dupegrid.storage.bucket import file_system, listed_objects, what_failed

Pieces = Generator[bytes, None, None]

_AT_ONCE: Final = 16  # requests
_PIECE_BYTES: Final = 1 << 23  # asked for at once; obstore gives up after 30 s
_MOST_FOLDERS: Final = 32  # below each other: a web server that follows a link in a circle has no end of them
_SILENT_S: Final = 30.0
_ANSWER: Final = re.compile(r"(\d{3}), message=")  # of aiohttp


def is_address(path: bytes) -> bool:
    """Whether what is absolute or an address is an address."""
    return not path.startswith(b"/") and b"://" in path


def place_of(address: bytes) -> bytes:
    """The bucket or server that an address leads to, as an address."""
    return b"/".join(address.split(b"/", 3)[:3])


def reason(error: BaseException) -> str:
    """What went wrong, in one line, without an address, as that may hold a key."""
    if isinstance(error, FileNotFoundError):
        return "it is not there"
    if isinstance(error, TimeoutError):
        return "the server does not answer"
    if answer := _ANSWER.match(str(error)):
        return f"the server answers {answer[1]}"
    return what_failed(error)


class Remote(ABC):
    """A bucket or a server; `fetch` works in threads."""

    batch_bytes: int = 1 << 26

    def __init__(self) -> None:
        self.unreadable: list[bytes] = []
        self.links = 0

    def listed(self, root: bytes, wanted: Wanted) -> Iterator[tuple[bytes, Stamps]]:
        """The files below an address that are wanted, in no order."""
        try:
            yield from self._listed(root, wanted)
        except InputError:
            raise
        except Exception as error:  # of three libraries, which have no base in common
            raise InputError(
                f"cannot list {shown_path(root)}: {reason(error)}; check its spelling, the network and "
                "the credentials in the environment"
            ) from None

    def fetch(self, files: Sequence[File], save: Save, stop: threading.Event) -> None:
        """Hand the bytes of files to `save`, which does not raise for what they are."""

        def one(place: int) -> None:
            if not stop.is_set():
                with closing(self._pieces(files[place].path_raw, files[place].size_bytes)) as pieces:
                    save(place, pieces)

        with ThreadPoolExecutor(min(_AT_ONCE, len(files))) as pool:
            list(pool.map(one, range(len(files))))

    @abstractmethod
    def _listed(self, root: bytes, wanted: Wanted) -> Iterator[tuple[bytes, Stamps]]:
        """As `listed`, with the errors of the library."""

    @abstractmethod
    def _pieces(self, path: bytes, size_bytes: int) -> Pieces:
        """The bytes of a file, with the errors of the library."""


class Bucket(Remote):
    """A bucket, by obstore; credentials and the rest are those of the environment."""

    def __init__(self, place: bytes) -> None:
        super().__init__()
        scheme = place.decode().partition(":")[0]
        try:
            self._files = file_system(scheme)
        except RunDirError:
            raise _lacking("obstore", place, "s3") from None

    def _listed(self, root: bytes, wanted: Wanted) -> Iterator[tuple[bytes, Stamps]]:
        """All that is below, by one request a thousand: fsspec's own listing lacks the times, and asks by folder."""
        place = place_of(root)
        folders, empty, found = set[str](), [], False
        for page in listed_objects(place.decode(), root[len(place) + 1 :].decode()):
            for entry in page:
                found, name = True, entry["path"]
                time_ns = int(entry["last_modified"].timestamp()) * 1_000_000_000
                path = place + b"/" + name.encode()
                one = path, stamps(place, path, entry["size"], time_ns, [entry["e_tag"], entry["version"]])
                while (name := name.rpartition("/")[0]) not in folders:
                    folders.add(name)
                if entry["size"] == 0:
                    empty.append((entry["path"], one))
                elif wanted(path, False):
                    yield one
        if not found:
            raise InputError(f"nothing is in {shown_path(root)}: check the spelling of the PATH")
        # A folder that was made by hand is an empty object of its name.
        yield from (one for name, one in empty if name not in folders and wanted(one[0], False))

    def _pieces(self, path: bytes, size_bytes: int) -> Pieces:
        name = path.decode().partition("://")[2]  # with s3:// it would be taken apart as an address, at '?' and '#'
        if size_bytes <= _PIECE_BYTES:
            yield self._files.cat_file(name)
            return
        for start in range(0, size_bytes, _PIECE_BYTES):
            yield self._files.cat_file(name, start=start, end=min(start + _PIECE_BYTES, size_bytes))


class Site(Remote):
    """A web server whose pages list what is in a folder, by fsspec."""

    def __init__(self, place: bytes) -> None:
        super().__init__()
        import fsspec

        try:
            from aiohttp import ClientTimeout
        except ImportError:
            raise _lacking("aiohttp", place, "http") from None
        limits = ClientTimeout(total=None, sock_connect=_SILENT_S, sock_read=_SILENT_S)
        self._files = fsspec.filesystem(
            "http",
            simple_links=False,
            encoded=True,
            headers={"Accept-Encoding": "identity"},  # the size is that of the file
            client_kwargs={"timeout": limits, "trust_env": True},
        )

    def _listed(self, root: bytes, wanted: Wanted) -> Iterator[tuple[bytes, Stamps]]:
        folders = [root]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            while folders:
                folder = folders.pop()
                try:
                    names = self._names(folder)
                except Exception:
                    if folder == root:
                        raise
                    self.unreadable.append(folder)
                    continue
                paths = [(folder + b"/" + name.rstrip(b"/"), name.endswith(b"/")) for name in names]
                paths = [one for one in paths if wanted(*one)]
                folders += [path for path, below in paths if below and path.count(b"/") < _MOST_FOLDERS]
                files = [path for path, below in paths if not below]
                yield from zip(files, pool.map(self._stamps, files), strict=True)

    def _names(self, folder: bytes) -> set[bytes]:
        """The names that the page of a folder links to, of folders with a '/', as they are in addresses."""
        page, names = folder.decode() + "/", set[bytes]()
        for link in self._files.ls(page, detail=False):
            name = html.unescape(link).removeprefix(page).removeprefix("./")
            bare = unquote_to_bytes(name.removesuffix("/"))
            if not re.search("[?#]", name) and bare not in (b"", b".", b"..") and not {0, 47}.intersection(bare):
                names.add(quote(bare, safe="").encode() + b"/" * name.endswith("/"))
        if not names and self._files.info(page).get("mimetype", "text/html") != "text/html":
            raise InputError(f"{printable(page)} is no page that lists files: name the folder")
        return names

    def _stamps(self, path: bytes) -> Stamps:
        try:
            facts = self._files.info(path.decode())
            modified = facts.get("Last-Modified")
            time_ns = int(parsedate_to_datetime(modified).timestamp()) * 1_000_000_000 if modified else 0
        except Exception:  # to fetch it says what is wrong with it
            return Stamps()
        proof = [facts[name] for name in ("ETag", "Last-Modified") if name in facts]
        return stamps(place_of(path), path, facts["size"] or 0, time_ns, proof)

    def _pieces(self, path: bytes, size_bytes: int) -> Pieces:
        # It is given a size for not asking for it; the answer is read as it comes.
        with closing(self._files.open(path.decode(), block_size=0, size=max(1, size_bytes))) as file:
            while piece := file.read(1 << 20):
                yield piece


def _lacking(library: str, place: bytes, extra: str) -> InputError:
    return InputError(f"{shown_path(place)} needs {library}: pip install 'dupegrid[{extra}]'")

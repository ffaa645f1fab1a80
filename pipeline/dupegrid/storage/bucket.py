"""A place in a bucket, as a `Path`. The only file that knows obstore.

An object appears whole or not at all, nothing is renamed, and there are no links and no other users' files in between.
Who may read and write is the business of the environment: AWS_ACCESS_KEY_ID and the like.
"""

import errno
import io
import os
import re
import stat
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import PosixPath
from typing import IO, Any, Final
from urllib.parse import urlsplit

from dupegrid.core.errors import DupegridError, RunDirError
from dupegrid.core.text import printable
from dupegrid.core.values import BUCKETS

_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://?(.*)", re.DOTALL)
# Where obstore is told of a server of one's own; only where one is named with http:// is anything asked without TLS.
_SERVERS_OF_S3: Final = ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
_SERVERS: Final = (*_SERVERS_OF_S3, "GOOGLE_BASE_URL", "AZURE_ENDPOINT", "AZURE_STORAGE_ENDPOINT")
_FEW_TRIES: Final = {"max_retries": 3, "retry_timeout": timedelta(seconds=30)}  # where a failure costs a picture
_AHEAD_BYTES: Final = 1 << 20  # of a file that is not read at once
_MANY_TRIES: Final = {  # 2.5 s at least: Google takes an object once a second
    "max_retries": 5,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {"init_backoff": timedelta(seconds=0.5), "max_backoff": timedelta(seconds=15), "base": 2},
}
# Where parts begin: what S3, memory and obstore itself say.
_PAST_THE_END: Final = re.compile(r"status code: 416|StartTooLarge|range start must not be greater")
_ADDRESS: Final = re.compile(r"\w+://\S+")
_ANSWER: Final = re.compile(r"status code: (\d{3})(?:.*?<Code>(\w+)</Code>)?", re.DOTALL)


class BucketPath(PosixPath):
    """`scheme://bucket/a/b`: a Path whose methods go to a bucket; those that have no meaning there fail."""

    @property
    def bucket(self) -> str:
        """The URL of the bucket."""
        return f"{self.parts[0]}//{self.parts[1]}"

    @property
    def key(self) -> str:
        """The name of the object that is or would be here."""
        return "/".join(self.parts[2:])

    def __str__(self) -> str:
        return f"{self.parts[0]}//{'/'.join(self.parts[1:])}"

    @contextmanager
    def _store(self) -> Iterator[Any]:
        """obstore's store for the bucket.

        FileNotFoundError where what is asked of it is not there, DupegridError where the bucket cannot be used.
        """
        try:
            yield store_of(self.bucket)
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from error
        except Exception as error:
            if not (isinstance(error, OSError) or type(error).__module__.startswith("obstore")):
                raise
            raise DupegridError(
                f"cannot use {self.bucket}: {what_failed(error)}; check its name and region, the network and "
                "the credentials in the environment"
            ) from error

    def __fspath__(self) -> str:
        raise TypeError(f"{self} is no place on this machine")

    def resolve(self, strict: bool = False) -> "BucketPath":
        """This path: there is nothing to resolve."""
        return self

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: a bucket has no folders."""

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether there is an object here, or some below."""
        return self.is_file() or self.is_dir()

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether there is an object here."""
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether there are objects below."""
        return any(True for _ in self.below(1))

    def is_symlink(self) -> bool:
        """Never: there are no links."""
        return False

    def iterdir(self) -> "Generator[BucketPath, None, None]":
        """What is right below, objects and folders of such."""
        with self._store() as store:
            found = store.list_with_delimiter(self.key or None)
        for key in (*found["common_prefixes"], *(entry["path"] for entry in found["objects"])):
            yield self / key.rpartition("/")[2]

    def below(self, at_once: int = 1000) -> Iterator[str]:
        """The names of all objects below, relative to here."""
        with self._store() as store:
            for entries in store.list(self.key or None, chunk_size=at_once):
                for entry in entries:
                    yield entry["path"][len(self.key) + 1 :]

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """The size of the object here, and when it was put, by the clock of the bucket."""
        with self._store() as store:
            found = store.head(self.key)
        put_s = found["last_modified"].timestamp()
        return os.stat_result((stat.S_IFREG, 0, 0, 1, 0, 0, found["size"], put_s, put_s, put_s))

    def read_bytes(self) -> bytes:
        """All of the object."""
        with self._store() as store:
            return bytes(store.get(self.key).bytes())

    def read_parts(self, starts: Sequence[int], size: int) -> list[bytes]:
        """`size` bytes from each of these places on; fewer where the object ends."""
        with self._store() as store:
            try:
                found = store.get_ranges(self.key, starts=starts, lengths=[size] * len(starts))
            except BaseException as error:  # of several parts obstore panics, which is no Exception
                if not _PAST_THE_END.search(str(error)):
                    raise
                data = bytes(store.get(self.key).bytes())
                return [data[start : start + size] for start in starts]
        return [bytes(part) for part in found]

    def reading(self, at_once_bytes: int) -> IO[bytes]:
        """The object as a file to read from; one of so many bytes is read at once."""
        with self._store() as store:
            found = store.get(self.key)
            if found.meta["size"] <= at_once_bytes:
                return io.BytesIO(bytes(found.bytes()))
        return io.BufferedReader(_Object(self, found.meta["size"]), _AHEAD_BYTES)

    def touch(self, mode: int = 0o666, exist_ok: bool = True) -> None:
        """Put an empty object here."""
        self.write_bytes(b"")

    def write_bytes(self, data: Any) -> int:
        """Put an object here, whole."""
        with self._store() as store:
            store.put(self.key, bytes(data))
        return len(data)

    def write_if(self, data: bytes, before: bytes | None) -> bool:
        """Put an object here if it holds `before`, or if there is none where that is None; whether it was put."""
        told = _obstore().exceptions
        with self._store() as store:
            try:
                mode: Any = "create"
                if before is not None:
                    found = store.get(self.key)
                    if bytes(found.bytes()) != before:
                        return False
                    mode = {name: found.meta[name] for name in ("e_tag", "version") if found.meta[name]}
                store.put(self.key, data, mode=mode)
            except (told.AlreadyExistsError, told.PreconditionError, FileNotFoundError):
                return False
        return True

    def takes_conditions(self) -> bool:
        """Whether the bucket writes here only onto what it is told to: some that speak S3 write whatever is there."""
        refusal = _obstore().exceptions.PreconditionError
        with self._store() as store:
            try:
                store.put(self.key, b"", mode={"e_tag": '"0"', "version": "1"})
            except (refusal, FileNotFoundError):
                return True
        self.unlink()
        return False

    def replace(self, target: Any) -> Any:
        """Move the object, which is two steps here."""
        with self._store() as store:
            store.copy(self.key, target.key)
        self.unlink()
        return target

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the object here, if there is one."""
        self.parent.unlink_below([self.name])

    def unlink_below(self, names: Sequence[str]) -> None:
        """Delete the objects of these names below here, if there are such."""
        if not names:
            return
        try:
            with self._store() as store:
                store.delete([(self / name).key for name in names])
        except FileNotFoundError:  # say Google and Azure of the first that is not there, and leave others
            for name in names if len(names) > 1 else ():
                self.unlink_below([name])


class _Object(io.RawIOBase):
    def __init__(self, path: BucketPath, size_bytes: int) -> None:
        self._path, self._size, self._at = path, size_bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), self._size - self._at)
        if size <= 0:
            return 0
        (data,) = self._path.read_parts([self._at], size)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def bucket_path(text: str) -> BucketPath | None:
    """The place that a URL names in a bucket; None for what is no URL. RunDirError for a URL of anything else."""
    match = _URL.fullmatch(text)
    if match is None or (match[1].lower() not in BUCKETS and "://" not in text):  # a Path has one slash of two
        return None
    scheme, rest = match[1].lower(), match[2].strip("/")
    if "@" in urlsplit(f"{scheme}://{rest}").netloc:
        raise RunDirError("a URL with a password in it is not taken: leave who you are to the environment")
    if scheme not in BUCKETS or not rest or ".." in rest.split("/"):
        raise RunDirError(f"the run directory {scheme}://{rest} is none: name a folder, or s3://BUCKET/RUN")
    return BucketPath(f"{scheme}:", *rest.split("/"))


def _obstore() -> Any:
    try:
        import obstore.exceptions
        import obstore.store
    except ImportError:
        raise RunDirError("a run directory in a bucket needs obstore: pip install 'dupegrid[s3]'") from None
    return obstore


def _options() -> dict[str, bool]:
    return {"allow_http": any(os.environ.get(name, "").lower().startswith("http://") for name in _SERVERS)}


@cache
def store_of(url: str) -> Any:
    """obstore's store for the URL of a bucket; one of memory:// is in this process alone, and gone with it."""
    if url.startswith("memory:"):
        return _obstore().store.from_url("memory:///")
    return _obstore().store.from_url(url, client_options=_options(), retry_config=_MANY_TRIES)


os.register_at_fork(after_in_child=store_of.cache_clear)  # its threads are not in the fork


def listed_objects(url: str, prefix: str) -> Any:
    """The objects below a prefix of a bucket, in pages of what obstore says of them; as the environment is now."""
    store = _obstore().store.from_url(url, client_options=_options(), retry_config=_FEW_TRIES)
    return store.list(prefix or None)


def file_system(scheme: str) -> Any:
    """What fsspec calls a file system, of the buckets of a scheme; as the environment is now."""
    _obstore()
    from obstore.fsspec import FsspecStore

    return FsspecStore(scheme, client_options=_options(), retry_config=_FEW_TRIES, skip_instance_cache=True)


def what_failed(error: BaseException) -> str:
    """What obstore says went wrong, in one line, without an address, as that may hold a key."""
    text = str(error).strip() or type(error).__name__
    if answer := _ANSWER.search(text):
        return f"the server answers {answer[1]}" + (f", {answer[2]}" if answer[2] else "")
    line = text.splitlines()[0]
    if "error sending request" in line:
        return "the server does not answer"
    if line.startswith("Generic "):
        line = line.rpartition(" - ")[2].rpartition(" error: ")[2]  # before it, obstore says how long it took
    return printable(_ADDRESS.sub("...", line))[:200]

"""Where zarr keeps arrays: it creates, describes, writes, reads and verifies them. The only file that knows zarr.

A chunk exists only when it is whole, also where all of it is the fill value; one that is missing or damaged is an
error, never zeros. Chunks are uncompressed and end with a crc32c, so that rows that are wanted alone can be read alone.
"""

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import zarr
from zarr import AsyncArray, AsyncGroup
from zarr.abc.store import ByteRequest
from zarr.api import asynchronous
from zarr.codecs import BytesCodec, Crc32cCodec
from zarr.core.array_spec import ArrayConfig, ArraySpec
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.core.chunk_key_encodings import DefaultChunkKeyEncoding
from zarr.storage import LocalStore, MemoryStore, ObjectStore, StorePath

from dupegrid.core.errors import DamagedError, DupegridError, StoreError
from dupegrid.core.keys import fingerprint
from dupegrid.storage.awaiting import now
from dupegrid.storage.bucket import BucketPath, os_errors, store_of
from dupegrid.storage.hold import check_hold
from dupegrid.storage.ours import MADE_BY
from dupegrid.storage.parts import CHECKSUM_BYTES
from dupegrid.storage.tables import DIGEST, read_bytes, read_error, writing_whole

ABOUT: Final = "zarr.json"  # the file in which zarr describes an array or a group
_KEYS: Final = DefaultChunkKeyEncoding(separator=".")  # of folders, each chunk would need several
_CONFIG: Final = ArrayConfig(order="C", write_empty_chunks=True)  # also chunks of nothing but the fill value
_ZARR_SETTINGS: Final = {
    "codec_pipeline.batch_size": 64,  # what is given to be decoded together is, see chunked.py
}
_opening: Final = threading.RLock()  # zarr's settings are those of all threads
ZarrArray = AsyncArray[Any]
ZarrGroup = AsyncGroup
T = TypeVar("T")


class Folder(LocalStore):
    """A folder on a disk: files are written whole or not at all, and read through no link.

    What is missing is an error.
    """

    async def _open(self, *, mode: Any = None) -> None:
        self._is_open = True  # and no folder is made

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """The content of a file."""
        try:
            data = read_bytes(self.root / key)
        except DamagedError as error:
            if key == ABOUT and isinstance(error.__context__, FileNotFoundError | NotADirectoryError):
                raise _missing(self.root) from None
            raise
        return (prototype or default_buffer_prototype()).buffer.from_bytes(data)

    async def get_all(self, keys: Sequence[str]) -> list[Buffer | None]:
        """The content of several files."""
        return [await self.get(key) for key in keys]

    async def set(self, key: str, value: Buffer) -> None:
        """Write a file, as `write` does."""
        self.write(key, value)

    def write(self, key: str, value: Buffer) -> None:
        """Write a file; not flushed to disk, which takes long: whatever is read is verified."""
        with writing_whole(self.root / key, flushed=False) as file:
            file.write(value.as_numpy_array().data)


class Bucket(ObjectStore[Any]):
    """A place in a bucket, with what `Folder` says of a folder."""

    def __init__(self, root: BucketPath, *, read_only: bool = False) -> None:
        super().__init__(store_of(root.bucket), read_only=read_only)  # one for all arrays of a run
        self.root = root

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """The content of an object."""
        place = self.root / key
        try:
            with os_errors(place):
                found = await super().get(place.key, prototype or default_buffer_prototype(), byte_range)
            if found is None and key == ABOUT:
                raise _missing(self.root)
            if found is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        except OSError as error:
            raise read_error(place, error) from None
        return found

    async def get_all(self, keys: Sequence[str]) -> list[Buffer | None]:
        """The content of several objects, asked for at once."""
        return await asyncio.gather(*map(self.get, keys))

    async def set(self, key: str, value: Buffer) -> None:
        """Put an object."""
        check_hold()
        with os_errors(self.root):
            await super().set((self.root / key).key, value)


def store_at(path: Path) -> Folder | Bucket:
    """The store for a place on a disk or in a bucket."""
    return Bucket(path) if isinstance(path, BucketPath) else Folder(path)


class Encoded(NamedTuple):
    """A chunk as it is stored, and the checksum that it ends with, as hex digits."""

    data: Buffer
    checksum: str


def encoded(array: ZarrArray, values: npt.NDArray[Any]) -> Encoded:
    """The chunk of an array that begins with these values; where they are fewer, the fill value comes after them."""
    metadata: Any = array.metadata
    prototype = default_buffer_prototype()
    chunk = np.ascontiguousarray(values, array.dtype)
    if values.shape != array.chunks:
        chunk = np.full(array.chunks, metadata.fill_value, array.dtype)
        chunk[tuple(map(slice, values.shape))] = values
    (data,) = now(array.codec_pipeline.encode([(prototype.nd_buffer.from_numpy_array(chunk), _form(array))]))
    assert data is not None, "chunks of nothing but the fill value are chunks too"
    return Encoded(data, data[-CHECKSUM_BYTES:].to_bytes().hex())


def read_chunks(folder: Folder | Bucket, array: ZarrArray, keys: Sequence[str]) -> list[npt.NDArray[Any]]:
    """Whole chunks of an array by their names. DamagedError, naming a chunk, where one is missing or damaged."""

    async def read(keys: Sequence[str]) -> list[npt.NDArray[Any]]:
        data = await folder.get_all(keys)
        chunks = await array.codec_pipeline.decode(zip(data, repeat(_form(array)), strict=False))
        return [np.asarray(chunk.as_numpy_array()) for chunk in chunks if chunk is not None]

    try:
        return now(read(keys))
    except ValueError:
        for key in keys:
            try:
                now(read([key]))
            except ValueError:
                raise DamagedError(folder.root / key, "its checksum does not match") from None
        raise


def put(folder: Folder | Bucket, key: str, chunk: Encoded) -> None:
    """Write a chunk, whole or not at all."""
    if isinstance(folder, Folder):
        folder.write(key, chunk.data)  # there is nothing to await, which takes as long as the writing
    else:
        now(folder.set(key, chunk.data))


def create_array(
    folder: Folder | Bucket,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: npt.DTypeLike,
    fill: float,
    facts: Mapping[str, Any],
) -> ZarrArray:
    """Describe an array anew, with facts of it."""
    kind: np.dtype[Any] = np.dtype(dtype)
    about = _about(shape, chunks, kind, kind.type(fill))
    memory = MemoryStore()  # a folder or a bucket would be asked for what is there already
    creation = asynchronous.create_array(
        memory,
        shape=shape,
        chunks=chunks,
        dtype=kind,
        fill_value=fill,
        filters=None,
        compressors=[Crc32cCodec()],
        chunk_key_encoding=_KEYS,
        attributes=_sealed({**facts, "length": shape[0]}, about),
        config=_CONFIG,
    )
    with _opening, zarr.config.set(_ZARR_SETTINGS):
        made: Any = now(_described(folder, memory, creation))
        return AsyncArray(made.metadata, StorePath(folder), _CONFIG)


def create_group(folder: Folder | Bucket, facts: Mapping[str, Any]) -> AsyncGroup:
    """Describe a folder of arrays anew, with facts of it."""
    memory = MemoryStore()
    creation = asynchronous.create_group(store=memory, attributes=_sealed(facts, ()))
    return AsyncGroup(now(_described(folder, memory, creation)).metadata, StorePath(folder))


async def _described(folder: Folder | Bucket, memory: MemoryStore, creation: Coroutine[Any, Any, T]) -> T:
    """What is created in memory; it is described in the folder too."""
    made = await creation
    about = await memory.get(ABOUT, default_buffer_prototype())
    assert about is not None, "zarr has described it"
    await folder.set(ABOUT, about)
    return made


def opened_array(folder: Folder | Bucket, created: ZarrArray | None = None) -> tuple[ZarrArray, dict[str, Any]]:
    """The array in a folder, which may have been created just now, and its facts.

    StoreError where there is none, DamagedError where it is not as it was described.
    """
    node = _opened(folder, asynchronous.open_array) if created is None else created
    facts = facts_of(folder, node)
    shape = (facts.pop("length"), *node.shape[1:])
    if node.shape == shape:
        return node, facts
    # A run that was killed while the array grew has said its length, and not yet changed the shape.
    metadata: Any = node.metadata
    return AsyncArray(metadata.update_shape(shape), node.store_path, _CONFIG), facts


def opened_group(folder: Folder | Bucket) -> AsyncGroup:
    """The folder of arrays. StoreError where there is none, DamagedError where it was never finished."""
    group: AsyncGroup = _opened(folder, asynchronous.open_group)
    return group


def facts_of(folder: Folder | Bucket, node: ZarrArray | AsyncGroup | None = None) -> dict[str, Any]:
    """The facts of the array or group in a folder, which may be opened already.

    StoreError where there is none, DamagedError where what is described is not what was written.
    """
    node = _opened(folder, asynchronous.open) if node is None else node
    facts = dict(node.attrs)
    digest = facts.pop(DIGEST, None)
    facts = {key: value for key, value in facts.items() if key not in MADE_BY}
    about: tuple[Any, ...] = ()
    if isinstance(node, AsyncArray):
        metadata: Any = node.metadata
        about = _about(node.shape, node.chunks, node.dtype, metadata.fill_value)
        codecs = (BytesCodec() if node.dtype.itemsize > 1 else BytesCodec(endian=None), Crc32cCodec())
        if metadata.codecs != codecs or metadata.chunk_key_encoding != _KEYS:
            raise DamagedError(folder.root / ABOUT, "its chunks have another form")
    if digest != fingerprint(facts, about):
        raise DamagedError(folder.root / ABOUT, "it was never finished, or has changed")
    return facts


def say(node: Any, facts: Mapping[str, Any]) -> Any:
    """Have an array or group with these facts, all that there are. Returns the same, opened."""
    is_array = isinstance(node, AsyncArray)
    about = _about(node.shape, node.chunks, node.dtype, node.metadata.fill_value) if is_array else ()
    return now(node.update_attributes(_sealed(facts, about)))


def _opened(folder: Folder | Bucket, how: Callable[..., Coroutine[Any, Any, Any]]) -> Any:
    """What is in a folder, opened by one of zarr's ways."""
    try:
        with _opening, zarr.config.set(_ZARR_SETTINGS):
            node = now(how(store=folder, mode="r+", zarr_format=3))
            return AsyncArray(node.metadata, node.store_path, _CONFIG) if isinstance(node, AsyncArray) else node
    except DupegridError:
        raise
    except Exception:  # whatever zarr raises of what somebody made up
        raise DamagedError(folder.root / ABOUT, "it describes no array of a run") from None


def _missing(root: Path) -> StoreError:
    return StoreError(f"{root} is not there: run 'dupegrid run' again to make it")


def _form(array: ZarrArray) -> ArraySpec:
    """The form of its chunks, all of which have one."""
    metadata: Any = array.metadata
    return ArraySpec(array.chunks, metadata.dtype, metadata.fill_value, _CONFIG, default_buffer_prototype())


def _about(shape: tuple[int, ...], chunks: tuple[int, ...], dtype: Any, fill: Any) -> tuple[Any, ...]:
    """What zarr.json says of an array besides its length and its facts."""
    return shape[1:], chunks, str(dtype), repr(fill)


def _sealed(facts: Mapping[str, Any], about: tuple[Any, ...]) -> dict[str, Any]:
    """Facts as attributes for zarr.json, with a digest of them and of what else it says."""
    plain = {key: value for key, value in facts.items() if key not in (DIGEST, *MADE_BY)}
    return {**MADE_BY, **plain, DIGEST: fingerprint(plain, about)}

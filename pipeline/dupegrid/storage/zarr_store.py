"""Where zarr keeps arrays: it creates, describes, writes, reads and verifies them. The only file that knows zarr.

A chunk exists only when it is whole, also where all of it is the fill value; one that is missing or damaged is an
error, never zeros. Chunks are uncompressed and end with a crc32c, so that rows that are wanted alone can be read alone.
"""

import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import Any, Final, NamedTuple

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
from zarr.storage import LocalStore, MemoryStore, StorePath

from dupegrid.core.errors import DamagedError, DupegridError, StoreError
from dupegrid.storage.awaiting import now
from dupegrid.storage.bucket import BucketPath
from dupegrid.storage.parts import CHECKSUM_BYTES
from dupegrid.storage.tables import read_bytes, sealed, unsealed, writing_whole

ABOUT: Final = "zarr.json"  # the file in which zarr describes an array or a group
_KEYS: Final = DefaultChunkKeyEncoding(separator=".")  # of folders, each chunk would need several
_CONFIG: Final = ArrayConfig(order="C", write_empty_chunks=True)  # also chunks of nothing but the fill value
_opening: Final = threading.Lock()  # zarr's settings are those of all threads
ZarrArray = AsyncArray[Any]
ZarrGroup = AsyncGroup


class Folder(LocalStore):
    """A folder on a disk or in a bucket: files are written whole or not at all, and read through no link.

    What is missing is an error.
    """

    async def _open(self, *, mode: Any = None) -> None:
        self._is_open = True  # and no folder is made

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer:
        """The content of a file."""
        try:
            return self.read(key)
        except DamagedError as error:
            if key == ABOUT and isinstance(error.__context__, FileNotFoundError | NotADirectoryError):
                raise StoreError(f"{self.root} is not there: run 'dupegrid run' again to make it") from None
            raise

    def read(self, key: str) -> Buffer:
        """The same in the thread that calls."""
        return default_buffer_prototype().buffer.from_bytes(read_bytes(self.root / key))

    async def set(self, key: str, value: Buffer) -> None:
        """Write a file, as `write` does."""
        self.write(key, value)

    def write(self, key: str, value: Buffer) -> None:
        """Write a file; not flushed to disk, which takes long: whatever is read is verified."""
        with writing_whole(self.root / key, flushed=False) as file:
            file.write(value.as_numpy_array().data)


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


def read_chunks(folder: Folder, array: ZarrArray, keys: Sequence[str]) -> list[npt.NDArray[Any]]:
    """Whole chunks of an array by their names. DamagedError, naming a chunk, where one is missing or damaged."""
    if isinstance(folder.root, BucketPath):
        with ThreadPoolExecutor(len(keys)) as pool:  # asked for at once
            data = list(pool.map(folder.read, keys))
    else:
        data = list(map(folder.read, keys))
    try:
        chunks = now(array.codec_pipeline.decode(zip(data, repeat(_form(array)), strict=False)))
    except ValueError:
        if len(keys) > 1:  # which one it is zarr does not say
            return [chunk for key in keys for chunk in read_chunks(folder, array, [key])]
        raise DamagedError(folder.root / keys[0], "its checksum does not match") from None
    return [np.asarray(chunk.as_numpy_array()) for chunk in chunks if chunk is not None]


def create_array(
    folder: Folder,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: npt.DTypeLike,
    fill: float,
    facts: Mapping[str, Any],
) -> ZarrArray:
    """Describe an array anew, with facts of it."""
    creation: Coroutine[Any, Any, Any] = asynchronous.create_array(
        MemoryStore(),  # a folder or a bucket would be asked for what is there already
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        fill_value=fill,
        filters=None,
        compressors=[Crc32cCodec()],
        chunk_key_encoding=_KEYS,
        config=_CONFIG,
    )
    array: ZarrArray = say(_array(folder, now(creation).metadata), {**facts, "length": shape[0]})
    return array


def create_group(folder: Folder, facts: Mapping[str, Any]) -> ZarrGroup:
    """Describe a folder of arrays anew, with facts of it."""
    made = now(asynchronous.create_group(store=MemoryStore()))
    group: ZarrGroup = say(AsyncGroup(made.metadata, StorePath(folder)), facts)
    return group


def opened_array(folder: Folder, created: ZarrArray | None = None) -> tuple[ZarrArray, dict[str, Any]]:
    """The array in a folder, which may have been created just now, and its facts.

    StoreError where there is none, DamagedError where it is not as it was described.
    """
    node = _opened(folder, asynchronous.open_array) if created is None else created
    facts = facts_of(folder, node)
    try:
        shape = (facts.pop("length"), *node.shape[1:])
        # A run that was killed while the array grew has said its length, and not yet changed the shape.
        return node if node.shape == shape else _array(folder, node.metadata.update_shape(shape)), facts
    except (KeyError, TypeError, ValueError):
        raise DamagedError(folder.root / ABOUT, "it describes no array of a run") from None


def opened_group(folder: Folder) -> ZarrGroup:
    """The folder of arrays. StoreError where there is none, DamagedError where it was never finished."""
    group: ZarrGroup = _opened(folder, asynchronous.open_group)
    return group


def facts_of(folder: Folder, node: ZarrArray | ZarrGroup | None = None) -> dict[str, Any]:
    """The facts of the array or group in a folder, which may be opened already.

    StoreError where there is none, DamagedError where what is described is not what was written.
    """
    node = _opened(folder, asynchronous.open) if node is None else node
    if isinstance(node, AsyncArray):
        metadata: Any = node.metadata
        codecs = (BytesCodec() if node.dtype.itemsize > 1 else BytesCodec(endian=None), Crc32cCodec())
        if metadata.codecs != codecs or metadata.chunk_key_encoding != _KEYS:
            raise DamagedError(folder.root / ABOUT, "its chunks have another form")
    facts = unsealed(node.attrs, _about(node))
    if facts is None:
        raise DamagedError(folder.root / ABOUT, "it was never finished, or has changed")
    return facts


def say(node: Any, facts: Mapping[str, Any]) -> Any:
    """Have an array or group with these facts, all that there are. Returns the same."""
    return now(node.update_attributes(sealed(facts, _about(node))))


def _opened(folder: Folder, how: Callable[..., Coroutine[Any, Any, Any]]) -> Any:
    """What is in a folder, opened by one of zarr's ways."""
    try:
        node = now(how(store=folder, mode="r+", zarr_format=3))
        return _array(folder, node.metadata) if isinstance(node, AsyncArray) else node
    except DupegridError:
        raise
    except Exception:  # whatever zarr raises of what somebody made up
        raise DamagedError(folder.root / ABOUT, "it describes no array of a run") from None


def _array(folder: Folder, metadata: Any) -> ZarrArray:
    with _opening, zarr.config.set({"codec_pipeline.batch_size": 64}):  # given together, decoded so: see chunked.py
        return AsyncArray(metadata, StorePath(folder), _CONFIG)


def _form(array: ZarrArray) -> ArraySpec:
    """The form of its chunks, all of which have one."""
    metadata: Any = array.metadata
    return ArraySpec(array.chunks, metadata.dtype, metadata.fill_value, _CONFIG, default_buffer_prototype())


def _about(node: Any) -> tuple[Any, ...]:
    """What zarr.json says of an array besides its length and its facts."""
    if not isinstance(node, AsyncArray):
        return ()
    metadata: Any = node.metadata
    return node.shape[1:], node.chunks, str(node.dtype), repr(metadata.fill_value)

"""Where zarr keeps arrays: it creates, describes, opens, encodes and verifies them. The only file that knows zarr.

Chunks are uncompressed and end with a crc32c, so that rows that are wanted alone can be read alone.
"""

from collections.abc import Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from zarr import AsyncArray
from zarr.abc.store import ByteRequest
from zarr.api import asynchronous
from zarr.codecs import BytesCodec, Crc32cCodec
from zarr.core.array_spec import ArrayConfig, ArraySpec
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.core.chunk_key_encodings import DefaultChunkKeyEncoding
from zarr.storage import LocalStore

from dupegrid.core.errors import DamagedError, DupegridError, StoreError
from dupegrid.storage.awaiting import now
from dupegrid.storage.chunk_files import CHECKSUM_BYTES
from dupegrid.storage.files import read_bytes, sealed, unsealed, write_bytes

ABOUT: Final = "zarr.json"  # the file in which zarr describes an array or a group
_KEYS: Final = DefaultChunkKeyEncoding(separator=".")  # of folders, each chunk would need several
_CONFIG: Final = ArrayConfig(order="C", write_empty_chunks=True)
ZarrArray = AsyncArray[Any]
OpenedArray = tuple[ZarrArray, tuple[int, ...], dict[str, Any]]  # with its shape and its facts
OpenedNode = tuple[Any, dict[str, Any]]  # an array or a group, with its facts


class Folder(LocalStore):
    """A folder on a disk or in a bucket: files are written whole or not at all, and read through no link."""

    async def _open(self, *, mode: Any = None) -> None:
        self._is_open = True  # and no folder is made

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """The content of a file; None where there is none."""
        try:
            return default_buffer_prototype().buffer.from_bytes(read_bytes(self.root / key))
        except DamagedError as error:
            if isinstance(error.__context__, FileNotFoundError | NotADirectoryError):
                return None
            raise

    async def set(self, key: str, value: Buffer) -> None:
        """Write a file."""
        write_bytes(self.root / key, value.to_bytes(), flushed=False)


class Encoded(NamedTuple):
    """A chunk as it is stored, and the checksum that it ends with, as hex digits."""

    data: memoryview
    checksum: str


def encoded(array: ZarrArray, values: npt.NDArray[Any]) -> Encoded:
    """The chunk of an array that begins with these values; where they are fewer, the fill value comes after them."""
    chunk = np.ascontiguousarray(values, array.dtype)
    if values.shape != array.chunks:
        chunk = np.full(array.chunks, fill_of(array), array.dtype)
        chunk[tuple(map(slice, values.shape))] = values
    form = _form(array)
    stored: Any = form.prototype.nd_buffer.from_numpy_array(chunk)
    for codec in array.metadata.codecs:
        (stored,) = now(codec.encode([(stored, form)]))
    data = stored.as_numpy_array().data
    return Encoded(data, data[-CHECKSUM_BYTES:].hex())


def decoded(array: ZarrArray, stored: Sequence[bytes]) -> list[npt.NDArray[Any]]:
    """Whole chunks of an array from what is stored of them. ValueError where one is damaged."""
    form = _form(array)
    chunks: Any = map(form.prototype.buffer.from_bytes, stored)
    for codec in reversed(array.metadata.codecs):
        chunks = now(codec.decode(zip(chunks, repeat(form), strict=False)))
    return [np.asarray(chunk.as_numpy_array()) for chunk in chunks]


def create_array(
    path: Path,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: npt.DTypeLike,
    fill: float,
    facts: Mapping[str, Any],
) -> OpenedArray:
    """Describe an array in a folder anew, with facts of it; chunks that are there stay. Returns what is then opened."""
    kind: Any = np.dtype(dtype)
    path.mkdir(exist_ok=True)
    (path / ABOUT).unlink(missing_ok=True)  # zarr creates no array where there is one
    array = now(
        asynchronous.create_array(
            Folder(path),
            shape=shape,
            chunks=chunks,
            dtype=kind,
            fill_value=fill,
            filters=None,
            compressors=[Crc32cCodec()],
            chunk_key_encoding=_KEYS,
            attributes=sealed({**facts, "length": shape[0]}, _about(shape, chunks, kind, kind.type(fill))),
        )
    )
    return array, shape, dict(facts)


def create_group(path: Path, facts: Mapping[str, Any]) -> OpenedNode:
    """Describe a folder of arrays, with facts of it. Returns what is then opened."""
    group = now(asynchronous.create_group(store=Folder(path), zarr_format=3, attributes=sealed(facts, ())))
    return group, dict(facts)


def opened_node(path: Path) -> OpenedNode:
    """The array or the group in a folder, and its facts.

    StoreError where there is none, DamagedError where what is described is not what was written.
    """
    try:
        node: Any = now(asynchronous.open(store=Folder(path), mode="r+", zarr_format=3))
    except DupegridError:
        raise
    except FileNotFoundError:
        raise StoreError(f"{path} is not there: run 'dupegrid run' again to make it") from None
    except Exception:  # whatever zarr raises of what somebody made up
        raise DamagedError(path / ABOUT, "it describes no array of a run") from None
    if isinstance(node, AsyncArray) and not _is_as_ours(node):
        raise DamagedError(path / ABOUT, "its chunks have another form")
    facts = unsealed(node.attrs, _about_of(node))
    if facts is None:
        raise DamagedError(path / ABOUT, "it was never finished, or has changed")
    return node, facts


def opened_array(path: Path) -> OpenedArray:
    """The array in a folder, its shape and its facts. Raises what `opened_node` does."""
    node, facts = opened_node(path)
    length = facts.pop("length", None)  # a run that was killed while the array grew has said it, and no shape yet
    if not isinstance(node, AsyncArray) or type(length) is not int or length < 0:
        raise DamagedError(path / ABOUT, "it describes no array of a run")
    return node, (length, *node.shape[1:]), facts


def grow(array: ZarrArray, length: int, facts: Mapping[str, Any]) -> None:
    """Make room for more rows in an array of these facts."""
    write_facts(array, {**facts, "length": length})
    now(array.resize((length, *array.shape[1:])))


def write_facts(node: Any, facts: Mapping[str, Any]) -> None:
    """Have an array or a group with these facts."""
    now(node.update_attributes(sealed(facts, _about_of(node))))


def fill_of(array: ZarrArray) -> Any:
    """What the values of a chunk are where none were given."""
    return array.metadata.fill_value


def _is_as_ours(array: ZarrArray) -> bool:
    codecs = (BytesCodec() if array.dtype.itemsize > 1 else BytesCodec(endian=None), Crc32cCodec())
    return bool(array.metadata.codecs == codecs and array.metadata.chunk_key_encoding == _KEYS)


def _form(array: ZarrArray) -> ArraySpec:
    """The form of its chunks, all of which have one."""
    return ArraySpec(array.chunks, array.metadata.dtype, fill_of(array), _CONFIG, default_buffer_prototype())


def _about_of(node: Any) -> tuple[Any, ...]:
    if isinstance(node, AsyncArray):
        return _about(node.shape, node.chunks, node.dtype, fill_of(node))
    return ()


def _about(shape: tuple[int, ...], chunks: tuple[int, ...], dtype: np.dtype[Any], fill: Any) -> tuple[Any, ...]:
    """What zarr.json says of an array besides its length and its facts."""
    return shape[1:], chunks, str(dtype), repr(fill)

"""What zarr does: it describes arrays and groups of such, in zarr.json, and encodes, decodes and verifies their chunks.

The only file that knows zarr, which sees no file: what it makes is written, and what it reads was read, as all files of
a run directory are (tables.py). Chunks are uncompressed and end with a crc32c, so that rows can be read alone.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from zarr import AsyncArray
from zarr.api import asynchronous
from zarr.codecs import BytesCodec, Crc32cCodec
from zarr.core.array_spec import ArrayConfig, ArraySpec
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.core.chunk_key_encodings import DefaultChunkKeyEncoding
from zarr.storage import MemoryStore

from dupegrid.core.errors import DamagedError, StoreError
from dupegrid.storage.awaiting import now
from dupegrid.storage.parts import CHECKSUM_BYTES
from dupegrid.storage.tables import read_bytes, sealed, unsealed, write_bytes

ABOUT: Final = "zarr.json"  # the file in which zarr describes an array or a group
_KEYS: Final = DefaultChunkKeyEncoding(separator=".")  # of folders, each chunk would need several
_CONFIG: Final = ArrayConfig(order="C", write_empty_chunks=True)
ZarrArray = AsyncArray[Any]


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


def describe_array(
    path: Path,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: npt.DTypeLike,
    fill: float,
    facts: Mapping[str, Any],
) -> None:
    """Describe an array in a folder anew, with facts of it."""
    kind: Any = np.dtype(dtype)
    about = _about(shape, chunks, kind, kind.type(fill))
    form = {
        "shape": shape,
        "chunks": chunks,
        "dtype": kind,
        "fill_value": fill,
        "filters": None,
        "compressors": [Crc32cCodec()],
        "chunk_key_encoding": _KEYS,
    }
    _describe(path, asynchronous.create_array, sealed({**facts, "length": shape[0]}, about), **form)


def describe_group(path: Path, facts: Mapping[str, Any]) -> None:
    """Describe a folder of arrays anew, with facts of it."""
    _describe(path, asynchronous.create_group, sealed(facts, ()))


def _describe(path: Path, how: Callable[..., Coroutine[Any, Any, Any]], facts: dict[str, Any], **form: Any) -> None:
    made: dict[str, Buffer] = {}
    now(how(store=MemoryStore(made), zarr_format=3, attributes=facts, **form))
    write_bytes(path / ABOUT, made[ABOUT].to_bytes(), flushed=False)


def opened(path: Path) -> tuple[ZarrArray | None, dict[str, Any]]:
    """The array that a folder describes, None where that is a group, and its facts; an array's say its `length` too.

    StoreError where there is none, DamagedError where what is described is not what was written.
    """
    try:
        about = {ABOUT: default_buffer_prototype().buffer.from_bytes(read_bytes(path / ABOUT))}
    except DamagedError as error:
        if isinstance(error.__context__, FileNotFoundError | NotADirectoryError):
            raise StoreError(f"{path} is not there: run 'dupegrid run' again to make it") from None
        raise
    try:
        node: Any = now(asynchronous.open(store=MemoryStore(about), mode="r+", zarr_format=3))
    except Exception:  # whatever zarr raises of what somebody made up
        raise DamagedError(path / ABOUT, "it describes no array of a run") from None
    array = node if isinstance(node, AsyncArray) else None
    if array is not None and not _is_as_ours(array):
        raise DamagedError(path / ABOUT, "its chunks have another form")
    said = () if array is None else _about(array.shape, array.chunks, array.dtype, fill_of(array))
    facts = unsealed(node.attrs, said)
    if facts is None:
        raise DamagedError(path / ABOUT, "it was never finished, or has changed")
    return array, facts


def fill_of(array: ZarrArray) -> Any:
    """What the values of a chunk are where none were given."""
    return array.metadata.fill_value


def _is_as_ours(array: ZarrArray) -> bool:
    codecs = (BytesCodec() if array.dtype.itemsize > 1 else BytesCodec(endian=None), Crc32cCodec())
    return bool(array.metadata.codecs == codecs and array.metadata.chunk_key_encoding == _KEYS)


def _form(array: ZarrArray) -> ArraySpec:
    """The form of its chunks, all of which have one."""
    return ArraySpec(array.chunks, array.metadata.dtype, fill_of(array), _CONFIG, default_buffer_prototype())


def _about(shape: tuple[int, ...], chunks: tuple[int, ...], dtype: np.dtype[Any], fill: Any) -> tuple[Any, ...]:
    """What zarr.json says of an array besides its length and its facts."""
    return shape[1:], chunks, str(dtype), repr(fill)

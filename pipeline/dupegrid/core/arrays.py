"""The kinds of arrays that functions here take and give, on numpy or cupy; the eight orientations of a picture.

Shapes are said where they are used. What is done on a device is written in the words of the array API standard, so that
numpy, cupy and array-api-strict, by which it is tested, do the same.
"""

import os
import socket
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dupegrid.core.errors import UsageError

Bools = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
Array = Any  # of numpy, cupy or another module that keeps to the array API standard

_NO_GPU: Final = "take --scheduler threads, or --allow-cpu to do the same on the cores"
_FREE_WITHOUT_A_DEVICE_BYTES: Final = 1 << 28

CHANNELS: Final = 3  # of a thumbnail: red, green, blue
ORIENTATIONS: Final = ("identity", "rot90", "rot180", "rot270", "flip", "flip_rot90", "flip_rot180", "flip_rot270")
CHOICES: Final = {"none": ORIENTATIONS[:1], "rotations": ORIENTATIONS[:4], "all": ORIENTATIONS}


def id_dtype(images: int) -> Any:
    """The narrowest dtype of the ids, or places, of so many images: int32, or int64 where that is too narrow."""
    return np.int32 if images < 1 << 31 else np.int64


def clamped64(number: int) -> int:
    """A number as the nearest int64: file systems know times that have no nanoseconds in it, from 2262 on."""
    return max(-(1 << 63), min(number, (1 << 63) - 1))


def signed64(number: int) -> int:
    """A number of 64 bits without a sign, as tables of int64 keep it."""
    return number - (1 << 64) if number >= 1 << 63 else number


def values_of(side: int) -> int:
    """How many values a thumbnail of this side has: S x S x 3."""
    return side * side * CHANNELS


def turned(thumbs: Array, orientation: str) -> Array:
    """What an orientation does to images: arrays of shape (n, S, S, 3) -> the same shape, a view.

    rotN turns counter-clockwise by N degrees; flip mirrors left-right; flip_rotN mirrors first and then turns.
    """
    if orientation.startswith("flip"):
        thumbs = thumbs[:, :, ::-1, :]
    quarter_turns = {"90": 1, "80": 2, "70": 3}.get(orientation[-2:], 0)
    if quarter_turns == 2:
        return thumbs[:, ::-1, ::-1, :]
    if quarter_turns:
        thumbs = array_module(thumbs).permute_dims(thumbs, (0, 2, 1, 3))
        return thumbs[:, ::-1, :, :] if quarter_turns == 1 else thumbs[:, :, ::-1, :]
    return thumbs


def inverse(orientation: str) -> str:
    """The orientation that undoes another: mirrored ones undo themselves."""
    return {"rot90": "rot270", "rot270": "rot90"}.get(orientation, orientation)


@cache
def composed(first: str, then: str) -> str:
    """The orientation that is one and then another."""
    corners = np.arange(4).reshape(1, 2, 2, 1)
    both = turned(turned(corners, first), then)
    return next(name for name in ORIENTATIONS if np.array_equal(turned(corners, name), both))


def array_module(array: Array) -> Any:
    """The array module an array comes from. UsageError where cupy is told to do what pairs would be missed by."""
    if isinstance(array, np.ndarray):
        return np
    _check_settings()
    if hasattr(array, "__array_namespace__"):  # numpy's and cupy's are known, and need no looking up
        return array.__array_namespace__()
    import cupy

    return cupy.get_array_module(array)


def named_module(name: str) -> Any:
    """The array module of a name: numpy, or cupy. UsageError, naming this machine, where cupy finds no GPU."""
    if name == "numpy":
        return np
    if name != "cupy":
        raise UsageError(f"no array module {name!r}: take numpy or cupy")
    _check_settings()
    if not gpus():
        raise UsageError(f"no GPU here ({socket.gethostname()}) that cupy can use: {_NO_GPU}")
    import cupy

    return cupy


def on_host(array: Any) -> npt.NDArray[Any]:
    """A numpy array of the same values; waits until they are there."""
    is_cupys = type(array).__module__.partition(".")[0] == "cupy"
    return array.get() if is_cupys else np.asarray(array)


@cache
def gpus() -> tuple[str, ...]:
    """The GPUs that cupy can use here, as CUDA_VISIBLE_DEVICES names them; none without cupy or a driver."""
    try:
        import cupy

        count = cupy.cuda.runtime.getDeviceCount()
    except Exception:  # of a driver, of libraries that are lacking or do not fit: there are many
        return ()
    named = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    return tuple(named.split(",")[:count])


def has_tensor_cores(xp: Any) -> bool:
    """Whether the device of an array module multiplies float16 by tensor cores: NVIDIA's from Ampere on."""
    return xp.__name__ == "cupy" and int(xp.cuda.Device().compute_capability) >= 80


def free_bytes(xp: Any) -> int:
    """The memory that is free on the device of an array module; for one without a device, a little."""
    if xp.__name__ != "cupy":
        return _FREE_WITHOUT_A_DEVICE_BYTES
    free, _ = xp.cuda.runtime.memGetInfo()
    return int(free + xp.get_default_memory_pool().free_bytes())


def give_back_memory(xp: Any) -> None:
    """Let go of memory that an array module keeps for later."""
    if xp.__name__ == "cupy":
        xp.get_default_memory_pool().free_all_blocks()


def _check_settings() -> None:
    # Products rounded to 10 bits; and threads that use what another's stream has not finished.
    for name in ("CUPY_TF32", "CUPY_CUDA_PER_THREAD_DEFAULT_STREAM"):
        if os.environ.get(name, "0") != "0":
            raise UsageError(f"{name} is set, and with it pairs would be missed: unset it")

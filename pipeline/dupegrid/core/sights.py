"""What a process sees of a run: the versions it would work with, the run directory, and some of the pictures.

The text of this file is sent to workers that may lack dupegrid, so it needs the standard library alone.
"""

import os
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("dupegrid", "pillow", "pillow-heif", "numpy", "zarr")

# (name, value) pairs: versions and recipe, the content of the lock, the sizes of the samples of each root.
Sight = tuple[tuple[str, Any], ...]
# The lock of a run directory, and some paths of each root.
Places = tuple[bytes, tuple[tuple[bytes, ...], ...]]


def look(places: Places) -> Sight:
    """What this process sees."""
    lock, samples = places
    seen: dict[str, Any] = {name: _version(name) for name in _PACKAGES}
    try:
        seen["recipe"] = import_module("dupegrid.images.recipe").RECIPE
    except Exception as error:  # whatever an installation may raise
        if seen["dupegrid"] is not None:
            seen["dupegrid"] = f"{seen['dupegrid']} that does not load ({type(error).__name__}: {error})"
    seen["lock"] = _content(lock)
    seen["sizes"] = tuple(tuple(_size(path) for path in of_root) for of_root in samples)
    return tuple(seen.items())


def as_expression(places: Places) -> str:
    """Python text whose value is `look(places)`, for a process without this file."""
    return f"(exec({Path(__file__).read_text('utf-8')!r}, names := {{}}), names['look']({places!r}))[1]"


def difference(places: Places, here: Sight, there: Sight) -> str | None:
    """What is wrong with the sight of another process, as the end of 'the worker at ... '; None if nothing is."""
    lock, samples = places
    other = dict(there)
    for name, value in here:
        if name == "lock" and other.get(name) != value:
            folder = os.fsdecode(os.path.dirname(lock))
            return f"does not see the run directory {folder} as it is here: put it where all see it under this path"
        if name == "sizes":
            for of_root, mine, its in zip(samples, value, other.get(name, ()), strict=True):
                if of_root and not any(a == b for a, b in zip(mine, its, strict=True)):
                    path = os.fsdecode(of_root[0])
                    return f"does not see {path} as it is here: have all see the pictures under the same paths"
        elif other.get(name) != value:
            shown = "lacks " + name if other.get(name) is None else f"has {name} {other[name]}"
            return f"{shown}, and here it is {value}: install the same there as here"
    return None


@cache  # looked up it takes 1 ms, and what a process has loaded does not change
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _content(path: bytes) -> bytes | None:
    try:
        if b"://" in path:
            place: bytes = import_module("dupegrid.storage.bucket").bucket_path(os.fsdecode(path)).read_bytes()
            return place
        with open(path, "rb") as file:
            return file.read(10_000)
    except Exception:  # whatever a bucket may raise
        return None


def _size(path: bytes) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None

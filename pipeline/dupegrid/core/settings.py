"""The fields of Config as keyword arguments, with the types that a caller may give; for type checkers."""

from typing import Literal, TypedDict

from dupegrid.core.config import Colour, Normalize, Orientations, SameHash, Scope
from dupegrid.core.values import StrPath, StrPaths, Texts


class CompareSettings(TypedDict, total=False):
    """The fields of Config that `compare` takes too, as a caller may give them."""

    threshold: float
    cutoff: float
    orientations: Orientations
    metric: str
    hash: str | None
    scheduler: str | None
    allow_cpu: bool
    array: Literal["numpy", "cupy"]
    workers: int | None
    memory: int | str | None
    retries: int
    matrix: bool
    relations: bool
    tile: int | None


class Settings(CompareSettings, total=False):
    """All fields of Config, as a caller may give them."""

    paths: StrPaths
    against: StrPaths
    keep: Texts
    protect: StrPaths
    only: StrPaths
    thumb: int
    normalize: Normalize
    colour: Colour
    trim: bool
    looks: Texts
    scope: Scope
    same_size: bool
    max_aspect: float | None
    same_hash: SameHash
    files_from: StrPath | None
    follow_symlinks: bool
    exact_decode: bool
    decode_again: bool
    max_pixels: int
    file_timeout: float
    extensions: Texts | None
    ignore_name: Texts
    ignore_path: StrPaths

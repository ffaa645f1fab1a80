"""What a decoder is asked and what it answers; travels between the processes."""

from dataclasses import dataclass

from dupegrid.core.arrays import Pixels


@dataclass(frozen=True)
class Reading:
    """How files are read: thumbnails of `side` pixels, in full or with the shortcuts of the recipe."""

    side: int
    exact: bool = False
    max_pixels: int = 250_000_000  # a picture whose header says more is not decoded
    follow_symlinks: bool = False
    decode_again: bool = False  # what other versions of the decoders decoded too


@dataclass(frozen=True)
class Decoded:
    """What is known of one file after opening it; fields as in images.parquet. `thumb` is (S, S, 3), or None."""

    status: str
    error: str | None = None
    thumb: Pixels | None = None
    thumb_hash: bytes | None = None
    flat: bool | None = None
    transparent: bool | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    mode: str | None = None
    exif_orientation: int | None = None
    has_alpha: bool | None = None
    frames: int | None = None
    file_hash: str | None = None

"""The file of a picture as a browser may be given it: as it is, where its bytes are of a kind that browsers draw, else
drawn anew by the processes that decode; or the reason why not.
"""

import os
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from dupegrid.core.config import Config
from dupegrid.images.decoded import Reading
from dupegrid.images.decoder import File
from dupegrid.images.opening import open_listed, stamps
from dupegrid.images.recipe import encode_jpeg
from dupegrid.images.sandbox import decode_files

_LARGEST_BYTES: Final = 100_000_000  # that is sent as it is
_MOST_PIXELS: Final = 60_000_000  # that are drawn anew, or given to a browser
_DRAWN: Final = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png", b"GIF8": "image/gif"}
_QUALITY: Final = 92


class Original(NamedTuple):
    """A picture for a browser, or why there is none."""

    data: bytes
    kind: str  # a media type; '' where there is none
    reason: str = ""


def original(image: Mapping[str, Any], config: Config) -> Original:
    """The picture of a row of images.parquet, columns path_raw, size_bytes, mtime_ns, width and height."""
    path: bytes = image["path_raw"]
    if not path.startswith(b"/"):
        return _none("it lies in no folder of this machine")
    if (image["width"] or 0) * (image["height"] or 0) > _MOST_PIXELS:
        return _none(f"it has over {_MOST_PIXELS // 1_000_000} megapixels")
    try:
        data = _bytes_of(path, image, config.follow_symlinks)
    except (FileNotFoundError, NotADirectoryError):
        return _none("the file is not there, or is in an archive")
    except OSError as error:
        return _none(error.strerror or str(error))
    kind = next((kind for head, kind in _DRAWN.items() if data.startswith(head)), "")
    kind = "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else kind
    return Original(data, kind) if kind else _drawn_anew(path, image, config)


def _bytes_of(path: bytes, image: Mapping[str, Any], follow_symlinks: bool) -> bytes:
    """The bytes of a file. OSError that says why not, where it cannot be given."""
    with open(open_listed(path, follow_symlinks), "rb") as file:
        size_bytes = image["size_bytes"]
        if stamps(os.fstat(file.fileno()), image["mtime_ns"]) != (size_bytes, image["mtime_ns"]):
            raise OSError("the file has changed since it was indexed")
        if size_bytes > _LARGEST_BYTES:
            raise OSError(f"it has over {_LARGEST_BYTES // 1_000_000} MB")
        return file.read(size_bytes)


def _drawn_anew(path: bytes, image: Mapping[str, Any], config: Config) -> Original:
    reading = Reading(config.thumb, max_pixels=_MOST_PIXELS, follow_symlinks=config.follow_symlinks, whole=True)
    file = File(path, image["size_bytes"], image["mtime_ns"])
    # Taken whole: a generator that is left early would end the process that decodes.
    (decoded,) = [found for _, found in decode_files([file], reading, config.file_timeout)]
    if decoded.pixels is None:
        return _none(decoded.error or decoded.status)
    return Original(encode_jpeg(decoded.pixels[..., :3].copy(), _QUALITY), "image/jpeg")


def _none(reason: str) -> Original:
    return Original(b"", "", reason)

"""What the EXIF of a picture says: how it is turned, the camera, when and whether where it was taken.

Broken EXIF is no reason to lose a picture: what cannot be read is not said.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from dupegrid.core.text import printable

ORIENTATION: Final = 0x0112
_MAKE, _MODEL = 0x010F, 0x0110
_PHOTO, _TAKEN, _DIGITIZED = 0x8769, 0x9003, 0x9004
_GPS, _LATITUDE, _LONGITUDE = 0x8825, 2, 4
_CAMERA_CHARACTERS: Final = 80
_EARLIEST_YEAR: Final = 1826  # of the first photograph: what is before it is a clock that was never set


def exif_of(image: Any) -> Any:
    """The EXIF of an open picture of Pillow's, a mapping of tags. Ask once: Pillow searches for it each time."""
    try:
        return image.getexif()
    except Exception:
        return {}


def orientation_of(exif: Any) -> int:
    """The EXIF orientation, 1 to 8; 1 where it says none."""
    try:
        value = exif.get(ORIENTATION, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def taking_of(exif: Any) -> dict[str, Any]:
    """What the EXIF says of the taking of a picture.

    `camera` is make and model, `taken_at` a datetime by the camera's clock, both None where the EXIF does not say;
    `has_gps` says whether there are coordinates.
    """
    photo, place = _folder(exif, _PHOTO), _folder(exif, _GPS)
    return {
        "camera": _camera(exif),
        "taken_at": _moment(photo.get(_TAKEN)) or _moment(photo.get(_DIGITIZED)),
        "has_gps": _LATITUDE in place and _LONGITUDE in place,
    }


def _folder(exif: Any, tag: int) -> Mapping[int, Any]:
    """The tags that are in a folder of their own; none where there is no such folder."""
    try:
        return exif.get_ifd(tag) if tag in exif else {}
    except Exception:
        return {}


def _camera(exif: Mapping[int, Any]) -> str | None:
    try:
        values = [exif.get(tag) for tag in (_MAKE, _MODEL)]
    except Exception:
        return None
    names = " ".join(value.strip(" \0") for value in values if isinstance(value, str))
    return printable(names.strip()[:_CAMERA_CHARACTERS]) or None


def _moment(text: Any) -> datetime | None:
    try:
        moment = datetime.strptime(text.strip(" \0")[:19], "%Y:%m:%d %H:%M:%S")
    except (AttributeError, TypeError, ValueError):
        return None
    return moment if moment.year >= _EARLIEST_YEAR else None

"""What the EXIF of a picture says: how it is turned, the camera, when and where it was taken, how it was rated.

Broken EXIF is no reason to lose a picture: what cannot be read is not said.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from dupegrid.core.text import printable
from dupegrid.images.xmp import known_rating, rating_in

ORIENTATION: Final = 0x0112
_MAKE, _MODEL = 0x010F, 0x0110
_PHOTO, _TAKEN, _DIGITIZED = 0x8769, 0x9003, 0x9004
_GPS, _LATITUDE, _LONGITUDE = 0x8825, 2, 4  # the tag before each of the two says the direction
_RATING: Final = 0x4746
_CAMERA_CHARACTERS: Final = 80
_EARLIEST_YEAR: Final = 1826  # of the first photograph: what is before it is a clock that was never set


def exif_of(image: Any) -> Any:
    """The EXIF of an open picture of Pillow's, a mapping of tags. Ask once: Pillow searches for it each time."""
    try:
        return image.getexif() or {}
    except Exception:
        return {}


def orientation_of(exif: Any) -> int:
    """The EXIF orientation, 1 to 8; 1 where it says none."""
    value = _said(exif, ORIENTATION)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def taking_of(exif: Any, packet: Any = None) -> dict[str, Any]:
    """What the EXIF says of the taking of a picture, and it or the XMP `packet` of its rating.

    `camera` is make and model, `taken_at` a datetime by the camera's clock, both None where the EXIF does not say;
    `has_gps` says whether there are coordinates, `latitude` and `longitude` are these in degrees, both or none.
    """
    photo, place = _folder(exif, _PHOTO), _folder(exif, _GPS)
    return {
        "camera": _camera(exif),
        "taken_at": _moment(photo.get(_TAKEN)) or _moment(photo.get(_DIGITIZED)),
        "has_gps": _LATITUDE in place and _LONGITUDE in place,
        "rating": rating_in(packet) or known_rating(_said(exif, _RATING)),
        **_coordinates(place),
    }


def _said(exif: Any, tag: int) -> Any:
    """What a tag says; None where it is not there, or cannot be read."""
    try:
        return exif.get(tag)
    except Exception:
        return None


def _folder(exif: Any, tag: int) -> Mapping[int, Any]:
    """The tags that are in a folder of their own; none where there is no such folder."""
    try:
        return exif.get_ifd(tag) if tag in exif else {}
    except Exception:
        return {}


def _camera(exif: Mapping[int, Any]) -> str | None:
    values = [_said(exif, tag) for tag in (_MAKE, _MODEL)]
    names = " ".join(value.strip(" \0") for value in values if isinstance(value, str))
    return printable(names.strip()[:_CAMERA_CHARACTERS]) or None


def _coordinates(place: Mapping[int, Any]) -> dict[str, float | None]:
    both = [_degrees(place, _LATITUDE, "S", 90), _degrees(place, _LONGITUDE, "W", 180)]
    return dict(zip(("latitude", "longitude"), [None, None] if None in both else both, strict=True))


def _degrees(place: Mapping[int, Any], tag: int, below_0: str, most: int) -> float | None:
    """Degrees, minutes and seconds as degrees; None where they are none."""
    try:
        degrees = sum(float(value) / 60**k for k, value in enumerate(place[tag]))
        turned = str(place[tag - 1]).strip(" \0").upper() == below_0
    except Exception:
        return None
    return (-degrees if turned else degrees) if 0 <= degrees <= most else None  # not so where it is no number


def _moment(text: Any) -> datetime | None:
    try:
        moment = datetime.strptime(text.strip(" \0")[:19], "%Y:%m:%d %H:%M:%S")
    except (AttributeError, TypeError, ValueError):
        return None
    return moment if moment.year >= _EARLIEST_YEAR else None

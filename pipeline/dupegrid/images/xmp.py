"""XMP packets, in pictures and beside them: the rating that one says, and one of ours that says what EXIF would.

A packet is searched as bytes and not parsed: whoever made it may be hostile, and an attribute is all that is wanted.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from html import escape
from typing import Any, Final

PACKET_BYTES: Final = 1 << 20  # at most, that are searched
_RATING: Final = re.compile(rb"\b(?:xmp|xap):Rating\s{0,9}(?:=\s{0,9}[\"']|>)\s{0,9}(-?\d)(?!\d)")
_PACKET: Final = """\
<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="dupegrid">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:exif="http://ns.adobe.com/exif/1.0/"
    xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"{values}/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""
_OURS: Final = b'x:xmptk="dupegrid"'
OURS_BYTES: Final = _PACKET.encode().index(_OURS) + len(_OURS)  # of a packet, that say whose it is


def rating_in(packet: Any) -> int | None:
    """The rating that an XMP packet says, 1 to 5, or -1: rejected. None where it says none."""
    found = _RATING.search(packet[:PACKET_BYTES]) if isinstance(packet, bytes) else None
    return known_rating(int(found[1])) if found else None


def is_ours(start: bytes) -> bool:
    """Whether a packet of which these are the first `OURS_BYTES` says that it was made here."""
    return start.endswith(_OURS)


def known_rating(value: Any) -> int | None:
    """A rating, or None where it is none; 0 says that nobody rated."""
    return value if isinstance(value, int) and (value == -1 or 1 <= value <= 5) else None


def packet_of(values: Mapping[str, Any]) -> bytes:
    """An XMP packet that says when and where a picture was taken, and its rating; what is None is left out.

    `values` has `taken_at`, a datetime, `latitude` and `longitude` in degrees, `rating`.
    """
    taken: datetime | None = values["taken_at"]
    said: dict[str, str] = {}
    if taken is not None:
        said |= dict.fromkeys(("exif:DateTimeOriginal", "photoshop:DateCreated"), taken.isoformat())
    if values["latitude"] is not None and values["longitude"] is not None:
        said |= {"exif:GPSVersionID": "2.3.0.0", "exif:GPSMapDatum": "WGS-84"}
        said["exif:GPSLatitude"] = _degrees(values["latitude"], "NS")
        said["exif:GPSLongitude"] = _degrees(values["longitude"], "EW")
    if values["rating"] is not None:
        said["xmp:Rating"] = str(values["rating"])
    attributes = [f'\n    {name}="{escape(said[name])}"' for name in sorted(said)]
    return _PACKET.format(values="".join(attributes)).encode()


def _degrees(value: float, signs: str) -> str:
    """Degrees as XMP has them: whole ones, minutes, the direction."""
    minutes = round(abs(value) * 60, 6)
    return f"{int(minutes // 60)},{minutes % 60:.6f}{signs[value < 0]}"

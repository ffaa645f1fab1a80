"""XMP packets: ours are read by a parser of XML as they were meant; a rating is found in those of others."""

from datetime import datetime
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dupegrid.images.xmp import packet_of, rating_in

RDF, EXIF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}", "{http://ns.adobe.com/exif/1.0/}"
XMP = "{http://ns.adobe.com/xap/1.0/}"
NONE = {"taken_at": None, "latitude": None, "longitude": None, "rating": None}


def parsed(packet: bytes) -> dict[str, str]:
    """What a packet says, by a parser of XML."""
    (description,) = ElementTree.fromstring(packet).iter(f"{RDF}Description")
    return dict(description.attrib)


def degrees(text: str) -> float:
    whole, minutes = text[:-1].split(",")
    return (int(whole) + float(minutes) / 60) * (-1 if text[-1] in "SW" else 1)


@given(
    st.none()
    | st.datetimes(datetime(1826, 1, 1), datetime(9999, 12, 31)).map(lambda moment: moment.replace(microsecond=0)),
    st.none() | st.tuples(st.floats(-90, 90), st.floats(-180, 180)),
    st.none() | st.sampled_from([-1, 1, 2, 3, 4, 5]),
)
def test_a_parser_reads_what_was_meant(
    taken: datetime | None, place: tuple[float, float] | None, rating: int | None
) -> None:
    latitude, longitude = place or (None, None)
    packet = packet_of({"taken_at": taken, "latitude": latitude, "longitude": longitude, "rating": rating})
    said = parsed(packet)
    assert said.get(f"{EXIF}DateTimeOriginal") == (taken and taken.isoformat())
    assert said.get(f"{XMP}Rating") == (rating and str(rating))
    assert rating_in(packet) == rating
    for name, value in (("Latitude", latitude), ("Longitude", longitude)):
        text = said.get(f"{EXIF}GPS{name}")
        assert (text is None) == (value is None)
        assert value is None or degrees(text) == pytest.approx(value, abs=1e-7)


@pytest.mark.parametrize("value", ['"/><script>', "<&\">'", "]]>"])
def test_no_value_ends_the_attribute_that_holds_it(value: str) -> None:
    assert parsed(packet_of({**NONE, "rating": value}))[f"{XMP}Rating"] == value


@pytest.mark.parametrize(
    ("packet", "rating"),
    [
        (b'<rdf:Description xmp:Rating="5"/>', 5),
        (b"<rdf:Description xmp:Rating = '3'/>", 3),
        (b"<xmp:Rating> 2</xmp:Rating>", 2),
        (b'<a xap:Rating="-1"/>', -1),
        (b'<a xmp:Rating="0"/>', None),
        (b'<a xmp:Rating="9"/>', None),
        (b'<a xmp:Rating="10"/>', None),
        (b'<a xmp:Rating="4.0"/>', 4),
        (b'<a xmp:RatingPercent="99"/>', None),
        (b'<a xmp:Rating=""/>', None),
        (b"", None),
        (None, None),
        (b" " * (1 << 20) + b'xmp:Rating="5"', None),
        (b"xmp:Rating" + b" " * (1 << 19), None),
    ],
)
def test_a_rating_is_found_where_there_is_one(packet: bytes | None, rating: int | None) -> None:
    assert rating_in(packet) == rating

"""A progressive JPEG without the scans that a decoder makes no use of at one eighth of the size; pure.

At that size a component is decoded from the first coefficient of its blocks alone: the scans of its others go. One of
half the resolution both ways is decoded at two eighths, and keeps them (jpeg_calc_output_dimensions of libjpeg-turbo;
IJG's libjpeg from 7 on does so for either way). As long as some coefficients are not known libjpeg smooths all blocks,
unless a quantizer is 0: so one is set to 0, of those that are needed no more (decisions/0030).

Anything that is not as ITU T.81 has it goes the plain way. What is left out can then not fail: its tables and its place
in the progression are looked at here, and for damage in the data of a scan libjpeg has no more than a warning.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_SOF2, _DHT, _SOI, _EOI, _SOS, _DQT, _DRI, _COM = 0xC2, 0xC4, 0xD8, 0xD9, 0xDA, 0xDB, 0xDD, 0xFE
_PASSED_OVER: Final = (*range(0xE0, 0xF0), _COM, _DRI)
_SCANS: Final = 100  # at most: encoders make some ten
_COEFFICIENTS: Final = 64  # of a block, in zigzag order, the first of which is its mean
_SCAN_ENDS: Final = re.compile(rb"\xff[^\x00\xd0-\xd7]")  # at a marker that is no restart, or something unusual


class _UnusualError(Exception):
    pass


class _Segment(NamedTuple):
    code: int  # of its marker
    start: int  # of the marker
    body: bytes  # after the length
    end: int  # of a scan: of its data


class _Picture:
    """What the headers said so far."""

    def __init__(self) -> None:
        self.known: dict[int, list[int]] = {}  # component -> for each coefficient how many low bits are missing, -1 all
        self.at_eighth: dict[int, int] = {}  # component -> its quantizers
        self.others: dict[int, int] = {}
        self.quantizers: dict[int, bytes] = {}
        self.tables: set[int] = set()  # for coefficients but the first
        self.scans = 0

    def read(self, segment: _Segment) -> bool:
        """Note what a segment says. Returns whether it is a scan to leave out."""
        if segment.code == _SOS:
            return self._scan(segment.body)
        if segment.code == _SOF2:
            self._frame(segment.body)
        elif segment.code == _DHT:
            self._huffman(segment.body)
        elif segment.code == _DQT:
            self._quantizers(segment.body)
        return False

    def is_known(self) -> bool:
        """Whether every bit of every coefficient is."""
        return bool(self.known) and not any(any(known) for known in self.known.values())

    def one_of_0(self) -> bytes:
        """A segment by which a quantizer is 0 that only left out coefficients have."""
        own = [number for number in self.at_eighth.values() if number not in self.others.values()]
        _check(bool(own) and own[0] in self.quantizers)
        quantizers = self.quantizers[own[0]]
        size = len(quantizers) // _COEFFICIENTS  # bytes of each
        body = bytes([own[0] + 16 * (size - 1)]) + quantizers[:size] + bytes(size) + quantizers[2 * size :]
        return bytes([0xFF, _DQT]) + (len(body) + 2).to_bytes(2, "big") + body

    def _frame(self, body: bytes) -> None:
        height, width, count = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big"), body[5]
        parts = [body[at : at + 3] for at in range(6, len(body), 3)]
        _check(not self.known and body[0] == 8 and height > 0 and width > 0)
        _check(len(body) == 6 + 3 * count and 1 <= count == len({part[0] for part in parts}))
        factors = [divmod(part[1], 16) for part in parts]
        _check(all(1 <= factor <= 4 for pair in factors for factor in pair))
        across, down = map(max, zip(*factors, strict=True))
        for (component, _, quantizers), pair in zip(parts, factors, strict=True):
            halved = across % (2 * pair[0]) == 0 and down % (2 * pair[1]) == 0
            (self.others if halved else self.at_eighth)[component] = quantizers
            self.known[component] = [-1] * _COEFFICIENTS

    def _quantizers(self, body: bytes) -> None:
        _check(self.scans == 0)
        at = 0
        while at < len(body):
            size = _COEFFICIENTS * (1 + body[at] // 16)
            _check(body[at] < 32 and at + 1 + size <= len(body))
            self.quantizers[body[at] % 16] = body[at + 1 : at + 1 + size]
            at += 1 + size

    def _huffman(self, body: bytes) -> None:
        at = 0
        while at < len(body):
            counts, code = body[at + 1 : at + 17], 0
            _check(len(counts) == 16)
            for bits, count in enumerate(counts, 1):
                code = 2 * code + count
                _check(code < 1 << bits)  # a code of ones alone is none
            if body[at] >= 16:
                self.tables.add(body[at] - 16)
            at += 17 + sum(counts)
        _check(at == len(body))

    def _scan(self, body: bytes) -> bool:
        self.scans += 1
        count = body[0]
        _check(self.scans <= _SCANS and len(body) == 4 + 2 * count)
        components, (first, last, step) = body[1 : 1 + 2 * count : 2], body[-3:]
        before, after = divmod(step, 16)
        _check(1 <= len(set(components)) == count and self.known.keys() >= set(components))
        _check(last == 0 if first == 0 else count == 1 and first <= last < _COEFFICIENTS)
        _check(after <= 13 and before in (0, after + 1))
        for component in components:
            known = self.known[component]
            _check(first == 0 or known[0] >= 0)
            _check(set(known[first : last + 1]) == {before or -1})
            known[first : last + 1] = [after] * (last + 1 - first)
        _check(first == 0 or body[2] % 16 in self.tables)
        return first > 0 and components[0] in self.at_eighth


def without_detail(data: bytes) -> bytes | None:
    """A progressive JPEG of which libjpeg-turbo makes the same pixels at an eighth of the size, from fewer scans.

    None for anything else, for what is unusual or damaged as far as this looks, and where nothing can be left out.
    """
    picture, kept, start = _Picture(), [], 0
    try:
        for segment in _segments(data):
            if segment.code == _SOS and picture.scans == 0:
                kept, start = [data[: segment.start], picture.one_of_0()], segment.start
            if picture.read(segment):
                kept.append(data[start : segment.start])
                start = segment.end
        _check(picture.is_known() and len(kept) > 2)
    except (_UnusualError, IndexError, ValueError):
        return None
    return b"".join([*kept, data[start : segment.end]])


def _segments(data: bytes) -> Iterator[_Segment]:
    """The segments after SOI, each scan with its data, to the first EOI."""
    _check(data[:2] == bytes([0xFF, _SOI]))
    at = 2
    while True:
        code, end = data[at + 1], at + 2
        _check(data[at] == 0xFF)
        if code == _EOI:
            yield _Segment(code, at, b"", end)
            return
        _check(code in (_SOF2, _DHT, _DQT, _SOS) or code in _PASSED_OVER)
        end += int.from_bytes(data[end : end + 2], "big")
        _check(at + 4 <= end <= len(data))
        body = data[at + 4 : end]
        if code == _SOS:
            ends = _SCAN_ENDS.search(data, end)
            _check(ends is not None)
            end = ends.start() if ends else end
        yield _Segment(code, at, body, end)
        at = end


def _check(as_usual: bool) -> None:
    if not as_usual:
        raise _UnusualError

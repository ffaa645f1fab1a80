"""What travels from a process that decodes: answers come as they were sent, and nonsense is no answer."""

import contextlib
import os
import pickle
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dupegrid.images import sandbox
from dupegrid.images.decoded import Decoded
from dupegrid.images.decoder import packed, received, sent
from tests.helpers.forks import FORKING
from tests.images.test_sandbox import files, statuses

RANDOM = np.random.default_rng(1)
PIXELS = [RANDOM.integers(0, 256, shape, np.uint8) for shape in ((8, 8, 3), (2, 8, 8, 3), (5, 7, 4))]
ANSWERS = [
    (0, Decoded("ok", None, PIXELS[0], PIXELS[1], b"\0\xff" * 8, False, True, 7, 5, "PNG", frames=2**31 - 1)),
    (3, Decoded("ok", pixels=PIXELS[2], beside="ab", camera="\udc80\n\N{GRINNING FACE}", latitude=-1 / 3, rating=-1)),
    (7, Decoded("changed", 'it\'s "gone"', taken_at=datetime(1826, 1, 2, 3, 4, 5), has_gps=False)),
]
MESSAGE = b"".join(sent(ANSWERS))[8:]


def test_answers_come_as_they_were_sent() -> None:
    whole = b"".join(sent(ANSWERS))
    assert int.from_bytes(whole[:8], "little") == len(whole) - 8
    for (place, was), (there, is_now) in zip(ANSWERS, received(memoryview(bytearray(MESSAGE))), strict=True):
        assert place == there
        for name in Decoded._fields:
            old, new = getattr(was, name), getattr(is_now, name)
            assert type(old) is type(new)
            assert np.array_equal(old, new)


@given(st.integers(0, len(MESSAGE) - 1), st.integers(0, 255), st.integers(0, len(MESSAGE)))
def test_what_is_damaged_is_no_answer_or_another_and_never_more(place: int, value: int, length: int) -> None:
    damaged = bytearray(MESSAGE)
    damaged[place] = value
    for message in (damaged, MESSAGE[:length], damaged[:length], damaged[place:]):
        found = []
        with contextlib.suppress(ValueError):
            found = received(memoryview(bytearray(message)))
        assert len(found) <= len(ANSWERS)


class Call:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return os.mkdir, (self.folder,)


def test_no_answer_has_its_reader_call_anything(tmp_path: Path) -> None:
    data = pickle.dumps([(0, Call(tmp_path / "called"))])
    with pytest.raises(ValueError, match="no answer of a decoder"):
        received(memoryview(packed(1) + packed(len(data)) + data))
    assert not (tmp_path / "called").exists()


NONSENSE = """
import os
from dupegrid.images import decoder
sent, packed = decoder.sent, decoder.packed
def other(answers):
    if answers[-1][1].status == "ok":
        return sent(answers)
    return (HOW)
def half():
    yield packed(1 << 20)
    yield bytes(1 << 19)
    os._exit(3)
decoder.sent = other
"""
HOW = {
    "no end of bytes": "bytes([255]) * 8,",
    "more than it says": "packed(1 << 31), b'is not there'",
    "no end of pieces": "packed(16), packed(1 << 60), bytes(8)",
    "half an answer": "half()",
    "files that nobody asked for": "sent([(99, answers[0][1])])",
    "one file twice": "sent(answers[:1] * 2)",
    "of no file": "sent([])",
}


@pytest.mark.parametrize("how", HOW)
def test_nonsense_costs_the_file_that_was_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr(sandbox, "_idle", [])
    monkeypatch.setattr(sandbox, "subprocess", FORKING)
    script = NONSENSE.replace("HOW", HOW[how])
    monkeypatch.setattr(sandbox, "_START", sandbox._START.replace("serve()\n", script + "\nserve()\n", 1))
    found = statuses(files(tmp_path, 1, 2, b"no picture"), timeout_s=1.0)
    sandbox._close_idle()
    assert [decoded.status for decoded in found[:2]] == ["ok", "ok"]
    assert found[2].status in ("decode_error", "timeout")
    assert found[2].error

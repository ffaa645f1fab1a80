"""tests/NEWCOMER.md and tests/HARM.md are whole and true to the tests they name."""

import re

import pytest

from tests.helpers.rows import ROOT, known_tests

NEWCOMER = [*(f"D{number}" for number in range(1, 22)), *(f"B{number}" for number in range(1, 5))]

HARM = [
    "S1",
    "S2",
    "S3",
    "S4",
    "W1",
    "W2",
    "C1",
    "L1",
    "L2",
    "W3",
    "H1",
    "W5",
    "W6",
    "D1",
    "D2",
    "D3",
    "L3",
    "W4",
    "W7",
    "W8",
    "L4",
    "H2",
    "H3",
    "M1",
    "M2",
    "M3",
    "M4",
    "M5",
    "M6",
    "M7",
    "M8",
    "M9",
    "LOW1",
]


@pytest.mark.parametrize(("page", "numbers"), [("NEWCOMER.md", NEWCOMER), ("HARM.md", HARM)])
def test_every_number_has_one_row_with_tests_that_exist_or_the_reason_why_not(page: str, numbers: list[str]) -> None:
    text = (ROOT / "tests" / page).read_text()
    rows = re.findall(r"^\| ([A-Z]+\d+\w*) \| (.*?) \| (.*?) \| (.*) \|$", text, re.MULTILINE)
    assert [number for number, *_ in rows] == numbers
    for number, said, does, tests in rows:
        named = re.findall(r"`([^`]+)`", tests)
        assert set(named) <= known_tests(), (number, set(named) - known_tests())
        assert said, number
        assert does, number
        assert named or re.match(r"not yet: \w+|no fault: \w+", tests), number
    assert set(re.findall(r"`(test_\w+\.py::\w+)`", text)) <= known_tests()

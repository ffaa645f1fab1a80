"""tests/OPERATOR.md is whole and true to the tests it names."""

import re

from tests.helpers.rows import ROOT, known_tests


def test_every_check_of_an_operator_has_one_row_with_tests_that_exist_or_the_reason_why_not() -> None:
    rows = re.findall(
        r"^\| C(\d+) \| (.*?) \| (.*?) ?\| (.*) \|$", (ROOT / "tests/OPERATOR.md").read_text(), re.MULTILINE
    )
    assert [int(number) for number, *_ in rows] == list(range(1, 33))
    for number, _, does, tests in rows:
        named = re.findall(r"`([^`]+)`", tests)
        assert set(named) <= known_tests(), (number, set(named) - known_tests())
        assert (named and does) or re.match(r"not yet: \w+", tests), number

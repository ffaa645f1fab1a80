"""tests/OPERATOR.md is whole and true to the tests it names."""

import ast
import re

from tests.helpers.clusters import ROOT


def test_every_check_of_an_operator_has_one_row_with_tests_that_exist_or_the_reason_why_not() -> None:
    known = {
        f"{file.name}::{node.name}"
        for pattern in ("test_*.py", "*_suite.py")
        for file in (ROOT / "tests").rglob(pattern)
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    rows = re.findall(
        r"^\| C(\d+) \| (.*?) \| (.*?) ?\| (.*) \|$", (ROOT / "tests/OPERATOR.md").read_text(), re.MULTILINE
    )
    assert [int(number) for number, *_ in rows] == list(range(1, 33))
    for number, _, does, tests in rows:
        named = re.findall(r"`([^`]+)`", tests)
        assert set(named) <= known, (number, set(named) - known)
        assert (named and does) or re.match(r"not yet: \w+", tests), number

"""Which tests there are, for pages whose rows name some."""

import ast
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


@cache
def known_tests() -> frozenset[str]:
    """Every test, as 'test_file.py::test_name'."""
    return frozenset(
        f"{file.name}::{node.name}"
        for pattern in ("test_*.py", "*_suite.py")
        for file in (ROOT / "tests").rglob(pattern)
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )

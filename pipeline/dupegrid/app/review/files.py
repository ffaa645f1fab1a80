"""The files of the review's page: its own, and what it shares with the report."""

from functools import cache
from pathlib import Path
from typing import Final

_OURS: Final = Path(__file__).parent / "page"
_SHARED: Final = Path(__file__).parents[2] / "results" / "drawn" / "page"
_STYLES: Final = (_SHARED / "report.css", _SHARED / "stage.css", _OURS / "review.css")
_SCRIPTS: Final = (
    *(_SHARED / name for name in ("text.js", "stage.js")),
    *(_OURS / name for name in ("server.js", "pair.js", "filters.js", "groups.js", "keys.js", "main.js")),
)


@cache
def page_file(name: str) -> bytes:
    """What is sent for review.html, review.js or review.css."""
    if name == "review.js":
        text = "".join(file.read_text(encoding="utf-8") for file in _SCRIPTS)
        return f'(() => {{\n"use strict";\n{text}}})();\n'.encode()
    if name == "review.css":
        return "".join(file.read_text(encoding="utf-8") for file in _STYLES).encode()
    return (_OURS / name).read_bytes()

"""What the review says in a terminal, as lines for people."""

from collections.abc import Mapping
from typing import Any

from dupegrid.core.text import counted


def serving_lines(url: str) -> list[str]:
    return [f"review: {url} (for you alone; Ctrl-C ends it)"]


def ended_lines(totals: Mapping[str, Any]) -> list[str]:
    pairs = sum(totals["decided"].values())
    return [
        f"review ended: {counted(pairs, 'pair')} decided, {counted(totals['finished'], 'group')} done; "
        f"next: {totals['commands'][0]}"
    ]

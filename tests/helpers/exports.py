"""What tests of exports share: how formulas are undone, and rows during whose writing something is done."""

import re
from collections.abc import Callable, Iterator

import pyarrow as pa

from dupegrid.results.export.joined import Selection

SIGNS = "=+-@\uff1d\uff0b\uff0d\uff20"
FORMULA = re.compile(r"(^|[;\t\r\n])'((?:[^\S\t\r\n]|['\"])*[=+\-@＝＋－＠])")  # as docs/how-to/export.md has it


class _Watched(Selection):
    meanwhile: Callable[[], None]

    def batches(self) -> Iterator[pa.Table]:
        yield from super().batches()
        self.meanwhile()


def watched(rows: Selection, meanwhile: Callable[[], None]) -> Selection:
    """The same rows, with something done when all are written, before the end of the transaction."""
    found = _Watched(rows.columns, rows.table)
    object.__setattr__(found, "meanwhile", meanwhile)
    return found

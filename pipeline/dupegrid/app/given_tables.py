"""Tables that a caller gives: a CSV or parquet file, or a table or frame in memory. Read only, with all that is odd."""

import csv
import io
import os
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from dupegrid.core.errors import InputError, UsageError
from dupegrid.core.text import display_path, printable

# What a column of paths is called, ours first; then what tools that load data sets say.
PATHS: Final = ("path_raw", "path", "file_name", "filename", "filepath", "file", "image")


def given_table(source: Any) -> pa.Table:
    """The rows of a CSV file with a header, of a parquet file, or of a table or frame in memory.

    All columns of a CSV are of bytes, as the names of files need not be UTF-8; an empty cell is null. Raises InputError
    where a file cannot be read, UsageError for what is no table.
    """
    if isinstance(source, pa.Table):
        return source
    if not isinstance(source, str | bytes | os.PathLike):
        try:
            return pa.table(source)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise UsageError(f"a {type(source).__name__} is no table ({error}): give a FILE, or a frame") from None
    name = printable(os.fsdecode(source))
    try:
        with open(source, "rb") as file:
            data = file.read()
        return pq.read_table(pa.BufferReader(data)) if data.startswith(b"PAR1") else _read_csv(data)
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror or error}; give a CSV or parquet file") from None
    except (pa.ArrowException, csv.Error, ValueError) as error:
        problem = " ".join(str(error).split())
        raise InputError(f"{name} cannot be read as a table: {printable(problem)}") from None


def column_of(table: pa.Table, names: Sequence[str], what: str) -> pa.ChunkedArray:
    """The first of these columns that a table has. UsageError, naming those that there are, where it has none."""
    for name in names:
        if name in table.column_names:
            return table[name]
    there = ", ".join(map(printable, map(str, table.column_names))) or "none"
    wanted = printable(" or ".join(map(repr, names)))
    raise UsageError(f"{what} has no column {wanted}: its columns are {there}")


def as_bytes(column: pa.ChunkedArray) -> list[bytes | None]:
    """The exact bytes of paths in a column, of strings or bytes."""
    return [value if isinstance(value, bytes | None) else os.fsencode(str(value)) for value in column.to_pylist()]


def as_text(column: pa.ChunkedArray) -> list[str | None]:
    r"""The values of a column as text: bytes that are not UTF-8 as \xNN."""
    values = column.to_pylist()
    return [
        value if value is None else display_path(value) if isinstance(value, bytes) else str(value) for value in values
    ]


def _read_csv(data: bytes) -> pa.Table:
    text = data.decode("utf-8-sig", "surrogateescape")
    head = text.partition("\n")[0]
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count), strict=True)
    names = next(rows, [])
    if not names or len(set(names)) < len(names):
        raise ValueError("its first line names no columns" if not names else "it names a column twice")
    columns: list[list[bytes | None]] = [[] for _ in names]
    for row in rows:
        if len(row) != len(names) and row:
            raise ValueError(f"line {rows.line_num} has {len(row)} values for {len(names)} columns")
        for column, value in zip(columns, row, strict=False):
            column.append(os.fsencode(value) or None)
    named = {
        name.encode("utf-8", "backslashreplace").decode(): column for name, column in zip(names, columns, strict=True)
    }
    return pa.table({name: pa.array(column, pa.binary()) for name, column in named.items()})

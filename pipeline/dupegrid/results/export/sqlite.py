"""The tables of a run in an SQLite file: those of ours replaced in one transaction, and nothing else in it touched."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from dupegrid.core.errors import DupegridError, UsageError
from dupegrid.core.text import printable, shown
from dupegrid.results.export.joined import KEYS, Selection

_MARK: Final = "-- made by dupegrid, which replaces this table"  # SQLite keeps the text that a table is made with


def write_sqlite(path: Path, prefix: str, selections: dict[str, Selection]) -> None:
    """Put tables, their names after `prefix`, into an SQLite file: a new one, or one that may hold others too.

    Whoever reads meanwhile sees the tables of before until all are there. UsageError where the file is no SQLite, or a
    table of such a name is not ours.
    """
    is_new = not os.path.lexists(path)
    try:
        with closing(sqlite3.connect(os.fsencode(path), isolation_level=None)) as connection:
            connection.execute("PRAGMA cache_spill = OFF")  # what spills before the end would lock out who reads
            connection.execute("BEGIN IMMEDIATE")
            for name, selection in selections.items():
                _replace(connection, path, prefix + name, selection)
            connection.execute("COMMIT")
    except BaseException as error:
        if is_new:
            path.unlink(missing_ok=True)
        if isinstance(error, sqlite3.DatabaseError):
            raise _failed(path, error) from None
        raise


def _replace(connection: sqlite3.Connection, path: Path, name: str, rows: Selection) -> None:
    known = connection.execute("SELECT name, sql FROM sqlite_master WHERE lower(name) = lower(?)", [name]).fetchone()
    if known is not None:
        if known[0] != name or _MARK not in (known[1] or ""):
            raise UsageError(
                f"{shown(path)} has a {known[0]} that dupegrid did not make: give --prefix, or another --to"
            )
        connection.execute(f'DROP TABLE "{name}"')
    fields = [f"{_quoted(field.name)} {_kind(field.type)}" for field in rows.schema]
    fields.append(f"PRIMARY KEY ({', '.join(_quoted(key) for key in KEYS if key in rows.schema.names)})")
    connection.execute(f"CREATE TABLE {_quoted(name)} ( {_MARK}\n" + ",\n".join(fields) + "\n)")
    places = ", ".join("?" * len(rows.schema))
    connection.executemany(f"INSERT INTO {_quoted(name)} VALUES ({places})", _values(rows))


def _values(rows: Selection) -> Iterator[tuple[Any, ...]]:
    for batch in rows.batches():
        columns = [
            column.cast(pa.string()) if pa.types.is_timestamp(column.type) else column for column in batch.columns
        ]
        yield from zip(*(column.to_pylist() for column in columns), strict=True)


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_floating(kind):
        return "REAL"
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return "INTEGER"
    return "BLOB" if pa.types.is_binary(kind) else "TEXT"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _failed(path: Path, error: sqlite3.DatabaseError) -> DupegridError:
    if error.sqlite_errorname == "SQLITE_NOTADB":
        return UsageError(f"{shown(path)} is no SQLite file, and stays as it is: give another --to")
    problem = printable(str(error))
    return DupegridError(
        f"cannot write {shown(path)} ({problem}); it is as it was before: put that right and export again"
    )

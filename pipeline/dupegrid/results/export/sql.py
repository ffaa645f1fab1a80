"""The tables of a run in a database that SQLAlchemy reaches: those of ours replaced in one transaction."""

import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from dupegrid.core.errors import DupegridError, UsageError
from dupegrid.core.text import printable, size_text
from dupegrid.results.export.joined import KEYS, Selection
from dupegrid.results.export.tables import hexadecimal

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine, Table

_MARK: Final = "made by dupegrid, which replaces what is in it"  # the comment of a table, made with it at once
_DRIVERS: Final = {"postgresql": "psycopg", "mysql": "pymysql", "mariadb": "pymysql"}  # where a URL names none
_STATEMENT_BYTES: Final = 1 << 19  # less than any server takes, and more has them no faster


def write_sql(url: str, prefix: str, selections: Mapping[str, Selection]) -> str:
    """Put tables, their names after `prefix`, into a database; gives the URL for people, without its password.

    Whoever reads meanwhile sees the rows of before until all are there. Other tables are not touched; UsageError where
    one of such a name is not ours, or the URL leads nowhere.
    """
    engine, shown = _engine(url)
    from sqlalchemy import MetaData
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with engine.begin() as connection:
            metadata = MetaData()
            tables = {name: _table(metadata, prefix + name, rows.schema) for name, rows in selections.items()}
            _prepare(connection, list(tables.values()), shown)
            for name, rows in selections.items():
                connection.execute(tables[name].delete())
                _insert(connection, tables[name], rows)
    except (SQLAlchemyError, engine.dialect.loaded_dbapi.Error) as error:
        first: BaseException = error
        while isinstance(first.__context__, SQLAlchemyError | engine.dialect.loaded_dbapi.Error):
            first = first.__context__  # where a connection is lost, taking back fails after it and says nothing
        reason = printable(str(getattr(first, "orig", None) or first).strip().partition("\n")[0])
        raise DupegridError(f"cannot write to {shown} ({reason}); its rows are as they were") from None
    finally:
        engine.dispose()
    return shown


def _engine(url: str) -> "tuple[Engine, str]":
    try:
        from sqlalchemy import create_engine, make_url
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError
    except ImportError:
        raise UsageError("a database needs SQLAlchemy: pip install 'dupegrid[sql]'") from None
    try:
        place = _with_driver(make_url(url))
        engine = create_engine(place, hide_parameters=True)
    except NoSuchModuleError:
        raise UsageError(f"SQLAlchemy knows no database {url.partition(':')[0]!r}: give --to FILE or URL") from None
    except ModuleNotFoundError as error:
        raise UsageError(f"the database needs {error.name}: pip install it, or 'dupegrid[sql]'") from None
    except (ArgumentError, ValueError):
        raise UsageError("the URL of the database is none: give postgresql://USER@HOST/NAME, for example") from None
    shown = printable(place.render_as_string(hide_password=True))
    if not engine.dialect.supports_comments:
        raise UsageError(f"{shown} knows no comments on tables, by which dupegrid's are known: give another --to")
    return engine, shown


def _with_driver(url: "URL") -> "URL":
    driver = _DRIVERS.get(url.drivername)
    url = url.set(drivername=f"{url.drivername}+{driver}") if driver else url
    return url.update_query_dict({"charset": "utf8mb4"}) if "charset" in url.query else url  # others lack characters


def _table(metadata: Any, name: str, schema: pa.Schema) -> "Table":
    from sqlalchemy import Column, Table

    columns = [
        Column(field.name, _kind(field.type), primary_key=field.name in KEYS, autoincrement=False) for field in schema
    ]
    as_bytes = {"engine": "InnoDB", "charset": "utf8mb4", "collate": "utf8mb4_bin"}
    options: dict[str, Any] = {
        f"{dialect}_{key}": value for dialect in ("mysql", "mariadb") for key, value in as_bytes.items()
    }
    return Table(name, metadata, *columns, comment=_MARK, **options)


def _kind(kind: pa.DataType) -> Any:
    import sqlalchemy as sa
    from sqlalchemy.dialects import mysql

    if pa.types.is_boolean(kind):
        return sa.Boolean()
    if pa.types.is_integer(kind):
        return sa.BigInteger() if kind.bit_width > 32 else sa.Integer()
    if pa.types.is_floating(kind):
        return sa.Double()
    if pa.types.is_timestamp(kind):
        return sa.DateTime()
    if pa.types.is_binary(kind):
        return sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")
    return sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")


def _prepare(connection: "Connection", tables: "Sequence[Table]", shown: str) -> None:
    """Make the tables that are not there, and those anew that another version made with other columns.

    What is there before any of it is looked at.
    """
    from sqlalchemy import inspect

    there = inspect(connection)
    known = {*there.get_table_names(), *there.get_view_names()}
    others = []
    for table in tables:
        if table.name in known:
            if table.name in there.get_view_names() or there.get_table_comment(table.name)["text"] != _MARK:
                raise UsageError(
                    f"{shown} has a {table.name} that dupegrid did not make: give --prefix, or another --to"
                )
            if [column["name"] for column in there.get_columns(table.name)] != table.columns.keys():
                others.append(table)
    for table in others:
        table.drop(connection)
    for table in tables:
        if table.name not in known or table in others:
            table.create(connection)


def _insert(connection: "Connection", table: "Table", rows: Selection) -> None:
    """Insert rows, past SQLAlchemy's look at each value where that takes most of the time (decision 0019)."""
    dialect, cursor = connection.dialect, connection.connection.cursor()
    name = dialect.identifier_preparer.format_table(table).replace("%%", "%")  # doubled for statements with parameters
    if dialect.driver == "psycopg":
        with cursor.copy(f"COPY {name} FROM STDIN (FORMAT csv, ENCODING 'UTF8')") as copy:  # psycopg's own
            for batch in rows.batches():
                copy.write(_as_csv(batch))
        return
    if dialect.driver == "pymysql":
        # So that a quote is all that ends a text: else a backslash is one more, unless the server says otherwise. And
        # so that what does not fit is an error, and an empty text is no NULL.
        own = "REPLACE(@@SESSION.sql_mode, 'EMPTY_STRING_IS_NULL', '')"
        cursor.execute(f"SET SESSION sql_mode = CONCAT_WS(',', {own}, 'STRICT_ALL_TABLES', 'NO_BACKSLASH_ESCAPES')")
        cursor.execute("SELECT @@max_allowed_packet")
        most = int(cursor.fetchall()[0][0])
        for batch in rows.batches():
            for values in _as_values(batch):
                _insert_values(cursor, name, values, most)
        return
    for batch in rows.batches():
        connection.execute(table.insert(), batch.to_pylist())


def _insert_values(cursor: Any, name: str, values: str, most_bytes: int) -> None:
    statement = f"INSERT INTO {name} VALUES {values}"
    if 4 * len(statement) >= most_bytes and (size := len(statement.encode())) >= most_bytes:  # it would hang up
        raise DupegridError(
            f"rows of {name} take {size_text(size)}, and the database takes {size_text(most_bytes)} at once: "
            "let its max_allowed_packet be larger; its rows are as they were"
        )
    cursor.execute(statement)


def _as_values(batch: pa.Table) -> Iterator[str]:
    """The rows as INSERT takes them, some at a time: (1,'it''s',x'ff',NULL),(...). A backslash is no more than that."""
    columns = [_literals(column) for column in batch.columns]
    rows = pc.binary_join_element_wise("(", pc.binary_join_element_wise(*columns, ","), ")", "").combine_chunks()
    statement = np.cumsum(pc.binary_length(rows).to_numpy(), dtype=np.int64) // _STATEMENT_BYTES
    for start, stop in pairwise([*np.flatnonzero(np.diff(statement, prepend=-1)), len(rows)]):
        yield ",".join(rows[start:stop].to_pylist())


def _literals(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_binary(column.type):
        column = pc.binary_join_element_wise("x'", hexadecimal(column), "'", "")
    elif pa.types.is_string(column.type) or pa.types.is_timestamp(column.type):
        column = pc.replace_substring(column.cast(pa.string()), "'", "''")
        column = pc.binary_join_element_wise("'", column, "'", "")
    return column.cast(pa.string()).fill_null("NULL")


def _as_csv(batch: pa.Table) -> bytes:
    """The rows as PostgreSQL's COPY reads them: bytes as hexadecimal digits after \\x, NUL in a text as \ufffd."""
    columns = {}
    for field in batch.schema:
        column = batch[field.name]
        if pa.types.is_binary(field.type):
            column = pc.binary_join_element_wise("\\x", hexadecimal(column), "")
        elif pa.types.is_string(field.type):  # that of an error, say, which a decoder gave
            column = pc.replace_substring(column, "\0", "\ufffd")
        columns[field.name] = column
    out = io.BytesIO()
    csv.write_csv(pa.table(columns), out, csv.WriteOptions(include_header=False))
    return out.getvalue()

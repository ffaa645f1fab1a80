"""Exports to a real MariaDB and PostgreSQL: equal rows, our own tables only, the old rows until the new are there."""

from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import dupegrid
from dupegrid.core.errors import DupegridError, UsageError
from dupegrid.results.export.joined import RunTables, selected
from dupegrid.results.export.sql import write_sql
from dupegrid.results.rows import Rows
from tests.helpers import databases
from tests.helpers.exports import watched

# sqlalchemy is loaded in the tests: most processes of `make test` do without.
NOT_THERE = pytest.mark.skipif(find_spec("sqlalchemy") is None, reason="the extra sql is not installed")
pytestmark = [pytest.mark.slow, NOT_THERE]
TABLES = ("images", "matches", "clusters")


@pytest.fixture
def run(hostile: dupegrid.Run) -> dupegrid.Run:
    return hostile


@pytest.fixture(scope="module", params=["mariadb", "postgresql"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with getattr(databases, request.param)() as url:
        yield url


@pytest.fixture
def engine(url: str) -> Iterator[Any]:
    """The database as others reach it, in which nothing is left after a test."""
    import sqlalchemy as sa

    driver = {"mariadb": "mariadb+pymysql", "postgresql": "postgresql+psycopg"}[url.partition(":")[0]]
    engine = sa.create_engine(url.replace(url.partition(":")[0], driver, 1))
    there = set(sa.inspect(engine).get_table_names())
    yield engine
    with engine.begin() as connection:
        for name in set(sa.inspect(connection).get_table_names()) - there:
            connection.exec_driver_sql(f"DROP TABLE {name}")
    engine.dispose()


def rows_of(run: dupegrid.Run, name: str) -> list[tuple[Any, ...]]:
    kept = [field for field in getattr(run, name).column_names if name == "images" or "path_raw" not in field]
    return sorted(tuple(row.values()) for row in getattr(run, name).select(kept).to_pylist())


def test_the_tables_are_there_and_again(run: dupegrid.Run, url: str, engine: Any) -> None:
    import sqlalchemy as sa

    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE mine (x INT)")
        connection.exec_driver_sql("INSERT INTO mine VALUES (1)")
    for _ in range(2):
        done = dupegrid.export(run, url)
        assert done.counts == {name: len(getattr(run, name)) for name in TABLES}
        assert "secret" not in done.to
        with engine.connect() as connection:
            for name in TABLES:
                read = connection.exec_driver_sql(f"SELECT * FROM dupegrid_{name} ORDER BY 1, 2").fetchall()
                assert [tuple(row) for row in read] == rows_of(run, name)
            assert connection.exec_driver_sql("SELECT * FROM mine").fetchall() == [(1,)]
            joined = "SELECT path_raw, role FROM dupegrid_images JOIN dupegrid_clusters ON id = image"
            frame = pd.read_sql(sa.text(joined), connection)
    roles = dict(zip(*(run.clusters[name].to_pylist() for name in ("path_raw", "role")), strict=True))
    assert {bytes(row.path_raw): row.role for row in frame.itertuples()} == roles


def test_only_our_own_tables_are_replaced(run: dupegrid.Run, url: str, engine: Any) -> None:
    import sqlalchemy as sa

    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE dupegrid_clusters (x INT)")
    with pytest.raises(UsageError, match="has a dupegrid_clusters that dupegrid did not make") as refused:
        dupegrid.export(run, url)
    assert "secret" not in str(refused.value)
    names = {name for name in sa.inspect(engine).get_table_names() if name.startswith("dupegrid_")}
    assert names == {"dupegrid_clusters"}
    dupegrid.export(run, url, prefix="Other_")
    with engine.begin() as connection:  # as a version with other columns would have left it
        quoted = connection.dialect.identifier_preparer.quote("Other_matches")
        connection.exec_driver_sql(f"ALTER TABLE {quoted} DROP COLUMN score")
    dupegrid.export(run, url, prefix="Other_")
    with engine.begin() as connection:
        assert connection.execute(sa.text(f"SELECT count(score) FROM {quoted}")).scalar() == len(run.matches)
        for name in TABLES:
            connection.exec_driver_sql(f"DROP TABLE {connection.dialect.identifier_preparer.quote('Other_' + name)}")


def test_who_reads_meanwhile_sees_the_old_rows(run: dupegrid.Run, url: str, engine: Any) -> None:
    everything = selected("matches", ["a", "b"], RunTables(run))
    few = selected("matches", ["a", "b"], SimpleNamespace(matches=Rows.of(run.matches[:3]), images=Rows.of(run.images)))
    seen = []

    def look() -> None:
        with closing(engine.connect()) as connection:
            seen.append(connection.exec_driver_sql("SELECT count(*) FROM dupegrid_matches").scalar())

    def fail() -> None:
        look()
        raise RuntimeError("stopped")

    write_sql(url, "dupegrid_", {"matches": few})
    with pytest.raises(RuntimeError, match="stopped"):
        write_sql(url, "dupegrid_", {"matches": watched(everything, fail)})
    look()
    write_sql(url, "dupegrid_", {"matches": watched(everything, look)})
    look()
    assert seen == [3, 3, 3, len(run.matches)]


def test_text_that_databases_read_otherwise(url: str, engine: Any) -> None:
    texts = [
        "",
        None,
        "NULL",
        "\\N",
        "\\.",
        "a\n\\.\nb",
        "'; DROP TABLE x; --",
        '"',
        "%s %(a)s",
        "\U0001f44d",
        "\\x41",
        "end ",
        "end\\",
        "'",
        "\\'",
        "''" * 1000,  # long enough that MariaDB is sent several statements
    ] * 40
    table = pa.table({"id": range(len(texts) + 1), "error": [*texts, "a\0b"], "raw": [b"\0\xff'"] * (len(texts) + 1)})
    images = {"images": selected("images", None, SimpleNamespace(images=Rows.of(table)))}
    for _ in modes_of(engine):
        write_sql(url, "dupegrid_", images)
        with engine.connect() as connection:
            read = connection.exec_driver_sql("SELECT error, raw FROM dupegrid_images ORDER BY id").fetchall()
        assert [row[0] for row in read[:-1]] == texts
        assert read[-1][0] in ("a\0b", "a\ufffdb")  # PostgreSQL has no NUL in a text
        assert {bytes(row[1]) for row in read} == {b"\0\xff'"}


def test_whatever_a_connection_takes_for_the_encoding(url: str, engine: Any) -> None:
    import sqlalchemy as sa

    table = pa.table({"id": [0], "error": ["\u00e4\u4e2d\U0001f44d"]})
    images = {"images": selected("images", None, SimpleNamespace(images=Rows.of(table)))}
    word = "client_encoding" if engine.dialect.name == "postgresql" else "charset"
    write_sql(f"{url}&{word}=latin1", "100%s_", images)
    name = engine.dialect.identifier_preparer.quote("100%s_images").replace("%%", "%")
    with engine.begin() as connection:
        assert connection.execute(sa.text(f"SELECT error FROM {name}")).scalar() == table["error"][0].as_py()
        connection.execute(sa.text(f"DROP TABLE {name}"))


def test_what_does_not_fit_is_an_error_whatever_the_mode(url: str, engine: Any) -> None:
    table = pa.table({"id": [0], "error": ["x" * (1 << 24)]})
    images = {"images": selected("images", None, SimpleNamespace(images=Rows.of(table)))}
    if engine.dialect.name == "postgresql":
        pytest.skip("a text of PostgreSQL has no such limit, and it has no modes")
    with pytest.raises(DupegridError, match="max_allowed_packet"):
        write_sql(url, "dupegrid_", images)
    with engine.begin() as connection:
        own = connection.exec_driver_sql("SELECT @@GLOBAL.sql_mode").scalar()
        most = connection.exec_driver_sql("SELECT @@GLOBAL.max_allowed_packet").scalar()
        connection.exec_driver_sql("SET GLOBAL sql_mode = ''")
        connection.exec_driver_sql("SET GLOBAL max_allowed_packet = 1 << 26")
    try:
        with pytest.raises(DupegridError, match="too long"):
            write_sql(url, "dupegrid_", images)
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql("SET GLOBAL sql_mode = %s", (own,))
            connection.exec_driver_sql(f"SET GLOBAL max_allowed_packet = {most}")


def modes_of(engine: Any) -> Iterator[str]:
    """The database in each mode that says what a backslash is: its own, and those of others."""
    yield "its own"
    if engine.dialect.name == "postgresql":
        return
    with engine.begin() as connection:
        own = connection.exec_driver_sql("SELECT @@GLOBAL.sql_mode").scalar()
        for mode in ("", "NO_BACKSLASH_ESCAPES,ANSI_QUOTES", "EMPTY_STRING_IS_NULL,PAD_CHAR_TO_FULL_LENGTH"):
            connection.exec_driver_sql("SET GLOBAL sql_mode = %s", (mode,))
            yield mode
        connection.exec_driver_sql("SET GLOBAL sql_mode = %s", (own,))


def test_urls_that_lead_nowhere(run: dupegrid.Run, tmp_path: Path) -> None:
    for to, kind, problem in (
        ("nosuch://host/db", UsageError, "knows no database 'nosuch'"),
        ("://host/db", UsageError, "is none"),
        ("sqlite+pysqlite:///x", UsageError, "knows no comments"),
        (f"mariadb://me:secret@/db?unix_socket={tmp_path}/none", DupegridError, "cannot write to"),
        (f"postgresql://me:secret@/db?host={tmp_path}", DupegridError, "cannot write to"),
    ):
        with pytest.raises(kind, match=problem) as refused:
            dupegrid.export(run, to)
        assert "secret" not in str(refused.value)
        assert "\n" not in str(refused.value)

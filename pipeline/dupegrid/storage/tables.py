"""Tables of a run directory: parquet files written whole or not at all, read with their checksums verified."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from dupegrid.core.errors import DamagedError
from dupegrid.storage.files import read_error, sealed, unsealed, writing_whole
from dupegrid.storage.ours import MADE_BY, opened
from dupegrid.storage.places import FOLDERS

_ROWS = "row count"  # among the facts of a table: with other rows it is not what they were said of
_ROWS_AT_ONCE = 1 << 17  # of a table, while it is read


def write_table(
    path: Path, table: pa.Table, facts: Mapping[str, str] | None = None, row_group_size: int | None = None
) -> None:
    """Write one parquet file whole or not at all, with facts of its rows for `read_metadata`."""
    write_tables(path, table.schema, [table], facts, row_group_size)


def write_tables(
    path: Path,
    schema: pa.Schema,
    tables: Iterable[pa.Table],
    facts: Mapping[str, str] | None,
    row_group_size: int | None = None,
) -> None:
    """Write tables of one schema into one parquet file, a row group each: no more than one of them need be held."""
    ours = schema.with_metadata(MADE_BY)
    # A file, as pyarrow takes no path that is not UTF-8. snappy, its default: zstd halves it and takes twice the time.
    # No dictionaries of small row groups, where these take a third of the bytes and of the time.
    options = {"write_page_checksum": True, "use_dictionary": row_group_size is None}
    rows = 0
    with writing_whole(path) as file, pq.ParquetWriter(file, ours, **options) as writer:
        for table in tables:
            writer.write_table(table.replace_schema_metadata(ours.metadata), row_group_size)
            rows += len(table)
        if facts is not None:  # not in the schema: what another tool writes of a table that it has read has none
            last = sealed({**facts, _ROWS: str(rows)})
            writer.add_key_value_metadata({key: last[key] for key in last.keys() - MADE_BY.keys()})


def parts_in(folder: Path) -> list[Path]:
    """The files of ours in a folder of part files, in the order of their names."""
    inside = re.compile(FOLDERS[folder.name])
    return sorted(path for path in folder.iterdir() if inside.fullmatch(path.name) and path.name[0] != "_")


def read_table(path: Path, schema: pa.Schema, columns: list[str] | None = None, whole: bool = False) -> pa.Table:
    """A table from one parquet file or a folder of part files (in the order of their names).

    Files that are no part files of ours are left out. A folder without parts is an empty table. With `whole` the
    other columns are read too, part by part, so that damage in them shows.
    """
    return read_parts(parts_in(path) if path.name in FOLDERS and path.is_dir() else [path], schema, columns, whole)


def read_pieces(path: Path, schema: pa.Schema, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The table of one parquet file, some row groups at a time, which hold 131,072 rows or more in all."""
    return _pieces(path, _chosen(schema, columns), whole=False, group=None, about=None)


def read_parts(
    files: Sequence[Path], schema: pa.Schema, columns: Sequence[str] | None = None, whole: bool = False
) -> pa.Table:
    """One table of the rows of some parquet files, in their order; `whole` as in `read_table`."""
    wanted = _chosen(schema, columns)
    if len(files) == 1:
        return _read_part(files[0], wanted, whole)
    with ThreadPoolExecutor(min(len(files), os.cpu_count() or 1) or 1) as pool:
        tables = list(pool.map(lambda file: _read_part(file, wanted, whole), files))
    return pa.concat_tables(tables) if tables else wanted.empty_table()


def is_whole(path: Path, schema: pa.Schema, rows: int) -> bool:
    """Whether a table is there, nothing of it is damaged, and it has so many rows."""
    try:
        return len(read_table(path, schema)) == rows
    except DamagedError:
        return False


def row_count(path: Path) -> int:
    """How many rows a parquet file has."""
    return int(described(path).num_rows)


def read_metadata(path: Path) -> dict[str, str]:
    """The facts that a parquet file was written with; empty where there is no such file, or one of other rows."""
    try:
        about = described(path)
        kept = about.metadata or {}
        facts = {key.decode(): value.decode() for key, value in kept.items() if key != b"ARROW:schema"}
    except (DamagedError, UnicodeDecodeError):
        return {}
    facts = unsealed(facts) or {}
    return facts if facts.pop(_ROWS, str(about.num_rows)) == str(about.num_rows) else {}


def described(path: Path) -> pq.FileMetaData:
    """What a parquet file says of all of its row groups. DamagedError where these do not hold the rows it claims."""
    with _opened_parquet(path) as file:
        return _plausible(path, file, pq.read_metadata(file))


def _plausible(path: Path, file: IO[bytes], about: pq.FileMetaData) -> pq.FileMetaData:
    rows = _group_rows(about)
    # A row takes some bytes in all of our tables.
    if min(rows, default=0) < 0 or not sum(rows) == about.num_rows <= file.seek(0, os.SEEK_END):
        raise DamagedError(path, "it claims more rows than it can hold, or fewer")
    return about


def _group_rows(about: pq.FileMetaData) -> list[int]:
    return [about.row_group(number).num_rows for number in range(about.num_row_groups)]


def read_group(
    path: Path,
    number: int,
    schema: pa.Schema,
    columns: Sequence[str] | None = None,
    whole: bool = False,
    about: pq.FileMetaData | None = None,
) -> pa.Table:
    """One row group of a parquet file, as `read_table` reads all of them; with what was `described`, sooner."""
    return _read_part(path, _chosen(schema, columns), whole, number, about)


def group_rows(path: Path) -> list[int]:
    """How many rows each row group of a parquet file has."""
    return _group_rows(described(path))


def _chosen(schema: pa.Schema, columns: Sequence[str] | None) -> pa.Schema:
    return schema if columns is None else pa.schema(map(schema.field, columns))


def _read_part(path: Path, schema: pa.Schema, whole: bool, group: int | None = None, about: Any = None) -> pa.Table:
    # Some at a time: what pyarrow needs to read all at once takes as much memory again.
    return pa.concat_tables(list(_pieces(path, schema, whole, group, about)))


def _pieces(path: Path, schema: pa.Schema, whole: bool, group: int | None, about: Any) -> Iterator[pa.Table]:
    """Some row groups of a parquet file at a time, or one; where it has none, a table without rows."""
    columns = None if whole else schema.names
    with _opened_parquet(path) as file:
        words = [field.name for field in schema if pa.types.is_dictionary(field.type)]
        parquet = pq.ParquetFile(file, metadata=about, page_checksum_verification=True, read_dictionary=words)
        about = about or _plausible(path, file, parquet.metadata)
        groups = range(about.num_row_groups) if group is None else [group]
        at_once = max(1, _ROWS_AT_ONCE * about.num_row_groups // max(1, about.num_rows))
        pieces = [groups[start : start + at_once] for start in range(0, len(groups), at_once)]
        for piece in pieces or [[]]:
            if piece:
                table = parquet.read_row_groups(piece, columns=columns, use_threads=False)
            else:  # pyarrow 18 cannot read none of them
                table = parquet.schema_arrow.empty_table()
            table = table.select(schema.names)
            # No facts of the file with it; to cast takes 0.1 ms for three columns.
            yield table.replace_schema_metadata() if table.schema == schema else table.cast(schema)


@contextmanager
def _opened_parquet(path: Path) -> Iterator[IO[bytes]]:
    try:
        with opened(path) as file:
            yield file
    except OSError as error:
        raise read_error(path, error) from None
    except (pa.ArrowException, ValueError, KeyError) as error:  # damage may show in the name of a column
        raise DamagedError(path, " ".join(str(error).split())) from None

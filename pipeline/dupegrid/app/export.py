"""What a run found, handed on to a file or a database: which format, whether it may be written there, and done."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final, TypedDict, Unpack

import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.app.opening import as_run
from dupegrid.app.run import Run
from dupegrid.core.errors import DupegridError, UsageError
from dupegrid.core.text import printable, shown
from dupegrid.core.values import StrPath, place_of, resolved
from dupegrid.images.sources import Sources
from dupegrid.results.answers import Export
from dupegrid.results.export import lists as lists
from dupegrid.results.export.filtered import filtered_coco, filtered_yolo
from dupegrid.results.export.joined import TABLES, RunTables, Selection, selected
from dupegrid.results.export.sql import write_sql
from dupegrid.results.export.sqlite import write_sqlite
from dupegrid.results.export.tables import write_csv, write_json_lines, write_parquet
from dupegrid.results.export.views import views
from dupegrid.results.stored import images_of
from dupegrid.storage.files import writing_whole
from dupegrid.storage.ours import is_known


class ExportOptions(TypedDict, total=False):
    """What else `export` takes, each for some formats."""

    table: str  # 'matches', 'clusters' or 'images': parquet, csv, jsonl
    columns: str | Sequence[str]  # their names, joined ones too: parquet, csv, jsonl
    filter: StrPath  # the list to filter: coco, yolo
    under: StrPath  # the folder that names are seen from: coco, yolo, huggingface
    prefix: str  # what the names of the tables begin with: sqlite, sql, duckdb
    replace: bool  # write over a file that is there: all that write a file


_OF_TABLES: Final = {"parquet": write_parquet, "csv": write_csv, "jsonl": write_json_lines}
_TAKEN: Final = {
    **dict.fromkeys(_OF_TABLES, ("table", "columns", "replace")),
    **dict.fromkeys(("difpy", "duplicates", "fiftyone", "script"), ("replace",)),
    **dict.fromkeys(("coco", "yolo"), ("filter", "under", "replace")),
    "huggingface": ("under", "replace"),
    "duckdb": ("prefix", "replace"),
    "sqlite": ("prefix",),
    "sql": ("prefix",),
}
_ENDINGS: Final = {
    **{".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "difpy", ".sh": "script"},
    **{".sqlite": "sqlite", ".sqlite3": "sqlite", ".db": "sqlite", ".sql": "duckdb", ".txt": "yolo"},
}


def export(run: StrPath, to: StrPath, format: str | None = None, **options: Unpack[ExportOptions]) -> Export:
    """Write what a run found to a file, in the format that its ending says, or to a database by its URL.

    `format` is one of parquet, csv, jsonl, sqlite, sql, duckdb, difpy, duplicates, script, fiftyone, huggingface, coco
    and yolo; docs/how-to/export.md says what each holds. A file that is there stays as it is unless `replace` is given;
    in a database, SQLite's too, only tables of ours are replaced. Raises UsageError for what the caller can put right.
    """
    if not isinstance(to, str | bytes | os.PathLike):
        raise UsageError(f"to is {to!r}: give a file or the URL of a database")
    done = as_run(run)
    format = _format_of(to, format, options)
    prefix = options.get("prefix", "dupegrid_")
    if not (prefix.isascii() and prefix.isidentifier() and len(prefix) <= 40):
        raise UsageError(f"prefix is {printable(prefix)!r}: give up to 40 letters, digits and _, not a digit first")
    text = os.fsdecode(to)
    if format == "sql" and not text.startswith("sqlite:///"):
        tables = _database_tables(done)
        return Export(write_sql(text, prefix, tables), format, {name: len(rows) for name, rows in tables.items()})
    path = _target(done, text.removeprefix("sqlite:///"), format, options)
    try:
        if format in ("sqlite", "sql"):
            tables = _database_tables(done)
            write_sqlite(path, prefix, tables)
            return Export(str(path), "sqlite", {name: len(rows) for name, rows in tables.items()})
        with writing_whole(path) as file:
            counts = _written(done, file, format, options)
    except OSError as error:
        raise DupegridError(f"cannot write {shown(path)}: {error.strerror}; put that right and export again") from None
    return Export(str(path), format, lists.shown_counts(counts))


def _format_of(to: StrPath, format: str | None, options: ExportOptions) -> str:
    """The format that is asked for. UsageError where none is known, or it takes an option of those given not."""
    text = os.fsdecode(to)
    if format is None and "://" in text:
        format = "sql"
    if format is None:
        name, ending = os.path.basename(text), os.path.splitext(text)[1].lower()
        format = "huggingface" if name == "metadata.csv" else _ENDINGS.get(ending, "")
        format = "coco" if format == "difpy" and "filter" in options else format
    if format not in _TAKEN:
        problem = f"no format {printable(format)!r}" if format else f"{printable(text)!r} names no format by its ending"
        raise UsageError(f"{problem}: give --format, one of {', '.join(_TAKEN)}")
    for name in options:
        if name not in _TAKEN[format]:
            raise UsageError(f"{format} takes no --{name}, only {', '.join('--' + known for known in _TAKEN[format])}")
    if (format == "sql") != ("://" in text):
        raise UsageError("sql goes to the URL of a database, such as postgresql://USER@HOST/NAME, all else to a file")
    if "filter" in _TAKEN[format] and "filter" not in options:
        raise UsageError(f"{format} is a list of yours without its duplicates: name it with --filter FILE")
    return format


def _target(done: Run, to: str, format: str, options: ExportOptions) -> Path:
    """The file to write, absolute. UsageError where something is there that stays as it is."""
    path = Path(place_of("--to", to))
    text, real = shown(path), Path(os.path.realpath(path))
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {shown(path.parent)} to write to: make it first")
    for folder in real.parents[:3]:
        if folder == Path(os.path.realpath(str(done.path))) or _is_run(folder):
            raise UsageError(f"{text} is in a run directory, where only runs write: give another --to")
    names, roots = {path, real}, {*done.config.paths, *done.config.against}
    raw = pa.array([os.fsencode(name) for name in names], pa.binary())
    is_picture = any(pc.any(pc.is_in(part["path_raw"], raw)).as_py() for part in images_of(done).each(["path_raw"]))
    if is_picture or not roots.isdisjoint(map(str, names)):
        raise UsageError(f"{text} is what the run is of, and stays as it is: give another --to")
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return path
    if not stat.S_ISREG(mode):
        raise UsageError(f"{text} is there and no regular file: give another --to")
    if format not in ("sqlite", "sql") and not options.get("replace"):
        raise UsageError(f"{text} is there and stays as it is: give --replace, or another --to")
    return path


def _is_run(folder: Path) -> bool:
    file = folder / "run.json"
    return file.is_file() and is_known(file)


def _database_tables(done: Run) -> dict[str, Selection]:
    """The tables for a database: exact paths are in that of images only, as bytes."""
    tables = RunTables(done)
    found = {"images": selected("images", None, tables)}
    for name, table in (("matches", tables.matches), ("clusters", tables.clusters)):
        found[name] = selected(name, [one for one in table.schema.names if "path_raw" not in one], tables)
    return found


def _written(done: Run, file: IO[bytes], format: str, options: ExportOptions) -> dict[str, int]:
    """Write a format that is a file; how many of what."""
    tables = RunTables(done)
    if format in _OF_TABLES:
        rows = _selection(tables, options)
        _OF_TABLES[format](rows, file)
        return {options.get("table", "matches"): len(rows)}
    if format in ("coco", "yolo"):
        return _filtered(tables, file, format, options)
    if format == "duckdb":
        file.write(views(str(done.path), options.get("prefix", "dupegrid_")).encode())
        return {name: len(getattr(tables, name)) for name in TABLES}
    sources = Sources.of(done.config)

    def is_file(path: bytes) -> bool:
        return sources.place(path) is None

    if format == "script":
        return lists.write_script(tables, file, is_file, str(done.path))
    if format == "fiftyone":
        return lists.write_fiftyone(tables, file, is_file)
    if format == "huggingface":
        folder = options.get("under", os.path.dirname(os.fsdecode(file.name)))
        return lists.write_huggingface(tables, file, is_file, place_of("--under", folder))
    return lists.write_difpy(tables, file) if format == "difpy" else lists.write_duplicates(tables, file)


def _selection(tables: RunTables, options: ExportOptions) -> Selection:
    table, columns = options.get("table", "matches"), options.get("columns")
    if table not in TABLES:
        raise UsageError(f"no table {printable(table)!r}: there are {', '.join(TABLES)}")
    if isinstance(columns, str):
        columns = [name.strip() for name in columns.split(",")]
    return selected(table, columns, tables)


def _filtered(tables: RunTables, file: IO[bytes], format: str, options: ExportOptions) -> dict[str, int]:
    path = Path(resolved(options["filter"]))
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {shown(path)}: {error.strerror}") from None
    under = options.get("under")
    folder = str(path.parent) if under is None else place_of("--under", under)
    filtered = filtered_coco if format == "coco" else filtered_yolo
    result, counts = filtered(tables, text, folder, under is None)
    file.write(result)
    return counts

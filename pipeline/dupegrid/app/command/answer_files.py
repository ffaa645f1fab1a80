"""Answers as files that a caller names: lists of paths, tables as parquet and CSV. Nothing of others is replaced."""

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from dupegrid.app.ask import unique
from dupegrid.core.errors import DamagedError, UsageError
from dupegrid.core.text import printable, shown
from dupegrid.core.values import StrPath, place_of
from dupegrid.results.export.tables import formula_safe
from dupegrid.storage.files import read_json, write_bytes, write_json
from dupegrid.storage.tables import write_table

if TYPE_CHECKING:
    from dupegrid.app.run import Run
    from dupegrid.results.questions.leakage import Leakage

_RECORD: Final = "leakage.json"  # by which a folder of ours is known again


def write_list(run: "Run", file: StrPath, paths: pa.ChunkedArray, null: bool = False) -> Path:
    """Write paths, a column of their exact bytes, for --files-from: one a line, or each ended by NUL.

    Raises UsageError where the file is there already, or would be among the pictures or in the run directory, and
    where a line break in a path would make two of it.
    """
    names: list[bytes] = paths.to_pylist()
    if not null and any(b"\n" in name for name in names):
        raise UsageError("a path has a line break in it: end the paths with NUL, by --null")
    end = b"\0" if null else b"\n"
    path = _place(run, file)
    check_free(path)
    _made(path.parent)
    write_bytes(path, b"".join(name + end for name in names))
    return path


def check_free(file: StrPath) -> None:
    """UsageError where a file is there already."""
    if os.path.lexists(file):
        raise UsageError(f"{printable(os.fsdecode(file))} is there already: name another file, as none is replaced")


def write_new(run: "Run", file: StrPath) -> tuple[int, Path]:
    """Write the paths that have no near duplicate under --against as `write_list` does; how many, and the file.

    They are ended by NUL where a path has a line break in it. Raises UsageError without --against too.
    """
    if not run.config.against:
        raise UsageError("--list-new lists what is not under --against: give --against PATH")
    alone = unique(run, run.config.roots[: run.config.first_against])["path_raw"]
    null = pc.any(pc.match_substring(alone, "\n")).as_py() or False
    return len(alone), write_list(run, file, alone, null)


def write_leakage(run: "Run", folder: StrPath, found: "Leakage") -> Path:
    """Write what splits share into a folder: leakage.json, and each table as NAME.parquet and NAME.csv.

    UsageError unless the folder is new, empty, or one that this wrote before, and apart from the pictures and the run
    directory. In the CSV files there is an apostrophe
    before text that a spreadsheet would take for a formula, and no path_raw.
    """
    path = _place(run, folder)
    _made(path)
    if os.listdir(path) and not _is_ours(path / _RECORD):
        raise UsageError(f"{shown(path)} holds other files, and nothing of yours is replaced: name a new folder")
    write_json(path / _RECORD, found.as_dict())
    for name, table in found.tables.items():
        write_table(path / f"{name}.parquet", table)
        write_bytes(path / f"{name}.csv", as_csv(table))
    return path


def as_csv(table: pa.Table) -> bytes:
    """A table as CSV in UTF-8, without its columns of bytes, and with no text that is a formula to a spreadsheet."""
    out = io.BytesIO()
    text = table.drop_columns([field.name for field in table.schema if pa.types.is_binary(field.type)])
    pacsv.write_csv(formula_safe(text), out)
    return out.getvalue()


def _place(run: "Run", path: StrPath) -> Path:
    place = Path(place_of("the place to write to", path))
    inside_run = place.resolve().is_relative_to(Path(str(run.path)).resolve())
    folder = str(run.path) if inside_run else run.config.root_around(place)
    if folder is not None:
        raise UsageError(f"{shown(place)} lies inside {printable(folder)}: name a place outside the run and the photos")
    return place


def _made(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {shown(folder)}: {error.strerror}; name another") from None


def _is_ours(record: Path) -> bool:
    try:
        read_json(record)
        return True
    except (DamagedError, UsageError):  # there is none, or it is a link or another's
        return False

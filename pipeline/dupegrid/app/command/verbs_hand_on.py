"""The verbs that hand on what a run found: export."""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import dupegrid as api
from dupegrid.app.command.flags import Json, RunDir, emit, flag, given, option, switch, to_standard_output, with_flags
from dupegrid.core.errors import UsageError

if TYPE_CHECKING:
    from dupegrid.results.answers import Export

_FORMATS = "parquet, csv, jsonl, sqlite, sql, duckdb, difpy, duplicates, script, fiftyone, huggingface, coco, yolo"
_NOT_PIPED: Final = ("sqlite", "sql", "huggingface")  # the last by names as seen from the folder of its file
_To = Annotated[
    str,
    option(
        metavar="FILE|URL|-",
        help="A file, whose ending says the format, or the URL of a database; - is standard output.",
    ),
]


@with_flags(
    {
        "format": flag("FORMAT", f"One of {_FORMATS}."),
        "table": flag("matches|clusters|images", "The table to write."),
        "columns": flag("A,B,...", "The columns to write, joined ones too."),
        "filter": flag("FILE", "Your COCO JSON or YOLO list, to write without duplicates."),
        "under": flag("FOLDER", "The folder that file names in a list start from."),
        "prefix": flag("TEXT", "What the names of the tables begin with.  [default: dupegrid_]"),
        "replace": switch("--replace", "Write over a file that is there."),
    }
)
def export(run_dir: RunDir, to: _To, *, as_json: Json = False, **options: Any) -> None:
    """Write what RUN found to a file, a database or for other tools."""
    if to == "-":
        _piped(run_dir, as_json, {"format": "csv", **given(options)})
        return
    done = api.export(run_dir, to, **given(options))
    emit(done.as_dict(), _lines(done), as_json)


def _piped(run_dir: str, as_json: bool, options: dict[str, Any]) -> None:
    """Write to standard output what would be in the file, once it is whole."""
    if as_json or options["format"] in _NOT_PIPED:
        raise UsageError(f"{'--json' if as_json else options['format']} does not go with --to -: name a file")
    with tempfile.TemporaryDirectory(prefix="dupegrid-") as folder:
        file = Path(folder, "file")
        api.export(run_dir, file, **options)
        if sys.stdout is None:  # closed: print says nothing then either
            return
        with file.open("rb") as written, to_standard_output():
            shutil.copyfileobj(written, sys.stdout.buffer)
            sys.stdout.flush()


def _lines(found: "Export") -> list[str]:
    counts = [f"{name.replace('_', ' ')} {count:,}" for name, count in found.counts.items()]
    return [f"{found.format:<11} {', '.join(counts)}", f"to          {found.to}"]

"""The verbs that hand on what a run found: export."""

from typing import TYPE_CHECKING, Annotated, Any

import dupegrid as api
from dupegrid.app.flags import Json, RunDir, given, option, say, with_flags

if TYPE_CHECKING:
    from dupegrid.results.answers import Export

_FORMATS = "parquet, csv, jsonl, sqlite, sql, duckdb, difpy, duplicates, script, fiftyone, huggingface, coco, yolo"
_To = Annotated[str, option(metavar="FILE|URL", help="A file, whose ending says the format, or the URL of a database.")]


@with_flags(
    {
        "format": Annotated[str | None, option(metavar="FORMAT", help=f"One of {_FORMATS}.")],
        "table": Annotated[str | None, option(metavar="matches|clusters|images", help="The table to write.")],
        "columns": Annotated[str | None, option(metavar="A,B,...", help="The columns to write, joined ones too.")],
        "filter": Annotated[
            str | None, option(metavar="FILE", help="Your COCO JSON or YOLO list, to write without duplicates.")
        ],
        "under": Annotated[
            str | None, option(metavar="FOLDER", help="The folder that file names in a list start from.")
        ],
        "prefix": Annotated[
            str | None, option(metavar="TEXT", help="What the names of the tables begin with.  [default: dupegrid_]")
        ],
        "replace": Annotated[bool | None, option("--replace", help="Write over a file that is there.")],
    }
)
def export(run_dir: RunDir, to: _To, *, as_json: Json = False, **options: Any) -> None:
    """Write what RUN found to a file, a database or for other tools."""
    done = api.export(run_dir, to, **given(options))
    say(done.as_dict(), _lines(done), as_json)


def _lines(found: "Export") -> list[str]:
    counts = [f"{name.replace('_', ' ')} {count:,}" for name, count in found.counts.items()]
    return [f"{found.format:<11} {', '.join(counts)}", f"to          {found.to}"]

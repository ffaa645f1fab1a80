"""The tables of a run as views of DuckDB: SQL that names its parquet files."""

import os
import re
from typing import Final

from dupegrid.core.errors import UsageError
from dupegrid.core.text import printable

_FILES: Final = {
    "images": "images.parquet",
    "matches": "matches.parquet/part-*.parquet",
    "clusters": "clusters.parquet",
}


def views(run: str, prefix: str) -> str:
    """SQL that makes the views images, matches and clusters, their names after `prefix`, of a run directory or a URL.

    They read the files of the run each time, so they say what it says then. UsageError for a path that is no UTF-8.
    """
    try:
        os.fsencode(run).decode()
    except UnicodeDecodeError:
        raise UsageError(f"DuckDB opens no path that is not UTF-8, as {printable(run)} is: move the run") from None
    place = re.sub(r"[*?\[]", r"[\g<0>]", run.rstrip("/")).replace("'", "''")  # its wildcards stand for themselves
    lines = [
        f"CREATE OR REPLACE VIEW \"{prefix}{name}\" AS SELECT * FROM read_parquet('{place}/{files}');\n"
        for name, files in _FILES.items()
    ]
    return "-- made by dupegrid: read it with .read in the duckdb command, or duckdb.sql(text) in Python\n" + "".join(
        lines
    )

"""What a person decides of pairs of pictures, and decisions that were made elsewhere."""

import os
from datetime import datetime
from typing import Any

import pyarrow as pa

from dupegrid.app.given_tables import given_table
from dupegrid.app.opening import absolute, as_run
from dupegrid.app.run import Run
from dupegrid.core.errors import UsageError
from dupegrid.core.keys import fingerprint
from dupegrid.core.text import printable
from dupegrid.core.values import StrPath
from dupegrid.plans import decisions
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.schemas import DECISIONS
from dupegrid.storage.tables import read_metadata
from dupegrid.storage.words import VERDICTS


def decide(
    run: StrPath | Run,
    a: int | StrPath,
    b: int | StrPath,
    decision: str,
    keeper: int | StrPath | None = None,
    by: str = "decide",
) -> dict[str, Any]:
    """Say of two pictures that they are the 'same', 'not-same', a 'variant' (both are kept), or 'undecided' again.

    Name each by its id, its path in images.parquet or the end of that path. `keeper` is the one to keep of two that are
    the same, whatever the rules say. The decision is of what the files hold: it outlives their names,
    and later runs. It is on disk when this returns; clusters, plans and reports that are made from now on go by it.
    Returns what was decided. Raises UsageError where a picture is not known, or was not read.
    """
    done = as_run(run)
    if decision not in VERDICTS:
        raise UsageError(f"no decision {printable(decision)!r}: there are {', '.join(VERDICTS)}")
    ids = [done.id_of(image) for image in (a, b, *([] if keeper is None else [keeper]))]
    if len(ids) == 3 and (decision != "same" or ids[2] not in ids[:2]):
        raise UsageError("the one to keep is one of two pictures that are the same: name one of the two, or none")
    rows = done.images.select(["path", "status", "file_hash"]).take(pa.array(ids)).to_pylist()
    for row in rows:
        if row["status"] != "ok":
            raise UsageError(
                f"{printable(row['path'])} was not read ({row['status']}): nothing is known of it to decide"
            )
    hash_a, hash_b, *kept = (row["file_hash"] for row in rows)
    row = decisions.decided_row(hash_a, hash_b, decision, kept[0] if kept else None, by)
    decisions.append(done.run_dir, [row])
    return {
        "a": rows[0]["path"],
        "b": rows[1]["path"],
        "decision": decision,
        "keeper": rows[2]["path"] if kept else None,
    }


def take_decisions(run_dir: RunDir, source: Any) -> int:
    """Add decisions that were made elsewhere to those of a run; how many were new. None are added where none are given.

    `source` is another run directory, its decisions.parquet, a CSV or parquet file or a table with these columns.
    UsageError where it holds no decisions.
    """
    if source is None:
        return 0
    if isinstance(source, str | os.PathLike):
        place = absolute(source)
        if (place / "run.json").is_file() or (place.name == run_dir.decisions.name and place.is_dir()):
            other = place if (place / "run.json").is_file() else place.parent
            return decisions.append_table(run_dir, decisions.read(RunDir(other)))
    return decisions.append_table(run_dir, _typed(given_table(source)))


def decided_key(run_dir: RunDir) -> str:
    """Equal where what people decided is: clusters are made again where it is not."""
    return fingerprint(str(decisions.in_force(decisions.read(run_dir)).to_pydict()))


def is_of_decisions(run: Run) -> bool:
    """Whether the clusters of a run were made by what people have decided by now."""
    return read_metadata(run.run_dir.clusters).get("decided") == decided_key(run.run_dir)


def _typed(table: pa.Table) -> pa.Table:
    missing = [name for name in DECISIONS.names if name not in table.column_names]
    if missing:
        raise UsageError(
            f"the decisions have no column {', '.join(missing)}: there are to be {', '.join(DECISIONS.names)}"
        )
    try:
        columns = {name: table[name].cast(pa.string()) for name in DECISIONS.names if name != "decided_at"}
        columns["decided_at"] = _moments(table["decided_at"])
        return pa.table(columns).select(DECISIONS.names).cast(DECISIONS)
    except (pa.ArrowException, ValueError) as error:
        raise UsageError(f"the decisions cannot be read: {printable(' '.join(str(error).split()))}") from None


def _moments(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_timestamp(column.type):
        return column
    read = [None if text is None else datetime.fromisoformat(text) for text in column.cast(pa.string()).to_pylist()]
    return pa.chunked_array([pa.array(read, pa.timestamp("us", "UTC"))])

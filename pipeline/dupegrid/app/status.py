"""How far a run is, from what it has stored."""

import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.app.decide import is_of_decisions
from dupegrid.app.opening import open_run
from dupegrid.core.values import StrPath
from dupegrid.images.index import index_progress
from dupegrid.images.views import by_views
from dupegrid.pairs.compare import tiles_done
from dupegrid.results.answers import Failure, Progress, Status, counted_files
from dupegrid.results.relations import told_so_far
from dupegrid.storage.unfinished import missing_in


def status(run_dir: StrPath) -> Status:
    """How far a run is, from its stores alone: done and total by stage, and the files that could not be read."""
    opened = open_run(run_dir)
    indexed = index_progress(opened.run_dir, opened.config)
    compared, pairs = opened.is_compared, opened.pairs_key
    clustered = opened.is_clustered and is_of_decisions(opened)
    told, matches = (told_so_far(opened.run_dir), opened.receipt.matches) if compared else ({}, 0)
    done, tiles = tiles_done(by_views(opened.run_dir, opened.config), pairs)
    files = counted_files(indexed.rows["status"])
    fine = pc.is_in(indexed.rows["status"], pa.array(["ok", "removed"]))
    bad = indexed.rows.filter(pc.invert(fine)).select(["path", "status", "error"])
    return Status(
        run=str(opened.path),
        index=Progress(max(0, indexed.done - files.removed), indexed.total - files.removed, "images"),
        compare=Progress(len(done), tiles.total if tiles else 0, "tiles"),
        compared=compared,
        relate=Progress(sum(told.values()), matches, "pairs") if told or opened.config.relations else None,
        cluster=clustered,
        report=clustered and opened.run_dir.report.exists(),
        relations=told,
        failed=files.failed,
        failures=[Failure(**row) for row in bad.to_pylist()],
        missing=missing_in(opened.run_dir),
    )

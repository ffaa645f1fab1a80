"""A run -> its page, report.html, and what that says of the run itself."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from dupegrid.app.run import Run
from dupegrid.core.text import counted, printable, shown
from dupegrid.results.drawn.page import Found
from dupegrid.results.drawn.report import report
from dupegrid.results.stored import clusters_of, images_of, relations_if_told
from dupegrid.storage.files import writing_whole

_LOOKED_FOR: Final = 20  # files, to know whether pictures are here at all
_ORIENTATIONS: Final = {"none": "as they lie", "rotations": "turned too", "all": "turned and mirrored too"}
_SCOPES: Final = {"all": "all of them", "across": "of different folders only", "within": "of one folder only"}


def write_page(run: Run) -> Path:
    """Draw the clusters of a run: report.html, whose path is returned."""
    images, clusters = images_of(run), clusters_of(run)
    first = clusters.take(np.arange(min(_LOOKED_FOR, len(clusters))), ["image"])["image"].to_numpy()
    files_here = any(os.path.exists(path) for path in images.pick(first, ["path_raw"])["path_raw"].to_pylist())
    told = relations_if_told(run)
    found = Found(images, clusters, run.match_batches, told, run.config.threshold, files_here)
    with writing_whole(run.run_dir.report) as file:
        for piece in report(found, run.thumbs_of, run.summary, about(run)):
            file.write(piece.encode("utf-8", "backslashreplace"))
    return run.run_dir.report


def about(run: Run) -> dict[str, list[str]]:
    """What a page says of the run: headings and their lines."""
    config, receipt = run.config, run.receipt
    compared = datetime.fromtimestamp(run.run_dir.receipt.stat().st_mtime, UTC)
    sides = ["same width and height only"] if config.same_size else []
    sides += [f"proportions at most {config.max_aspect:g} apart"] if config.max_aspect else []
    facts = {
        "folders": [*config.paths, *([f"files listed in {config.files_from}"] if config.files_from else [])],
        "compared with": list(config.against),
        "last run": [compared.astimezone().strftime("%Y-%m-%d %H:%M")],
        "threshold": [f"MSE {config.threshold:g}", f"pairs are kept up to MSE {config.cutoff:g}"],
        "orientations": [f"{config.orientations}: {_ORIENTATIONS[config.orientations]}"],
        "pairs": [*([] if config.against else [f"{config.scope}: {_SCOPES[config.scope]}"]), *sides],
        "measure": [f"{config.metric} of thumbnails of {config.thumb} × {config.thumb} pixels"],
        "folders not read": receipt.unreadable_folders,
        "links left alone": [counted(receipt.links_left_alone, "symbolic link")] if receipt.links_left_alone else [],
        "run directory": [shown(run.path)],
    }
    return {name: [printable(line) for line in lines if line] for name, lines in facts.items() if any(lines)}

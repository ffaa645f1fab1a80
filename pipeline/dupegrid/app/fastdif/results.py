"""Clusters as fast-diff-py gives them, and what of a run directory its `clean_up` removes."""

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.app.run import Run
from dupegrid.storage.ours import remove

Clusters = dict[int, dict[str, Any]]

# What of a run directory are thumbnails, and what is made of them alone.
_THUMBNAILS: Final = ("mse.zarr", "relaid", "sorted.zarr", "thumbs.zarr", "levels.zarr")


def as_dicts(images: pa.Table, clusters: pa.Table, same_size: bool) -> tuple[Clusters, list[str]]:
    """What get_duplicates gives, from tables of schema IMAGES and CLUSTERS.

    Where the size was left open, so were proportions: they make no bridge.
    """
    found: Clusters = {}
    lower: list[str] = []
    facts = images.select(["path_raw", "width", "height", "size_bytes"]).take(clusters["image"]).to_pylist()
    for row, fact in zip(clusters.to_pylist(), facts, strict=True):
        path = os.fsdecode(fact.pop("path_raw"))
        if row["role"] == "keep":
            names = {"filename": os.path.basename(path), "location": path, "path": path}
            found[row["cluster"]] = {**names, **fact, "duplicates": [], "bridges": {}}
        elif row["role"] == "duplicate" or (row["reason"] == "aspect" and not same_size):
            found[row["cluster"]]["duplicates"].append(path)
            lower.append(path)
        else:
            found[row["cluster"]]["bridges"][path] = row["reason"]
    return found, lower


def sets_as_dicts(images: pa.Table, sets: pa.Table) -> tuple[Clusters, list[str]]:
    """What get_duplicates gives of sets of equal pictures, a table of schema IDENTICAL."""
    role = pc.if_else(pc.equal(sets["image"], sets["keeper"]), "keep", "duplicate")
    return as_dicts(images, sets.rename_columns({"set": "cluster"}).append_column("role", role), same_size=True)


def remove_run(run: Run, thumbs: bool, db: bool, say: Callable[[str], object]) -> None:
    """Remove the thumbnails of a run, or all but these, or all, and its folder if that leaves it empty.

    `say` is told of a lock that is waited for.
    """
    run_dir = run.run_dir
    with run_dir.locked(say):
        if db and thumbs:
            run_dir.discard_from("index")
            remove(run_dir.run_json)
            run_dir.lock.unlink(missing_ok=True)
        elif db:  # the listing stays: by it the thumbnails are known
            run_dir.discard_from("compare")
        elif thumbs:
            for name in _THUMBNAILS:
                remove(run_dir.path / name)
    if db and thumbs:
        with suppress(OSError):  # something is in it that is not ours
            run_dir.path.rmdir()

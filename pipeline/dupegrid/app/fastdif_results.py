"""Clusters as fast-diff-py gives them, and what of a run directory its `clean_up` removes."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

import pyarrow as pa

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
    for row, path, image in _with_facts(images, clusters):
        if row["role"] == "keep":
            found[row["cluster"]] = image | {"duplicates": [], "bridges": {}}
        elif row["role"] == "duplicate" or (row["reason"] == "aspect" and not same_size):
            found[row["cluster"]]["duplicates"].append(path)
            lower.append(path)
        else:
            found[row["cluster"]]["bridges"][path] = row["reason"]
    return found, lower


def sets_as_dicts(images: pa.Table, sets: pa.Table) -> tuple[Clusters, list[str]]:
    """The same of sets of equal pictures, a table of schema IDENTICAL."""
    found: Clusters = {}
    lower: list[str] = []
    for row, path, image in _with_facts(images, sets):
        if row["image"] == row["keeper"]:
            found[row["set"]] = image | {"duplicates": [], "bridges": {}}
        else:
            found[row["set"]]["duplicates"].append(path)
            lower.append(path)
    return found, lower


def _with_facts(images: pa.Table, table: pa.Table) -> Iterator[tuple[dict[str, Any], str, dict[str, Any]]]:
    """Of each row of a table with a column `image`: the row, the path as the system takes it, facts of the picture."""
    facts = images.select(["path_raw", "width", "height", "size_bytes"]).take(table["image"]).to_pylist()
    for row, fact in zip(table.to_pylist(), facts, strict=True):
        path = os.fsdecode(fact.pop("path_raw"))
        yield row, path, {"filename": os.path.basename(path), "location": path, "path": path, **fact}


def remove_run(run: Run, thumbs: bool, db: bool, say: Callable[[str], object]) -> None:
    """Remove the thumbnails of a run, or all but these, or all, and its folder if that leaves it empty.

    `say` is told of a lock that is waited for.
    """
    run_dir = run.run_dir
    with run_dir.locked(say):
        if db and thumbs:
            run_dir.discard_from("index")
            remove(run_dir.run_json)
        elif db:  # the listing stays: by it the thumbnails are known
            run_dir.discard_from("compare")
        elif thumbs:
            for name in _THUMBNAILS:
                remove(run_dir.path / name)
        if db and thumbs:
            run_dir.lock.unlink(missing_ok=True)
    if db and thumbs:
        with suppress(OSError):  # something is in it that is not ours
            run_dir.path.rmdir()

"""Questions of a run: which folders hold the same, what is on one side only, what to free, what splits share."""

import os
import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dupegrid.app.given_tables import PATHS, as_bytes, as_text, column_of, given_table
from dupegrid.app.opening import as_run
from dupegrid.app.run import Run
from dupegrid.core.arrays import Ints
from dupegrid.core.config import Config
from dupegrid.core.errors import InputError, StoreError, UsageError
from dupegrid.core.text import printable, shown, shown_path
from dupegrid.core.values import StrPath, StrPaths, located, one_or_several, place_of
from dupegrid.pairs.ask import Filters, facts_of
from dupegrid.pairs.batches import Matches
from dupegrid.results.named import ids_of
from dupegrid.results.questions.evaluate import evaluate as find_evaluation
from dupegrid.results.questions.folders import folders as find_folders
from dupegrid.results.questions.leakage import Leakage
from dupegrid.results.questions.leakage import leakage as find_leakage
from dupegrid.results.questions.splits import Given, by_path, label_by_folder, split_by_folder
from dupegrid.results.questions.top import top as find_top
from dupegrid.results.questions.unique import unique as find_unique
from dupegrid.results.schemas import UNIQUE
from dupegrid.results.stored import clusters_of, images_of
from dupegrid.storage.schemas import IMAGES

_IDS: Final = re.compile(r"\d{1,18}")


def folders(run: StrPath | Run) -> pa.Table:
    """Pairs of folders that share pictures, and how much of each is in the other, in percent, by near duplicates.

    A folder holds all that lies below it. First come the pairs of which one is wholly in the other. Pairs that were not
    asked for (--against, --scope, --same-size, --max-aspect) share nothing here. The columns are those of FOLDERS in
    results/schemas.py.
    """
    asked = as_run(run)
    return find_folders(*_tables(asked, "path_raw"), asked.config.threshold)


def unique(run: StrPath | Run, of: StrPaths | None = None) -> pa.Table:
    """The pictures that are on one side only: without a near duplicate on another.

    The sides are those of --against, else the PATHs; of a run on one PATH, all pictures without a near duplicate. With
    `of`, one PATH of the run or several, only what is under these. The columns are those of UNIQUE in
    results/schemas.py. Raises UsageError where the run did not compare its sides, or `of` is none of its PATHs.
    """
    asked = as_run(run)
    config = asked.config
    if config.scope == "within" and len(config.roots) > 1:
        raise UsageError(
            "this run compared no pair across its PATHs (--scope within): run again without it, or --against"
        )
    found = find_unique(*_tables(asked, "group", "root", *UNIQUE.names[1:]), config.threshold, len(config.roots) == 1)
    if of is None:
        return found
    return found.filter(pa.array(np.isin(found["root"].fill_null(-1).to_numpy(), _roots(config, of))))


def top(run: StrPath | Run) -> pa.Table:
    """Clusters by the bytes that are free when their duplicates are gone, the most first.

    A file under several names counts once. The columns are those of TOP in results/schemas.py.
    """
    asked = as_run(run)
    return find_top(images_of(asked), clusters_of(asked))


def leakage(run: StrPath | Run, split: Any = "folders", label: Any = None, keep: str = "train") -> Leakage:
    """What the splits of a data set share: matrix, label conflicts, curve, and the splits cleaned by a policy.

    `split` is 'folders' (train/, val/, test/ and the like), a CSV or parquet FILE with the columns path (or the end of
    one) and split, FILE:COLUMN for another column, a column of images.parquet, or a table or frame with these. `label`
    likewise, where 'folders' is the name of the folder that a picture lies in, and a name may be a column of the table
    of `split`. `keep` says which
    of two near duplicates in two splits is kept: that of 'train', of 'test', or 'neither'. Raises UsageError for
    anything that is not there, and where pictures of two splits were not compared.
    """
    asked = as_run(run)
    columns = {text for text in (split, label) if isinstance(text, str)} & {*IMAGES.names}
    images, matches = _tables(asked, "path", "path_raw", *sorted(columns))
    splits, unknown, table = _values(images, split, "split", None)
    labels = pa.nulls(len(images), pa.string())
    if label is not None:
        labels, more, _ = _values(images, label, "label", table)
        unknown = max(unknown, more)
    _check_compared(asked, splits)
    given = Given(splits, labels, unknown)
    return find_leakage(images, matches, asked.config.threshold, given, keep, asked.config.cutoff)


def evaluate(matches: Any, truth: Any) -> pa.Table:
    """Precision and recall at every threshold at which they change, by pairs that are known to be duplicates.

    `matches` is a run, its run directory, or a table or frame with the columns a, b and score of its matches (and
    path_a, path_b, where the truth names paths). `truth` is a CSV or parquet FILE, or a table or frame, whose columns
    a and b, or path_a and path_b, are ids of images, or paths or ends of paths. All pairs that are
    found and are not in it count as wrong; of a run also those between identical thumbnails that are not listed. The
    columns are those of EVALUATION in results/schemas.py.
    """
    asked = as_run(matches) if isinstance(matches, Run | str | os.PathLike) else None
    if asked is not None:
        images, scores = _tables(asked, "path_raw")
        paths = images["path_raw"].to_pylist()
    else:
        images, scores, paths = _of_matches(given_table(matches))
    rows = given_table(truth)
    name = "the truth" if not isinstance(truth, str | os.PathLike) else printable(str(truth))
    wanted = [as_bytes(column_of(rows, (side, f"path_{side}"), name)) for side in ("a", "b")]
    known = [_named(side, paths) for side in wanted]
    for side, places in zip(wanted, known, strict=True):
        if asked is not None and (places < 0).any():
            missing = side[int(np.flatnonzero(places < 0)[0])]
            raise UsageError(f"{name} names {shown_path(missing or b'')!r}, which is no image of this run")
    return find_evaluation(images, scores, (known[0], known[1]))


def _of_matches(matches: pa.Table) -> tuple[pa.Table, pa.Table, list[bytes]]:
    """Images as a table of matches knows them, each for itself; the matches; the paths that it names, by id."""
    for name in ("a", "b", "score"):
        column_of(matches, (name,), "the table of matches")
    a, b = (matches[name].to_numpy() for name in ("a", "b"))
    count = int(max(a.max(initial=-1), b.max(initial=-1))) + 1
    images = {
        "id": pa.array(np.arange(count)),
        "identical_to": pa.nulls(count, pa.int64()),
        "status": pa.array(["ok"] * count, pa.string()),
    }
    paths = [b""] * count
    if {"path_a", "path_b"} <= set(matches.column_names):
        for ids, column in ((a, "path_a"), (b, "path_b")):
            for id, path in zip(ids.tolist(), as_bytes(matches[column]), strict=True):
                paths[id] = path or b""
    return pa.table(images), matches, paths


def _named(wanted: Sequence[bytes | None], paths: Sequence[bytes]) -> Ints:
    """The ids of images that are named by their ids, or by paths, int64 (k,); -1 where there is no such image."""
    if all(value is not None and _IDS.fullmatch(value.decode("latin-1")) for value in wanted):
        places = np.array([int(value or 0) for value in wanted], np.int64)
        return np.where(places < len(paths), places, -1)
    return ids_of(wanted, paths)


def _tables(run: Run, *names: str) -> tuple[pa.Table, Matches]:
    """Columns of a run's images, with those that `near` takes, and its matches. StoreError unless all are decided."""
    if not run.is_compared:
        raise StoreError(f"{shown(run.path)} is not fully compared: finish it with 'dupegrid run --out RUN'")
    return images_of(run).columns(list(dict.fromkeys(["id", "identical_to", "status", *names]))), run.match_batches


def _roots(config: Config, of: StrPaths) -> list[int]:
    """The numbers of PATHs of a run. UsageError where one is none of them."""
    numbers = []
    for path in one_or_several(of):
        place = place_of("'of'", path, find=located)
        if place not in config.roots:
            raise UsageError(f"{printable(place)} is no PATH of this run: its PATHs are {_listed(config.roots)}")
        numbers += [number for number, root in enumerate(config.roots) if root == place]
    return numbers


def _listed(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 5:,} more" if len(paths) > 5 else ""
    return ", ".join(map(printable, paths[:5])) + more


def _values(images: pa.Table, source: Any, what: str, before: pa.Table | None) -> tuple[pa.Array, int, pa.Table | None]:
    """What is said of each image; how many rows name none; and the table that says it, if a caller's does."""
    if isinstance(source, str) and source == "folders":
        return (split_by_folder if what == "split" else label_by_folder)(images), 0, None
    table, column, name = _source(images, source, what, before)
    if table is images:
        return pa.array(as_text(column_of(images, (column,), name)), pa.string()), 0, None
    paths = as_bytes(column_of(table, PATHS, name))
    values, unknown = by_path(images, paths, as_text(column_of(table, (column,), name)))
    if unknown == len(paths):
        raise UsageError(f"{name} names no picture of this run: its column of paths holds paths, or the ends of some")
    return values, unknown, table


def _source(images: pa.Table, source: Any, what: str, before: pa.Table | None) -> tuple[pa.Table, str, str]:
    """The table that a caller names, the column of it that is meant, and what to call it.

    A name is that of a file, else of a column of the table `before`, else of one of the images.
    """
    if not isinstance(source, str | bytes | os.PathLike):
        return given_table(source), what, f"the table of {what}s"
    text = os.fsdecode(source)
    file, _, of_file = text.rpartition(":")
    for path, column in ((text, what), (file, of_file)):
        if os.path.exists(path):
            return given_table(path), column, printable(path)
    if before is not None and text in before.column_names:
        return before, text, "the table of splits"
    if text in images.column_names:
        return images, text, "images.parquet"
    known = "images.parquet" if before is None else "the table of splits or of images.parquet"
    raise InputError(
        f"{what} is {printable(text)!r}, which is no file: give 'folders', FILE, FILE:COLUMN or a column of {known}"
    )


def _check_compared(run: Run, splits: pa.Array) -> None:
    """UsageError where a picture of one split was not compared with one of another, whatever they look like."""
    allowed = np.asarray(Filters.of(run.config).allowed, bool)
    if allowed.all():
        return
    facts = facts_of(run.images)
    codes = splits.dictionary_encode()
    code = np.where(facts.ok, codes.indices.fill_null(-1).to_numpy(zero_copy_only=False), -1)
    there = np.zeros((len(codes.dictionary), len(allowed)), bool)
    there[code[code >= 0], facts.roots[code >= 0]] = True
    count = there.sum(axis=0)
    for first in range(len(there)):
        others = count > there[first]
        if not allowed[np.ix_(there[first], others)].all():
            raise UsageError(
                "this run did not compare all pictures of different splits (--against or --scope): "
                "run again on all folders, without these"
            )

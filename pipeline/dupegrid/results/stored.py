"""The rows of a run: of its images, clusters and matches, read piece by piece where they are more than one."""

from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dupegrid.core.arrays import Ints
from dupegrid.core.errors import DamagedError, StoreError, UsageError
from dupegrid.core.keys import fingerprint
from dupegrid.core.text import shown
from dupegrid.pairs.batches import SortedMatches
from dupegrid.results.relations import read_relations
from dupegrid.results.rows import Rows
from dupegrid.results.run_like import RunLike
from dupegrid.results.scores import OF_SCORES, second_scores
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.schemas import MATCHES, MATCHES_BY_LOOKS
from dupegrid.storage.tables import group_rows, read_metadata


def images_file(run: RunLike) -> Path:
    """Where the images of a run are. StoreError where none are, or those of another moment."""
    path = run.existing("images.parquet")
    if run.saved["fingerprint"] not in ("", read_metadata(path).get("fingerprint")):
        raise StoreError(f"{shown(path)} is not the one that run.json is of: run 'dupegrid run' again to make it")
    return path


def known_ids(images: npt.ArrayLike, known: int) -> Ints:
    """Ids of images, int64 (k,), of so many that are known. UsageError for what is no list of such."""
    ids = np.asarray(images)
    if ids.ndim != 1 or (ids.dtype.kind not in "iu" and ids.size):
        raise UsageError(f"images are given by their ids, from 0 to {known - 1}, not by {images!r}")
    if ids.size and not 0 <= ids.min() <= ids.max() < known:
        raise UsageError(f"no image {ids.min() if ids.min() < 0 else ids.max()}: this run has {known}, counted from 0")
    return ids.astype(np.int64)


def clusters_file(run: RunLike) -> Path:
    """Where its clusters are. StoreError where none are, or those of other settings."""
    path = run.existing("clusters.parquet")
    if not run.is_clustered:
        raise StoreError(
            f"{shown(path)} is of other settings: make it again with 'dupegrid cluster', or open the run again"
        )
    return path


def images_of(run: RunLike) -> Rows:
    """The images of a run."""
    return run.run_dir.once("rows of images", partial(_images_of, run))


def hashed_images_of(run: RunLike) -> Rows:
    """`images_of`, with a column `hash` where pairs of the same hash were skipped: all at once, then."""
    return Rows.of(run.hashed_images) if run.config.same_hash == "skip" else images_of(run)


def clusters_of(run: RunLike) -> Rows:
    """The rows of its clusters."""
    several = len(group_rows(clusters_file(run))) > 1
    return Rows.stored_clusters(run.run_dir, len(images_of(run))) if several else Rows.of(run.clusters)


def _images_of(run: RunLike) -> Rows:
    several = len(group_rows(images_file(run))) > 1
    return Rows.stored(run.run_dir, len(run.config.roots)) if several else Rows.of(run.images)


def comparison_of(run: RunLike) -> tuple[RunDir, str, pa.Schema]:
    """The run directory, the key of the comparison whose matches are there, and their schema.

    StoreError for one of other settings.
    """
    run.existing("matches.parquet")
    pairs, layout = run.run_dir.tiles_keys()
    if pairs != run.pairs_key:
        raise StoreError(f"{shown(run.path)} was compared with other settings: compare it with 'dupegrid compare'")
    return run.run_dir, fingerprint(pairs, layout), MATCHES_BY_LOOKS if run.config.looks[1:] else MATCHES


def check_count(run: RunLike, count: int) -> None:
    """Raise StoreError unless so many matches are those of the run."""
    if run.is_compared and count != run.receipt.matches:
        held = f"{shown(run.path)} holds {count:,} of {run.receipt.matches:,} matches"
        raise StoreError(f"{held}: run 'dupegrid run' again to make them")


def matches_of(run: RunLike) -> SortedMatches:
    """The rows of its matches, as far as comparing has come."""
    matches = SortedMatches(*comparison_of(run), run.config.memory)
    check_count(run, len(matches))
    return matches


def relations_if_told(run: RunLike) -> pa.Table | None:
    """The relations of its matches; None where nobody has asked for them, or some are still to do."""
    try:
        return read_relations(run.run_dir, run.match_scores) if run.run_dir.relations.exists() else None
    except DamagedError:
        raise
    except StoreError:
        return None


def scores_of(run: RunLike, names: Sequence[str]) -> pa.Table:
    """Second scores of all matches (schema SCORES), all or those named; of the matches some are held at a time."""
    matches = matches_of(run)
    needed = [name for name in matches.schema.names if name in OF_SCORES]
    parts = chain([matches.schema.empty_table()], matches.each(needed))
    return pa.concat_tables(second_scores(run.run_dir, rows, run.config.looks, names) for rows in parts)

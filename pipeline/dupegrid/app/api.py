"""The public API: one function a verb; each takes or gives a `Run`."""

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.app.estimate import estimate as reckon
from dupegrid.app.out import check_out, known_config, write_run_json
from dupegrid.app.run import Run, StrPath, absolute, number_of, open_run, shown
from dupegrid.app.terminal import Terminal
from dupegrid.core.config import SCHEDULERS_HERE, Config, changed, load_config
from dupegrid.core.errors import ConfigError, DamagedError, StoreError, UsageError
from dupegrid.core.runtime import Runtime, runtime
from dupegrid.core.spawned import end_probe
from dupegrid.core.text import printable
from dupegrid.images.discover import Listing, discover
from dupegrid.images.index import images_fingerprint, index_progress
from dupegrid.images.index import index as index_stage
from dupegrid.pairs.ask import Filters
from dupegrid.pairs.compare import compare as compare_stage
from dupegrid.pairs.compare import compare_progress, holds_matches_of
from dupegrid.pairs.matrix import store_matrix
from dupegrid.pairs.metric import is_built_in, metric_code
from dupegrid.results.clusters import clusters as find_clusters
from dupegrid.results.report import render
from dupegrid.storage.arrays import SUMS, stored_fingerprint
from dupegrid.storage.lock import locked
from dupegrid.storage.ours import LOCK, remove
from dupegrid.storage.schemas import IMAGES
from dupegrid.storage.seals import check_seals
from dupegrid.storage.tables import FORMAT, discard_from, read_table, write_bytes, write_json, write_table

_TRIES: Final = 3  # the same damaged file is removed and made again so often in one run
COMPARE_SETTINGS = ("threshold", "cutoff", "orientations", "scheduler", "workers", "memory", "matrix", "tile")


def run(
    *paths: StrPath,
    out: StrPath,
    config: StrPath | None = None,
    quiet: bool = False,
    client: Any = None,
    **settings: Any,
) -> Run:
    """Find the duplicates among the images under `paths`: index, compare, cluster and report, into the folder `out`.

    On a folder that holds a run already it goes on where that stopped. `settings` are the fields of Config, which win
    over those in the YAML file `config`. A dask.distributed `client` does the work in the place of the scheduler, and
    stays open. Raises UsageError for what the caller can put right.
    """
    reporter = Terminal(quiet=quiet)
    chosen, listing = _chosen(paths, out, config, settings, reporter)
    with locked(chosen.path), runtime(chosen.config.scheduler, chosen.config.workers, client) as workers:
        damaged: Counter[Path] = Counter()
        while True:
            try:
                _index(chosen, listing, workers, reporter)
                _compare(chosen, workers, reporter)
                _cluster(chosen)
                _report(chosen)
                return chosen
            except DamagedError as error:
                damaged[error.file] += 1
                if damaged[error.file] > _TRIES:
                    raise
                reporter.say(f"{shown(error.file)} is damaged ({error.problem}): making it again")
                remove(error.file)
                chosen = Run(chosen.path, chosen.config)


def index(
    *paths: StrPath,
    out: StrPath,
    config: StrPath | None = None,
    quiet: bool = False,
    client: Any = None,
    **settings: Any,
) -> Run:
    """Find the files under `paths` and make their thumbnails: images.parquet and thumbs.zarr in the folder `out`.

    The arguments are those of `run`.
    """
    reporter = Terminal(quiet=quiet)
    chosen, listing = _chosen(paths, out, config, settings, reporter)
    with locked(chosen.path), runtime(chosen.config.scheduler, chosen.config.workers, client) as workers:
        _index(chosen, listing, workers, reporter)
    return chosen


def compare(run_dir: StrPath, quiet: bool = False, client: Any = None, **settings: Any) -> Run:
    """Compare all pairs of an indexed run: matches.parquet and receipt.json.

    `settings` change those of the run: any of COMPARE_SETTINGS; the others were settled by the index. What runs code or
    connects is not taken from a run directory: the address of a cluster, and as `metric` a function, are given again.
    A dask.distributed `client` does the work in the place of the scheduler, and stays open.
    """
    for key in settings:
        if key not in (*COMPARE_SETTINGS, "metric"):
            raise _cannot_change(key)
    end_probe()
    with locked(open_run(run_dir).path):  # opened again, as another run may have been at it
        opened = open_run(run_dir)
        _check_trusted(opened.config, settings, client)
        code = metric_code(opened.config.metric)
        chosen = Run(opened.path, changed(opened.config, **settings))
        if images_fingerprint(chosen.path) != chosen.saved["fingerprint"]:
            raise StoreError(
                f"{shown(chosen.path)} is not fully indexed: finish it with 'dupegrid index PATH... --out RUN'"
            )
        check_seals(chosen.path, SUMS)  # by which rows that are read alone are checked; sorting checks what it reads
        with runtime(chosen.config.scheduler, chosen.config.workers, client) as workers:
            if chosen.config != opened.config or code != chosen.saved.get("metric_code", ""):
                saved = {**chosen.saved, "config": chosen.config.model_dump(), "metric_code": code}
                write_run_json(chosen.path, saved)
            _compare(chosen, workers, Terminal(quiet=quiet))
    return chosen


def cluster(run_dir: StrPath, threshold: float | None = None) -> Run:
    """Join the matches of a compared run to clusters: clusters.parquet. The threshold may be up to the cutoff.

    The report goes along, where there was one.
    """
    with locked(open_run(run_dir).path):
        opened = open_run(run_dir)
        threshold = None if threshold is None else number_of(threshold)
        if threshold is not None and threshold > opened.config.cutoff:
            raise UsageError(
                f"threshold {threshold:g} is above this run's cutoff {opened.config.cutoff:g}: "
                f"keep more pairs with 'dupegrid compare RUN --cutoff {threshold:g}' first"
            )
        chosen = Run(opened.path, changed(opened.config, threshold=threshold))
        if not chosen.is_compared:
            raise StoreError(f"{shown(chosen.path)} is not fully compared: finish it with 'dupegrid compare RUN'")
        had_report = (chosen.path / "report.html").exists()
        write_run_json(chosen.path, {**chosen.saved, "config": chosen.config.model_dump()})
        _cluster(chosen)
        if had_report:
            _report(chosen)
    return chosen


def report(run_dir: StrPath) -> Path:
    """Draw the clusters of a run: report.html, whose path is returned."""
    with locked(open_run(run_dir).path):
        return _report(open_run(run_dir))


def status(run_dir: StrPath) -> dict[str, Any]:
    """How far a run is, from its stores alone: done and total by stage, and the files that could not be read."""
    opened = open_run(run_dir)
    indexed = index_progress(opened.path, opened.config)
    tiles_done, tiles = compare_progress(opened.path) if holds_matches_of(opened.path, opened.pairs_mark) else (0, 0)
    bad = indexed.rows.filter(pc.not_equal(indexed.rows["status"], "ok"))
    return {
        "run": str(opened.path),
        "index": {"done": indexed.done, "total": indexed.total, "unit": "images"},
        "compare": {"done": tiles_done, "total": tiles, "unit": "tiles"},
        "cluster": opened.is_clustered,
        "report": opened.is_clustered and (opened.path / "report.html").exists(),
        "failed": _counted(bad["status"]),
        "failures": bad.select(["path", "status", "error"]).to_pylist(),
    }


def estimate(*paths: StrPath, config: StrPath | None = None, **settings: Any) -> dict[str, Any]:
    """What a run on these folders would cost: images, pairs, hours, memory, disk. Takes seconds, writes nothing."""
    chosen = load_config(config, -1.0, **_with_paths(settings, paths))
    return reckon(discover(chosen), chosen)


def _chosen(
    paths: Sequence[StrPath], out: StrPath, config: StrPath | None, settings: Mapping[str, Any], reporter: Terminal
) -> tuple[Run, Listing]:
    """The run as it will be, and its files; nothing is written yet."""
    end_probe()
    run_dir = absolute(out)
    before = known_config(run_dir)
    kept_cutoff = before.cutoff if before else -1.0
    chosen = load_config(config, kept_cutoff, **_with_paths(settings, paths))
    check_out(run_dir, chosen, before)
    metric_code(chosen.metric)  # a metric that is none shows before the work begins
    with reporter.stage("list", None, "files") as advance:
        return Run(run_dir, chosen), discover(chosen, advance)


def _with_paths(settings: Mapping[str, Any], paths: Sequence[StrPath]) -> dict[str, Any]:
    """All settings of a call, the PATHs among them where some were given."""
    if paths and "paths" in settings:
        raise ConfigError("the PATHs are given twice, as arguments and as 'paths': leave one of the two out")
    return {**settings, "paths": list(paths)} if paths else dict(settings)


def _check_trusted(config: Config, settings: Mapping[str, Any], client: Any) -> None:
    """Refuse what would run code or connect only because a run directory says so."""
    metric, scheduler = config.metric, printable(config.scheduler)
    if settings.get("metric") not in (None, metric):
        raise _cannot_change("metric")
    if settings.get("metric") is None and not is_built_in(metric):
        raise UsageError(f"this run was made with --metric {metric}, which is code: give --metric {metric} again")
    if client is None and settings.get("scheduler") is None and config.scheduler not in SCHEDULERS_HERE:
        raise UsageError(
            f"this run was made with --scheduler {scheduler}: give --scheduler {scheduler} again, "
            "or --scheduler threads"
        )


def _cannot_change(key: str) -> UsageError:
    return UsageError(f"compare cannot change {key!r}, only {', '.join(COMPARE_SETTINGS)}: run again instead")


def _index(chosen: Run, listing: Listing, workers: Runtime, reporter: Terminal) -> None:
    workers.check(chosen.path / LOCK, _samples(listing))
    saved = {
        "format": FORMAT,
        "config": chosen.config.model_dump(),
        "fingerprint": "",  # none while it is not known what images.parquet will hold
        "metric_code": metric_code(chosen.config.metric),
        "versions": versions(),
        "unreadable_folders": list(listing.unreadable_folders),
        "links_left_alone": listing.links_left_alone,
    }
    write_run_json(chosen.path, saved)
    mark = index_stage(listing, chosen.config, chosen.path, workers, reporter)
    write_run_json(chosen.path, {**saved, "fingerprint": mark})


def _samples(listing: Listing) -> tuple[tuple[bytes, ...], ...]:
    """Three paths of each root: the first, the middle and the last."""
    roots, paths = listing.files["root"].to_numpy(), listing.files["path_raw"]
    ends = np.flatnonzero(np.diff(roots, prepend=-1, append=-1))
    spans = [(int(first), int(last) - 1) for first, last in pairwise(ends)] if len(roots) else []
    return tuple(tuple(paths[k].as_py() for k in (i, (i + j) // 2, j)) for i, j in spans)


def _compare(chosen: Run, workers: Runtime, reporter: Terminal) -> None:
    workers.check(chosen.path / LOCK)
    saved = chosen.saved
    marks = saved["fingerprint"], saved.get("metric_code", "")
    counts = compare_stage(marks, chosen.config, chosen.path, workers, reporter)
    write_json(chosen.path / "receipt.json", _receipt(chosen, counts, saved))
    matrix = chosen.path / "mse.zarr"
    if not (stored_fingerprint(matrix) or saved["fingerprint"]).startswith(saved["fingerprint"]):
        remove(matrix)  # of other images
    if chosen.config.matrix:
        store_matrix(saved["fingerprint"], chosen.config.orientations, chosen.path, workers, reporter)


def _cluster(chosen: Run) -> None:
    table = find_clusters(chosen.images, chosen.match_scores, chosen.config.threshold, Filters.of(chosen.config))
    discard_from(chosen.path, "cluster")
    write_table(chosen.path / "clusters.parquet", table, chosen.clusters_mark)


def _report(done: Run) -> Path:
    page = render(done.clusters, done.images, done.thumbs_of, done.summary)
    target = done.path / "report.html"
    write_bytes(target, page.encode("utf-8", "backslashreplace"))
    return target


def _receipt(done: Run, counts: dict[str, Any], saved: Mapping[str, Any]) -> dict[str, Any]:
    status_column = read_table(done.path / "images.parquet", IMAGES, ["status"])["status"]
    failed = status_column.filter(pc.not_equal(status_column, "ok"))
    return {
        "images": {"found": len(status_column), "ok": len(status_column) - len(failed), "failed": _counted(failed)},
        "unreadable_folders": saved["unreadable_folders"],
        "links_left_alone": saved.get("links_left_alone", 0),
        **counts,
        "fingerprint": done.pairs_mark,
        "cutoff": done.config.cutoff,
        "orientations": done.config.orientations,
        "scope": done.config.scope,
        "versions": versions(),
    }


def _counted(column: pa.ChunkedArray) -> dict[str, int]:
    return {
        entry["values"]: entry["counts"]
        for entry in sorted(pc.value_counts(column).to_pylist(), key=lambda e: e["values"])
    }


@cache
def versions() -> dict[str, str]:
    """The versions of what a run was made with."""
    names = ("dupegrid", "dask", "numpy", "pillow", "pillow-heif", "pyarrow", "scipy", "zarr")
    return {"python": platform.python_version()} | {name: version(name) for name in names}

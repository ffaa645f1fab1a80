"""The public API: one function a verb; each takes or gives a `Run`."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Unpack

from dupegrid.app.decide import decided_key, take_decisions
from dupegrid.app.estimate import Estimate
from dupegrid.app.estimate import estimate as reckon
from dupegrid.app.keywords import with_keywords
from dupegrid.app.opening import absolute, locked_run
from dupegrid.app.report_page import write_page
from dupegrid.app.run import Run
from dupegrid.app.run_json import chosen_config, versions, with_paths, write_run_json
from dupegrid.app.terminal import Terminal
from dupegrid.app.trust import cannot_change, check_fetching, check_trusted, codes_in, codes_of
from dupegrid.app.watching import noting
from dupegrid.core.config import Config, changed, load_config, settings_of
from dupegrid.core.errors import DamagedError, StoreError, UnfinishedError, UsageError
from dupegrid.core.progress import Reporter
from dupegrid.core.runtime import comparing, runtime_of
from dupegrid.core.settings import CompareSettings, Settings
from dupegrid.core.spawned import end_probe
from dupegrid.core.tasks import Runtime
from dupegrid.core.text import shown
from dupegrid.core.values import StrPath, StrPaths, Texts
from dupegrid.images.discover import Listing, discover, samples_of
from dupegrid.images.index import index as index_stage
from dupegrid.images.levels import COSINES, of_look
from dupegrid.images.sources import Sources
from dupegrid.images.thumbnail_hashes import hash_code, make_hashes
from dupegrid.pairs.ask import Ask
from dupegrid.pairs.device import check_device
from dupegrid.pairs.looks import compare_looks
from dupegrid.pairs.matrix import store_matrix
from dupegrid.pairs.relations import relate
from dupegrid.results.answers import Receipt, counted_files
from dupegrid.results.clusters import Asked, cluster_parts
from dupegrid.results.cut import as_threshold
from dupegrid.results.relations import told_so_far
from dupegrid.results.stored import hashed_images_of
from dupegrid.storage.chunked import stored_facts
from dupegrid.storage.files import FORMAT, write_json
from dupegrid.storage.ours import remove
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.schemas import CLUSTERS, IMAGES
from dupegrid.storage.tables import write_tables

_TRIES: Final = 3  # the same damaged file is removed and made again so often in one run


@with_keywords
def run(
    *folders: StrPaths,
    out: StrPath,
    config: StrPath | None = None,
    quiet: bool = False,
    client: Any = None,
    decisions: Any = None,
    **settings: Unpack[Settings],
) -> Run:
    """Find the duplicates among the images under `folders`: index, compare, cluster and report, into the folder `out`.

    It goes on where a run in `out` stopped. `settings` are the fields of Config, which win over those in the YAML file
    `config`. `client`, a Client or cluster of dask's, does the work, and stays open; without it and a scheduler it is
    the current client, if any: not with client=False. `decisions` are those that people made elsewhere: another run
    directory, a file or a table. Raises UsageError for what the caller can put right.
    """
    reporter = Terminal(quiet=quiet)
    chosen, listing = _chosen(folders, out, config, settings, reporter)
    check_device(chosen.config, client)
    with _at_work(chosen, client, reporter) as (workers, noted):
        take_decisions(chosen.run_dir, decisions)
        told, tries = chosen.run_dir.relations.exists(), Counter[Path]()
        while True:
            try:
                _index(chosen, listing, workers, noted)
                _compare(chosen, workers, noted)
                unfinished = _relate(chosen, workers, noted)
                _cluster(chosen)
                write_page(chosen)
                if told and not chosen.run_dir.relations.exists():
                    reporter.say("relations: those of earlier matches are gone; --relations makes them again")
                if unfinished:
                    raise unfinished
                return chosen
            except DamagedError as error:
                tries[error.file] += 1
                if tries[error.file] > _TRIES:
                    raise
                reporter.say(f"{shown(error.file)} is damaged ({error.problem}): making it again")
                remove(error.file)
                chosen, listing = Run(chosen.path, chosen.config), _listed(chosen.config, reporter, listing)


@with_keywords
def index(
    *folders: StrPaths,
    out: StrPath,
    config: StrPath | None = None,
    quiet: bool = False,
    client: Any = None,
    **settings: Unpack[Settings],
) -> Run:
    """Find the files under `folders` and make their thumbnails: images.parquet and thumbs.zarr in the folder `out`.

    The arguments are those of `run`.
    """
    reporter = Terminal(quiet=quiet)
    chosen, listing = _chosen(folders, out, config, settings, reporter)
    with _at_work(chosen, client, reporter) as (workers, noted):
        _index(chosen, listing, workers, noted)
    return chosen


@with_keywords
def compare(run_dir: StrPath, quiet: bool = False, client: Any = None, **settings: Unpack[CompareSettings]) -> Run:
    """Compare all pairs of an indexed run: matches.parquet and receipt.json.

    `settings` change those of the run: the keys of CompareSettings; all else was settled by the index. What runs code
    or connects is not taken from a run directory: an address of a cluster, and a function as `metric`, are given again.
    `client` is that of `run`.
    """
    for key in settings.keys() - settings_of("compare").keys():
        raise cannot_change(key)
    end_probe()
    reporter = Terminal(quiet=quiet)
    with locked_run(run_dir, reporter.say) as opened:
        check_trusted(opened.config, settings, client)
        codes = codes_of(opened.config)
        chosen = Run(opened.path, changed(opened.config, **settings))
        check_fetching(chosen.config)
        if chosen.run_dir.images_key() != chosen.saved["fingerprint"]:
            raise StoreError(f"{shown(chosen.path)} is not fully indexed: finish it with 'dupegrid run --out RUN'")
        check_device(chosen.config, client)
        cosines = (of_look(COSINES, look) for look in chosen.config.looks)
        chosen.run_dir.check_seals(*cosines)  # by them rows that are read alone are checked
        with noting(reporter, chosen.run_dir) as noted, runtime_of(chosen.config, client, reporter.say) as workers:
            if chosen.config != opened.config or not codes.items() <= chosen.saved.items():
                saved = {**chosen.saved, "config": chosen.config.model_dump(), **codes}
                write_run_json(chosen.run_dir, saved)
            _compare(chosen, workers, noted)
            if unfinished := _relate(chosen, workers, noted):
                raise unfinished
    return chosen


def cluster(
    run_dir: StrPath,
    threshold: float | None = None,
    keep: Texts | None = None,
    protect: StrPaths | None = None,
    only: StrPaths | None = None,
    decisions: Any = None,
) -> Run:
    """Put the matches of a compared run into clusters: clusters.parquet. The threshold may be up to the cutoff.

    `keep`, `protect` and `only` decide which image of a cluster is kept and which may be duplicates. What is not
    given stays as the run has it. `decisions` are those that people made elsewhere: another run directory, a file or a
    table. The report goes along, where there was one.
    """
    with locked_run(run_dir, Terminal().say) as opened:
        threshold = None if threshold is None else as_threshold(threshold)
        if threshold is not None and threshold > opened.config.cutoff:
            raise UsageError(
                f"threshold {threshold:g} is above this run's cutoff {opened.config.cutoff:g}: "
                f"keep more pairs with 'dupegrid compare RUN --cutoff {threshold:g}' first"
            )
        roles = {"keep": keep, "protect": protect, "only": only}
        chosen = Run(opened.path, changed(opened.config, threshold=threshold, **roles))
        if not chosen.is_compared:
            raise StoreError(f"{shown(chosen.path)} is not fully compared: finish it with 'dupegrid run --out RUN'")
        had_report = chosen.run_dir.report.exists()
        take_decisions(chosen.run_dir, decisions)
        write_run_json(chosen.run_dir, {**chosen.saved, "config": chosen.config.model_dump()})
        _cluster(chosen)
        if had_report:
            write_page(chosen)
    return chosen


def report(run_dir: StrPath) -> Path:
    """Draw the clusters of a run: report.html, whose path is returned."""
    with locked_run(run_dir, Terminal().say) as opened:
        return write_page(opened)


@with_keywords
def estimate(
    *folders: StrPaths,
    config: StrPath | None = None,
    images: int | None = None,
    gpus: int = 0,
    **settings: Unpack[Settings],
) -> Estimate:
    """What a run on these folders would cost: images, pairs, hours, memory, disk. Takes seconds, writes nothing.

    `images` asks for that many files, like those there or else usual photos; `gpus` is how many GPUs would compare.
    """
    return reckon(load_config(config, None, **with_paths(settings, folders)), images, gpus)


def _chosen(
    folders: Sequence[StrPaths], out: StrPath, config: StrPath | None, settings: Settings, reporter: Terminal
) -> tuple[Run, Listing]:
    """The run as it will be, and its files; nothing is written yet."""
    end_probe()
    asked = chosen_config(folders, RunDir(absolute(out)), config, settings, reporter.say)
    codes_of(asked)  # what is no function shows before the work begins
    hash_code(asked.hash)
    return Run(absolute(out), asked), _listed(asked, reporter)


@contextmanager
def _at_work(chosen: Run, client: Any, reporter: Reporter) -> Iterator[tuple[Runtime, Reporter]]:
    """What does the work of a run whose lock is held meanwhile, and a reporter that notes how far it is."""
    with (
        chosen.run_dir.locked(reporter.say),
        noting(reporter, chosen.run_dir) as noted,
        runtime_of(chosen.config, client, reporter.say) as workers,
    ):
        yield workers, noted


def _listed(config: Config, reporter: Reporter, before: Listing | None = None) -> Listing:
    with reporter.stage("list", None, "files") as advance:
        return discover(config, advance, before)


def _index(chosen: Run, listing: Listing, workers: Runtime, reporter: Reporter) -> None:
    workers.check(chosen.run_dir.lock, samples_of(listing, Sources.of(chosen.config)))
    saved = {
        "format": FORMAT,
        "config": chosen.config.model_dump(),
        "fingerprint": "",  # none while it is not known what images.parquet will hold
        **codes_of(chosen.config),
        "versions": versions(),
        "unreadable_folders": list(listing.unreadable_folders),
        "links_left_alone": listing.links_left_alone,
    }
    write_run_json(chosen.run_dir, saved)
    key = index_stage(listing, chosen.config, chosen.run_dir, workers, reporter)
    write_run_json(chosen.run_dir, {**saved, "fingerprint": key})
    if chosen.config.hash is not None:
        make_hashes(chosen.config.hash, chosen.run_dir, workers, reporter)


def _compare(chosen: Run, here: Runtime, reporter: Reporter) -> None:
    saved, config = chosen.saved, chosen.config
    here.check(chosen.run_dir.lock)
    if config.hash is not None and config.same_hash != "any":
        make_hashes(config.hash, chosen.run_dir, here, reporter)
    with comparing(here, config.scheduler, config.retries, reporter.say) as workers:
        if workers is not here:
            workers.check(chosen.run_dir.lock)
        counts = compare_looks(Ask.of(config, *codes_in(saved)), config, chosen.run_dir, workers, reporter)
        write_json(chosen.run_dir.receipt, _receipt(chosen, counts, saved).as_dict())
        if stored_facts(chosen.run_dir.matrix_zarr).get("images") not in (None, saved["fingerprint"]):
            remove(chosen.run_dir.matrix_zarr)
        if config.matrix:
            store_matrix(saved["fingerprint"], config, chosen.run_dir, workers, reporter)


def _relate(chosen: Run, workers: Runtime, reporter: Reporter) -> UnfinishedError | None:
    """Say how matches are related, where that is asked for; returns what to raise when all else of a run is done.

    What was set aside before, also by a stage that is not asked for any more, is forgotten where nothing is now.
    """
    try:
        if chosen.config.relations:
            relate(chosen.config, chosen.run_dir, workers, reporter)
            told = [f"{count:,} {word}" for word, count in told_so_far(chosen.run_dir).items()]
            reporter.say("relate: " + (", ".join(told) or "no matches"))
    except UnfinishedError as error:
        return error
    remove(chosen.run_dir.unfinished)
    return None


def _cluster(chosen: Run) -> None:
    asked, key = Asked.of(chosen.config, chosen.decided), decided_key(chosen.run_dir)
    parts = cluster_parts(hashed_images_of(chosen), chosen.match_batches, chosen.config.threshold, asked)
    chosen.run_dir.discard_from("cluster", keep=["clusters.parquet"])  # its key says what it is of, until it goes
    write_tables(chosen.run_dir.clusters, CLUSTERS, parts, {**chosen.clusters_key, "decided": key})


def _receipt(done: Run, counts: Mapping[str, Any], saved: Mapping[str, Any]) -> Receipt:
    return Receipt(
        images=counted_files(done.run_dir.image_columns(IMAGES, ["status"])["status"]),
        unreadable_folders=saved["unreadable_folders"],
        links_left_alone=saved.get("links_left_alone", 0),
        **counts,
        fingerprint=done.pairs_key,
        cutoff=done.config.cutoff,
        orientations=done.config.orientations,
        scope=done.config.scope,
        versions=versions(),
    )

"""The compare stage: levels.zarr and thumbs.zarr -> sorted.zarr, tiles.zarr and matches.parquet.

The images that are compared one by one are sorted so that like lies beside like, and cut into strips; a tile is all
pairs of two strips, and one block of a dask array.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dupegrid.core.arrays import CHOICES, Bools, Ints, values_of
from dupegrid.core.config import Config
from dupegrid.core.errors import DamagedError
from dupegrid.core.keys import fingerprint, number_of
from dupegrid.core.progress import Reporter
from dupegrid.core.room import Room
from dupegrid.core.tasks import Answers, Runtime, SetAside, attempted
from dupegrid.images.levels import level_shapes
from dupegrid.pairs.ask import Ask, Facts, Filters, read_facts
from dupegrid.pairs.bounds import radius, strips
from dupegrid.pairs.device import compare_on_device, device_of
from dupegrid.pairs.grid import Grid, strip_side
from dupegrid.pairs.job import COUNTS, DECIDED, Job
from dupegrid.pairs.matches import Columns, PartWriter, is_of, is_part_of, other_parts, sse_limit, write_matches
from dupegrid.pairs.measure import FILTERED, measure_equal, measure_tile
from dupegrid.pairs.resident import fills_squares
from dupegrid.pairs.settled import adopt, settle, write_compared
from dupegrid.pairs.sort import Order, sort_images
from dupegrid.pairs.strip import apart, pieces, read_piece
from dupegrid.pairs.tile import filter_tile
from dupegrid.storage.arrays import Tiles
from dupegrid.storage.hold import current_hold
from dupegrid.storage.ours import remove
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.table_checks import check_ids
from dupegrid.storage.tables import row_count
from dupegrid.storage.unfinished import check_finished

_BLOCK: Final = 512  # images; smaller ones skip a little more and take much more time outside the products
# Pairs of which compiled loops save what loading them takes; at least, where a sample says that so many are near.
_MANY, _AT_LEAST, _MANY_NEAR = 100_000**2 // 2, 1 << 25, 1 << 19


def compare(ask: Ask, config: Config, run_dir: RunDir, runtime: Runtime, reporter: Reporter) -> dict[str, Any]:
    """Compare all pairs, going on where an earlier run stopped. Returns the receipt's pairs, tiles and matches."""
    facts, thumbs = read_facts(run_dir), run_dir.thumbs()
    thumbs.check_whole(config.thumb)
    if len(facts.ok) != len(thumbs):
        raise DamagedError(run_dir.images, f"it is of {len(facts.ok):,} images, and thumbnails are of {len(thumbs):,}")
    run_dir.levels().check(level_shapes(0, config.thumb, config.looks))
    check_ids(run_dir.images, pa.table({"root": facts.roots}), ["root"], len(config.roots))
    alike, pairs = ask.key(thumbs.key), ask.key(run_dir.images_key())
    settled = np.zeros(len(facts.live), bool)
    if ask.metric == FILTERED:
        settled = settle(run_dir, facts.live, config, alike, pairs)
    with reporter.stage("sort", len(facts.live), "images") as advance:
        job, decided = _laid_out(ask, config, run_dir, runtime.room(config.memory), pairs, settled)
        advance(len(facts.live))
    tiles = _opened_or_new(job)
    done = _done(run_dir, tiles, job.key)
    pending = [(i, j) for i, j in job.grid.tiles().tolist() if (i, j) not in done]
    total, todo = len(facts.live) * (len(facts.live) - 1) // 2, sum(job.grid.pairs(i, j) for i, j in pending)
    # Tiles on the diagonal hold most of the work and start first, so that no core waits for one at the end; the others
    # go row by row, as tiles of a row share a strip, to and fro, as the last strips of a row are still in memory.
    pending.sort(key=lambda tile: (tile[0] != tile[1], tile[0], tile[1] if tile[0] % 2 else -tile[1]))
    far, near = [tile for tile in pending if decided[tile]], [tile for tile in pending if not decided[tile]]
    with reporter.stage("compare", total, "pairs", total - todo) as advance:
        answers = Answers(advance)
        for tile in far:
            answers.take(attempted(partial(_mark_apart, job), config.retries, tile))
        aside = [*answers.set_aside, *runtime.each(partial(compare_tile, job), np.array(near, np.int64), advance)]
    if job.device:
        run_dir.renew()  # what is kept on a device here would be kept as long as the run
    _check_finished(job, aside)
    if not is_of(run_dir.compared, pairs):
        write_compared(run_dir, facts.live, config, alike, pairs)
    return _counts(job, tiles, facts, facts.live[settled])


def _check_finished(job: Job, aside: Sequence[SetAside]) -> None:
    """UnfinishedError where tiles were set aside. A receipt and clusters of before they were lost are then removed."""
    if aside:
        job.run_dir.discard_from("cluster")
        remove(job.run_dir.receipt)
    missing = [("tile {}, {}".format(*it.item), job.grid.pairs(*it.item), it.problem) for it in aside]
    check_finished(job.run_dir, "compare", "pairs", missing)


def compare_tile(job: Job, tile: Ints) -> int:
    """Compare the pairs of a tile, by its place in the grid, int64 (2,). Returns how many pairs it stands for.

    Matches are written first and the mark last, so a tile that is marked needs nothing more.
    """
    i, j = tile.tolist()
    tally = Counter[str]()
    with job.run_dir.writing_for(job.token):
        writer = PartWriter(job, i, j)
        if job.ask.metric == FILTERED:
            _filter_tile(job, i, j, tally, writer)
        else:
            measure_tile(job, i, j, tally, writer)
        tally.update(parts=writer.close(), matches=writer.rows)
        return _mark(job, i, j, tally)


def _mark(job: Job, i: int, j: int, tally: Counter[str]) -> int:
    """Say that a tile is done, and what was counted in it. Returns how many pairs it stands for."""
    counts = [*(tally[name] for name in COUNTS[:-1]), number_of(job.key)]
    job.run_dir.tiles().mark(i, j, np.array(counts, np.int64))
    return job.grid.pairs(i, j)


def _mark_apart(job: Job, tile: tuple[int, int]) -> int:
    """Say that a tile whose strips are apart is done."""
    return _mark(job, *tile, Counter(box=job.grid.pairs(*tile)))


def _filter_tile(job: Job, i: int, j: int, tally: Counter[str], writer: PartWriter) -> None:
    by_hash = job.filters.same_hash != "any"  # then the images of a block are not asked for alike
    if job.device and not by_hash and all(fills_squares(job, number) for number in {i, j}):
        compare_on_device(job, i, j, tally, writer)
        return
    of_second = pieces(job, j)
    for rows in pieces(job, i):
        first = read_piece(job, rows)
        for others in of_second:
            if others.start >= rows.start:  # of a tile on the diagonal the pieces before it were there already
                filter_tile(job, first, first if others == rows else read_piece(job, others), tally, writer)


def tiles_done(run_dir: RunDir, pairs: str) -> tuple[set[tuple[int, int]], Tiles | None]:
    """The tiles that are done, (i, j) with i <= j, of the comparison with this key of its pairs; and their store.

    There is none where the comparison has not begun.
    """
    compared, layout = run_dir.tiles_keys()
    if compared != pairs:
        return set(), None
    tiles = run_dir.tiles()
    return _done(run_dir, tiles, fingerprint(pairs, layout)), tiles


def _laid_out(ask: Ask, config: Config, run_dir: RunDir, room: Room, pairs: str, settled: Bools) -> tuple[Job, Bools]:
    """Lay the grid over the images that are compared one by one: sorted for MSE, else in the order of their ids.

    And which of its tiles need no look at their images, bool (strips, strips).
    """
    facts, filters, orientations = read_facts(run_dir), Filters.of(config), CHOICES[ask.orientations]
    live, limit = len(facts.live), sse_limit(ask.cutoff, values_of(config.thumb))
    order: Order | None = None
    if ask.metric == FILTERED:
        groups = filters.keys(facts, facts.live)
        groups = groups + settled * (groups.max(initial=0) + 1)  # those that are not settled come first
        block = min(_BLOCK, config.tile or _BLOCK)
        order = sort_images(run_dir, config.thumb, groups, orientations, block, run_dir.images_key())
        starts, near_share = order.starts, order.near_share(radius(limit, config.thumb))
    else:
        starts, near_share = np.arange(live), 1.0
    new = live - int(settled.sum())
    grid = Grid(tuple(strips(starts, live, config.tile or strip_side(live, near_share), new).tolist()), new)
    layout = fingerprint(grid.bounds, grid.settled_from, order.key if order else "")
    todo = new * (2 * live - new) // 2
    worth = todo >= (_AT_LEAST if todo * near_share * len(orientations) >= _MANY_NEAR else _MANY)
    device, token = device_of(config), current_hold().token
    job = Job(run_dir, ask, grid, config.thumb, limit, orientations, filters, room, pairs, layout, worth, device, token)
    return job, apart(job, order) if order else np.zeros((grid.strips, grid.strips), bool)


def _opened_or_new(job: Job) -> Tiles:
    run_dir = job.run_dir
    with_settled = job.grid.settled_from < job.grid.bounds[-1]
    whole = is_part_of(run_dir.collapsed, job.key) and (is_of(run_dir.adopted, job.pairs) or not with_settled)
    if run_dir.tiles_keys() == (job.pairs, job.layout) and whole:
        with suppress(DamagedError):
            tiles = run_dir.tiles()
            if tiles.shape == (job.grid.strips, job.grid.strips, len(COUNTS)):
                _remove_other_parts(job)
                return tiles
    kept = (run_dir.settled, run_dir.settled_matches, run_dir.matches) if with_settled else ()
    run_dir.discard_from("compare", keep=[path.name for path in kept])
    run_dir.matches.mkdir(exist_ok=True)
    _remove_other_parts(job)
    if with_settled:
        adopt(run_dir, job.pairs)
    write_matches(job, run_dir.collapsed, _collapsed(job, read_facts(run_dir)))
    facts = {"pairs": job.pairs, "layout": job.layout, "tiles": len(job.grid.tiles())}
    tiles = Tiles.create(run_dir.tiles_zarr, job.grid.strips, len(COUNTS), facts)
    run_dir.renew(tiles=tiles)
    return tiles


def _remove_other_parts(job: Job) -> None:
    for path in other_parts(job.run_dir, job.key, job.pairs):
        remove(path)


def _collapsed(job: Job, facts: Facts) -> Columns:
    """The matches (a, b, sse, orientation, score) of images with those that stand for them, where asked for at all."""
    b: Ints = np.flatnonzero(facts.identical_to >= 0)
    a = facts.identical_to[b].astype(np.int64)
    keep = job.filters.of_roots(facts, a, b) & job.filters.of_hashes(facts, a, b)
    a, b = a[keep], b[keep]
    if job.ask.metric == FILTERED:
        return a, b, np.zeros(len(a), np.int64), np.zeros(len(a), np.int64), np.zeros(len(a))
    first, place = np.unique(a, return_inverse=True)
    sse, orientation, score = measure_equal(job, first)
    near = score[place] <= job.ask.cutoff
    a, b, place = a[near], b[near], place[near]
    return a, b, sse[place], orientation[place], score[place]


def _done(run_dir: RunDir, tiles: Tiles, key: str) -> set[tuple[int, int]]:
    """The tiles with a mark of the comparison with this key whose part files, if they have any, are there."""
    parts, comparison = COUNTS.index("parts"), COUNTS.index("comparison")

    def is_whole(i: int, j: int, counts: Ints) -> bool:
        if len(counts) != len(COUNTS) or counts[comparison] != number_of(key):
            return False
        return all(is_part_of(run_dir.match_part(i, j, part), key) for part in range(int(counts[parts])))

    return {(i, j) for (i, j), counts in tiles.counts().items() if is_whole(i, j, counts)}


def _counts(job: Job, tiles: Tiles, facts: Facts, settled: Ints) -> dict[str, Any]:
    """How all pairs of readable images were decided: what the tiles counted, and the images that others stand for."""
    done = tiles.counts()
    counted = np.zeros(len(COUNTS), np.int64)
    for i, j in job.grid.tiles().tolist():
        if (i, j) not in done:
            raise DamagedError(tiles.file(i, j), "it is not there, or its checksum does not match")
        counted += done[i, j]
    counts = dict(zip(COUNTS, counted.tolist(), strict=True))
    readable = np.flatnonzero(facts.ok)
    total = len(readable) * (len(readable) - 1) // 2
    asked_for = job.filters.asked_for(facts, readable)
    identical = asked_for - job.filters.asked_for(facts, facts.live)
    earlier = job.filters.asked_for(facts, settled)
    decided = {name: counts[name] for name in DECIDED} | {"other_group": total - asked_for}
    decided |= {"identical": identical, "earlier": earlier}
    others = [job.run_dir.collapsed, *([job.run_dir.adopted] if is_of(job.run_dir.adopted, job.pairs) else [])]
    matches = counts["matches"] + sum(map(row_count, others))
    return {"pairs": {"total": total, **decided}, "tiles": len(job.grid.tiles()), "matches": matches}

"""Clusters and keepers against a slow reading of the definition."""

from collections.abc import Set
from dataclasses import fields
from itertools import combinations, pairwise, permutations
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dupegrid.core.arrays import ORIENTATIONS
from dupegrid.core.config import Config
from dupegrid.pairs.ask import Filters
from dupegrid.pairs.batches import Matches
from dupegrid.results.clusters import Asked, clusters
from dupegrid.results.components import components
from dupegrid.results.drawn.through import joins
from dupegrid.storage.schemas import IMAGES, MATCHES

Edge = tuple[int, int, float]
EVERY_PAIR = Filters.of(Config(paths=["photos"]))


def images_table(sizes: list[tuple[int, int]], identical_to: dict[int, int] | None = None) -> pa.Table:
    """Images with (pixels, bytes); the path runs against the id."""
    rows = [
        {
            "id": k,
            "path": f"/{len(sizes) - k:03d}",
            "path_raw": f"/{len(sizes) - k:03d}".encode(),
            "width": pixels,
            "height": pixels,
            "size_bytes": size,
            "status": "ok",
            "identical_to": (identical_to or {}).get(k),
            **dict.fromkeys(("mtime_ns", "ctime_ns", "device", "inode"), 0),
        }
        for k, (pixels, size) in enumerate(sizes)
    ]
    return pa.Table.from_pylist(rows, schema=IMAGES)


def matches_table(edges: list[Edge]) -> pa.Table:
    return pa.Table.from_pylist([{"a": a, "b": b, "mse": mse, "score": mse} for a, b, mse in edges], schema=MATCHES)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[tuple[int, int]], list[Edge]]:
    n = draw(st.integers(2, 9))
    sizes = draw(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 2)), min_size=n, max_size=n))
    pairs = [(a, b) for a in range(n) for b in range(a + 1, n)]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True))
    return sizes, [(a, b, draw(st.sampled_from([0.0, 20.0, 50.0, 80.0]))) for a, b in chosen]


def stars(
    n: int, near: dict[frozenset[int], float], best: list[int], apart: Set[frozenset[int]] = frozenset()
) -> dict[int, int]:
    """image -> keeper, by the words of the definition; `best` are the images, the best keeper first.

    Pairs that are `apart` are no copies of each other: they make stars only of what matches no star of others.
    """
    keeper: dict[int, int] = {}
    beside: set[int] = set()
    for pairs in (near.keys() - apart, near.keys()) if apart else (near.keys(),):
        for k in best:
            free = {y for y in range(n) if frozenset((k, y)) in pairs} - keeper.keys() - beside
            if k not in keeper.keys() | beside and free:
                keeper |= dict.fromkeys([k, *free], k)
        beside = {k for k in range(n) if k not in keeper and any(frozenset((k, y)) in near for y in keeper)}
    for _ in range(2):  # what matches only those that go with others goes with these
        through = {}
        for k in set(best) - set(keeper):
            known = [(near[frozenset((k, y))], best.index(y), y) for y in keeper if frozenset((k, y)) in near]
            if known:
                through[k] = keeper[min(known)[2]]
        keeper |= through
    return keeper


@given(graphs())
def test_clusters_are_stars(graph: tuple[list[tuple[int, int]], list[Edge]]) -> None:
    sizes, edges = graph
    table = clusters(images_table(sizes), matches_table(edges), 50, Asked(EVERY_PAIR)).to_pylist()
    mse = {frozenset((a, b)): value for a, b, value in edges}
    best = sorted(range(len(sizes)), key=lambda k: (-sizes[k][0], -sizes[k][1], -k))  # the path runs against the id
    near = {pair: value for pair, value in mse.items() if value <= 50}
    assert {row["image"]: row["keeper"] for row in table} == stars(len(sizes), near, best)
    assert {row["image"] for row in table} == {k for pair in near for k in pair}, "whoever matches is in a cluster"
    found: dict[int, list[int]] = {}
    for row in table:
        found.setdefault(row["cluster"], []).append(row["image"])
    assert list(found) == sorted(found)
    counts = [len(found[number]) for number in sorted(found)]
    assert counts == sorted(counts, reverse=True)
    for row in table:
        keeper = row["keeper"]
        assert found[row["cluster"]][0] == keeper
        direct = 0.0 if row["image"] == keeper else mse.get(frozenset((row["image"], keeper)))
        assert row["mse_to_keeper"] == direct
        matches = direct is not None and direct <= 50
        assert row["role"] == ("keep" if row["image"] == keeper else "duplicate" if matches else "bridge")
        assert row["reason"] == ("chain" if row["role"] == "bridge" else None)
        differ = [sizes[row["image"]][k] != sizes[keeper][k] for k in (0, 1)] + [row["image"] != keeper, True]
        assert row["rule"] == ("pixels", "bytes", "path", None)[differ.index(True)]
        words = "{0} x {0} over {1} x {1}".format(*(sizes[k][0] for k in (keeper, row["image"])))
        assert row["rule"] != "pixels" or row["compared"] == words


@given(graphs(), st.sets(st.integers(0, 8)))
@example(([(1, 1)] * 4, [(0, 3, 20.0), (0, 1, 0.0), (1, 2, 0.0)]), {0})  # 3 matches only what goes with another
@example(([(1, 1), (1, 1), (2, 1)], [(0, 1, 20.0), (0, 2, 20.0), (1, 2, 20.0)]), {0, 1})  # 2 is better than its keeper
def test_copies_come_together_before_an_edit_and_its_original_do(
    graph: tuple[list[tuple[int, int]], list[Edge]], edits: set[int]
) -> None:
    sizes, edges = graph
    images = images_table(sizes)
    paths = [f"/{len(sizes) - k:03d}{'-edited' * (k in edits)}" for k in range(len(sizes))]
    images = images.set_column(images.column_names.index("path"), "path", pa.array(paths))
    images = images.set_column(images.column_names.index("path_raw"), "path_raw", pa.array(map(str.encode, paths)))
    table = clusters(images, matches_table(edges), 50, Asked(EVERY_PAIR)).to_pylist()
    near = {frozenset((a, b)): value for a, b, value in edges if value <= 50}
    best = sorted(range(len(sizes)), key=lambda k: (-sizes[k][0], k in edits, -sizes[k][1], -k))
    apart = {pair for pair, mse in near.items() if len(pair & edits) == 1 and mse > 0}
    assert {row["image"]: row["keeper"] for row in table} == stars(len(sizes), near, best, apart)
    for row in table:
        of_two = frozenset((row["image"], row["keeper"]))
        if of_two in near:
            assert (row["reason"] == "edit") == (len(of_two & edits) == 1)
        assert (row["rule"] is not None) == (best.index(row["image"]) > best.index(row["keeper"]))


def test_images_that_another_stands_for_are_members() -> None:
    table = clusters(
        images_table([(1, 1), (1, 1), (9, 1), (1, 1), (1, 1)], identical_to={1: 0, 2: 0, 4: 3}),
        matches_table([(0, 1, 0.0), (0, 2, 0.0)]),
        50,
        Asked(EVERY_PAIR),
    ).to_pylist()
    assert {row["image"]: row["role"] for row in table} == {0: "duplicate", 1: "duplicate", 2: "keep"}
    assert {row["mse_to_keeper"] for row in table} == {0.0}


@pytest.mark.parametrize("ids", [*permutations(range(3))])
def test_which_image_stands_for_a_set_does_not_change_the_clusters(ids: tuple[int, ...]) -> None:
    """Of two equal thumbnails one is called an edit: the other, the better one, says what the two are."""
    picture, other, edit = ids
    names = {picture: "/a.png", other: "/b.png", edit: "/b-edited.png"}
    sizes, paths = [(9 if id == picture else 1, 1) for id in range(3)], [names[id] for id in range(3)]
    images = images_table(sizes, identical_to={max(other, edit): (first := min(other, edit))})
    for name, column in (("path", pa.array(paths)), ("path_raw", pa.array(map(str.encode, paths)))):
        images = images.set_column(images.column_names.index(name), name, column)
    matches = matches_table([(*sorted((other, edit)), 0.0), (*sorted((picture, first)), 20.0)])
    table = clusters(images, matches, 50, Asked(EVERY_PAIR)).to_pylist()
    found = {row["path"]: (names[row["keeper"]], row["reason"]) for row in table}
    assert found == {"/a.png": ("/a.png", None), "/b.png": ("/a.png", None), "/b-edited.png": ("/a.png", "edit")}


def test_no_matches_no_clusters() -> None:
    assert len(clusters(images_table([(1, 1)] * 3), matches_table([]), 50, Asked(EVERY_PAIR))) == 0
    assert len(clusters(images_table([]), matches_table([]), 50, Asked(EVERY_PAIR))) == 0


def test_a_chain_is_cut_into_stars() -> None:
    n = 1001
    images = images_table([(n - k, 1) for k in range(n)])
    matches = matches_table([(k, k + 1, 1.0) for k in range(n - 1)])
    table = clusters(images, matches, 50, Asked(EVERY_PAIR))
    roles = table["role"].to_pylist()
    assert (roles.count("keep"), roles.count("duplicate"), roles.count("bridge")) == (n // 2, n // 2, 1)
    apart = np.abs(table["image"].to_numpy() - table["keeper"].to_numpy())
    assert apart.max() == 2, "the last one, beside a picture that goes with the one before it"


@given(st.integers(2, 5), st.lists(st.integers(0, 4), min_size=2, max_size=12), st.randoms(use_true_random=False))
def test_a_set_of_identical_thumbnails_goes_as_its_pairs_written_out(n: int, of: list[int], random: Random) -> None:
    """Sets whose members match each other, and sets of one side of --against, whose members do not."""
    of = [k % n for k in of]
    lowest = {k: of.index(k) for k in of}
    inside = {k: random.random() < 0.5 for k in set(of)}
    links = {(x, y): random.choice([0.0, 20.0]) for x in set(of) for y in set(of) if x < y and random.random() < 0.5}
    sizes = [(random.randint(1, 3), 1) for _ in of]
    edges, pairs = [], {}
    for a in range(len(of)):
        for b in range(a + 1, len(of)):
            x, y = sorted((of[a], of[b]))
            value = (0.0 if inside[x] else None) if x == y else links.get((x, y))
            if value is not None:
                pairs[frozenset((a, b))] = value
                if lowest[of[a]] == a and (x == y or lowest[of[b]] == b):
                    edges.append((a, b, value))
    identical_to = {k: lowest[x] for k, x in enumerate(of) if lowest[x] != k}
    table = clusters(images_table(sizes, identical_to), matches_table(edges), 50, Asked(EVERY_PAIR)).to_pylist()
    best = sorted(range(len(of)), key=lambda k: (-sizes[k][0], -k))
    assert {row["image"]: row["keeper"] for row in table} == stars(len(of), pairs, best)


def in_batches(table: pa.Table, random: Random, window_bytes: int) -> Matches:
    """The same matches in another order, in batches of one to some, some of them empty."""
    rows = random.sample(range(len(table)), len(table))
    cuts = sorted(random.choices(range(len(table) + 1), k=3))
    parts = [rows[i:j] for i, j in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
    batches = [batch for part in parts for batch in Matches.of(table.take(pa.array(part, pa.int64())))]
    return Matches(lambda: iter(batches), window_bytes)


@st.composite
def forests(draw: st.DrawFn) -> tuple[pa.Table, pa.Table]:
    """Chains, crowds and what is drawn at random, beside and over each other, with sets of identical thumbnails."""
    n = draw(st.integers(2, 40))
    random = draw(st.randoms(use_true_random=False))
    pairs = set[tuple[int, int]]()
    for kind in draw(st.lists(st.sampled_from(["chain", "crowd", "star", "any"]), min_size=1, max_size=4)):
        some = random.sample(range(n), random.randint(2, n))
        pairs |= set(
            {
                "chain": pairwise(some),
                "crowd": combinations(some[:8], 2),
                "star": ((some[0], other) for other in some[1:]),
                "any": (tuple(random.sample(range(n), 2)) for _ in some),
            }[kind]
        )
    of = {k: random.randrange(k) for k in random.sample(range(1, n), random.randrange(n // 2 + 1))}
    of = {k: first for k, first in of.items() if first not in of}
    pairs |= {(first, k) for k, first in of.items() if random.random() < 0.8}
    sizes = [(random.randint(1, 3), 1) for _ in range(n)]
    edges = {(min(pair), max(pair)): random.choice([0.0, 20.0, 50.0, 80.0]) for pair in pairs}
    turns = [random.choice([*ORIENTATIONS, None]) for _ in edges]
    table = matches_table([(*pair, mse) for pair, mse in sorted(edges.items())])
    place = table.column_names.index("orientation")
    return images_table(sizes, of), table.set_column(place, "orientation", pa.array(turns, pa.string()))


@settings(max_examples=25)
@given(forests(), st.randoms(use_true_random=False), st.sampled_from([8, 64, 1 << 20]))
def test_batches_and_windows_change_nothing(tables: tuple[pa.Table, pa.Table], random: Random, size: int) -> None:
    images, matches = tables
    at_once = clusters(images, matches, 50, Asked(EVERY_PAIR))
    some = in_batches(matches, random, size)
    assert clusters(images, some, 50, Asked(EVERY_PAIR)).equals(at_once)
    whole, parts = joins(images, matches, at_once, 50), joins(images, some, at_once, 50)
    for field in fields(whole):
        np.testing.assert_array_equal(getattr(parts, field.name), getattr(whole, field.name))
    best = np.lexsort((-np.arange(len(images)), -images["width"].to_numpy())).tolist()
    set_of = pc.coalesce(images["identical_to"], images["id"]).to_pylist()
    if set_of == list(range(len(images))):
        near = {frozenset((row["a"], row["b"])): row["mse"] for row in matches.to_pylist() if row["mse"] <= 50}
        named = [k for k in best if any(k in pair for pair in near)]
        keepers = dict(zip(at_once["image"].to_pylist(), at_once["keeper"].to_pylist(), strict=True))
        assert keepers == stars(len(images), near, named)


@given(st.data(), st.integers(1, 40))
def test_numbers_joined_by_edges_have_the_same_smallest_one(data: st.DataObject, n: int) -> None:
    edges = data.draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=60))
    smallest = list(range(n))
    for _ in range(n):
        for a, b in edges:
            smallest[a] = smallest[b] = min(smallest[a], smallest[b])
    a, b = np.array(edges, np.int64).reshape(-1, 2).T
    assert components(n, a, b).tolist() == smallest


def test_a_long_chain_is_joined_whatever_its_order() -> None:
    n = 20_000
    for order in (np.arange(n), np.arange(n)[::-1], np.random.default_rng(0).permutation(n)):
        assert not components(n, order[:-1], order[1:]).any()

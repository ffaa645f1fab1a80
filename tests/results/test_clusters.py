"""Clusters and keepers against a slow reading of the definition."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from dupegrid.core.config import Config
from dupegrid.pairs.ask import Filters
from dupegrid.results.clusters import clusters, joined
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


@given(graphs())
def test_clusters_are_the_connected_components(graph: tuple[list[tuple[int, int]], list[Edge]]) -> None:
    sizes, edges = graph
    table = clusters(images_table(sizes), matches_table(edges), threshold=50, filters=EVERY_PAIR).to_pylist()
    mse = {frozenset((a, b)): value for a, b, value in edges}
    found: dict[int, set[int]] = {}
    for row in table:
        found.setdefault(row["cluster"], set()).add(row["image"])
    expected = [{k} for k in range(len(sizes))]
    for a, b, value in edges:
        if value <= 50:
            joined = [group for group in expected if a in group or b in group]
            expected = [group for group in expected if group not in joined] + [set().union(*joined)]
    assert sorted(map(sorted, found.values())) == sorted(sorted(group) for group in expected if len(group) > 1)
    assert list(found) == sorted(found)
    assert [len(found[number]) for number in sorted(found)] == sorted(map(len, found.values()), reverse=True)
    for row in table:
        members = found[row["cluster"]]
        keeper = min(members, key=lambda k: (-sizes[k][0], -sizes[k][1], -k))  # the path runs against the id
        direct = 0.0 if row["image"] == keeper else mse.get(frozenset((row["image"], keeper)))
        assert row["keeper"] == keeper
        assert row["mse_to_keeper"] == direct
        near = direct is not None and direct <= 50
        assert row["role"] == ("keep" if row["image"] == keeper else "duplicate" if near else "bridge")
        assert row["reason"] == ("chain" if row["role"] == "bridge" else None)
        differ = [sizes[row["image"]][k] != sizes[keeper][k] for k in (0, 1)] + [row["image"] != keeper, True]
        assert row["rule"] == ("pixels", "bytes", "path", None)[differ.index(True)]


def test_images_that_another_stands_for_are_members() -> None:
    table = clusters(
        images_table([(1, 1), (1, 1), (9, 1), (1, 1), (1, 1)], identical_to={1: 0, 2: 0, 4: 3}),
        matches_table([(0, 1, 0.0), (0, 2, 0.0)]),
        threshold=50,
        filters=EVERY_PAIR,
    ).to_pylist()
    assert {row["image"]: row["role"] for row in table} == {0: "duplicate", 1: "duplicate", 2: "keep"}
    assert {row["mse_to_keeper"] for row in table} == {0.0}


def test_no_matches_no_clusters() -> None:
    assert len(clusters(images_table([(1, 1)] * 3), matches_table([]), 50, EVERY_PAIR)) == 0
    assert len(clusters(images_table([]), matches_table([]), 50, EVERY_PAIR)) == 0


def test_a_chain_is_one_cluster_with_bridges() -> None:
    n = 1000
    table = clusters(
        images_table([(n - k, 1) for k in range(n)]),
        matches_table([(k, k + 1, 1.0) for k in range(n - 1)]),
        50,
        EVERY_PAIR,
    )
    assert np.unique(table["cluster"]).tolist() == [0]
    roles = table["role"].to_pylist()
    assert (roles.count("keep"), roles.count("duplicate"), roles.count("bridge")) == (1, 1, n - 2)


@given(st.data(), st.integers(1, 40))
def test_numbers_joined_by_edges_have_the_same_smallest_one(data: st.DataObject, n: int) -> None:
    edges = data.draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=60))
    smallest = list(range(n))
    for _ in range(n):
        for a, b in edges:
            smallest[a] = smallest[b] = min(smallest[a], smallest[b])
    a, b = np.array(edges, np.int64).reshape(-1, 2).T
    assert joined(n, a, b).tolist() == smallest


def test_a_long_chain_is_joined_whatever_its_order() -> None:
    n = 20_000
    for order in (np.arange(n), np.arange(n)[::-1], np.random.default_rng(0).permutation(n)):
        assert not joined(n, order[:-1], order[1:]).any()

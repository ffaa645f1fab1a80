"""Clusters after what people decided, against the definition of stars without and with these pairs."""

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from dupegrid.results.clusters import Asked, clusters
from dupegrid.results.decided import Decided
from dupegrid.storage.schemas import DECISIONS
from tests.results.test_clusters import EVERY_PAIR, Edge, graphs, images_table, matches_table, stars

Graph = tuple[list[tuple[int, int]], list[Edge]]


def hash_of(k: int) -> str:
    return f"{k:032x}"


def images_of(sizes: list[tuple[int, int]], hashes: list[int]) -> pa.Table:
    table = images_table(sizes)
    place = table.column_names.index("file_hash")
    return table.set_column(place, "file_hash", pa.array([hash_of(k) for k in hashes], pa.string()))


def decisions_of(rows: list[tuple[int, int, str, int | None]]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                **{"hash_a": hash_of(min(a, b)), "hash_b": hash_of(max(a, b)), "decision": verdict},
                "keeper": None if keeper is None else hash_of(keeper),
            }
            for a, b, verdict, keeper in rows
        ],
        DECISIONS,
    )


@st.composite
def decided_graphs(draw: st.DrawFn) -> tuple[Graph, list[tuple[int, int, str, int | None]]]:
    sizes, edges = draw(graphs())
    pairs = [(a, b) for a in range(len(sizes)) for b in range(a + 1, len(sizes) + 1)]  # one is not of this run
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=5))
    rows: list[tuple[int, int, str, int | None]] = []
    for a, b in chosen:
        verdict = draw(st.sampled_from(["same", "not-same", "variant"]))
        rows.append((a, b, verdict, draw(st.sampled_from([a, None])) if verdict == "same" else None))
    return (sizes, edges), rows


@settings(max_examples=30)
@given(decided_graphs())
def test_stars_of_the_pairs_that_people_left(case: tuple[Graph, list[tuple[int, int, str, int | None]]]) -> None:
    (sizes, edges), rows = case
    n, images = len(sizes), images_of(sizes, list(range(len(sizes))))
    decided = Decided.of(images, decisions_of(rows))
    here = {frozenset((a, b)): (verdict, keeper) for a, b, verdict, keeper in rows if b < n}
    assert (decided is None) == (not here)
    found = clusters(images, matches_table(edges), 50, Asked(EVERY_PAIR, decided=decided)).to_pylist()
    verdicts = {pair: verdict for pair, (verdict, _) in here.items()}
    mse = {frozenset((a, b)): value for a, b, value in edges}
    near = {
        pair: value
        for pair, value in mse.items()
        if verdicts.get(pair) != "not-same" and (value <= 50 or verdicts.get(pair) == "same")
    }
    depth = dict.fromkeys(range(n), 0)
    for _ in range(n):  # keepers are always the lower id here: no circles
        for pair, (_, keeper) in here.items():
            if keeper is not None:
                (loser,) = pair - {keeper}
                depth[loser] = max(depth[loser], depth[keeper] + 1)
    best = sorted(range(n), key=lambda k: (depth[k], -sizes[k][0], -sizes[k][1], -k))
    assert {row["image"]: row["keeper"] for row in found} == stars(n, near, best)
    variants = {k for pair, verdict in verdicts.items() if verdict == "variant" for k in pair}
    apart = [pair for pair, verdict in verdicts.items() if verdict == "not-same"]
    for row in found:
        pair = frozenset((row["image"], row["keeper"]))
        together = {other["image"] for other in found if other["keeper"] == row["keeper"] != other["image"]}
        divided = verdicts.get(pair) != "same" and any(row["image"] in two and two <= together for two in apart)
        if row["role"] == "duplicate":
            assert pair in near
            assert not divided
            assert row["image"] not in variants
            assert row["mse_to_keeper"] == mse[pair]
        elif row["role"] == "bridge":
            expected = "not-same" if verdicts.get(pair) == "not-same" or divided else "chain"
            assert row["reason"] == ("variant" if expected == "chain" and row["image"] in variants else expected)


def test_of_two_that_differ_none_goes_for_a_third_that_both_match() -> None:
    found = roles([0, 1, 2], [(1, 2, "not-same", None)])
    assert found == {0: ("keep", 0, None), 1: ("bridge", 0, "not-same"), 2: ("bridge", 0, "not-same")}
    found = roles([0, 1, 2], [(1, 2, "not-same", None), (0, 1, "same", None)])
    assert found == {0: ("keep", 0, None), 1: ("duplicate", 0, None), 2: ("bridge", 0, "not-same")}


def edge(*pairs: tuple[int, int]) -> pa.Table:
    return matches_table([(a, b, 1.0) for a, b in pairs])


def roles(hashes: list[int], rows: list[Any], **changes: list[Any]) -> dict[int, tuple[str, int, str | None]]:
    """Of images that all match each other, the first best."""
    n = len(hashes)
    images = images_of([(n - k, 1) for k in range(n)], hashes)
    for name, values in changes.items():
        place = images.column_names.index(name)
        images = images.set_column(place, name, pa.array(values, images.schema.field(name).type))
    pairs = [(a, b) for a in range(n) for b in range(a + 1, n)]
    decided = Decided.of(images, decisions_of(rows))
    table = clusters(images, edge(*pairs), 50, Asked(EVERY_PAIR, decided=decided)).to_pylist()
    return {row["image"]: (row["role"], row["keeper"], row["reason"]) for row in table}


def test_a_decision_is_of_all_files_with_the_same_bytes() -> None:
    found = roles([0, 1, 1], [(0, 1, "not-same", None)])
    assert found == {1: ("keep", 1, None), 2: ("duplicate", 1, None)}
    found = roles([0, 1, 1], [(0, 1, "variant", None)])
    assert found[2] == ("bridge", 0, "variant")
    found = roles([0, 0, 1], [(0, 1, "variant", None)])
    assert found[1] == ("duplicate", 0, None)  # a copy of its keeper is no variant of that
    assert found[2] == ("bridge", 0, "variant")


def test_who_looked_at_two_knows_more_than_their_squares_say() -> None:
    assert roles([0, 1], [(0, 5, "same", None)], flat=[True, False])[1] == ("bridge", 0, "flat")
    assert roles([0, 1], [(0, 1, "same", None)], flat=[True, False])[1] == ("duplicate", 0, None)


def test_what_was_not_read_is_decided_by_nothing() -> None:
    images = images_of([(1, 1), (1, 1)], [0, 1])
    images = images.set_column(images.column_names.index("status"), "status", pa.array(["ok", "truncated"]))
    assert Decided.of(images, decisions_of([(0, 1, "same", None)])) is None
    assert Decided.of(images.slice(0, 0), decisions_of([(0, 1, "same", None)])) is None


def test_kept_over_each_other_in_a_circle_ends() -> None:
    rows = [(0, 1, "same", 0), (1, 2, "same", 1), (0, 2, "same", 2)]
    assert np.sum([role == "keep" for role, _, _ in roles([0, 1, 2], rows).values()]) == 1

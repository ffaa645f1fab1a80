"""Groups of pictures to decide, and where two differ, against what a loop over rows says."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dupegrid.core.arrays import turned
from dupegrid.core.errors import UsageError
from dupegrid.results.drawn.differences import boxes, difference
from dupegrid.results.drawn.page import Found
from dupegrid.results.freed import freed_of
from dupegrid.results.groups import MOST, Filter, Groups, chosen, counts, groups_of, members, rows_of_first
from dupegrid.storage.schemas import RELATIONS_TABLE
from dupegrid.storage.words import RELATIONS, RULES
from tests.helpers.tables import found


@st.composite
def runs(draw: st.DrawFn) -> Found:
    count = draw(st.integers(0, 14))
    rows = [
        {
            "size_bytes": draw(st.integers(1, 5)),
            "file_hash": draw(st.sampled_from("abcdef")),
            "path_raw": b"/%s/Pic %d.jpg" % (draw(st.sampled_from([b"one", b"one/two", b"\xff"])), k),
        }
        for k in range(count)
    ]
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=14)) if pairs else []
    return found(rows, [(a, b, float(draw(st.integers(0, 50)))) for a, b in sorted(edges)])


def groups(what: Found) -> Groups:
    return groups_of(what.images, what.clusters, freed_of(what.images, what.clusters), None)


def by_loop(what: Found) -> list[tuple[int, list[set[int]]]]:
    """Of each group what it frees, and its pictures by what they hold."""
    images, of_cluster = what.images.to_pylist(), {}
    for row in what.clusters.to_pylist():
        of_cluster.setdefault(row["cluster"], []).append(row)
    result = []
    for number, rows in of_cluster.items():
        held: dict[str, set[int]] = {}
        for row in rows:
            held.setdefault(images[row["image"]]["file_hash"], set()).add(row["image"])
        freed = sum(images[row["image"]]["size_bytes"] for row in rows if row["role"] == "duplicate")
        result.append((-freed, number, list(held.values())))
    return [(-freed, held) for freed, _, held in sorted(result, key=lambda each: each[:2])]


@given(runs())
def test_groups_are_clusters_of_pictures_that_differ_by_what_they_free(what: Found) -> None:
    made, looped = groups(what), by_loop(what)
    differ = [(freed, held) for freed, held in looped if len(held) > 1]
    assert made.freed.tolist() == [freed for freed, _ in differ]
    for group, (_, held) in enumerate(differ):
        ids = made.ids(group).tolist()
        assert sorted(next(k for k, ids_of in enumerate(held) if id in ids_of) for id in ids) == list(range(len(held)))
        assert ids[0] in what.clusters["keeper"].to_pylist()
        assert made.copies[made.first[group] : made.first[group + 1]].sum() == sum(map(len, held)) - len(held)
    assert made.equal_clusters == len(looped) - len(differ)
    assert made.equal_bytes == sum(freed for freed, held in looped if len(held) == 1)


@given(runs(), st.integers(1, 4))
def test_the_first_groups_are_those_of_all(what: Found, most: int) -> None:
    freed = freed_of(what.images, what.clusters)
    rows = rows_of_first(what.clusters, freed, most)
    first, every = groups_of(what.images, what.clusters.take(rows), freed[rows], None), groups(what)
    assert len(set(what.clusters["cluster"].take(rows).to_pylist())) == min(most, len(by_loop(what)))
    for group in range(len(first)):
        assert first.ids(group).tolist() == every.ids(group).tolist()


@given(
    runs(),
    st.sampled_from(["", "pic 1", "\\xff", "ONE/T"]),
    st.sampled_from(["", "/one", "/one/", "/on"]),
    st.sampled_from(["", "bridge", "duplicate"]),
    st.data(),
)
def test_filters_leave_what_a_loop_leaves(what: Found, text: str, folder: str, role: str, data: st.DataObject) -> None:
    made = groups(what)
    finished = np.array(data.draw(st.lists(st.booleans(), min_size=len(made), max_size=len(made))), bool)
    asked = Filter(text, folder, role)
    rows, paths = made.rows.to_pylist(), made.images["path_raw"].to_pylist()
    expected = []
    for group in range(len(made)):
        here = rows[made.first[group] : made.first[group + 1]]
        of_paths = [paths[row["image"]] for row in here]
        has_text = any(text.lower().encode() in path.lower() for path in of_paths)
        under = not folder or any(path.startswith(folder.rstrip("/").encode() + b"/") for path in of_paths)
        if has_text and under and any(role in ("", row["role"]) for row in here[1:]) and not finished[group]:
            expected.append(group)
    found_groups, about = chosen(made, asked, finished)
    assert found_groups.tolist() == expected
    assert set(made.group_of[about].tolist()) == set(expected)
    assert not about[made.first[:-1]].any()
    assert sum(counts(made)["role"].values()) == len(rows) - len(made)


@given(runs(), st.sampled_from(["", *RULES]), st.sampled_from(["", *RELATIONS]), st.data())
def test_filters_of_rules_and_relations_leave_what_a_loop_leaves(
    what: Found, rule: str, relation: str, data: st.DataObject
) -> None:
    pairs = what.matches.select(["a", "b"]).to_pylist()
    told = [{**pair, "relation": data.draw(st.sampled_from([*RELATIONS]))} for pair in pairs]
    table = pa.Table.from_pylist(told, RELATIONS_TABLE)
    made = groups_of(what.images, what.clusters, freed_of(what.images, what.clusters), table)
    relation_of = {(pair["a"], pair["b"]): pair["relation"] for pair in told}
    expected, counted = set(), Counter[str]()
    for group in range(len(made)):
        for row in made.rows.to_pylist()[made.first[group] + 1 : made.first[group + 1]]:
            is_to_keeper = relation_of.get((min(row["image"], row["keeper"]), max(row["image"], row["keeper"])))
            counted.update([is_to_keeper] if is_to_keeper else [])
            if rule in ("", row["rule"]) and relation in ("", is_to_keeper):
                expected.add((group, row["image"]))
    about = chosen(made, Filter(rule=rule, relation=relation), np.zeros(len(made), bool))[1]
    found_rows = zip(made.group_of[about].tolist(), made.rows["image"].to_numpy()[about].tolist(), strict=True)
    assert set(found_rows) == expected
    assert counts(made)["relation"] == dict(counted)


def test_a_large_group_is_sent_in_part_and_says_so() -> None:
    what = found([{"file_hash": f"{k:032x}"} for k in range(MOST + 50)], [(0, k, 1.0) for k in range(1, MOST + 50)])
    made = groups(what)
    undecided = np.arange(MOST + 50) >= 300
    sent, left_out = members(made, 0, undecided)
    assert len(sent) == MOST
    assert left_out == 50
    assert sent[0]["role"] == "keep"
    assert {row["id"] for row in sent} >= set(made.ids(0)[undecided].tolist())


@pytest.mark.parametrize("given_filter", [None, 3, {"x": 1}, {"text": None}, {"rule": "<b>"}, {"folder": "x" * 5000}])
def test_what_is_no_filter_is_refused(given_filter: object) -> None:
    with pytest.raises(UsageError):
        Filter.of(given_filter)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["identity", "rot90", "rot180", "flip", "flip_rot270"]))
def test_a_patch_has_a_box_and_a_shift_of_colours_has_none(seed: int, turn: str) -> None:
    random = np.random.default_rng(seed)
    a = random.integers(60, 180, (64, 64, 3), dtype=np.uint8)
    y, x = random.integers(0, 56, 2)
    b = a.copy()
    b[y : y + 8, x : x + 8] += 70

    back = {"rot90": "rot270"}.get(turn, turn)
    lying = np.ascontiguousarray(turned(b[None], back)[0])
    what = difference(a, lying, "all")
    assert what.turn == turn
    assert what.mse == pytest.approx(float(((a.astype(float) - b) ** 2).mean()))
    [(left, top, width, height)] = what.boxes
    assert left * 64 <= x
    assert top * 64 <= y
    assert (left + width) * 64 >= x + 8
    assert (top + height) * 64 >= y + 8
    assert width * height < 0.1
    assert boxes(a, a + 40) == []

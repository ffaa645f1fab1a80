"""What splits share, against every pair written out, and planted copies."""

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dupegrid.core.errors import UsageError
from dupegrid.results import schemas
from dupegrid.results.questions import conflicts as conflicts_module
from dupegrid.results.questions.leakage import KEEP, Leakage, leakage
from dupegrid.results.questions.splits import Given
from tests.helpers.pairs import SCORES, THRESHOLD, Drawn, drawn, images_table, matches_table

ORDER = ["train", "val", "test"]


def strings(values: list[str | None]) -> pa.Array:
    return pa.array(values, pa.string())


@settings(max_examples=30)
@given(drawn(), st.data())
def test_leakage_is_what_all_pairs_say(case: Drawn, data: st.DataObject) -> None:
    n = len(case.images)
    split = data.draw(st.lists(st.sampled_from([*ORDER, None]), min_size=n, max_size=n))
    label = data.draw(st.lists(st.sampled_from(["cat", "dog", None]), min_size=n, max_size=n))
    keep = data.draw(st.sampled_from(KEEP))
    given_ = Given(strings(split), strings(label))
    if len({split[id] for id in case.ok} - {None}) < 2:
        with pytest.raises(UsageError, match=r"splits? \("):
            leakage(case.images, case.matches, THRESHOLD, given_, keep, max(SCORES))
        return
    found = leakage(case.images, case.matches, THRESHOLD, given_, keep, max(SCORES))
    for name, table in found.tables.items():
        assert table.schema == getattr(schemas, f"LEAKAGE_{name.upper()}")
    of = {name: [id for id in case.ok if split[id] == name] for name in ORDER}
    present = [name for name in ORDER if of[name]]
    if present[0] != "train":
        first = min(present, key=lambda name: (-len(of[name]), name))
        present = [first, *(name for name in present if name != first)]
    assert found.training == present[0]
    assert_splits(found, case, of, present)
    assert_images(found, case, split, label)
    assert_cleaned(found, case, of, present)


def assert_splits(found: Leakage, case: Drawn, of: dict[str, list[int]], present: list[str]) -> None:
    near = case.near()

    def leaking(name: str, others: list[str], pairs: set[tuple[int, int]]) -> int:
        return sum(any((x, y) in pairs for other in others for y in of[other]) for x in of[name])

    rows = found.splits.to_pylist()
    assert [row["split"] for row in rows] == present
    for row in rows:
        name = row["split"]
        expected = None if name == present[0] else leaking(name, present[:1], near)
        assert (row["images"], row["leaking"]) == (len(of[name]), expected)
        assert row["elsewhere"] == leaking(name, [other for other in present if other != name], near)
        assert row["kept"] + row["dropped"] == len(of[name])
    for row in found.matrix.to_pylist():
        a, b = row["split_a"], row["split_b"]
        assert row["pairs"] == len({frozenset(pair) for pair in near if pair[0] in of[a] and pair[1] in of[b]})
        assert (row["images_a"], row["images_b"]) == (leaking(a, [b], near), leaking(b, [a], near))
        assert row["percent_a"] == pytest.approx(100 * row["images_a"] / len(of[a]))
    assert len(found.matrix) == len(present) * (len(present) + 1) // 2
    steps = set(found.curve["threshold"].to_pylist())
    assert {0, THRESHOLD, max(SCORES)} <= steps
    assert found.curve.num_rows == len(steps) * (len(present) - 1)
    for row in found.curve.to_pylist():
        assert row["leaking"] == leaking(row["split"], present[:1], case.near(row["threshold"]))


def assert_images(found: Leakage, case: Drawn, split: list[str | None], label: list[str | None]) -> None:
    near = case.near()
    conflicts = {frozenset((x, y)) for x, y in near if label[x] and label[y] and label[x] != label[y]}
    rows = found.images.to_pylist()
    assert [row["image"] for row in rows] == case.ok
    for row in rows:
        x = row["image"]
        others = [
            (case.score[frozenset((x, y))], y) for y in case.ok if (x, y) in near and split[y] not in (None, split[x])
        ]
        score, other = min(others, default=(None, None)) if split[x] else (None, None)
        assert (row["near_score"], row["near_image"]) == (score, other)
        assert row["near_split"] == (None if other is None else split[other])
        assert row["label_conflict"] == any(x in pair for pair in conflicts)
        assert (row["action"] is None) == (split[x] is None)
    groups = {row["image"]: row["group"] for row in rows}
    assert all(groups[x] == groups[y] for x, y in near)
    sizes = Counter(groups.values())
    assert [sizes[number] for number in range(len(sizes))] == sorted(sizes.values(), reverse=True)
    listed = [frozenset((row["a"], row["b"])) for row in found.conflicts.to_pylist()]
    assert len(set(listed)) == len(listed)
    assert set(listed) <= conflicts
    stands = case.images["identical_to"].to_pylist()

    def kinds(pairs: set[frozenset[int]] | list[frozenset[int]]) -> set[frozenset[Any]]:
        return {frozenset((x if stands[x] is None else stands[x], label[x], split[x]) for x in pair) for pair in pairs}

    assert kinds(listed) == kinds(conflicts)


def assert_cleaned(found: Leakage, case: Drawn, of: dict[str, list[int]], present: list[str]) -> None:
    near = case.near()
    if found.keep == "neither":
        kept = {x for a in present for x in of[a] if not any((x, y) in near for b in present if a != b for y in of[b])}
    else:
        kept = set()
        for name in present if found.keep == "train" else present[::-1]:
            kept |= {x for x in of[name] if not any((x, y) in near for y in kept)}
    assert {row["image"] for row in found.images.to_pylist() if row["action"] == "keep"} == kept
    assert not any(x in of[a] and y in of[b] for x, y in near if {x, y} <= kept for a in of for b in of if a != b)


def test_many_labels_of_one_picture_are_listed_up_to_a_number_and_all_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conflicts_module, "_MOST", 3)
    images = images_table([f"/{k}.jpg" for k in range(6)], [0] * 6)
    given_ = Given(strings(["a", "b"] * 3), strings([f"label {k}" for k in range(6)]))
    found = leakage(images, matches_table([(0, k, 0.0) for k in range(1, 6)]), THRESHOLD, given_)
    assert {(row["a"], row["b"]) for row in found.conflicts.to_pylist()} == {(0, 1), (0, 2), (1, 2)}
    assert found.images["label_conflict"].to_pylist() == [True] * 6
    assert found.matrix["pairs"].to_pylist() == [3, 9, 3]


def test_numbers_of_groups_do_not_depend_on_ids() -> None:
    names = ["/c", "/a", "/b", "/e", "/d"]
    pairs = [("/d", "/e"), ("/a", "/b")]
    found = {}
    for order in (names, names[::-1]):
        rows = matches_table([(*sorted(map(order.index, pair)), 1.0) for pair in pairs])
        split = Given(strings([str(name == "/a") for name in order]), pa.nulls(5, pa.string()))
        table = leakage(images_table(order), rows, THRESHOLD, split).images
        found[order[0]] = dict(zip(table["path"].to_pylist(), table["group"].to_pylist(), strict=True))
    assert found["/c"] == found["/d"] == {"/a": 0, "/b": 0, "/d": 1, "/e": 1, "/c": 2}


def test_the_last_line_of_a_cell_is_a_line() -> None:
    """It was all of the tables, as Arrow prints them."""
    splits = {"split": ["train", "test"], "images": [9, 4], "is_training": [True, False], "leaking": [None, 2]}
    empty = pa.table({})
    found = Leakage(50.0, "train", "train", pa.table(splits), empty, empty, empty, empty, 0)
    told = "Leakage at 50 from 'train': 2 of 4 of 'test' leak; tables splits, matrix, curve, conflicts, images"
    assert repr(found) == told


@pytest.mark.parametrize("count", [1, 101])
def test_a_column_that_is_no_split_is_refused(count: int) -> None:
    images = images_table([f"/{k}" for k in range(count)])
    with pytest.raises(UsageError, match=f"have {count} splits? "):
        leakage(
            images, matches_table([]), 1, Given(strings([f"{k}" for k in range(count)]), pa.nulls(count, pa.string()))
        )

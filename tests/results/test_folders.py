"""Folder by folder against a slow reading of the definition, and planted folders."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings

import dupegrid
from dupegrid.results.questions import folders as module
from dupegrid.results.questions.folders import folders
from dupegrid.results.schemas import FOLDERS
from tests.conftest import save
from tests.helpers.pairs import THRESHOLD, Drawn, drawn, images_table, matches_table

Shares = dict[tuple[str, str], tuple[int, int]]


def below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/")


def oracle(case: Drawn) -> tuple[dict[str, set[int]], Shares]:
    """What each folder that is listed holds, and what any two that are not nested share: all of it."""
    paths = case.images["path"].to_pylist()
    every = {p.rpartition("/")[0][:end] or "/" for p in paths for end in range(len(p)) if p[end] == "/"}
    every = {folder for folder in every if any(below(paths[id], folder) for id in case.ok)}
    ways = {f: {paths[id][len(f.rstrip("/")) :].split("/")[1] for id in case.ok if below(paths[id], f)} for f in every}
    files = {paths[id].rpartition("/")[2] for id in case.ok}
    holds = {f: {id for id in case.ok if below(paths[id], f)} for f in every if len(ways[f]) > 1 or ways[f] & files}
    near, shares = case.near(), {}
    for a in holds:
        for b in holds:
            if a != b and not below(a, b) and not below(b, a):
                ours = sum(any((x, y) in near for y in holds[b]) for x in holds[a])
                theirs = sum(any((x, y) in near for y in holds[a]) for x in holds[b])
                if ours:
                    shares[a, b] = ours, theirs
    return holds, shares


def tight(shares: Shares) -> Iterator[tuple[str, str]]:
    for (a, b), found in shares.items():
        deeper = [(c, b) for c, d in shares if d == b and below(c, a)] + [
            (a, c) for d, c in shares if d == a and below(c, b)
        ]
        if all(shares[pair] != found for pair in deeper):
            yield a, b


def checked(rows: list[dict[str, Any]], holds: dict[str, set[int]], shares: Shares) -> set[tuple[str, str]]:
    for row in rows:
        a, b = row["folder_a"], row["folder_b"]
        assert (row["images_a"], row["images_b"]) == (len(holds[a]), len(holds[b]))
        assert (row["shared_a"], row["shared_b"]) == shares[a, b]
        assert row["percent_a"] == pytest.approx(100 * shares[a, b][0] / len(holds[a]))
        assert row["percent_b"] == pytest.approx(100 * shares[a, b][1] / len(holds[b]))
        assert row["percent_a"] <= row["percent_b"]
        assert row["overlap_percent"] == pytest.approx(100 * sum(shares[a, b]) / (len(holds[a]) + len(holds[b])))
        assert row["a_in_b"] == (shares[a, b][0] == len(holds[a]))
        assert row["b_in_a"] == (shares[a, b][1] == len(holds[b]))
        assert (row["folder_raw_a"] or b"/").decode() == a
    found = [(row["folder_a"], row["folder_b"]) for row in rows]
    assert len({frozenset(pair) for pair in found}) == len(found)
    return {*found, *((b, a) for a, b in found)}


@settings(max_examples=30)
@given(drawn())
def test_each_two_folders_share_what_all_pairs_say(case: Drawn) -> None:
    table = folders(case.images, case.matches, THRESHOLD)
    assert table.schema == FOLDERS
    holds, shares = oracle(case)
    assert checked(table.to_pylist(), holds, shares) == set(tight(shares))


@settings(max_examples=30)
@given(drawn())
def test_the_counts_are_exact_though_every_picture_is_in_too_many_folders(case: Drawn) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MOST_PAIRS", 0)
        found = checked(folders(case.images, case.matches, THRESHOLD).to_pylist(), *oracle(case))
    assert found <= set(oracle(case)[1])


@pytest.mark.parametrize("chunk", [1, 7])
def test_the_size_of_a_chunk_says_nothing(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    images = images_table([f"/{folder}/{k}.jpg" for folder in "abcd" for k in range(3)])
    matches = matches_table([(a, b, 0.0) for a in range(12) for b in range(a + 1, 12) if a % 3 == b % 3 and a != 4])
    whole = folders(images, matches, THRESHOLD)
    monkeypatch.setattr(module, "_CHUNK", chunk)
    assert folders(images, matches, THRESHOLD).equals(whole)
    assert len(whole) == 6


def test_what_is_wholly_in_another_comes_first() -> None:
    paths = [
        "/a/1",
        "/a/2",
        "/a/3",
        "/b/1",
        "/b/2",
        "/c/1",
        "/c/2",
        "/c/3",
        "/c/4",
        "/d/1",
        "/d/2",
        "/d/3",
        "/d/4",
        "/e/1",
    ]
    same = [("/a/1", "/b/1"), ("/a/2", "/b/2"), *((f"/c/{k}", f"/d/{k}") for k in (1, 2, 3)), ("/a/3", "/e/1")]
    matches = matches_table([(paths.index(a), paths.index(b), 1.0) for a, b in same])
    rows = folders(images_table(paths), matches, THRESHOLD).to_pylist()
    assert [(row["folder_a"], row["folder_b"], row["b_in_a"]) for row in rows] == [
        ("/a", "/b", True),
        ("/a", "/e", True),
        ("/c", "/d", False),
    ]


def test_a_picture_in_very_many_folders_makes_no_pair_of_each_two() -> None:
    many = 3000
    paths = [f"/{k:04d}/blank.png" for k in range(many)] + ["/0007/own.jpg", "/copy/own.jpg", "/copy/blank.png"]
    last = len(paths) - 1
    images = images_table(paths, [0] * many + [many, many + 1, 0])
    matches = matches_table([(0, id, 0.0) for id in (*range(1, many), last)] + [(many, many + 1, 3.0)])
    table = folders(images, matches, THRESHOLD)
    assert len(table) < 2 * many
    first = table.slice(0, 1).to_pylist()[0]
    assert {first["folder_a"], first["folder_b"]} == {"/0007", "/copy"}
    assert (first["shared_a"], first["images_a"], first["a_in_b"], first["b_in_a"]) == (2, 2, True, True)
    assert {*table["folder_a"].to_pylist(), *table["folder_b"].to_pylist()} >= {f"/{k:04d}" for k in range(many)}


def test_no_pictures_and_no_matches_share_nothing() -> None:
    assert len(folders(images_table([]), matches_table([]), THRESHOLD)) == 0
    assert len(folders(images_table(["/a/1", "/b/1"]), matches_table([]), THRESHOLD)) == 0
    assert folders(images_table(["s3://one/a.jpg", "s3://two/b.jpg"]), matches_table([(0, 1, 0.0)]), 1)[
        "folder_a"
    ].to_pylist() == ["s3://one"]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dupegrid.Run:
    """'trip' with its days; a resized copy of all of it; a folder with half of a day and others; hostile names."""
    photos = tmp_path_factory.mktemp("folders") / "photos"
    for k in range(6):
        save(photos / f"trip/day{k % 2}/{k}.jpg", k)
        save(photos / f"backup/old/trip/day{k % 2}/{k}.jpg", k, quality=60)
    for k in (0, 2, 10, 11):
        save(photos / f"mixed/{k}.png", k)
    save(photos / "mixed/=1\n\x1b[31m/5.png", 5)
    Path(str(photos / "alone")).mkdir()
    save(photos / "alone/99.png", 99)
    return dupegrid.run(photos, out=photos.parent / "run", quiet=True, scheduler="sync", thumb=16)


def test_planted_folders_are_contained_to_the_picture(planted: dupegrid.Run) -> None:
    root = planted.config.roots[0]
    rows = {
        frozenset((row["folder_a"].removeprefix(root), row["folder_b"].removeprefix(root))): row
        for row in dupegrid.folders(planted).to_pylist()
    }
    whole = rows[frozenset(("/trip", "/backup/old/trip"))]
    assert (whole["shared_a"], whole["shared_b"], whole["percent_a"], whole["percent_b"]) == (6, 6, 100, 100)
    assert whole["a_in_b"]
    assert whole["b_in_a"]
    day = rows[frozenset(("/trip/day0", "/backup/old/trip/day0"))]
    assert (day["shared_a"], day["shared_b"], day["b_in_a"]) == (3, 3, True)
    mixed = rows[frozenset(("/mixed", "/trip"))]
    assert (mixed["folder_b"].removeprefix(root), mixed["shared_a"], mixed["shared_b"]) == ("/mixed", 3, 3)
    assert (mixed["images_a"], mixed["images_b"], mixed["b_in_a"], mixed["a_in_b"]) == (6, 5, False, False)
    inside = rows[frozenset(("/mixed/=1\n\x1b[31m", "/trip/day1"))]
    assert (inside["shared_a"], inside["percent_a"], inside["b_in_a"]) == (1, pytest.approx(100 / 3), True)
    names = [name for pair in rows for name in pair]
    assert not {"", "/alone", "/backup", "/backup/old"} & set(names)
    assert isinstance(dupegrid.folders(planted), pa.Table)

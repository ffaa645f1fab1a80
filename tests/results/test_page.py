"""What a report holds: every picture of every cluster, in an order, with how it is joined; and nothing else."""

import base64
import io
import json
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import dupegrid
from dupegrid.core.arrays import turned
from dupegrid.results.drawn import report as report_module
from dupegrid.results.drawn.page import RELATION_LABELS, Found, as_json, failures, page_of, path_href
from dupegrid.results.drawn.report import report
from dupegrid.results.drawn.through import joins
from dupegrid.storage.schemas import IMAGES
from tests.conftest import picture
from tests.helpers.pages import Page
from tests.helpers.tables import found, summary

COUNT = 9
PAIR = st.tuples(st.integers(0, COUNT - 1), st.integers(0, COUNT - 1)).filter(lambda pair: pair[0] < pair[1])
EDGES = st.dictionaries(PAIR, st.integers(0, 60), max_size=16)
SIZES = st.lists(st.integers(1, 5), min_size=COUNT, max_size=COUNT)


def noise(ids: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (len(ids), 16, 16, 3)).astype(np.uint8)


def drawn(what: Found) -> Page:
    return Page("".join(report(what, noise, summary(what), {"orientations": ["all"]})))


@settings(max_examples=25)
@given(EDGES, SIZES)
def test_every_cluster_is_there_those_that_free_the_most_first(edges: dict, sizes: list[int]) -> None:
    what = found([{"size_bytes": size} for size in sizes], [(*pair, float(mse)) for pair, mse in sorted(edges.items())])
    page = page_of(what)
    members: dict[int, list[dict]] = defaultdict(list)
    for row in what.clusters.to_pylist():
        members[row["cluster"]].append(row)
    starts = np.cumsum([0, *page.data["clusters"]["size"]])
    shown = [page.pictures[a:b].tolist() for a, b in pairwise(starts)]
    assert sorted(page.data["clusters"]["number"]) == sorted(members)
    freed = []
    for number, ids in zip(page.data["clusters"]["number"], shown, strict=True):
        role = {row["image"]: row["role"] for row in members[number]}
        assert sorted(ids) == sorted(role)
        order = ["keep", "bridge", "duplicate"]
        assert [role[id] for id in ids] == sorted(role.values(), key=order.index)
        freed.append(sum(sizes[id] for id in ids if role[id] == "duplicate"))
    assert freed == sorted(freed, reverse=True)
    assert page.clusters_left_out == 0


@settings(max_examples=30)
@given(EDGES)
def test_a_bridge_is_joined_through_the_nearest_picture_on_a_shortest_way(edges: dict) -> None:
    """Breadth first from each keeper, by hand."""
    what = found([{}] * COUNT, [(*pair, float(mse)) for pair, mse in sorted(edges.items())])
    rows = what.clusters.to_pylist()
    joined = joins(what.images, what.matches, what.clusters, what.threshold)
    for k, row in enumerate(rows):
        inside = {other["image"] for other in rows if other["cluster"] == row["cluster"]}
        near = defaultdict(dict)
        for (a, b), mse in edges.items():
            if mse <= what.threshold and {a, b} <= inside:
                near[a][b] = near[b][a] = mse
        steps, frontier = {row["keeper"]: 0}, [row["keeper"]]
        while frontier:
            reached = {b for a in frontier for b in near[a]} - steps.keys()
            steps |= dict.fromkeys(reached, steps[frontier[0]] + 1)
            frontier = sorted(reached)
        before = {b: mse for b, mse in near[row["image"]].items() if steps[b] < steps.get(row["image"], 0)}
        if row["role"] != "bridge" or not before or set(before) == {row["keeper"]}:
            assert joined.through[k] == -1
        else:
            assert rows[joined.through[k]]["image"] in before
            assert joined.through_mse[k] == before[rows[joined.through[k]]["image"]] == min(before.values())


def test_a_turned_picture_is_drawn_as_its_keeper_lies(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    picture(1, (96, 72)).save(tmp_path / "photos/0.png")
    for k, turn in enumerate(Image.Transpose):
        picture(1, (80, 60)).transpose(turn).save(tmp_path / f"photos/{k + 1}.png")
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", orientations="all", threshold=100, quiet=True)
    joined = joins(run.images, run.match_scores, run.clusters, 100)
    turns = set()
    for row, turn in zip(run.clusters.to_pylist(), joined.turn, strict=True):
        if row["role"] != "keep":
            one, other = run.thumbs_of(np.array([row["image"], row["keeper"]])).astype(float)
            assert np.mean((turned(one[None], turn)[0] - other) ** 2) == pytest.approx(row["mse_to_keeper"])
            turns.add(turn)
    assert len(turns) == 7
    page = Page.of(run.path)
    assert set(page.data["pictures"]["turn"].values()) == turns


def test_nothing_ends_the_element_that_holds_the_names() -> None:
    names = ["</script>", "<!--<script>", "]]>", "&lt;", "\u2028", "'\"\\", "\ud800"]
    text = as_json({"names": names})
    assert json.loads(text) == {"names": names}
    assert not set("<>&") & set(text)
    name = b"</script><img src=x onerror=alert(1)>.jpg"
    page = drawn(found([{"path_raw": b"/p/" + name}, {"path_raw": b"/p/\xff" + name}], [(0, 1, 1.0)]))
    assert sorted(page.paths) == [b"/p/</script><img src=x onerror=alert(1)>.jpg", b"/p/\xff" + name]
    assert "onerror" not in {key for _, attributes in page.elements for key in attributes}


def test_links_lead_to_files_here_and_to_addresses_of_pictures() -> None:
    assert path_href(b"/a b/\xff%.jpg") == "file:///a%20b/%FF%25.jpg"
    assert path_href(b"//host/share.jpg") == "file:///host/share.jpg", "two slashes would name a host"
    assert path_href(b"https://host/a%20b.jpg") == "https://host/a%20b.jpg"
    assert path_href(b"javascript:alert(1)").startswith("file:///")
    page = drawn(found([{"path_raw": b"s3://b/x%20y.jpg"}, {"path_raw": b"https://h/d/x%20y.jpg"}], [(0, 1, 1.0)]))
    assert sorted(page.hrefs) == ["https://h/d/x%20y.jpg", "s3://b/x%20y.jpg"]


def test_relations_are_those_of_the_run_and_else_what_hashes_say() -> None:
    rows = [{"file_hash": hash} for hash in ("x", "x", "y", "z")]
    what = found(rows, [(0, 1, 0.0), (0, 2, 1.0), (0, 3, 2.0)])
    assert page_of(what).data["looked"] is False
    assert dict(zip(page_of(what).pictures.tolist(), drawn(what).words("relation"), strict=True)) == {
        **dict.fromkeys((0, 2, 3)),
        1: "same_bytes",
    }
    relations = pa.table({"a": [0, 0], "b": [1, 3], "relation": ["same_bytes", "edited"]})
    looked = replace(what, relations=relations)
    words = dict(zip(page_of(looked).pictures.tolist(), drawn(looked).words("relation"), strict=True))
    assert words == {0: None, 1: "same_bytes", 2: None, 3: "edited"}
    assert set(words.values()) - {None} <= set(RELATION_LABELS)


def test_thumbnails_come_back_from_their_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "PER_BLOCK", 3)
    what = found([{}] * 7, [(0, b, 1.0) for b in range(1, 7)])
    page = drawn(what)
    assert len(page.thumbnails) == 7
    for text in page.thumbnails:
        assert Image.open(io.BytesIO(base64.b64decode(text))).size == (16, 16)
    monkeypatch.setattr(report_module, "_CLEAR_PICTURES", 3)
    later = [len(text) for text in drawn(what).thumbnails]
    assert all(small < len(text) for small, text in zip(later[3:], page.thumbnails[3:], strict=True))
    assert later[:3] == [len(text) for text in page.thumbnails[:3]]
    monkeypatch.setattr(report_module, "MAX_THUMBS_BYTES", len(",".join(page.thumbnails)) // 2)
    fewer = drawn(what)
    assert 0 < len(fewer.thumbnails) < 7
    assert len(fewer.paths) == 7


def test_clusters_beyond_what_a_browser_bears_are_counted() -> None:
    what = found([{}] * 7, [(0, 1, 1.0), (0, 2, 1.0), (3, 4, 1.0), (5, 6, 1.0)])
    for most, shown in ((7, 3), (5, 2), (4, 1), (1, 1)):
        page = page_of(what, most)
        assert (len(page.data["clusters"]["size"]), page.clusters_left_out) == (shown, 3 - shown)


def test_a_file_that_could_not_be_read_is_said_once() -> None:
    rows = [("a.jpg", "truncated", "cut"), ("b.jpg", "unidentified", None), ("c.txt", "unidentified", None)]
    rows += [("d.jpg", "ok", None), ("e.jpg", "removed", None)]
    images = [{"path": path, "path_raw": path.encode(), "status": status, "error": e} for path, status, e in rows]
    listed, others = failures(pa.Table.from_pylist(images, IMAGES))
    assert listed == [["a.jpg", "truncated: cut"], ["b.jpg", "unidentified"]]
    assert others == 1


def test_what_is_gone_since_an_earlier_run_is_counted() -> None:
    what = found([{}] * 2, [(0, 1, 1.0)])
    html = "".join(report(what, noise, replace(summary(what), removed=3), {"orientations": ["all"]}))
    assert "<dt>gone since an earlier run</dt><dd>3 files, status" in html


@pytest.mark.parametrize("count", [0, 1])
def test_no_cluster_is_a_page_too(count: int) -> None:
    page = drawn(found([{}] * count, []))
    assert page.data["clusters"] == {"number": [], "size": []}
    assert page.hrefs == page.thumbnails == []

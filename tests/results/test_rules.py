"""--keep, --protect and --only: which picture of a cluster is kept by each rule, and who may go."""

from datetime import datetime
from itertools import permutations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dupegrid.core.config import Config, load_config
from dupegrid.core.values import KEEP_RULES
from dupegrid.results.clusters import Asked, clusters
from dupegrid.results.keepers import Keeping
from dupegrid.results.rules import SHOWN, VALUES
from dupegrid.storage.schemas import IMAGES, MATCHES
from dupegrid.storage.words import REASONS, RULES

COMMON = {"status": "ok", "root": 0, "size_bytes": 5, "width": 100, "height": 100, "frames": 1, "format": "JPEG"}
FIRST, LAST = datetime(2001, 1, 1), datetime(2022, 2, 2)


def found(rows: list[dict[str, object]], **settings: object) -> list[dict[str, object]]:
    """The clusters of images that all match each other, by the end of the path."""
    images = [
        {**COMMON, "id": k, "path": row["path"], "path_raw": str(row["path"]).encode(), **row}
        for k, row in enumerate(rows)
    ]
    n = len(rows)
    pairs = [{"a": a, "b": b, "mse": 1.0, "score": 1.0} for a in range(n) for b in range(a + 1, n)]
    config = load_config(paths=["/p", "/q"], max_aspect=9, **settings)
    tables = pa.Table.from_pylist(images, schema=IMAGES), pa.Table.from_pylist(pairs, schema=MATCHES)
    return clusters(*tables, 50, Asked.of(config)).to_pylist()


def test_every_rule_is_told_and_has_its_words() -> None:
    names = {rule for of in (*KEEP_RULES, "folder:x") for rule in Keeping((of,)).criteria()}
    assert {name.partition(":")[0] for name in names} == set(RULES)
    assert set(VALUES) | {"protected", "decided", "folder", "path"} == set(RULES)
    assert set(SHOWN) < set(RULES)


@pytest.mark.parametrize(
    ("keep", "kept", "other", "rule", "compared"),
    [
        ("pixels", {"width": 200}, {"camera": "M"}, "pixels", "200 x 100 over 100 x 100"),
        ("bytes", {"size_bytes": 9}, {"width": 200}, "bytes", "9 bytes over 5 bytes"),
        ("format", {}, {"format": "PNG", "width": 200}, "format", "JPEG over PNG"),
        ("lossless", {"format": "PNG"}, {}, "lossless", "PNG over JPEG"),
        ("camera", {"camera": "M"}, {"width": 200}, "camera", "M over none"),
        ("date", {"taken_at": LAST}, {"width": 200}, "date", "yes over no"),
        ("gps", {"latitude": -0.0}, {"width": 200, "has_gps": True}, "gps", "yes over no"),
        ("icc", {"has_icc": True}, {"width": 200}, "icc", "yes over no"),
        ("name", {"path": "/p/x.jpg"}, {"path": "/p/a (1).jpg", "width": 200}, "name", None),
        (
            *("oldest", {"taken_at": FIRST, "mtime_ns": 9}, {"taken_at": LAST, "mtime_ns": 1, "width": 200}, "taken"),
            "2001-01-01 00:00:00 over 2022-02-02 00:00:00",
        ),
        ("oldest", {"mtime_ns": 1}, {"mtime_ns": 10**9, "width": 200}, "older", None),
        ("newest", {"mtime_ns": 10**9}, {"mtime_ns": 1, "width": 200}, "newer", None),
        ("shortest", {"path": "/p/x"}, {"path": "/p/aa", "width": 200}, "shortest", None),
        ("path", {"path": "/p/aa"}, {"path": "/p/x", "width": 200}, "path", None),
        ("paths", {"root": 0}, {"root": 1, "width": 200}, "paths", None),
        ("folder:*/best", {"path": "/p/best/a/x"}, {"path": "/p/worst/x", "width": 200}, "folder", None),
        ("folder:be?t", {"path": "/p/best/x"}, {"path": "/p/xbest/x", "width": 200}, "folder", None),
        ("pixels unless gps", {"latitude": 48.1}, {"width": 200}, "gps", "yes over no"),
        ("pixels unless gps", {"width": 200}, {"size_bytes": 9}, "pixels", "200 x 100 over 100 x 100"),
        ("gps,icc,bytes", {"size_bytes": 9}, {"width": 200}, "bytes", "9 bytes over 5 bytes"),
        ("default", {"width": 200}, {"size_bytes": 9}, "pixels", "200 x 100 over 100 x 100"),
    ],
)
def test_a_rule_decides(
    keep: str, kept: dict[str, object], other: dict[str, object], rule: str, compared: str | None
) -> None:
    for order in permutations([{"path": "/p/b", **kept}, {"path": "/p/c", **other}]):
        keeper, gone = found(list(order), keep=keep)
        assert keeper["path"] == {"path": "/p/b", **kept}["path"]
        assert (keeper["role"], keeper["rule"], keeper["compared"]) == ("keep", None, None)
        assert (gone["role"], gone["rule"]) == ("duplicate", rule)
        assert compared is None or gone["compared"] == compared


def test_the_archive_and_a_file_before_its_link_come_before_all_rules() -> None:
    rows = [{"path": "/p/a", "group": "b"}, {"path": "/p/b", "group": "a", "width": 200}]
    assert [row["path"] for row in found(rows, keep="pixels")] == ["/p/a", "/p/b"]
    rows = [{"path": "/p/a", "link_kind": "symbolic", "width": 200}, {"path": "/p/b"}]
    assert [row["path"] for row in found(rows, keep="pixels")] == ["/p/b", "/p/a"]


FOLDERS = ("/p/a", "/p/a b", "/p/ab", "/q", "/q/a")


@given(
    st.lists(st.tuples(st.sampled_from(FOLDERS), st.integers(1, 3)), min_size=2, max_size=7),
    st.lists(st.sampled_from(FOLDERS), max_size=2),
    st.lists(st.sampled_from(FOLDERS), max_size=2),
)
def test_nothing_protected_is_a_duplicate(files: list[tuple[str, int]], protect: list[str], only: list[str]) -> None:
    rows = [{"path": f"{folder}/{k}", "width": 100 * side} for k, (folder, side) in enumerate(files)]

    def under(path: str, folders: list[str]) -> bool:
        return any(path.startswith(folder + "/") for folder in folders)

    table = found(rows, protect=protect, only=only)
    assert len(table) == len(rows)
    stays = {str(row["path"]): under(str(row["path"]), protect) for row in rows}
    if only:
        stays = {path: kept or not under(path, only) for path, kept in stays.items()}
    for row in table:
        assert (row["role"] == "duplicate") == (row["image"] != row["keeper"] and not stays[row["path"]])
        assert row["reason"] == ("protected" if row["role"] == "bridge" else None)
    assert stays[table[0]["path"]] == any(stays.values()), "one that stays anyway is the keeper"


def test_one_file_can_be_protected_and_a_root_too() -> None:
    rows = [{"path": "/p/a", "width": 200}, {"path": "/p/b"}]
    assert found(rows, protect="/p/b")[0]["path"] == "/p/b"
    assert [row["reason"] for row in found(rows, protect="/")] == [None, "protected"]
    assert REASONS["protected"] == "protected"
    assert Config().keep == Config().protect == Config().only == ()

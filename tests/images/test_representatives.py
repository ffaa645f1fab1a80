"""Representatives found part by part, against a count in plain Python."""

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dupegrid
from dupegrid.images import index as index_module
from dupegrid.images.representatives import with_representatives
from dupegrid.storage.schemas import IMAGE_PART, IMAGES
from tests.conftest import save

HASHES = st.sampled_from([b"same begin" + b"12345", b"same begin" + b"6789", b"", b"x"])
KINDS = st.sampled_from([None, "hard", "symbolic"])
Row = tuple[bytes, bool, int, str | None, str]


@settings(max_examples=50)
@given(
    rows=st.lists(st.tuples(HASHES, st.booleans(), st.integers(1, 3), KINDS, st.sampled_from("ab")), max_size=30),
    at_once=st.integers(1, 31),
    over=st.integers(1, 4),
)
def test_sets_and_names_of_a_file_are_found_across_parts(rows: list[Row], at_once: int, over: int) -> None:
    columns = {
        "id": list(range(len(rows))),
        "thumb_hash": [hash_ if ok else None for hash_, ok, *_ in rows],
        "status": ["ok" if ok else "truncated" for _, ok, *_ in rows],
        "device": [1] * len(rows),
        "inode": [inode for *_, inode, _, _ in rows],
        "link_kind": [kind for *_, kind, _ in rows],
        "file_hash": [bytes_ for *_, bytes_ in rows],
    }
    whole = pa.table({f.name: columns.get(f.name, pa.nulls(len(rows), f.type)) for f in IMAGE_PART}, schema=IMAGE_PART)

    def parts(names: list[str] | None) -> Iterator[pa.Table]:
        table = whole if names is None else whole.select(names)
        yield from (table.slice(start, at_once) for start in range(0, len(rows), at_once))

    expected, link_of = names_of_files(rows)
    sets = defaultdict(list)
    for id, (hash_, ok, *_) in enumerate(rows):
        if ok:
            sets[hash_].append(id)
    for ids in sets.values():
        for id in ids[1:] if len(ids) > over else ():
            expected[id] = ids[0]
    made = pa.concat_tables([IMAGES.empty_table(), *with_representatives(parts, ["group"], over)])
    assert made.schema == IMAGES
    assert made["id"].to_pylist() == columns["id"]
    assert made["identical_to"].to_pylist() == expected
    assert made["link_of"].to_pylist() == link_of


def names_of_files(rows: list[Row]) -> tuple[list[int | None], list[int | None]]:
    """Of each row: the lowest of the names of its file, and the one that the file goes by; None on these."""
    lowest: list[int | None] = [None] * len(rows)
    goes_by = lowest.copy()
    files = defaultdict(list)
    for id, (_, ok, inode, kind, bytes_) in enumerate(rows):
        if ok:
            files[inode, bytes_].append((kind == "symbolic", id, kind))
    for names in map(sorted, files.values()):
        _, name, kind = names[0]
        others = [id for symbolic, id, other in names[1:] if symbolic or other == kind == "hard"]
        for id in others:
            goes_by[id] = name
        for id in (name, *others):
            lowest[id] = min([name, *others]) if id != min([name, *others]) else None
    return lowest, goes_by


def test_names_in_other_groups_of_chunks_are_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = tmp_path / "photos"
    for k in range(12):
        save(photos / f"{k:02d}.png", k)
    os.link(photos / "01.png", photos / "90.png")
    os.symlink(photos / "02.png", photos / "91.png")
    os.symlink(photos / "03.png", photos / "00a.png")  # before the file that it leads to
    monkeypatch.setattr(index_module, "_ROWS_AT_ONCE", 1)
    run = dupegrid.index(photos, out=tmp_path / "run", thumb=8, follow_symlinks=True, quiet=True)
    assert run.stored_thumbs.count > 3, "those are groups of one"
    names = [Path(path).name for path in run.images["path"].to_pylist()]
    for column, expected in (
        ("link_of", {"90.png": "01.png", "91.png": "02.png", "00a.png": "03.png"}),
        ("identical_to", {"90.png": "01.png", "91.png": "02.png", "03.png": "00a.png"}),
    ):
        found = {
            name: names[of] for name, of in zip(names, run.images[column].to_pylist(), strict=True) if of is not None
        }
        assert found == expected

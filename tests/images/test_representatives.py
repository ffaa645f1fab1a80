"""Representatives found part by part, against a count in plain Python."""

from collections import defaultdict
from collections.abc import Iterator

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from dupegrid.images.representatives import with_representatives
from dupegrid.storage.schemas import IMAGE_PART, IMAGES

ROW = st.tuples(st.sampled_from([b"same begin" + b"12345", b"same begin" + b"6789", b"", b"x"]), st.booleans())


@settings(max_examples=25)
@given(rows=st.lists(ROW, max_size=30), at_once=st.integers(1, 31), over=st.integers(1, 4))
def test_sets_are_found_across_parts(rows: list[tuple[bytes, bool]], at_once: int, over: int) -> None:
    columns = {
        "id": list(range(len(rows))),
        "thumb_hash": [hash_ if ok else None for hash_, ok in rows],
        "status": ["ok" if ok else "truncated" for _, ok in rows],
    }
    whole = pa.table({f.name: columns.get(f.name, pa.nulls(len(rows), f.type)) for f in IMAGE_PART}, schema=IMAGE_PART)

    def parts(names: list[str] | None) -> Iterator[pa.Table]:
        table = whole if names is None else whole.select(names)
        yield from (table.slice(start, at_once) for start in range(0, len(rows), at_once))

    sets = defaultdict(list)
    for id, (hash_, ok) in enumerate(rows):
        if ok:
            sets[hash_].append(id)
    expected: list[int | None] = [None] * len(rows)
    for ids in sets.values():
        for id in ids[1:] if len(ids) > over else ():
            expected[id] = ids[0]
    made = pa.concat_tables([IMAGES.empty_table(), *with_representatives(parts, ["group"], over)])
    assert made.schema == IMAGES
    assert made["id"].to_pylist() == columns["id"]
    assert made["identical_to"].to_pylist() == expected
    assert made["link_of"].null_count == len(rows)

"""Files that are known and a new listing, merged in columns, against a plain dict; and paths of one number."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dupegrid.core.config import Config, load_config
from dupegrid.images import merge as merge_module
from dupegrid.images.found import FoundFiles, ListedFiles
from dupegrid.images.listing import Stamps
from dupegrid.images.merge import Merged, Places, whole_chunks
from dupegrid.storage.schemas import FILES

NAMES = [b"/r/%d" % k for k in range(3)] + [b"/r/hid/%d" % k for k in range(3)] + [b"/r/a/0", b"/r/b/0"]
HASHES = ["x", "y", None]
Stamp = tuple[int, int, int, int, int]  # size, two times, device, inode


@dataclass(frozen=True)
class Known:
    path: bytes
    stamp: Stamp
    removed: bool
    known_hash: str | None
    hash: str | None  # by the rows of the index


numbers = st.integers(0, 1)
stamp = st.tuples(st.integers(1, 2), st.integers(0, 2), st.integers(0, 2), numbers, numbers)
known_files = st.lists(
    st.builds(Known, st.sampled_from(NAMES), stamp, st.booleans(), st.sampled_from(HASHES), st.sampled_from(HASHES)),
    unique_by=lambda file: file.path,
    max_size=8,
)
listings = st.dictionaries(st.sampled_from(NAMES), st.tuples(stamp, st.sampled_from(HASHES)), max_size=8)


def listed_of(files: dict[bytes, Stamp], config: Config) -> ListedFiles:
    rows = FoundFiles()
    rows.add(0, ((path, Stamps(*stamp), False) for path, stamp in files.items()), lambda _count: None)
    return rows.listed(config)


def expected(
    known: Sequence[Known], listing: dict[bytes, tuple[Stamp, str | None]], hidden: bool
) -> list[tuple[bytes, Stamp, bool, str | None]]:
    """Path, stamp, whether removed and known hash of each file, one file at a time."""
    telling = {stamp[3] for stamp, _ in listing.values() if stamp[1] != stamp[2] and stamp[2]}
    found: list[tuple[bytes, Stamp, bool, str | None]] = []
    gone = [
        id
        for id, file in enumerate(known)
        if file.path not in listing and not (hidden and file.path.startswith(b"/r/hid/"))
    ]
    for id, file in enumerate(known):
        if file.path not in listing:
            found.append((file.path, file.stamp, file.removed or id in gone, file.known_hash))
            continue
        stamp, bytes_ = listing[file.path]
        unchanged = stamp[:3] == file.stamp[:3] and stamp[2] != 0
        if file.removed or (unchanged and stamp[3:] == file.stamp[3:]):
            proof = file.known_hash
        elif unchanged and stamp[3] in telling:
            proof = file.hash
        else:
            proof = file.hash if stamp[:2] == file.stamp[:2] and bytes_ == file.hash else None
        found.append((file.path, stamp, False, proof))
    new = sorted(set(listing) - {file.path for file in known})
    moved: dict[int, bytes] = {}

    def of_the_inode(id: int, path: bytes) -> bool:
        return known[id].stamp[3:] == listing[path][0][3:]

    def of_the_name(id: int, path: bytes) -> bool:
        return known[id].path.rpartition(b"/")[2] == path.rpartition(b"/")[2]

    def proven(id: int, path: bytes) -> bool:
        return (known[id].hash, known[id].stamp[0]) == (listing[path][1], listing[path][0][0])

    def likely(id: int, path: bytes) -> bool:
        """It cannot be read, and the size and the time say nothing against it."""
        stamp, bytes_ = listing[path]
        return bytes_ is None and stamp[1] != 0 and known[id].stamp[:2] == stamp[:2]

    for says, alike in (
        (proven, of_the_inode),
        (proven, of_the_name),
        (proven, lambda _id, _path: True),
        (likely, of_the_inode),
        (likely, of_the_name),
    ):
        for id in gone:
            free = [path for path in new if path not in moved.values() and says(id, path) and alike(id, path)]
            if known[id].hash and id not in moved and free:
                moved[id] = free[0]
    for id, path in moved.items():
        found[id] = (path, listing[path][0], False, listing[path][1])
    return found + [(path, listing[path][0], False, None) for path in new if path not in moved.values()]


@given(known=known_files, listing=listings, hidden=st.booleans(), piece=st.integers(1, 8), chunk=st.integers(1, 4))
def test_it_is_what_a_dict_says(
    known: list[Known], listing: dict[bytes, tuple[Stamp, str | None]], hidden: bool, piece: int, chunk: int
) -> None:
    config = load_config(paths=["/r"])
    table = listed_of({str(id).encode(): file.stamp for id, file in enumerate(known)}, config).table()
    order = np.argsort([int(path) for path in table["path_raw"].to_pylist()])
    columns = {
        "id": np.arange(len(known)),
        "path_raw": pa.array([file.path for file in known], pa.binary()),
        "removed": pa.array([file.removed for file in known], pa.bool_()),
        "known_hash": pa.array([file.known_hash for file in known], pa.string()),
    }
    table = table.take(pa.array(order))
    table = pa.table({name: columns.get(name, table[name]) for name in FILES.names}, schema=FILES)

    def pieces() -> Iterator[pa.Table]:
        yield from (table.slice(start, piece) for start in range(0, len(table), piece))

    def read(files: Sequence[tuple[bytes, int]]) -> list[str | None]:
        return [listing[path][1] for path, _ in files]

    listed = listed_of({path: stamp for path, (stamp, _) in listing.items()}, config)
    merged = Merged(pieces, listed, ["/r/hid"] if hidden else [], lambda ids: [known[id].hash for id in ids], read)
    tables = list(merged.tables(chunk))
    assert all(len(part) % chunk == 0 for part in tables[:-1])
    result = pa.concat_tables([FILES.empty_table(), *tables])
    rows = [
        (
            row["path_raw"],
            tuple(row[name] for name in ("size_bytes", "mtime_ns", "ctime_ns", "device", "inode")),
            row["removed"],
            row["known_hash"],
        )
        for row in result.to_pylist()
    ]
    assert rows == expected(known, listing, hidden)
    assert result["id"].to_pylist() == list(range(len(merged)))
    assert merged.differs == (result != table)


@pytest.mark.parametrize("number", [0, 2**63 - 1])
def test_paths_of_one_number_are_told_apart(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(merge_module, "_numbers", lambda paths: np.full(len(paths), number))
    places = Places(listed_of(dict.fromkeys(NAMES[:-1], (1, 1, 1, 1, 1)), load_config(paths=["/r"])))
    assert places.of(pa.array([*sorted(NAMES[:-1]), NAMES[-1]])).tolist() == [*range(len(NAMES) - 1), -1]


@given(lengths=st.lists(st.integers(0, 5), max_size=5), chunk=st.integers(1, 4))
def test_whole_chunks_hold_all_rows(lengths: list[int], chunk: int) -> None:
    table = pa.table({"k": np.arange(sum(lengths))})
    starts = np.cumsum([0, *lengths])
    tables = list(whole_chunks((table.slice(start, n) for start, n in zip(starts, lengths, strict=False)), chunk))
    assert all(len(part) % chunk == 0 and len(part) for part in tables[:-1])
    assert pa.concat_tables([table.slice(0, 0), *tables]) == table

"""Thumbnails on a device: what is kept there, by several threads."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dupegrid.core.arrays import ORIENTATIONS, turned
from dupegrid.core.errors import DamagedError
from dupegrid.pairs import resident
from dupegrid.storage.arrays import Thumbs
from dupegrid.storage.chunked import row_sums

IMAGES, SIDE, CHUNK, THREADS, CALLS, PAIRS = 120, 4, 16, 4, 3, 40


@pytest.fixture
def pictures() -> Any:
    return np.random.default_rng(0).integers(0, 256, (IMAGES, SIDE, SIDE, 3)).astype(np.uint8)


@pytest.fixture
def store(pictures: Any, tmp_path: Path) -> Thumbs:
    store = Thumbs.create(tmp_path / "thumbs.zarr", IMAGES, SIDE, CHUNK, "key")
    for number in range(store.count):
        store.write((number,), pictures[number * CHUNK : (number + 1) * CHUNK])
    return store


@pytest.fixture
def kept(pictures: Any, store: Thumbs, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What keeps them where so many have room."""
    job: Any = SimpleNamespace(side=SIDE, orientations=ORIENTATIONS, run_dir=SimpleNamespace(thumbs=lambda: store))
    monkeypatch.setattr(resident, "checks", lambda _run_dir: row_sums(pictures))
    monkeypatch.setattr(resident, "_READ_AT_ONCE", 3)

    def kept(room: int) -> resident.KeptThumbs:
        monkeypatch.setattr(resident, "free_bytes", lambda _xp: room * 4 * SIDE * SIDE * 3)
        return resident.KeptThumbs(job, np)

    return kept


def check(kept: resident.KeptThumbs, pictures: Any, seed: int) -> None:
    random = np.random.default_rng(seed)
    a, b = random.integers(0, IMAGES, (2, PAIRS))
    turn = random.integers(0, len(ORIENTATIONS), PAIRS)
    seen = [turned(pictures[y][None], ORIENTATIONS[t])[0] for y, t in zip(b, turn, strict=True)]
    apart = ((pictures[a].astype(int) - seen) ** 2).sum(axis=(1, 2, 3))
    np.testing.assert_array_equal(kept.sse(a, b, turn), apart)


@pytest.mark.parametrize("room", [8, 30, IMAGES // 2])
def test_threads_share_the_room_and_none_reads_twice_for_a_call(
    room: int, kept: Any, pictures: Any, store: Thumbs, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, take = [], store.take

    def counted(ids: Any, sums: Any) -> Any:
        read.extend(ids.tolist())
        assert len(read) <= 2 * PAIRS * CALLS * THREADS, "more is read than was asked for"
        return take(ids, sums)

    monkeypatch.setattr(store, "take", counted)
    shared = kept(room)
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda seed: check(shared, pictures, seed), range(THREADS * CALLS)))
    if room >= IMAGES // 2:  # all have room
        assert len(read) == len(set(read))


@pytest.mark.parametrize("room", [30, IMAGES // 2])
def test_a_damaged_chunk_is_named_and_read_once_it_is_mended(
    room: int, kept: Any, pictures: Any, store: Thumbs
) -> None:
    (chunk,) = store.path.glob("c.3.*")
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    shared = kept(room)
    for seed in range(2):
        with pytest.raises(DamagedError) as error:
            check(shared, pictures, seed)
        assert error.value.file == chunk
    chunk.write_bytes(whole)
    for seed in range(3):
        check(shared, pictures, seed)

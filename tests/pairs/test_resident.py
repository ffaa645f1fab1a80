"""Thumbnails on a device: what is kept there, by several threads."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dupegrid.core.arrays import ORIENTATIONS, turned
from dupegrid.pairs import resident
from dupegrid.storage.arrays import Thumbs
from dupegrid.storage.chunked import row_sums

IMAGES, SIDE, CHUNK, THREADS, CALLS, PAIRS = 120, 4, 16, 4, 3, 40


@pytest.mark.parametrize("room", [8, 30, IMAGES // 2])
def test_threads_share_the_room_and_none_reads_twice_for_a_call(
    room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(room)
    pictures = random.integers(0, 256, (IMAGES, SIDE, SIDE, 3)).astype(np.uint8)
    store = Thumbs.create(tmp_path / "thumbs.zarr", IMAGES, SIDE, CHUNK, "key")
    for number in range(store.chunks):
        here = slice(number * CHUNK, (number + 1) * CHUNK)
        store.write_chunk(number, store.encoded(pictures[here]))
    read, take = [], store.take

    def counted(ids: Any, sums: Any) -> Any:
        read.extend(ids.tolist())
        assert len(read) <= 2 * PAIRS * CALLS * THREADS, "more is read than was asked for"
        return take(ids, sums)

    monkeypatch.setattr(store, "take", counted)
    monkeypatch.setattr(resident, "checks", lambda _run_dir: row_sums(pictures))
    monkeypatch.setattr(resident, "free_bytes", lambda _xp: room * 4 * SIDE * SIDE * 3)
    monkeypatch.setattr(resident, "_READ_AT_ONCE", 3)
    job: Any = SimpleNamespace(side=SIDE, orientations=ORIENTATIONS, run_dir=SimpleNamespace(thumbs=lambda: store))
    kept = resident.KeptThumbs(job, np)

    def ask(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(CALLS):
            a, b = random.integers(0, IMAGES, (2, PAIRS))
            turn = random.integers(0, len(ORIENTATIONS), PAIRS)
            seen = [turned(pictures[y][None], ORIENTATIONS[t])[0] for y, t in zip(b, turn, strict=True)]
            apart = ((pictures[a].astype(int) - seen) ** 2).sum(axis=(1, 2, 3))
            np.testing.assert_array_equal(kept.sse(a, b, turn), apart)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(ask, range(THREADS)))
    if room >= IMAGES // 2:  # all have room
        assert len(read) == len(set(read))

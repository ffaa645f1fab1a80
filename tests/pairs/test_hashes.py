"""Hashes of thumbnails, and pairs that are asked for by them, against dicts and every pair by hand."""

import hashlib
import sys
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import dupegrid
from dupegrid import Run
from dupegrid.core.errors import ConfigError, StoreError, UsageError
from dupegrid.pairs.hashes import shifted_hashes
from tests.conftest import picture, save
from tests.helpers import reference
from tests.helpers.forks import command

HASH = "hash_of_a_user:of"
Write = Callable[[str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes the function of HASH."""
    folder = tmp_path / "code"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def written(expression: str) -> None:
        (folder / "hash_of_a_user.py").write_text(f"def of(thumb):\n    return {expression}\n")
        sys.modules.pop("hash_of_a_user", None)

    yield written
    sys.modules.pop("hash_of_a_user", None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures that differ in their lowest bits, turned ones, near ones, a set of equals, an unreadable one."""
    root, random = tmp_path / "photos", np.random.default_rng(3)
    root.mkdir()
    for seed in range(4):
        pixels = np.minimum(np.asarray(picture(seed, (8, 8))) & 0xF0, 0xE0)
        for k in range(7):
            noise = random.integers(0, 16 if k % 3 else 17, pixels.shape).astype(np.uint8)
            Image.fromarray(np.rot90(pixels + noise, k)).save(root / f"{seed}-{k}.png")
    for k in range(66):
        (root / f"equal{k:02d}.png").write_bytes(save(tmp_path / "equal.png", 9).read_bytes())
    (root / "no.png").write_bytes(b"none")
    return root


def shifted_by_hand(thumb: np.ndarray, amount: int) -> frozenset[bytes]:
    """A thumbnail of shifted values in its four turns."""
    values = [int(value) * 2.0**-amount // 1 % 256 for value in thumb.ravel()]
    return frozenset(np.rot90(np.reshape(values, thumb.shape), k).tobytes() for k in range(4))


def assert_exact(run: Run, hashes: list[Any]) -> None:
    """The matches are those of the oracle whose hashes are as asked for, and so is the count of those that are not."""
    thumbs, config = run.thumbs.compute(), run.config.model_dump()

    def asked_for(a: int, b: int) -> bool:
        return (hashes[a] == hashes[b]) == (config["same_hash"] == "only")

    expected = reference.expected_matches(run.images, thumbs, config)
    rows = run.matches.to_pylist()
    found = {(row["a"], row["b"]): (row["sse"], row["orientation"]) for row in rows}
    wanted = {pair: value for pair, value in expected.items() if asked_for(*pair)}
    assert found == wanted if config["metric"] == "mse" else found.keys() == wanted.keys()
    assert wanted
    rows = run.images.to_pylist()
    ok = [row["id"] for row in rows if row["status"] == "ok" and row["identical_to"] is None]
    receipt = run.receipt.pairs
    assert receipt["filter"] == sum(not asked_for(a, b) for a in ok for b in ok if a < b)
    assert receipt["total"] == sum(value for key, value in receipt.items() if key != "total")


def test_pairs_by_hash_are_the_oracles(folder: Path, tmp_path: Path) -> None:
    settings = {"out": tmp_path / "run", "thumb": 8, "hash": "shift:4", "scheduler": "sync", "quiet": True}
    for same_hash, metric, tile in product(("only", "skip"), ("mse", "mae"), (None, 10)):
        limit = 60 if metric == "mse" else 65025
        run = dupegrid.run(folder, same_hash=same_hash, metric=metric, tile=tile, threshold=limit, **settings)
        assert_exact(run, [shifted_by_hand(thumb, 4) for thumb in run.thumbs.compute()])


@given(st.integers(-7, 7), st.integers(0, 255), st.integers(0, 3))
def test_the_shifted_hash_forgets_bits_and_turns(amount: int, seed: int, turn: int) -> None:
    random = np.random.default_rng(seed)
    a = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    b = a ^ random.integers(0, 2 ** abs(amount), a.shape, dtype=np.uint8) << np.uint8(
        8 - abs(amount) if amount < 0 else 0
    )
    c = a ^ np.uint8(1 << 7 - max(0, -amount))
    hashes = shifted_hashes(np.stack([a, np.rot90(b, turn), c]), amount)
    four = [{hashes[name][k] for name in hashes} for k in range(3)]
    assert four[0] == four[1]
    assert not four[0] & four[2]
    values = a >> amount if amount >= 0 else a << -amount
    assert hashes["identity"][0] == hashlib.blake2b(values.astype(np.uint8).tobytes(), digest_size=16).hexdigest()

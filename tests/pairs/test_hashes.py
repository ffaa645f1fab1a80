"""Hashes of thumbnails, and pairs that are asked for by them, against dicts and every pair by hand."""

import hashlib
import sys
from collections.abc import Callable
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
from dupegrid.images.thumbnail_hashes import shifted_hashes
from tests.conftest import named_matches, picture, save
from tests.helpers import reference
from tests.helpers.forks import command

HASH = "hash_of_a_user:of"
Write = Callable[[str], None]


@pytest.fixture
def write(users_code: Callable[[str, str], None]) -> Write:
    """Writes the function of HASH."""
    return lambda expression: users_code("hash_of_a_user", f"def of(thumb):\n    return {expression}\n")


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
    for k in range(65):
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
    for same_hash, metric, tile in (("skip", "mse", 10), ("skip", "mae", 40), ("only", "mse", 10)):
        limit = 60 if metric == "mse" else 65025
        run = dupegrid.run(folder, same_hash=same_hash, metric=metric, tile=tile, threshold=limit, **settings)
        assert_exact(run, [shifted_by_hand(thumb, 4) for thumb in run.thumbs.compute()])
    save(folder / "1-new.png", 1)  # and those that are settled are not compared again
    (folder / "2-3.png").unlink()
    run = dupegrid.run(folder, same_hash="only", threshold=60, **settings)
    assert run.receipt.pairs["earlier"]
    fresh = dupegrid.run(folder, same_hash="only", threshold=60, **settings | {"out": tmp_path / "fresh"})
    assert named_matches(run) == named_matches(fresh)


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


def small(tmp_path: Path) -> Path:
    """Two equal pictures, one of them turned as well, and others."""
    for name, seed in (("a", 1), ("b", 1), ("c", 2), ("d", 3)):
        (tmp_path / "photos").mkdir(exist_ok=True)
        picture(seed, (8, 8)).save(tmp_path / f"photos/{name}.png")
    picture(1, (8, 8)).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "photos/e.png")
    (tmp_path / "photos/no.png").write_bytes(b"none")
    return tmp_path / "photos"


def sets_in(run: Run) -> list[set[str]]:
    found: dict[int, set[str]] = {}
    for row in run.identical("hash").to_pylist():
        found.setdefault(row["set"], set()).add(Path(row["path"]).stem)
    return list(found.values())


def test_a_hash_of_a_user(tmp_path: Path, write: Write) -> None:
    """It is a column, pictures are equal by it, and when its code changes it is made again."""
    write("int(thumb.mean()) % 2")
    photos = small(tmp_path)
    settings = {"out": tmp_path / "run", "thumb": 8, "hash": HASH, "quiet": True}
    run = dupegrid.index(photos, **settings)
    means = {row["id"]: str(int(run.thumbs[row["id"]].compute().mean()) % 2) for row in run.images.to_pylist()[:-1]}
    assert run.hashes["hash"].to_pylist() == [means.get(id) for id in range(6)]
    assert run.hashes["hash_identity"].null_count == 6
    before = (run.path / "hashes.parquet").stat().st_mtime_ns
    dupegrid.index(photos, **settings)
    assert (run.path / "hashes.parquet").stat().st_mtime_ns == before
    for expression, hashes in (("thumb[0, 0, 0].tobytes()", 3), ("'same'", 1), ("thumb.sum()", 3)):
        write(expression)
        run = dupegrid.index(photos, **settings)
        assert len({text for text in run.hashes["hash"].to_pylist() if text}) >= hashes
    assert sets_in(run) == [{"a", "b", "e"}]
    run = dupegrid.run(photos, same_hash="skip", threshold=65025, **settings)
    assert not any(
        {"a", "b"} == {Path(row["path_a"]).stem, Path(row["path_b"]).stem} for row in run.matches.to_pylist()
    )
    roles = {Path(row["path"]).stem: row for row in run.clusters.to_pylist()}
    assert roles["a"]["role"] == "keep"
    assert (roles["b"]["role"], roles["b"]["reason"]) == ("bridge", "not_asked_for")


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("thumb.no_such", "failed \\(AttributeError"),
        ("None", "returned a NoneType"),
        ("0.5", "returned a float"),
        ("'\\udc80'", "failed"),
    ],
)
def test_a_hash_that_fails_is_one_line(tmp_path: Path, write: Write, expression: str, said: str) -> None:
    write(expression)
    with pytest.raises(ConfigError, match=said):
        dupegrid.index(small(tmp_path), out=tmp_path / "run", thumb=8, hash=HASH, quiet=True)


def test_settings_of_hashes(tmp_path: Path) -> None:
    photos = small(tmp_path)
    for name in ("shift:8", "shift:-0", "md5", "no_such_module:of", "json:no_such", "json:__name__"):
        with pytest.raises(ConfigError, match="hash"):
            dupegrid.index(photos, out=tmp_path / "run", hash=name, quiet=True)
    with pytest.raises(ConfigError, match="needs a hash: give --hash"):
        dupegrid.index(photos, out=tmp_path / "run", same_hash="only", quiet=True)
    done = command("run", photos, "--out", tmp_path / "run", "--thumb", 8, "--hash", "shift:4", "--same-hash", "only")
    assert done.returncode == 0, done.stderr
    run = dupegrid.open_run(tmp_path / "run")
    assert sets_in(run) == [{"a", "b", "e"}]
    assert len(run.matches) == 3
    whole = (run.path / "hashes.parquet").read_bytes()
    for damaged, said in (
        (b"PAR1 damaged", "not of these pictures"),
        (whole[:60] + b"\0\0" + whole[62:], "hashes.parquet is"),
    ):
        (run.path / "hashes.parquet").write_bytes(damaged)
        with pytest.raises(StoreError, match=said):
            run.identical("hash")
        assert sets_in(dupegrid.compare(run, quiet=True)) == [{"a", "b", "e"}]
    plain = dupegrid.run(photos, out=tmp_path / "run", thumb=8, quiet=True)
    with pytest.raises(UsageError, match="has no hash"):
        plain.identical("hash")


def test_a_hash_that_a_run_directory_names_is_not_imported(tmp_path: Path, write: Write) -> None:
    write("1")
    settings = {"out": tmp_path / "run", "thumb": 8, "hash": HASH, "quiet": True}
    run = dupegrid.run(small(tmp_path), same_hash="only", **settings)
    sys.modules.pop("hash_of_a_user")
    (tmp_path / "code/hash_of_a_user.py").write_text("raise SystemExit('run')\n")
    with pytest.raises(UsageError, match=f"give --hash {HASH} again"):
        dupegrid.compare(run, threshold=20, quiet=True)
    with pytest.raises(UsageError, match="cannot change 'hash'"):
        dupegrid.compare(run, hash="shift:4", quiet=True)
    opened = dupegrid.open_run(run)
    assert len(opened.at(10).clusters) == len(opened.clusters)
    assert sets_in(opened) == [{"a", "b", "c", "d", "e"}]
    dupegrid.cluster(run, 20)
    dupegrid.report(run)
    with pytest.raises(ConfigError, match="no hash"):
        dupegrid.compare(run, hash=HASH, quiet=True)
    indexed = dupegrid.index(small(tmp_path), **settings | {"hash": "shift:0"})
    dupegrid.compare(indexed, quiet=True)  # pairs do not go by it

"""A brute-force oracle: every pair of thumbnails, one by one, in integers. Shares no code with the package.

Which image stands for others is worked out here too, and the product's own columns are held against it.
"""

from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np
import pyarrow as pa

ORIENTATIONS = {
    "none": ["identity"],
    "rotations": ["identity", "rot90", "rot180", "rot270"],
    "all": ["identity", "rot90", "rot180", "rot270", "flip", "flip_rot90", "flip_rot180", "flip_rot270"],
}
COLLAPSE_OVER = 64  # equal thumbnails


def turn(image: np.ndarray, orientation: str) -> np.ndarray:
    """What an orientation does to one image of shape (S, S, 3)."""
    if "flip" in orientation:
        image = np.fliplr(image)
    degrees = {"rot90": 90, "rot180": 180, "rot270": 270}.get(orientation.split("_")[-1], 0)
    return np.rot90(image, degrees // 90)


def sse(a: np.ndarray, b: np.ndarray) -> int:
    """The sum of squared differences of two images, exact."""
    difference = a.astype(np.int64) - b.astype(np.int64)
    return int((difference * difference).sum())


def best(a: np.ndarray, b: np.ndarray, choice: str) -> tuple[int, str]:
    """The least SSE of two images and the first orientation of b that gives it."""
    return _least(a, turned(b, choice), choice)


def turned(image: np.ndarray, choice: str) -> np.ndarray:
    """An image in all orientations, in numbers whose differences and their squares are exact."""
    return np.stack([turn(image, name) for name in ORIENTATIONS[choice]]).astype(np.int32)


def _least(a: np.ndarray, turned_b: np.ndarray, choice: str) -> tuple[int, str]:
    difference = turned_b - a
    found = (difference * difference).sum(axis=(1, 2, 3), dtype=np.int64)
    return int(found.min()), ORIENTATIONS[choice][int(found.argmin())]


def representatives(
    images: pa.Table, thumbs: np.ndarray, config: dict[str, Any]
) -> tuple[list[int | None], list[int | None]]:
    """What identical_to and link_of must hold, from the thumbnails, the hashes and what files and sides they are of.

    A set never spans the two sides of an --against run nor, where it matters, two roots or two sizes.
    """
    rows = images.to_pylist()
    ok = [id for id, row in enumerate(rows) if row["status"] == "ok"]

    def side(row: dict[str, Any]) -> tuple[Hashable, ...]:
        by_root = row["root"] if config["scope"] != "all" else None
        by_size = config["same_size"] or config["max_aspect"] is not None
        return row["group"], by_root, (row["width"], row["height"]) if by_size else None

    def firsts(keys: Iterable[Hashable], over: int) -> dict[int, int]:
        sets: dict[Hashable, list[int]] = {}
        for id, key in zip(ok, keys, strict=True):
            sets.setdefault(key, []).append(id)
        return {id: ids[0] for ids in sets.values() if len(ids) > over for id in ids[1:]}

    files = [(row["device"], row["inode"], row["file_hash"], *side(row)) for row in (rows[id] for id in ok)]
    links = firsts(files, 1)
    alike = firsts([(thumbs[id].tobytes(), *side(rows[id])) for id in ok], COLLAPSE_OVER)
    stand_ins = {**links, **alike}
    return [stand_ins.get(id) for id in range(len(rows))], [links.get(id) for id in range(len(rows))]


def expected_matches(images: pa.Table, thumbs: np.ndarray, config: dict[str, Any]) -> dict[tuple[int, int], Any]:
    """(a, b) -> (SSE, orientation) of every pair that must be listed, from the definitions in the documents alone.

    Holds the columns identical_to and link_of to those definitions too.
    """
    rows = images.to_pylist()
    identical_to, link_of = representatives(images, thumbs, config)
    assert images["identical_to"].to_pylist() == identical_to
    assert images["link_of"].to_pylist() == link_of
    values = thumbs[0].size if len(thumbs) else 1
    all_turned = [turned(image, config["orientations"]) for image in thumbs]
    found = {}
    for a, first in enumerate(rows):
        for b in range(a + 1, len(rows)):
            second = rows[b]
            if first["status"] != "ok" or second["status"] != "ok":
                continue
            if config["against"] and first["group"] == second["group"]:
                continue
            same_root = first["root"] == second["root"]
            if (config["scope"] == "across" and same_root) or (config["scope"] == "within" and not same_root):
                continue
            if identical_to[b] != a and (identical_to[a] is not None or identical_to[b] is not None):
                continue
            least, orientation = _least(thumbs[a], all_turned[b], config["orientations"])
            if least / values <= config["cutoff"]:
                found[a, b] = (least, orientation)
    return found

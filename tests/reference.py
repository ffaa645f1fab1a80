"""A brute-force oracle: every pair of thumbnails, one by one, in Python integers. Shares no code with the package."""

from typing import Any

import numpy as np
import pyarrow as pa

ORIENTATIONS = {
    "none": ["identity"],
    "rotations": ["identity", "rot90", "rot180", "rot270"],
    "all": ["identity", "rot90", "rot180", "rot270", "flip", "flip_rot90", "flip_rot180", "flip_rot270"],
}


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
    found = [(sse(a, turn(b, name)), place, name) for place, name in enumerate(ORIENTATIONS[choice])]
    least, _, name = min(found)
    return least, name


def expected_matches(images: pa.Table, thumbs: np.ndarray, config: dict[str, Any]) -> dict[tuple[int, int], Any]:
    """(a, b) -> (SSE, orientation) of every pair that must be listed, from the definitions in the documents alone."""
    rows = images.to_pylist()
    values = thumbs[0].size if len(thumbs) else 1
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
            stands_in = second["identical_to"] == a
            if not stands_in and (first["identical_to"] is not None or second["identical_to"] is not None):
                continue
            least, orientation = best(thumbs[a], thumbs[b], config["orientations"])
            if least / values <= config["cutoff"]:
                found[a, b] = (least, orientation)
    return found

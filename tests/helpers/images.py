"""Thumbnails chosen to be hard: near each other, at the ends of the range, one value apart, all the same."""

import numpy as np

KINDS = ("random", "saturated", "near", "one_pixel", "equal", "flat", "smooth")


def thumbs(kind: str, n: int, seed: int, side: int = 8) -> np.ndarray:
    """n images of one kind: uint8 (n, side, side, 3)."""
    random = np.random.default_rng(seed)
    shape = (n, side, side, 3)
    base = random.integers(0, 256, (1, *shape[1:]))
    place = np.arange(side * side * 3).reshape(1, side, side, 3)
    images = {
        "random": lambda: random.integers(0, 256, shape),
        "saturated": lambda: random.choice([0, 255], shape),
        "near": lambda: np.clip(base + random.integers(-9, 10, shape), 0, 255),
        "one_pixel": lambda: np.where(place < np.arange(n)[:, None, None, None], 255 - base, base),
        "equal": lambda: np.repeat(base, n, axis=0),
        "flat": lambda: np.broadcast_to(random.integers(0, 256, (n, 1, 1, 3)), shape),
        "smooth": lambda: np.linspace(0, 1, side)[:, None, None] * random.integers(0, 256, (n, 1, side, 3)),
    }[kind]()
    return np.ascontiguousarray(images).astype(np.uint8)

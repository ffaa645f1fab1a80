"""What the steps from file to thumbnail do to copies and to speed: `python -m tests.benchmarks.recipes`.

The table of decisions/0005. Copies are made of real photos, so ../shared/data must be there.
"""

import io
import time
from itertools import combinations

import numpy as np
from PIL import Image, ImageEnhance

from tests.conftest import SHARED

SIDE = 64
RECIPES: dict[str, tuple[int | None, Image.Resampling, float | None]] = {
    "draft 4x, BOX": (4, Image.Resampling.BOX, None),
    "draft 2x, BICUBIC": (2, Image.Resampling.BICUBIC, None),
    "draft 4x, BICUBIC, reducing_gap 2": (4, Image.Resampling.BICUBIC, 2.0),
    "draft 4x, BICUBIC": (4, Image.Resampling.BICUBIC, None),
    "draft 4x, LANCZOS, reducing_gap 3": (4, Image.Resampling.LANCZOS, 3.0),
    "draft 8x, BICUBIC, reducing_gap 2": (8, Image.Resampling.BICUBIC, 2.0),
    "full decode, BICUBIC (--exact-decode)": (None, Image.Resampling.BICUBIC, None),
}


def thumbnail(data: bytes, draft: int | None, filter: Image.Resampling, gap: float | None) -> np.ndarray:
    """float64 (S, S, 3)."""
    image = Image.open(io.BytesIO(data))
    if draft is not None:
        image.draft(None, (draft * SIDE, draft * SIDE))
    return np.asarray(image.convert("RGB").resize((SIDE, SIDE), filter, reducing_gap=gap)).astype(float)


def copies(photo: Image.Image) -> list[bytes]:
    """The same picture: two thirds of the size, stronger compression, PNG, a little brighter."""
    found = []
    for image, options in (
        (photo.resize((photo.width * 2 // 3, photo.height * 2 // 3), Image.Resampling.LANCZOS), {"quality": 90}),
        (photo, {"quality": 60}),
        (photo, {"format": "PNG"}),
        (ImageEnhance.Brightness(photo).enhance(1.03), {"quality": 90}),
    ):
        buffer = io.BytesIO()
        image.save(buffer, **{"format": "JPEG", **options})
        found.append(buffer.getvalue())
    return found


def main() -> None:
    """Print the table."""
    files = [file.read_bytes() for file in sorted((SHARED / "data/photos").iterdir())]
    large = [file.read_bytes() for file in sorted((SHARED / "data/large").iterdir())]
    planted = [copies(Image.open(io.BytesIO(data)).convert("RGB")) for data in files[::6]]
    bridge = [file.read_bytes() for file in sorted((SHARED / "data/formats/bridge").iterdir())]
    print("| Pillow recipe | 0.2 MP, files/s | 9 to 12 MP, files/s | copies, largest | bridge | different, least |")
    print("|---|---|---|---|---|---|")
    for name, recipe in RECIPES.items():
        start = time.perf_counter()
        thumbs = [thumbnail(data, *recipe) for data in files]
        small_s = time.perf_counter() - start
        start = time.perf_counter()
        for data in large:
            thumbnail(data, *recipe)
        large_s = time.perf_counter() - start
        same = max(
            float(((thumbs[6 * k] - thumbnail(copy, *recipe)) ** 2).mean())
            for k, group in enumerate(planted)
            for copy in group
        )
        known = [thumbnail(data, *recipe) for data in bridge]
        spread = sorted(float(((a - b) ** 2).mean()) for a, b in combinations(known, 2))
        flat = np.array(thumbs).reshape(len(thumbs), -1)
        norms = (flat**2).sum(axis=1)
        distances = (norms[:, None] + norms[None] - 2 * flat @ flat.T) / flat.shape[1] + np.diag(
            np.full(len(flat), 1e9)
        )
        rates = f"{len(files) / small_s:,.0f} | {len(large) / large_s:,.1f}"
        print(
            f"| {name} | {rates} | {same:.1f} | {spread[0]:.1f} to {spread[-1]:.1f} | {distances.min():.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

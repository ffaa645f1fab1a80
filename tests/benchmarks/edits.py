"""What edits of a picture each measure finds: `python -m tests.benchmarks.edits FOLDER` prints a table.

Every picture of FOLDER, of which no two may be near by nature, is edited in 25 ways. A measure finds an edit where the
edited picture is at or under its threshold from the original; recall is given at the default, 50, and at the cut: the
largest threshold at which no two different pictures of FOLDER match, whichever of them is edited.
"""

import io
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from dupegrid.core.arrays import Float64s, Pixels
from dupegrid.images.decoded import Reading
from dupegrid.images.recipe import decode
from tests.benchmarks.peers import ENVIRONMENTS, environment

SIDE: Final = 64
DEFAULT: Final = 50.0
Edit = Callable[[Image.Image], Image.Image]

MEASURES: Final = {
    "mse": Reading(SIDE),
    "grey": Reading(SIDE, colour="grey"),
    "mean": Reading(SIDE, normalize="mean"),
    "contrast": Reading(SIDE, normalize="contrast"),
    "contrast, grey": Reading(SIDE, normalize="contrast", colour="grey"),
    "contrast, grey, trim": Reading(SIDE, normalize="contrast", colour="grey", trim=True),
}

# By bits that differ, as their authors count; each of pictures as files.
PEERS: Final = """
import json, sys
import imagehash, numpy, pdqhash
from PIL import Image
def bits(file):
    image = Image.open(file).convert("RGB")
    return {
        "pHash 16 x 16": imagehash.phash(image, 16).hash.ravel(),
        "dHash 16 x 16": imagehash.dhash(image, 16).hash.ravel(),
        "PDQ": pdqhash.compute(numpy.asarray(image))[0],
    }
for file in sys.stdin.read().split("\\n"):
    print(json.dumps({name: "".join("01"[int(bit)] for bit in found) for name, found in bits(file).items()}))
"""


def _by_value(change: Callable[[float], float]) -> Edit:
    table = [max(0, min(255, round(255 * change(value / 255)))) for value in range(256)] * 3
    return lambda image: image.point(table)


def _cropped(share: float) -> Edit:
    """So large a share of each side cut off, half of it at each end."""
    return lambda image: ImageOps.crop(image, (round(image.width * share / 2), round(image.height * share / 2)))


def _bordered(share: float) -> Edit:
    return lambda image: ImageOps.expand(image, round(share * max(image.size)), (255, 255, 255))


def _turned(degrees: float) -> Edit:
    return lambda image: image.rotate(degrees, Image.Resampling.BICUBIC)


def _saved(format: str, **options: int) -> Edit:
    def edit(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, format, **options)
        return Image.open(file).convert("RGB")

    return edit


def _noisy(image: Image.Image) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, 12, (image.height, image.width, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def _marked(image: Image.Image) -> Image.Image:
    marked = image.copy()
    place = (image.width * 0.1, image.height * 0.45)
    ImageDraw.Draw(marked).text(place, "SAMPLE 2024", (255, 255, 255), font_size=max(8, image.width // 8))
    return marked


def _vignetted(image: Image.Image) -> Image.Image:
    y, x = np.mgrid[-1 : 1 : image.height * 1j, -1 : 1 : image.width * 1j]
    return Image.fromarray((np.asarray(image) * (1 - 0.35 * (x * x + y * y))[..., None]).clip(0, 255).astype(np.uint8))


def _warmer(image: Image.Image) -> Image.Image:
    return Image.fromarray((np.asarray(image) * np.array([1.1, 1.0, 0.85])).clip(0, 255).astype(np.uint8))


EDITS: Final[dict[str, Edit]] = {
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS),
    "JPEG at 50": _saved("JPEG", quality=50),
    "JPEG at 10": _saved("JPEG", quality=10),
    "WebP at 50": _saved("WEBP", quality=50),
    "blur, 2 pixels": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "sharpened": lambda image: image.filter(ImageFilter.UnsharpMask(2, 150)),
    "noise": _noisy,
    "brightness - 20 %": _by_value(lambda value: value * 0.8),
    "brightness + 20 %": _by_value(lambda value: value * 1.2),
    "contrast + 30 %": lambda image: ImageEnhance.Contrast(image).enhance(1.3),
    "contrast - 30 %": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "gamma 1.4": _by_value(lambda value: value**1.4),
    "gamma 0.7": _by_value(lambda value: value**0.7),
    "in grey": lambda image: image.convert("L").convert("RGB"),
    "more colour": lambda image: ImageEnhance.Color(image).enhance(1.5),
    "warmer": _warmer,
    "vignette": _vignetted,
    "watermark": _marked,
    "crop, 1 %": _cropped(0.01),
    "crop, 5 %": _cropped(0.05),
    "crop, 10 %": _cropped(0.10),
    "border, 2 %": _bordered(0.02),
    "border, 10 %": _bordered(0.10),
    "turned 1 degree": _turned(1),
    "turned 5 degrees": _turned(5),
}


def distances(a: Float64s, b: Float64s) -> Float64s:
    """The mean square of the differences of each row of `a` from each of `b`: float64 (len(a), len(b))."""
    squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * (a @ b.T)
    return np.maximum(squares, 0) / a.shape[1]


def recalls(originals: Float64s, edited: dict[str, Float64s]) -> tuple[float, dict[str, tuple[float, float]]]:
    """The cut, and what share of each edit is found at the default and at the cut."""
    found, others = {}, ~np.eye(len(originals), dtype=bool)
    cut = distances(originals, originals)[others].min()
    for name, values in edited.items():
        between = distances(originals, values)
        cut = min(cut, between[others].min())
        found[name] = between.diagonal()
    return float(cut), {
        name: (float((own <= DEFAULT).mean()), float((own < cut).mean())) for name, own in found.items()
    }


def encoded(image: Image.Image) -> bytes:
    """What people keep of an edit: a JPEG of quality 90."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def main(folder: Path) -> None:
    """Print the table."""
    files = sorted(folder.iterdir())
    files = random.Random(0).sample(files, min(240, len(files)))
    images = [Image.open(file).convert("RGB") for file in files]
    bytes_of = {"": [encoded(image) for image in images]}
    bytes_of |= {name: [encoded(edit(image)) for image in images] for name, edit in EDITS.items()}
    columns = {measure: _ours(bytes_of, reading) for measure, reading in MEASURES.items()} | _peers(bytes_of)
    print(f"| {len(images)} photos, each edited | " + " | ".join(columns) + " |")
    print("| --- |" + " --- |" * len(columns))
    seen = {}
    for measure, values in columns.items():
        seen[measure] = recalls(values[""], {name: edited for name, edited in values.items() if name})
    print("| cut | " + " | ".join(f"{cut:.3g}" for cut, _ in seen.values()) + " |")
    for name in EDITS:
        cells = [
            f"{100 * at_cut:.0f}" if measure not in MEASURES else f"{100 * at_default:.0f}, {100 * at_cut:.0f}"
            for measure, (at_default, at_cut) in ((measure, found[name]) for measure, (_, found) in seen.items())
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")


def _ours(bytes_of: dict[str, list[bytes]], reading: Reading) -> dict[str, Float64s]:
    def thumb(data: bytes) -> Pixels:
        found = decode(data, reading).thumb
        assert found is not None
        return found

    return {name: np.array([thumb(data).ravel() for data in several], np.float64) for name, several in bytes_of.items()}


def _peers(bytes_of: dict[str, list[bytes]]) -> dict[str, dict[str, Float64s]]:
    """Bits as rows of 0 and 1, by measure and edit: their mean square difference is the share of bits that differ."""
    python = environment("hashes", ["imagehash", "pdqhash", "pillow"])
    folder = ENVIRONMENTS / "edited"
    folder.mkdir(exist_ok=True)
    columns: dict[str, dict[str, Float64s]] = {}
    for name, several in bytes_of.items():
        files = []
        for number, data in enumerate(several):
            files.append(folder / f"{number}.jpg")
            files[-1].write_bytes(data)
        given = "\n".join(map(str, files))
        done = subprocess.run([python, "-c", PEERS], input=given, capture_output=True, text=True, check=True)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        for measure in rows[0]:
            columns.setdefault(measure, {})[name] = np.array(
                [[int(bit) for bit in row[measure]] for row in rows], float
            )
    return columns


if __name__ == "__main__":
    main(Path(sys.argv[1]))

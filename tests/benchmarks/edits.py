"""What edits of a picture each measure finds: `python -m tests.benchmarks.edits FOLDER [HOW_MANY]` prints a table.

Every picture of FOLDER, of which no two may be near by nature, is edited in the 25 ways of EDITS and some between. A
measure finds an edit where the edited picture is at or under its threshold from the original. Recall is given at the
default, 50, and at the cut: the largest threshold at which no two different pictures of FOLDER match, whichever of them
is edited. Of THEN_SSIM the cut is of the SSIM of pairs at or under a threshold that false ones are under too.
`... edits false FOLDER` says which pictures of FOLDER each measure takes for others at the default;
`... edits draw FILE` draws the picture of docs/how-to/edits.md.
"""

import io
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

import dupegrid
from dupegrid.app.demo import drawn
from dupegrid.core.arrays import Float64s, Pixels
from dupegrid.core.blas import one_blas_thread
from dupegrid.images.decoded import Reading
from dupegrid.images.recipe import decode
from dupegrid.results.scores import ssim
from tests.benchmarks.edits_peers import found_by_difpy, hashed

SIDE: Final = 64
DEFAULT: Final = 50.0
Edit = Callable[[Image.Image], Image.Image]

LOOKS: Final = ("full", "centre95", "centre90")
MEASURES: Final[dict[str, dict[str, Any]]] = {
    "as it is": {},
    "grey": {"colour": "grey"},
    "mean": {"normalize": "mean"},
    "contrast": {"normalize": "contrast"},
    "contrast, grey": {"normalize": "contrast", "colour": "grey"},
    "looks": {"looks": LOOKS},
    "contrast, grey, trim": {"normalize": "contrast", "colour": "grey", "trim": True},
    "contrast, grey, trim, looks": {"normalize": "contrast", "colour": "grey", "trim": True, "looks": LOOKS},
}
# A measure, and a threshold under which SSIM decides: the second score of the same thumbnails.
THEN_SSIM: Final = {"contrast, grey": 1500.0, "contrast, grey, trim, looks": 1500.0}


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
BETWEEN: Final[dict[str, Edit]] = {  # not what looks were made for
    "crop, 3 %": _cropped(0.03),
    "crop, 7 %": _cropped(0.07),
    "crop, 5 %, of one corner": lambda image: image.crop((0, 0, round(image.width * 0.95), round(image.height * 0.95))),
    "border, 5 %": _bordered(0.05),
    "turned 2 degrees": _turned(2),
}


def distances(a: Pixels, b: Pixels) -> Float64s:
    """The mean square of the differences of each picture of `a` from each of `b`: float64 (len(a), len(b)).

    Both are of shape (pictures, looks, values); the least over looks.
    """
    least: Float64s = _of_looks(a, b).min(axis=2)
    return least


def _of_looks(a: Pixels, b: Pixels) -> Float64s:
    """The same of each look with each, float64 (len(a), len(b), looks of a x looks of b)."""
    x, y = (some.reshape(-1, some.shape[2]).astype(np.float64) for some in (a, b))
    squares = (x * x).sum(axis=1)[:, None] + (y * y).sum(axis=1) - 2 * (x @ y.T)
    squares = squares.reshape(len(a), a.shape[1], len(b), b.shape[1]).transpose(0, 2, 1, 3) / a.shape[2]
    return squares.reshape(len(a), len(b), -1)


def recalls(
    edited: dict[str, Pixels], *thresholds: float, apart: Callable[[Pixels, Pixels], Float64s] = distances
) -> tuple[float, dict[str, list[float]]]:
    """The cut, and what share of each edit is found at each threshold and, last, at the cut.

    The originals are under ''; `apart` says how far each picture of one array is from each of another.
    """
    between = {name: apart(edited[""], values) for name, values in edited.items()}
    others = ~np.eye(len(edited[""]), dtype=bool)
    cut = min(float(some[others].min()) for some in between.values())
    found = {name: some.diagonal() for name, some in between.items()}
    return cut, {
        name: [*(float((own <= threshold).mean()) for threshold in thresholds), float((own < cut).mean())]
        for name, own in found.items()
    }


def unlike(a: Pixels, b: Pixels, threshold: float) -> Float64s:
    """Less the SSIM of each picture of `a` with each of `b` at or under a threshold, by the looks that match best.

    float64 (len(a), len(b)), 1 over the threshold.
    """
    between = _of_looks(a, b)
    found = np.full(between.shape[:2], 1.0)
    x, y = np.nonzero(between.min(axis=2) <= threshold)
    look_a, look_b = np.divmod(between[x, y].argmin(axis=1), b.shape[1])
    found[x, y] = -ssim(*(some.reshape(-1, SIDE, SIDE, 3) for some in (a[x, look_a], b[y, look_b])))
    return found


def encoded(image: Image.Image) -> bytes:
    """What people keep of an edit: a JPEG of quality 90."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def thumbnails(several: Sequence[bytes], settings: dict[str, Any]) -> Pixels:
    """The thumbnails of files by all looks, uint8 (files, looks, values)."""
    found = [decode(data, Reading(SIDE, **settings)) for data in several]
    looks = [[image.thumb, *(image.crops if image.crops is not None else [])] for image in found]
    return np.array(looks, np.uint8).reshape(len(found), len(looks[0]), -1)


def main(folder: Path, many: int = 150) -> None:
    """Print the table."""
    files = sorted(folder.iterdir())
    files = random.Random(0).sample(files, min(many, len(files)))
    images = [Image.open(file).convert("RGB") for file in files]
    bytes_of = {"": [encoded(image) for image in images]}
    bytes_of |= {name: [encoded(edit(image)) for image in images] for name, edit in (EDITS | BETWEEN).items()}
    seen = {}
    for measure, settings in MEASURES.items():
        edited = {name: thumbnails(several, settings) for name, several in bytes_of.items()}
        seen[measure] = recalls(edited, DEFAULT)
        if threshold := THEN_SSIM.get(measure):
            seen[f"{measure}; SSIM under {threshold:g}"] = recalls(edited, apart=partial(unlike, threshold=threshold))
    for measure, of_edits in hashed(bytes_of).items():
        seen[measure] = recalls(of_edits)
    difpy = found_by_difpy(bytes_of)
    print(f"| {len(images)} photos | " + " | ".join([*seen, "difPy, 'similar'"]) + " |")
    print("| --- |" + " --- |" * (len(seen) + 1))
    print("| cut | " + " | ".join(f"{abs(cut):.3g}" for cut, _ in seen.values()) + " | |")
    for name in EDITS | BETWEEN:
        cells = [", ".join(f"{100 * share:.0f}" for share in found[name]) for _, found in seen.values()]
        print(f"| {name} | " + " | ".join([*cells, f"{100 * difpy[name]:.0f}"]) + " |")


def false_pairs(folder: Path) -> None:
    """Print the pairs of a folder at or under the default, by each measure, with their MSE."""
    for measure, settings in MEASURES.items():
        with tempfile.TemporaryDirectory() as out:
            run = dupegrid.run(folder, out=Path(out) / "run", threshold=DEFAULT, quiet=True, **settings)
            pairs = run.matches.select(["path_a", "path_b", "mse"]).to_pylist()
        print(f"{measure}: {len(pairs)} pairs of {len(run.images):,} pictures")
        for pair in sorted(pairs, key=lambda pair: pair["mse"]):
            names = (Path(pair[side]).relative_to(folder.resolve()) for side in ("path_a", "path_b"))
            print(f"    {pair['mse']:.1f}", *names)


def sheet(file: Path) -> None:
    """A drawn picture and each edit of it, with their names."""
    picture = next(image for image in map(drawn, map(np.random.default_rng, range(99))) if 1.2 < _aspect(image) < 1.5)
    named = {"the picture": picture} | {name: edit(picture) for name, edit in EDITS.items()}
    across, width, height, text = 6, 150, 120, 16
    whole = Image.new("RGB", (across * width, -(-len(named) // across) * (height + text)), (255, 255, 255))
    for number, (name, image) in enumerate(named.items()):
        x, y = number % across * width, number // across * (height + text)
        whole.paste(ImageOps.contain(image, (width - 6, height - 4)), (x + 3, y + text))
        ImageDraw.Draw(whole).text((x + 4, y + 2), name, (0, 0, 0), font_size=12)
    whole.save(file, "JPEG", quality=80)


def _aspect(image: Image.Image) -> float:
    return image.width / image.height


if __name__ == "__main__":
    if sys.argv[1] == "draw":
        sheet(Path(sys.argv[2]))
    elif sys.argv[1] == "false":
        false_pairs(Path(sys.argv[2]))
    else:
        with one_blas_thread():
            main(Path(sys.argv[1]), *map(int, sys.argv[2:]))

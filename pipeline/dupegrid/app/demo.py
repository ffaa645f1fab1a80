"""Pictures drawn by the program itself, with planted duplicates of every kind, and how many of them a run finds."""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from dupegrid.app.api import run
from dupegrid.app.opening import absolute
from dupegrid.app.run import Run
from dupegrid.core.errors import RunDirError, StoreError
from dupegrid.core.text import shown
from dupegrid.core.values import StrPath
from dupegrid.images.exif import ORIENTATION
from dupegrid.results.answers import Answer, Summary
from dupegrid.storage.files import read_json, write_json

ORIGINALS: Final = 246
EACH_KIND: Final = 6
_BRIGHTER: Final = 1.03
HIDDEN_COLOUR: Final = (200, 30, 90)


@dataclass(frozen=True)
class Kind:
    """How many copies of a kind were planted, and how many of them were found."""

    kind: str
    planted: int
    found: int


@dataclass(frozen=True)
class Score:
    """What a run found of the plants, by kind, and how many of its matches are between unrelated pictures."""

    kinds: list[Kind]
    false: int


@dataclass(frozen=True)
class Demo(Answer):
    """A run on pictures that were drawn, and what it found of what was planted among them."""

    pictures: str
    summary: Summary
    score: Score

    def as_dict(self) -> dict[str, Any]:
        return {"pictures": self.pictures, "summary": self.summary.as_dict(), **asdict(self.score)}


def demo(out: StrPath, quiet: bool = False) -> Demo:
    """Draw the pictures into out/pictures (once), run on them into out/run, and count what was found of each kind."""
    out = absolute(out)
    pictures, planted_file = out / "pictures", out / "planted.json"
    try:
        if not planted_file.exists():
            if out.exists() and any(out.iterdir()):
                raise RunDirError(f"{shown(out)} has other files in it: choose a new or empty folder for the demo")
            write_json(planted_file, {"plants": draw(pictures)})
        planted = read_json(planted_file)["plants"]
    except (OSError, StoreError, KeyError) as error:
        raise RunDirError(f"cannot use {shown(out)} for the demo ({error}): choose a new folder") from None
    done = run(pictures, out=out / "run", orientations="all", quiet=quiet)
    return Demo(str(pictures), done.summary, score(done, planted))


def draw(folder: Path, originals: int = ORIGINALS, each_kind: int = EACH_KIND) -> list[dict[str, str]]:
    """Draw `originals` pictures and `each_kind` edited copies a kind. Returns the plants: kind, original, file name.

    Needs at least as many originals as plants, as each is copied once. An unreadable plant has no original.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(1)
    for number in range(originals):
        picture = drawn(random)
        if number // each_kind == list(_EDITS).index("transparent"):
            picture.putalpha(_oval(picture.size))
            picture.save(folder / f"{number:04d}.png")
        else:
            picture.save(folder / f"{number:04d}.jpg", quality=92)
    plants = []
    for place, (kind, edit) in enumerate(_EDITS.items()):
        for k in range(each_kind):
            original = next(folder.glob(f"{place * each_kind + k:04d}.*"))
            copy = folder / f"{original.stem}_{kind.replace(' ', '_')}"
            if edit is None:
                copy = copy.with_suffix(original.suffix)
                copy.write_bytes(original.read_bytes())
            else:
                picture, options = edit(Image.open(original), k)
                copy = _saved(picture, copy, **options)
            plants.append({"kind": kind, "original": original.name, "file": copy.name})
    for name, data in _unreadable(next(folder.glob(f"{originals - 1:04d}.*")).read_bytes()).items():
        (folder / name).write_bytes(data)
        plants.append({"kind": "unreadable", "original": "", "file": name})
    return plants


def score(done: Run, plants: list[dict[str, str]]) -> Score:
    """Compare what a run found with the plants, as `draw` returns them."""
    status = {Path(row["path"]).name: row["status"] for row in done.images.select(["path", "status"]).to_pylist()}
    matches = done.matches.select(["path_a", "path_b"]).to_pylist()
    matched = {frozenset((Path(row["path_a"]).name, Path(row["path_b"]).name)) for row in matches}
    planted, found = Counter[str](), Counter[str]()
    for plant in plants:
        planted[plant["kind"]] += 1
        if plant["kind"] == "unreadable":
            found[plant["kind"]] += status.get(plant["file"], "ok") != "ok"
        else:
            found[plant["kind"]] += frozenset((plant["original"], plant["file"])) in matched
    false = sum(len({name[:4] for name in pair}) > 1 for pair in matched)
    return Score([Kind(kind, count, found[kind]) for kind, count in planted.items()], false)


def drawn(random: np.random.Generator) -> Image.Image:
    """A picture like no other: a gradient, soft patches of light, shapes, and a little grain."""
    width, height = (int(side) for side in random.integers(240, 640, 2))
    small = random.integers(0, 256, (3, 3, 3)).astype(np.uint8)
    picture = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    for _ in range(int(random.integers(4, 12))):
        colour = tuple(int(part) for part in random.integers(0, 256, 3))
        x, y, w, h = (
            int(part) for part in random.integers((-40, -40, 20, 20), (width, height, width // 2, height // 2))
        )
        match random.integers(3):
            case 0:
                pen.ellipse((x, y, x + w, y + h), fill=colour)
            case 1:
                pen.rectangle((x, y, x + w, y + h), fill=colour)
            case _:
                corners = random.integers(0, (width, height), (3, 2))
                pen.polygon([(int(cx), int(cy)) for cx, cy in corners], fill=colour)
    grain = np.floor(random.normal(0, 4, (height, width, 1))).astype(np.int16)
    return Image.fromarray(np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8))


def _oval(size: tuple[int, int]) -> Image.Image:
    mask = Image.new("L", size, 0)
    ImageDraw.Draw(mask).ellipse((0, 0, *size), fill=255)
    return mask


def _exif_turned(picture: Image.Image, k: int) -> tuple[Image.Image, dict[str, Any]]:
    """Stored turned or mirrored, with the EXIF orientation that sets it upright again."""
    orientation = 3 + k % 6
    undo = {3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"}
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return picture.transpose(Image.Transpose[undo[orientation]]), {"exif": exif}


def _transparent(picture: Image.Image, _k: int) -> tuple[Image.Image, dict[str, Any]]:
    """The same to look at, other colours under the transparent part."""
    alpha, hidden = picture.getchannel("A"), Image.new("RGB", picture.size, HIDDEN_COLOUR)
    colours = Image.composite(picture.convert("RGB"), hidden, alpha)
    colours.putalpha(alpha)
    return colours, {"suffix": ".webp"}


_SUFFIXES: Final = (".png", ".bmp", ".webp", ".tiff", ".gif", ".ppm")
# kind -> from an original and the number of its copy the edited one, and how it is saved; None for the same bytes
_EDITS: Final[dict[str, Callable[[Image.Image, int], tuple[Image.Image, dict[str, Any]]] | None]] = {
    "copy": None,
    "resized": lambda picture, _: (
        picture.resize((picture.width * 2 // 3, picture.height * 2 // 3), Image.Resampling.LANCZOS),
        {},
    ),
    "recompressed": lambda picture, _: (picture, {"quality": 55}),
    "other format": lambda picture, k: (picture, {"suffix": _SUFFIXES[k % 6]}),
    "brightened": lambda picture, _: (picture.point(lambda value: min(255, value * _BRIGHTER)), {}),
    "turned": lambda picture, k: (picture.rotate(90 * (1 + k % 3), expand=True), {}),
    "mirrored": lambda picture, _: (ImageOps.mirror(picture), {}),
    "EXIF-turned": _exif_turned,
    "transparent": _transparent,
}


def _unreadable(picture: bytes) -> dict[str, bytes]:
    return {
        "unreadable_truncated.jpg": picture[: len(picture) // 2],
        "unreadable_empty.jpg": b"",
        "unreadable_text.jpg": b"not a picture at all\n",
    }


def _saved(picture: Image.Image, target: Path, suffix: str = ".jpg", **options: Any) -> Path:
    path = target.with_suffix(suffix)
    picture.save(path, **({"quality": 92} if suffix in (".jpg", ".webp") else {}) | options)
    return path

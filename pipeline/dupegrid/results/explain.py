"""Why two images match, or do not: every number that decides, and a picture of where they differ."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import CHOICES, Ints, Pixels, turned
from dupegrid.core.config import Config
from dupegrid.core.text import printable, size_text
from dupegrid.images.levels import cosines, prefixes
from dupegrid.images.recipe import encode_png
from dupegrid.pairs.batches import Matches
from dupegrid.pairs.bounds import least_sse
from dupegrid.pairs.kernel import exact_sse
from dupegrid.results.answers import Answer
from dupegrid.results.components import joining_threshold
from dupegrid.storage.words import RELATIONS

_ZOOM: Final = 4
_AMPLIFIED: Final = 4  # differences are small where two pictures are nearly the same


@dataclass(frozen=True)
class Side:
    """One image of a pair, or a file that is none of the run."""

    id: int | None  # None for such a file
    path: str
    width: int | None  # upright; of a file that is no picture nobody knows
    height: int | None
    size_bytes: int
    format: str | None
    status: str
    aspect: float | None  # width by height


@dataclass(frozen=True)
class Relation:
    """What the two pictures are to each other, as relations.parquet says."""

    word: str
    full_mse: float | None
    reason: str | None

    @property
    def text(self) -> str:
        """The relation, what it means and why, for people."""
        beside = [f"MSE {self.full_mse:.4g} of all pixels"] if self.full_mse is not None else []
        return "; ".join([f"{self.word}: {RELATIONS[self.word]}", *beside, *([self.reason] if self.reason else [])])


@dataclass(frozen=True)
class Explanation(Answer):
    """What is known of a pair; all values are MSE. Draws itself in a notebook."""

    a: Side
    b: Side
    mse: dict[str, float]  # by orientation of b; empty if one of the two was not read
    best: str | None  # the orientation with the least
    bounds: dict[str, float]  # by how many cosines, under that orientation: each at most the MSE
    same_file: bool
    relation: Relation | None  # by all of their pixels; None where the run has not looked
    joined_at: float | None  # the smallest threshold that puts them into one cluster, if that is within the cutoff
    picture: bytes  # PNG: a, b turned as b is best, and their difference, amplified
    thumbnails: str  # what these are made of
    looks: tuple[str, str] | None  # of several, those at a and b that are nearest to each other

    def as_dict(self) -> dict[str, Any]:
        return {key: value for key, value in super().as_dict().items() if key != "picture"}

    def _repr_html_(self) -> str:
        sides = "".join(
            f"<div>{name}: <bdi>{escape(printable(side.path))}</bdi>, "
            f"{f'{side.width} × {side.height}' if side.width else side.status}, {size_text(side.size_bytes)}</div>"
            for name, side in (("a", self.a), ("b", self.b))
        )
        values = ((f"MSE, {name}", value) for name, value in self.mse.items())
        rows = "".join(f"<tr><td>{name}</td><td>{value:.2f}</td></tr>" for name, value in values)
        joined = "" if self.joined_at is None else f"in one cluster from threshold {self.joined_at:.4g} up"
        image = base64.b64encode(self.picture).decode()
        drawn = f'<img src="data:image/png;base64,{image}" alt="">'
        told = "" if self.relation is None else f"<div>{escape(printable(self.relation.text))}</div>"
        return f"{sides}{drawn}{told}<div>{joined}</div><table>{rows}</table>"


def explain(
    a: Mapping[str, Any],
    b: Mapping[str, Any],
    thumbs: Pixels,
    matches: Matches,
    relations: pa.Table | None,
    config: Config,
) -> Explanation:
    """Explain a pair: two rows of images.parquet, thumbnails (2, looks, S, S, 3), matches and settings of the run.

    And their relations, where all of them were looked at.
    """
    readable = a["status"] == b["status"] == "ok"
    side, values = thumbs.shape[2], thumbs[0, 0].size
    mse, best, bounds, looks = {}, None, {}, (0, 0)
    first, other = thumbs[0, :1], thumbs[1, :1]
    if readable:
        sse = {name: _of_looks(thumbs, name) for name in CHOICES[config.orientations]}
        mse = {name: int(of_looks.min()) / values for name, of_looks in sse.items()}
        best = min(mse, key=lambda name: mse[name])
        look_a, look_b = looks = divmod(int(sse[best].argmin()), thumbs.shape[1])
        first = thumbs[0, look_a : look_a + 1]
        other = np.ascontiguousarray(turned(thumbs[1, look_b : look_b + 1], best))
        difference = np.subtract(*cosines(np.concatenate([first, other])), dtype=np.float64)
        for count in prefixes(side):
            bounds[f"{count} cosines"] = least_sse(float(np.linalg.norm(difference[:count])), side) / values
    return Explanation(
        side_of(a),
        side_of(b),
        mse,
        best,
        bounds,
        a["file_hash"] is not None and a["file_hash"] == b["file_hash"],
        _relation(relations, a["id"], b["id"]),
        joining_threshold(matches, a["id"], b["id"]) if readable else None,
        pair_picture(first[0], other[0]),
        _made_of(config),
        None if len(config.looks) == 1 else (config.looks[looks[0]], config.looks[looks[1]]),
    )


def _made_of(config: Config) -> str:
    """What a thumbnail is made of, in words: '64 x 64, mean and contrast made alike, in grey, borders cut off'."""
    alike = {"none": [], "mean": ["mean made alike"], "contrast": ["mean and contrast made alike"]}[config.normalize]
    grey, trimmed = ["in grey"] * (config.colour == "grey"), ["borders cut off"] * config.trim
    looks = [f"by the looks {', '.join(config.looks)}"] * (len(config.looks) > 1)
    return ", ".join([f"{config.thumb} x {config.thumb}", *alike, *grey, *trimmed, *looks])


def _of_looks(thumbs: Pixels, orientation: str) -> Ints:
    """The SSE of two images by all looks at the first and at the second, turned: int64 (looks, looks)."""
    others = turned(thumbs[1], orientation)
    return np.stack([exact_sse(np.repeat(look[None], len(others), axis=0), others) for look in thumbs[0]])


def _relation(relations: pa.Table | None, a: int, b: int) -> Relation | None:
    if relations is None:
        return None
    here = relations.filter(pc.and_(pc.equal(relations["a"], a), pc.equal(relations["b"], b))).to_pylist()
    return Relation(here[0]["relation"], here[0]["full_mse"], here[0]["reason"]) if here else None


def side_of(image: Mapping[str, Any]) -> Side:
    """A row of images.parquet as one side of a pair."""
    names = ("id", "path", "width", "height", "size_bytes", "format", "status")
    width, height = image["width"], image["height"]
    aspect = round(width / height, 4) if width and height else None
    return Side(**{name: image[name] for name in names}, aspect=aspect)


def pair_picture(a: Pixels, b: Pixels) -> bytes:
    """Two thumbnails, uint8 (S, S, 3), b turned as it matches, and their difference, amplified: a PNG file."""
    difference = np.abs(a.astype(np.int16) - b.astype(np.int16)) * _AMPLIFIED
    gap = np.full((len(a), 2, 3), 255, np.uint8)
    strip = np.concatenate([a, gap, b, gap, np.minimum(difference, 255).astype(np.uint8)], axis=1)
    return encode_png(strip.repeat(_ZOOM, axis=0).repeat(_ZOOM, axis=1))

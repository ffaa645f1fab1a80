"""Why two images match, or do not: every number that decides, and a picture of where they differ."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import CHOICES, Pixels, turned
from dupegrid.core.config import Config
from dupegrid.core.text import printable, size_text
from dupegrid.images.levels import cosines, prefixes
from dupegrid.images.recipe import encode_png
from dupegrid.pairs.bounds import least_sse
from dupegrid.pairs.kernel import exact_sse
from dupegrid.results.answers import Answer
from dupegrid.results.clusters import joining_threshold
from dupegrid.storage.schemas import RELATIONS

_ZOOM: Final = 4
_AMPLIFIED: Final = 4  # differences are small where two pictures are nearly the same


@dataclass(frozen=True)
class Side:
    """One image of a pair."""

    id: int
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
        """The same for people."""
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
    matches: pa.Table,
    relations: pa.Table | None,
    config: Config,
) -> Explanation:
    """Explain a pair: two rows of images.parquet, their thumbnails (2, S, S, 3), matches and settings of the run.

    And their relations, where all of them were looked at.
    """
    readable = a["status"] == b["status"] == "ok"
    side = thumbs.shape[1]
    mse, best, bounds = {}, None, {}
    other = thumbs[1:]
    if readable:
        values = thumbs[0].size
        mse = {
            name: int(exact_sse(thumbs[:1], turned(thumbs[1:], name))[0]) / values
            for name in CHOICES[config.orientations]
        }
        best = min(mse, key=lambda name: mse[name])
        other = np.ascontiguousarray(turned(thumbs[1:], best))
        difference = np.subtract(*cosines(np.concatenate([thumbs[:1], other])), dtype=np.float64)
        for count in prefixes(side):
            bounds[f"{count} cosines"] = least_sse(float(np.linalg.norm(difference[:count])), side) / values
    return Explanation(
        _side(a),
        _side(b),
        mse,
        best,
        bounds,
        a["file_hash"] is not None and a["file_hash"] == b["file_hash"],
        _relation(relations, a["id"], b["id"]),
        joining_threshold(matches, a["id"], b["id"]),
        pair_picture(thumbs[0], other[0]),
        config.thumbnails,
    )


def _relation(relations: pa.Table | None, a: int, b: int) -> Relation | None:
    if relations is None:
        return None
    here = relations.filter(pc.and_(pc.equal(relations["a"], a), pc.equal(relations["b"], b))).to_pylist()
    return Relation(here[0]["relation"], here[0]["full_mse"], here[0]["reason"]) if here else None


def _side(image: Mapping[str, Any]) -> Side:
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

"""Small tables of images and matches, drawn at random, and which images are near each other, pair by pair.

Sets of identical thumbnails are in them as a run has them: what is not the representative is in its own row only with
the representative, and in none where pairs inside the set were not asked for.
"""

from dataclasses import dataclass
from itertools import combinations

import pyarrow as pa
from hypothesis import strategies as st

from dupegrid.storage.schemas import IMAGES, MATCHES

SCORES = (0.0, 20.0, 50.0, 80.0)
THRESHOLD = 50.0


@dataclass(frozen=True)
class Drawn:
    """Tables, and the score of each pair of images that the run compared and kept."""

    images: pa.Table
    matches: pa.Table
    score: dict[frozenset[int], float]

    @property
    def ok(self) -> list[int]:
        return [id for id, status in enumerate(self.images["status"].to_pylist()) if status == "ok"]

    def near(self, threshold: float = THRESHOLD) -> set[tuple[int, int]]:
        """Both (x, y) and (y, x) of all that are near."""
        pairs = [tuple(sorted(pair)) for pair, score in self.score.items() if score <= threshold]
        return {*pairs, *((y, x) for x, y in pairs)}


@st.composite
def drawn(draw: st.DrawFn, most: int = 10) -> Drawn:
    n = draw(st.integers(1, most))
    stands = [0] * n
    for id in range(1, n):
        firsts = sorted(set(stands[:id]))
        stands[id] = draw(st.sampled_from([id, id, *firsts]))
    folder = st.lists(st.sampled_from("abc"), max_size=3).map("/".join)
    paths = [("/" + draw(folder) + f"/{id}.jpg").replace("//", "/") for id in range(n)]
    failed = [stands.count(id) == 1 and draw(st.integers(0, 7)) == 0 for id in range(n)]
    images = images_table(paths, stands, failed)
    return Drawn(images, *_compared(draw, stands, failed))


def images_table(paths: list[str], stands: list[int] | None = None, failed: list[bool] | None = None) -> pa.Table:
    rows = [
        {
            "id": id,
            "path": path,
            "path_raw": path.encode(),
            "size_bytes": 10 + id,
            "status": "truncated" if failed and failed[id] else "ok",
            "identical_to": stands[id] if stands and stands[id] != id else None,
            "root": 0,
        }
        for id, path in enumerate(paths)
    ]
    return pa.Table.from_pylist(rows, schema=IMAGES)


def matches_table(rows: list[tuple[int, int, float]]) -> pa.Table:
    return pa.Table.from_pylist(
        [{"a": a, "b": b, "mse": score, "score": score} for a, b, score in sorted(rows)], schema=MATCHES
    )


def _compared(draw: st.DrawFn, stands: list[int], failed: list[bool]) -> tuple[pa.Table, dict[frozenset[int], float]]:
    members = {first: [id for id in range(len(stands)) if stands[id] == first] for first in set(stands)}
    rows, score = [], {}
    for first, ids in members.items():
        if len(ids) > 1 and draw(st.booleans()):
            rows += [(first, id, 0.0) for id in ids[1:]]
            score |= {frozenset(pair): 0.0 for pair in combinations(ids, 2)}
    for a, b in combinations(sorted(members), 2):
        value = draw(st.sampled_from((*SCORES, None)))
        if value is not None and not failed[a] and not failed[b]:
            rows.append((a, b, value))
            score |= {frozenset((x, y)): value for x in members[a] for y in members[b]}
    return matches_table(rows), score

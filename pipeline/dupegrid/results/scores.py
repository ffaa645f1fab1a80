"""Second scores of matching pairs, for a closer look: how alike in structure, and how near where shifted.

From the stored thumbnails alone; nothing is decoded.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import ORIENTATIONS, Float64s, Pixels, turned
from dupegrid.core.errors import UsageError
from dupegrid.core.text import printable
from dupegrid.images.views import looks_at
from dupegrid.results.schemas import SCORES
from dupegrid.storage.run_dir import RunDir

OF_SCORES: Final = ("a", "b", "orientation", "look_a", "look_b")  # the columns of matches that they are reckoned by
SHIFT: Final = 3  # pixels of a thumbnail, across and down
_PAIRS_AT_ONCE: Final = 256  # 6 MB of thumbnails, and some times as much in between


def second_scores(run_dir: RunDir, matches: pa.Table, looks: Sequence[str], names: Sequence[str] = ()) -> pa.Table:
    """A row a match, in their order: a, b and the scores that are named, or all (schema SCORES).

    Of several looks by those that match, turned as they match. UsageError for a name that is no score, or for ssim
    where scikit-image is not installed.
    """
    unknown = [name for name in names if name not in _BY]
    if unknown:
        raise UsageError(f"no score {printable(unknown[0])!r}: there are {', '.join(_BY)}")
    found = {name: [np.empty(0)] for name in names or _BY}
    for start in range(0, len(matches), _PAIRS_AT_ONCE):
        first, second = _matching(run_dir, matches.slice(start, _PAIRS_AT_ONCE), looks)
        for name, values in found.items():
            values.append(_BY[name](first, second))
    columns = {name: np.concatenate(values) for name, values in found.items()}
    schema = pa.schema([SCORES.field(name) for name in ("a", "b", *found)])
    return pa.table({"a": matches["a"], "b": matches["b"], **columns}, schema=schema)


def _matching(run_dir: RunDir, matches: pa.Table, looks: Sequence[str]) -> tuple[Pixels, Pixels]:
    """The thumbnails of some matches by the looks that match, the second ones turned: uint8 (k, S, S, 3) each."""
    ids, places = np.unique([matches["a"].to_numpy(), matches["b"].to_numpy()], return_inverse=True)
    (a, b), thumbs = places.reshape(2, -1), looks_at(run_dir, ids)
    look_a, look_b = np.zeros((2, len(a)), np.int64)
    if len(looks) > 1:
        look_a, look_b = (pc.index_in(matches[name], pa.array(looks)).to_numpy() for name in ("look_a", "look_b"))
    first, second = thumbs[a, look_a], thumbs[b, look_b]
    for name in ORIENTATIONS[1:]:
        mine = pc.equal(matches["orientation"], name).to_numpy()
        second[mine] = turned(second[mine], name)
    return first, second


def ssim(first: Pixels, second: Pixels) -> Float64s:
    """The structural similarity of paired thumbnails (Wang, Bovik, Sheikh, Simoncelli 2004): float64 (k,), 1 if equal.

    The mean over windows of 7 x 7 and over channels, as scikit-image's structural_similarity has it. UsageError where
    that is not installed or thumbnails are smaller than a window.
    """
    try:
        from skimage.metrics import structural_similarity
    except ImportError:
        raise UsageError("ssim needs scikit-image: pip install 'dupegrid[scores]'") from None
    if first.shape[1] < 7:
        raise UsageError("ssim needs thumbnails of 7 pixels a side or more")
    pairs = zip(first, second, strict=True)
    return np.array([structural_similarity(a, b, channel_axis=2, data_range=255) for a, b in pairs], np.float64)


def shifted_mse(first: Pixels, second: Pixels) -> Float64s:
    """The least MSE of paired thumbnails over all shifts of up to 3 pixels, across and down, of what they share then.

    float64 (k,); at most their MSE, as no shift is one of them.
    """
    side, least = first.shape[1], np.full(len(first), np.inf)
    most = min(SHIFT, side - 1)
    for down in range(-most, most + 1):
        for across in range(-most, most + 1):
            a = first[:, max(0, down) : side + min(0, down), max(0, across) : side + min(0, across)]
            b = second[:, max(0, -down) : side + min(0, -down), max(0, -across) : side + min(0, -across)]
            apart = np.subtract(a, b, dtype=np.float32)
            least = np.minimum(least, np.einsum("nijk,nijk->n", apart, apart, dtype=np.float64) / apart[0].size)
    return least


_BY: Final[dict[str, Callable[[Pixels, Pixels], Float64s]]] = {"ssim": ssim, "shifted_mse": shifted_mse}

"""Why an image of a cluster is no duplicate of its keeper: what is said of a bridge. Pure."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import ORIENTATIONS, Bools, Ints
from dupegrid.images.formats import RAW_ENDINGS
from dupegrid.pairs.ask import Facts, Filters, facts_of
from dupegrid.results.decided import Decided
from dupegrid.results.rules import IS_EDIT

_QUARTER_S: Final = 900  # of an hour
_ZONES_S: Final = 26 * 3600  # from the westernmost zone to the easternmost
_MAX_ASPECT: Final = 1.1  # where the run has none of its own
# What who looked at the two knows better; all but the first goes by the two pictures.
_LOOKED_AT: Final = ("chain", "raw", "transparent", "flat", "frames", "moment", "edit", "aspect")
_IS_RAW: Final = rb"(?i)\.(%s)$" % b"|".join(RAW_ENDINGS)
_QUARTER_TURNS: Final = [ORIENTATIONS.index(name) for name in ("rot90", "rot270", "flip_rot90", "flip_rot270")]


class Told(NamedTuple):
    """What the matches say of pairs (image, keeper), (k,) each."""

    near: Bools  # at or under the threshold
    equal: Bools  # the thumbnails are
    turn: npt.NDArray[np.int8]  # under which orientation they are near; -1 where that is not known


def reasons(
    images: pa.Table, pairs: tuple[Ints, Ints], told: Told, filters: Filters, protected: Bools
) -> npt.NDArray[np.str_]:
    """Why each image is no duplicate of its keeper, though in one cluster with it; '' for one that is.

    `protected` is by id.
    """
    facts = facts_of(images)
    asked_for = filters.of_roots(facts, *pairs) & filters.of_sizes(facts, *pairs)
    if "hash" in images.column_names:
        asked_for &= filters.of_hashes(facts, *pairs)

    def both(name: str) -> list[pa.ChunkedArray]:
        return [images[name].take(pa.array(ids)) for ids in pairs]

    def where(known: pa.ChunkedArray) -> Bools:
        return known.fill_null(False).to_numpy()  # type: ignore[no-any-return]

    return np.select(
        [
            pairs[0] == pairs[1],
            ~asked_for,
            ~told.near,
            protected[pairs[0]],
            where(pc.equal(*both("file_hash"))),
            where(pc.or_(*(pc.match_substring_regex(paths, _IS_RAW) for paths in both("path_raw")))),
            where(pc.or_kleene(*both("transparent"))),
            where(pc.or_kleene(*both("flat"))),
            where(pc.not_equal(*(frames.fill_null(1) for frames in both("frames")))),
            where(_are_two_shots(both("camera"), both("taken_at"))) & ~told.equal,
            where(pc.xor(*(pc.match_substring_regex(paths, IS_EDIT) for paths in both("path")))),
            ~_alike_in_aspect(facts, pairs, told.turn, filters),
        ],
        ["", "not_asked_for", "chain", "protected", "", *_LOOKED_AT[1:]],
        "",
    )


def _are_two_shots(camera: Sequence[pa.ChunkedArray], taken_at: Sequence[pa.ChunkedArray]) -> pa.ChunkedArray:
    """Whether one camera took two pictures at different moments: a copy says the same as its original.

    A clock that was set to another zone is off by quarters of an hour, 26 hours at most.
    """
    apart = pc.abs(pc.subtract(*(moment.cast(pa.int64()) for moment in taken_at)))
    in_quarters = pc.equal(apart, pc.multiply(pc.divide(apart, _QUARTER_S), _QUARTER_S))
    same = pc.and_(in_quarters, pc.less_equal(apart, _ZONES_S))
    return pc.and_(pc.equal(*camera), pc.invert(same))


def decided_reasons(
    reason: npt.NDArray[np.str_], pairs: tuple[Ints, Ints], known: Bools, decided: Decided
) -> npt.NDArray[np.str_]:
    """The reasons, changed by what people decided of the pairs (image, keeper); `known` says whose MSE is known."""
    other = (pairs[0] != pairs[1]) & ~decided.are_equal(*pairs)
    apart = decided.are_apart(*pairs) | (decided.have_one_apart(*pairs) & ~decided.are_same(*pairs))
    looked_at = np.isin(reason, _LOOKED_AT) & known & decided.are_same(*pairs)
    return np.select(
        [reason == "protected", other & apart, other & decided.variant[pairs[0]], looked_at],
        ["protected", "not-same", "variant", ""],
        reason,
    )


def _alike_in_aspect(facts: Facts, pairs: tuple[Ints, Ints], turn: npt.NDArray[np.int8], filters: Filters) -> Bools:
    """Whether the aspects of two images are near each other, one of them turned as the match says."""
    (width, its_width), (height, its_height) = (
        [sides[ids].astype(np.int64) for ids in pairs] for sides in (facts.widths, facts.heights)
    )
    most = filters.max_aspect or _MAX_ASPECT

    def alike(a: Ints, b: Ints) -> Bools:
        return np.maximum(a, b) <= most * np.minimum(a, b)

    upright, swapped = alike(width * its_height, its_width * height), alike(width * its_width, its_height * height)
    turned = np.isin(turn, _QUARTER_TURNS)
    return np.where(turn < 0, upright | (swapped & filters.turning), np.where(turned, swapped, upright))

"""Why an image of a cluster is no duplicate of its keeper: what is said of a bridge. Pure."""

from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import ORIENTATIONS, Bools, Int32s, Ints
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


class Shots(NamedTuple):
    """What says of images, by id or place, that two are no copies of each other, however alike they are."""

    is_edit: Bools  # it is called what a person made of another
    camera: Int32s  # a number of its name; 0 where the EXIF does not say it, or not when
    taken_s: Ints

    @classmethod
    def of(cls, parts: Iterable[pa.Table]) -> "Shots":
        """Those of tables with the columns path, camera and taken_at of schema IMAGES, one after the other."""
        known: dict[str | None, int] = {None: 0}
        columns: list[tuple[Bools, Int32s, Ints]] = []
        for part in parts:
            cameras = part["camera"].combine_chunks().dictionary_encode()
            numbers = [known.setdefault(name, len(known)) for name in cameras.dictionary.to_pylist()]
            number = np.array([*numbers, 0], np.int32)[cameras.indices.fill_null(-1).to_numpy()]
            number[pc.is_null(part["taken_at"]).to_numpy()] = 0
            is_edit = pc.match_substring_regex(part["path"], IS_EDIT).to_numpy()
            columns.append((is_edit, number, part["taken_at"].cast(pa.int64()).fill_null(0).to_numpy()))
        nothing = np.empty(0, bool), np.empty(0, np.int32), np.empty(0, np.int64)
        return cls._make(map(np.concatenate, zip(nothing, *columns, strict=True)))

    def by_set(self, ids: Ints, rank: Ints, stands_for: Ints) -> "Shots | None":
        """By the id of what stands for each set, what is said of its best image; None where nothing is.

        These are of images by `ids`, whose places as keepers are `rank`. Which image stands for a set goes by ids, and
        what comes of it must not.
        """
        if not (self.is_edit.any() or self.camera.any()):
            return None
        best = np.argsort(rank)[::-1]  # the last one that is put there is the best
        sets, n = stands_for[ids[best]], len(stands_for)
        is_edit, camera, taken_s = np.zeros(n, bool), np.zeros(n, np.int32), np.zeros(n, np.int64)
        is_edit[sets], camera[sets], taken_s[sets] = self.is_edit[best], self.camera[best], self.taken_s[best]
        return Shots(is_edit, camera, taken_s)

    def two_moments(self, a: Ints, b: Ints) -> Bools:
        """Whether one camera took two pictures at different moments: a copy says the same as its original.

        A clock that was set to another zone is off by quarters of an hour, 26 hours at most.
        """
        apart_s = np.abs(self.taken_s[a] - self.taken_s[b])
        same = (apart_s % _QUARTER_S == 0) & (apart_s <= _ZONES_S)
        found: Bools = (self.camera[a] == self.camera[b]) & (self.camera[a] > 0) & ~same
        return found

    def one_edit(self, a: Ints, b: Ints) -> Bools:
        """Whether one of two is called an edit, and the other is not."""
        found: Bools = self.is_edit[a] != self.is_edit[b]
        return found


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
    facts, shots = facts_of(images), Shots.of([images])
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
            shots.two_moments(*pairs) & ~told.equal,
            shots.one_edit(*pairs),
            ~_alike_in_aspect(facts, pairs, told.turn, filters),
        ],
        ["", "not_asked_for", "chain", "protected", "", *_LOOKED_AT[1:]],
        "",
    )


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

"""What the steps of a tile on a device keep to: a test module for each array module gives `xp`, and inherits."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dupegrid
from dupegrid import Run
from dupegrid.core import arrays
from dupegrid.pairs import compare, device, kernel, points, resident
from tests.helpers.images import KINDS, thumbs


def compared(run: Path, **settings: Any) -> Run:
    dupegrid.compare(run, threshold=1, orientations="none", scheduler="sync", quiet=True)  # so that all is done again
    return dupegrid.compare(run, scheduler="sync", quiet=True, **settings)


class DeviceSuite:
    @pytest.fixture(autouse=True)
    def _on_device(self, xp: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Blocks of few images, as the pictures are few; the module whatever its name."""
        device._opened.cache_clear()
        monkeypatch.setattr(compare, "_BLOCK", 16)
        monkeypatch.setattr(device, "named_module", lambda _name: xp)

    @pytest.fixture
    def on(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        """What says where tiles are compared from now on."""
        return lambda name: monkeypatch.setattr(compare, "device_of", lambda _config: name)

    @pytest.mark.parametrize("orientations", ["none", "all"])
    @pytest.mark.parametrize("tile", [40, None])
    def test_the_same_matches_and_every_pair_is_counted(
        self, indexed: Path, orientations: str, tile: int | None, on: Any
    ) -> None:
        settings = {"orientations": orientations, "tile": tile, "threshold": 2000}
        on("")
        here = compared(indexed, **settings)
        on("module")
        there = compared(indexed, **settings)
        assert there.matches == here.matches
        assert len(there.matches) > 20
        counts = dict(there.receipt.pairs)
        assert counts.pop("total") == sum(counts.values())
        assert counts["product"] > 0
        assert counts["filter"] > 0
        assert counts["other_group"] == here.receipt.pairs["other_group"] > 0

    @pytest.mark.parametrize("pairs", [1, 5000])
    def test_the_same_whatever_is_done_at_once(
        self, indexed: Path, pairs: int, on: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = {"orientations": "rotations", "tile": 60, "threshold": 1000}
        on("module")
        whole = compared(indexed, **settings)
        monkeypatch.setattr(device, "_PAIRS_A_CALL", pairs)
        monkeypatch.setattr(device, "_COSINES_AT_ONCE", pairs)
        monkeypatch.setattr(resident, "_PAIRS_AT_ONCE", max(1, pairs // 500))
        monkeypatch.setattr(resident, "free_bytes", lambda _xp: 20 * 4 * 16 * 16 * 3)  # room for 20 thumbnails
        parts = compared(indexed, **settings)
        assert parts.matches == whole.matches
        assert parts.receipt == whole.receipt

    def test_where_memory_is_lacking_it_is_tried_with_half(
        self, indexed: Path, on: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = {"orientations": "all", "tile": 60, "threshold": 1000}
        on("module")
        whole = compared(indexed, **settings)
        near, tried = device._near_points, []

        def lacking(most: int, tile: Any, squares: Any) -> Any:
            tried.append(len(squares.rows))
            if len(squares.rows) > most:
                raise MemoryError
            return near(tile, squares)

        monkeypatch.setattr(device, "_near_points", partial(lacking, 3))
        halved = compared(indexed, **settings)
        assert halved.matches == whole.matches
        assert halved.receipt == whole.receipt
        assert max(tried) > 3 >= tried[-1]  # in whichever order the tiles began
        monkeypatch.setattr(device, "_near_points", partial(lacking, 0))
        with pytest.raises(MemoryError):
            compared(indexed, **settings)

    @pytest.mark.parametrize("kind", KINDS)
    def test_kernels_give_the_integers_that_numpy_gives(self, xp: Any, kind: str) -> None:
        a, b = thumbs(kind, 9, 1), thumbs(kind, 9, 2)
        x, y = xp.asarray(a), xp.asarray(b)
        for name in arrays.ORIENTATIONS:
            turned = arrays.on_host(arrays.turned(y, name))
            np.testing.assert_array_equal(turned, arrays.turned(b, name))
            sse = arrays.on_host(kernel.exact_sse(x, arrays.turned(y, name)))
            np.testing.assert_array_equal(sse, kernel.exact_sse(a, arrays.turned(b, name)))

    def test_every_pair_of_points_within_a_distance_is_found(self, xp: Any) -> None:
        """Points far from the origin and near each other are the worst case: their norms cancel."""
        random = np.random.default_rng(0)
        for scale in (0.5, 30.0, 3000.0):
            centre = random.normal(0, 1, 23)
            some = np.round(centre / np.linalg.norm(centre) * 31_000 + random.normal(0, scale, (150, 23)))
            apart = np.sqrt(((some[:, None] - some[None]) ** 2).sum(axis=2))
            within, starts = float(np.quantile(apart, 0.3)), np.array([0, 60, 60, 150])
            left, right = points.operands(xp.asarray(some.astype(np.int16)), starts, 128, within)
            rows, columns = (xp.asarray(numbers.ravel()) for numbers in np.indices((3, 3)))
            square, x, y = (arrays.on_host(part) for part in points.near(left, right, rows, columns))
            found = np.zeros(apart.shape, bool)
            found[starts[square // 3] + x, starts[square % 3] + y] = True
            assert found[apart <= within].all()
            assert not found[apart**2 > (within + 50) ** 2 + 70_000].any()
            assert len(square) == np.count_nonzero(found)  # each once, and nothing that fills a block up

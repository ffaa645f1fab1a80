"""The model of what a run costs, held to runs that were measured, and to its page."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import dupegrid
from dupegrid.app.scale import Rates, Scale, scale
from dupegrid.core.errors import ConfigError
from dupegrid.core.text import quantity, size_text
from dupegrid.storage.arrays import Thumbs
from tests.helpers.forks import command

ROOT = Path(__file__).parents[2]
RATES = Rates(430, 840e6, 114_000)
WITHIN = 1.5
_UNITS = {"": 1, "million": 10**6, "billion": 10**9}


def measured() -> list[tuple[int, str, float, int]]:
    """Images, orientations, pairs that the boxes left, and tiles, of the runs in RESULTS.md at a threshold of 50."""
    text = (ROOT / "tests/benchmarks/RESULTS.md").read_text()
    asked = r"compare ([\d,]+) thumbnails, (\w+), threshold 50 .*\n"
    rows = re.findall(asked + r".*decided by: box .*?, (?:level_4|product) ([\d.,]+) ?(\w*), .*?(\d+) tiles", text)
    return [
        (int(n.replace(",", "")), turns, float(left.replace(",", "")) * _UNITS[unit], int(tiles))
        for n, turns, left, unit, tiles in rows
    ]


@pytest.mark.parametrize(("images", "orientations", "left", "tiles"), measured())
def test_it_says_what_was_counted(images: int, orientations: str, left: float, tiles: int) -> None:
    model = scale(images, RATES, 2, orientations=orientations)
    assert left / WITHIN <= model.pairs_left <= left * WITHIN
    assert model.compare_tasks == tiles


_BYTES = {"kB": 10**3, "MB": 10**6, "GB": 10**9}


def seen() -> list[tuple[str, int, float]]:
    """What docs/scale.md says was measured: the field of the model, images, the value in bytes, pairs or seconds."""
    page = (ROOT / "docs/scale.md").read_text()
    table = page.partition("<!-- seen -->")[2].partition("<!-- end -->")[0]
    rows = re.findall(r"^\| ([\d,]+) \| [^|]+ \| (\w+) \| ([\d.,]+) ?(\w*)", table, re.MULTILINE)
    return [
        (field, int(n.replace(",", "")), float(value.replace(",", "")) * (_BYTES | _UNITS).get(unit, 1))
        for n, field, value, unit in rows
    ]


@pytest.mark.parametrize(("field", "images", "value"), seen())
def test_it_says_what_was_seen(field: str, images: int, value: float) -> None:
    model = getattr(scale(images, RATES, 1), field) * (3600 if field.endswith("_hours") else 1)
    assert value / WITHIN <= model <= value * WITHIN


def test_it_is_held_to_memory_and_seconds_that_were_seen() -> None:
    assert {field for field, _, _ in seen()} >= {"client_bytes", "worker_bytes"}


def test_there_are_runs_to_hold_it_to() -> None:
    assert {images for images, *_ in measured()} >= {60_000, 100_000, 1_000_000}


def test_bytes_and_tasks_are_those_of_a_run(pictures: Path, tmp_path: Path) -> None:
    run = dupegrid.run(pictures, out=tmp_path / "run", quiet=True, thumb=32, orientations="none")
    sizes = run.images["size_bytes"].to_numpy()
    model = scale(len(sizes), Rates(1, 1, int(sizes.mean())), 1, thumb=32)
    chunks = Thumbs(tmp_path / "run" / "thumbs.zarr").count
    assert chunks / WITHIN <= model.index_tasks <= chunks * WITHIN
    assert model.compare_tasks == run.receipt.tiles
    assert sizes.sum() / WITHIN <= model.bytes_read <= sizes.sum() * WITHIN
    arrays = [run.path / name for name in ("thumbs.zarr", "levels.zarr", "sorted.zarr")]
    stored = sum(file.stat().st_size for store in arrays for file in store.rglob("c.*"))
    assert stored / WITHIN <= model.disk_bytes - 300 * len(sizes) <= stored * WITHIN


def scale_table(rows: Sequence[Scale]) -> str:
    """Runs of several sizes as a table in Markdown, a column each."""
    lines = {
        "images": [f"{row.images:,}" for row in rows],
        "pairs": [quantity(row.pairs) for row in rows],
        "pairs left by the boxes": [quantity(row.pairs_left) for row in rows],
        "tasks: index, compare": [f"{row.index_tasks:,}, {row.compare_tasks:,}" for row in rows],
        "read of files": [size_text(row.bytes_read) for row in rows],
        "read again to compare": [size_text(row.bytes_moved) for row in rows],
        "on disk": [size_text(row.disk_bytes) for row in rows],
        "memory: client": [size_text(row.client_bytes) for row in rows],
        "memory: report, all in clusters": [size_text(row.report_bytes) for row in rows],
        "memory: scheduler": [size_text(row.scheduler_bytes) for row in rows],
        "memory: each worker": [size_text(row.worker_bytes) for row in rows],
        "hours: index": [f"{row.index_hours:,.2f}" for row in rows],
        "hours: compare": [f"{row.compare_hours:,.2f}" for row in rows],
        "core-hours": [f"{row.core_hours:,.1f}" for row in rows],
        "GPU-hours": [f"{row.gpu_hours:,.2f}" for row in rows],
        "breaks first": [row.breaks_first or "nothing" for row in rows],
    }
    text = [f"| {name} | {' | '.join(values)} |" for name, values in lines.items()]
    return "\n".join([text[0], "|---" * (len(rows) + 1) + "|", *text[1:]]) + "\n"


def test_the_page_is_what_the_model_says() -> None:
    page = (ROOT / "docs/scale.md").read_text()
    for name, gpus in (("64 cores", 0), ("8 GPUs", 8)):
        table = re.search(rf"<!-- {name} -->\n(.*?)\n+<!-- end -->", page, re.DOTALL)
        assert table is not None
        rows = [scale(10**power, RATES, 64, gpus) for power in (6, 7, 8, 9)]
        assert table[1] == scale_table(rows).strip()


@pytest.mark.parametrize("images", [0, 1, 2, 513, 10**12])
def test_any_number_of_images(images: int) -> None:
    model = scale(images, RATES, 1)
    assert 0 <= model.pairs_left <= model.pairs == images * (images - 1) // 2
    assert model.compare_tasks <= 10_011
    assert model.index_hours >= 0


def test_more_workers_take_less_time_and_cost_the_same() -> None:
    one, many = scale(10**7, RATES, 1), scale(10**7, RATES, 64)
    np.testing.assert_allclose(one.index_hours / many.index_hours, 64, rtol=1e-3)
    np.testing.assert_allclose(one.core_hours, many.core_hours, rtol=1e-3)


def test_an_estimate_without_files() -> None:
    cost = dupegrid.estimate(images=10**7, workers=64, gpus=2)
    assert (cost.images, cost.scale.images, cost.scale.compare_tasks) == (10**7, 10**7, 9870)
    assert cost.scale.gpu_hours > 0
    with pytest.raises(ConfigError, match="counts"):
        dupegrid.estimate(images=-1)
    done = command("estimate", "--images", "100000000")
    assert done.returncode == 0, done.stderr
    assert "9,870 to compare" in done.stdout
    assert "tasks of the index" in done.stdout

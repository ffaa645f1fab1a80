"""Run directories with as many thumbnails as a benchmark wants: crops of real photos, or of drawn ones without them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from dupegrid.app.api import versions
from dupegrid.app.demo import drawn
from dupegrid.core.config import load_config
from dupegrid.images.chunk import create_stores, write_chunk
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.schemas import IMAGES
from dupegrid.storage.tables import FORMAT, write_json, write_table
from tests.conftest import SHARED

CHUNK = 256


@cache
def sources(count: int = 300) -> list[Image.Image]:
    """The pictures that crops are taken from, at most 200 pixels a side."""
    photos = sorted((SHARED / "data/photos").glob("*"))[:count]
    random = np.random.default_rng(0)
    pictures = [Image.open(photo).convert("RGB") for photo in photos] or [drawn(random) for _ in range(count)]
    for picture in pictures:
        picture.thumbnail((200, 200))
    return pictures


def crops(pictures: list[Image.Image], number: int, count: int, side: int) -> np.ndarray:
    """Chunk `number` of the collection: uint8 (count, side, side, 3), random crops of random pictures."""
    random = np.random.default_rng([7, number])
    out = np.empty((count, side, side, 3), np.uint8)
    for k in range(count):
        picture = pictures[random.integers(len(pictures))]
        part = random.uniform(0.25, 0.7)
        x, y = random.uniform(0, 1 - part, 2) * picture.size
        box = (x, y, x + part * picture.width, y + part * picture.height)
        out[k] = picture.resize((side, side), Image.Resampling.BILINEAR, box=box)
    return out


def chunks(n: int, side: int) -> Iterator[tuple[int, np.ndarray]]:
    """The collection chunk by chunk, cropped on all cores."""
    pictures = sources()
    sizes = [min(CHUNK, n - start) for start in range(0, n, CHUNK)]
    with ThreadPoolExecutor() as pool:
        yield from enumerate(pool.map(lambda job: crops(pictures, job[0], job[1], side), enumerate(sizes)))


def make_run(out: Path, n: int, **settings: object) -> Path:
    """A run directory that is indexed, of n images that never were files."""
    config = load_config(paths=["/nowhere"], **settings)
    mark = f"benchmark of {n}"
    out.mkdir(parents=True, exist_ok=True)
    run_dir = RunDir(out)
    thumbs, cells = create_stores(run_dir, n, config.thumb, CHUNK, mark)
    for number, chunk in chunks(n, config.thumb):
        write_chunk(thumbs, cells, number, chunk)
    columns = {
        "id": np.arange(n),
        "path": [f"/nowhere/{k:08d}.jpg" for k in range(n)],
        "path_raw": pa.array([b"/nowhere/%08d.jpg" % k for k in range(n)]),
        "size_bytes": np.full(n, 1000),
        "inode": np.arange(n),
        "width": np.full(n, 640, np.int32),
        "height": np.full(n, 480, np.int32),
        "status": ["ok"] * n,
        "root": np.zeros(n, np.int32),
    }
    table = pa.table({f.name: columns[f.name] if f.name in columns else pa.nulls(n, f.type) for f in IMAGES})
    write_table(run_dir.images, table.cast(IMAGES), {"fingerprint": mark, "seals": run_dir.seals()})
    saved = {
        "format": FORMAT,
        "config": config.model_dump(),
        "fingerprint": mark,
        "versions": versions(),
        "unreadable_folders": [],
    }
    write_json(run_dir.run_json, saved)
    return out

"""Run directories with as many thumbnails as a benchmark wants: crops of real photos, or of drawn ones without them.

Two kinds. The dense one takes crops of 300 pictures, however many it makes above 3,000: the matches of an image grow
with their number. Below, a tenth as many serve, as to draw one takes 8 ms of CPU. In the even one a scene, two crops
laid over each other, serves for 8 images and then never again: scenes grow with the number, and the matches of an
image do not.
"""

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from dupegrid.app.demo import drawn
from dupegrid.app.run_json import versions
from dupegrid.core.config import load_config
from dupegrid.images.chunk import create_stores, write_chunk
from dupegrid.storage.files import FORMAT, write_json
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.schemas import IMAGES
from dupegrid.storage.tables import write_table
from tests.conftest import SHARED

CHUNK = 256
_PER_SCENE = 8  # images of the even collection that are cut from one scene
_JITTER = 0.02  # of its sides: so far their crops lie apart at most


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


def scenes(pictures: list[Image.Image], number: int, count: int, side: int) -> np.ndarray:
    """Chunk `number` of the even collection: uint8 (count, side, side, 3), crops of scenes of its own."""
    random = np.random.default_rng([11, number])
    out = np.empty((count, side, side, 3), np.uint8)
    for k in range(count):
        if k % _PER_SCENE == 0:
            under, over = (pictures[random.integers(len(pictures))] for _ in range(2))
            boxes, share = random.uniform(0, 0.5, (2, 2)), random.uniform(0.35, 0.65)
            parts = [
                picture.resize(
                    (side + 16, side + 16),
                    Image.Resampling.BILINEAR,
                    box=(*(low * picture.size), *((low + 0.5) * picture.size)),
                )
                for picture, low in zip((under, over), boxes, strict=True)
            ]
            scene = Image.blend(parts[0], parts[1].rotate(90 * int(random.integers(4))), share)
        x, y = random.uniform(0, _JITTER, 2) * scene.width
        box = (x, y, x + (1 - _JITTER) * scene.width, y + (1 - _JITTER) * scene.height)
        out[k] = scene.resize((side, side), Image.Resampling.BILINEAR, box=box)
    return out


KINDS = {"dense": crops, "even": scenes}


def write_chunks(out: Path, n: int, side: int, kind: str, numbers: range) -> None:
    """Some chunks of the collection of n images, cropped and written."""
    run_dir, pictures = RunDir(out), sources(max(3, min(300, n // 10)))
    for number in numbers:
        chunk = KINDS[kind](pictures, number, min(CHUNK, n - number * CHUNK), side)
        write_chunk(run_dir, number, chunk[None])


def write_all(out: Path, n: int, side: int, kind: str) -> None:
    """All of them: on all cores, where they are many in processes."""
    count = -(-n // CHUNK)
    parts = [range(start, min(count, start + 16)) for start in range(0, count, 16)]
    processes = n >= 100_000
    with ProcessPoolExecutor(mp_context=get_context("spawn")) if processes else ThreadPoolExecutor() as pool:
        list(pool.map(partial(write_chunks, out, n, side, kind), parts))


def make_run(out: Path, n: int, kind: str = "dense", **settings: object) -> Path:
    """A run directory that is indexed, of n images that never were files, of one of `KINDS`."""
    config = load_config(paths=["/nowhere"], **settings)
    mark = f"benchmark of {n}, {kind}"
    out.mkdir(parents=True, exist_ok=True)
    run_dir = RunDir(out)
    create_stores(run_dir, n, config.thumb, CHUNK, mark)
    write_all(out, n, config.thumb, kind)
    columns = {
        "id": np.arange(n),
        "path": [f"/nowhere/{k:08d}.jpg" for k in range(n)],
        "path_raw": pa.array([b"/nowhere/%08d.jpg" % k for k in range(n)]),
        "size_bytes": np.full(n, 1000),
        **{name: np.zeros(n, np.int64) for name in ("mtime_ns", "ctime_ns", "device")},
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

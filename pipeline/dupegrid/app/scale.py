"""What a run of any size costs, by a model: counts, bytes, memory, hours. Pure; docs/scale.md explains it."""

from dataclasses import dataclass
from typing import Final

from dupegrid.core.arrays import CHANNELS
from dupegrid.images.levels import bytes_of, level_shapes
from dupegrid.pairs.grid import strip_side
from dupegrid.pairs.sort import WINDOW_BYTES, sorted_shapes
from dupegrid.results.answers import Answer
from dupegrid.results.drawn.page import MAX_PICTURES
from dupegrid.storage.arrays import chunk_size

# Of what was measured, tests/benchmarks/RESULTS.md; of pairs, at a threshold of 50.
_LEFT: Final = (100_000, 0.0424, -0.49)  # so many images, the share of pairs that boxes leave, and how that falls
_LEFT_TURNED: Final = {"none": 1.0, "rotations": 3.0, "all": 6.0}  # times as many; that of 'all' is no measurement
_STRIPS_READ: Final = 1.1  # a tile, at most
_ROWS_READ_BYTES: Final = 4300  # an image, of thumbnails that are read alone
_REFINED_S: Final = 18e-6  # a core an image: cosines, integers, matches
_DEVICE_REFINED_S: Final = 12e-6  # the same beside a GPU
_TILE_S: Final = 0.02
_BOXES_S: Final = 1.5e-12  # a core a pair: all blocks of two strips are tested, where the strips are not apart
_STRIP_S: Final = 0.9e-6  # a core an image of a strip that is read and made ready
_SORTED_S: Final = 5e-6  # a core an image that is sorted
_ROW_BYTES: Final = 300  # of a file in all tables
_START_BYTES: Final = 120_000_000  # a process with all libraries
_CLIENT_START_BYTES: Final = 200_000_000  # one with dask's, and what it reads of a run
_LISTING_BYTES: Final = 140  # an image in memory, while they are listed (130), or put into clusters that all are in
_SORT_BYTES: Final = 90  # an image, beside a window of the sorted arrays
_REPORT_START_BYTES: Final = 450_000_000  # a client with a window of matches
_REPORT_BYTES: Final = 30  # an image, where all are in clusters
_PICTURE_BYTES: Final = 430  # of the page, of which there are MAX_PICTURES at most
_WORKER_START_BYTES: Final = 450_000_000  # with libraries, pieces of strips, and what a tile holds
_WORKER_BYTES: Final = 70  # an image: its path; 25 more where filters are asked for
_TASK_BYTES: Final = 10_000  # in a scheduler
_GOAL_BYTES: Final = 2_000_000_000
_GOAL_TASKS: Final = 20_000


@dataclass(frozen=True)
class Rates:
    """What one core does, and one GPU."""

    images_per_s: float  # decoded by a core
    pairs_per_s: float  # multiplied by a core, one orientation
    file_bytes: int  # of a file, on average
    device_pairs_per_s: float = 80e9  # multiplied by a GPU: an H200, in a run


@dataclass(frozen=True)
class Scale(Answer):
    """A run of so many images, by the model."""

    images: int
    pairs: int
    pairs_left: int  # after the boxes: these are multiplied
    index_tasks: int
    compare_tasks: int
    bytes_read: int  # of files
    bytes_moved: int  # read from the run directory while comparing
    disk_bytes: int  # of the run directory
    client_bytes: int  # but for the report
    report_bytes: int  # of the client, while it draws the page of a run whose images are all in clusters
    scheduler_bytes: int  # of dask, on a cluster
    worker_bytes: int  # each process
    index_hours: float
    compare_hours: float
    core_hours: float  # what cores are paid for
    gpu_hours: float
    breaks_first: str  # what is furthest over its goal; empty where nothing is


def scale(images: int, rates: Rates, workers: int, gpus: int = 0, orientations: str = "none", thumb: int = 64) -> Scale:
    """A run of so many images on `workers` cores, compared on `gpus` GPUs where there are any."""
    side = strip_side(max(1, images), 0.0)
    strips = -(-images // side)
    tiles, pairs = strips * (strips + 1) // 2, images * (images - 1) // 2
    first, share, power = _LEFT
    left = pairs * min(1.0, share * (max(1, images) / first) ** power * _LEFT_TURNED[orientations])
    sorted_bytes = bytes_of(sorted_shapes(images, thumb))
    stored_bytes = images * thumb * thumb * CHANNELS + bytes_of(level_shapes(images, thumb))
    index_tasks = -(-images // chunk_size(max(1, images), images * rates.file_bytes))
    index_s = images / (rates.images_per_s * workers)
    reading_s = _STRIPS_READ * tiles * min(side, images) * _STRIP_S
    laying_s = pairs * _BOXES_S + reading_s + tiles * _TILE_S  # before a pair is multiplied
    compare_s = (left / rates.pairs_per_s + images * (_REFINED_S + _SORTED_S) + laying_s) / workers
    if gpus:
        compare_s = (left / rates.device_pairs_per_s + images * _DEVICE_REFINED_S + tiles * _TILE_S) / gpus
    sorting_bytes = _SORT_BYTES * images + min(sorted_bytes, WINDOW_BYTES)
    sizes = {
        "client": _CLIENT_START_BYTES + max(_LISTING_BYTES * images, sorting_bytes),
        "report": _REPORT_START_BYTES + _REPORT_BYTES * images + _PICTURE_BYTES * min(images, MAX_PICTURES),
        "scheduler": _START_BYTES + _TASK_BYTES * max(index_tasks, tiles),
        "worker": _WORKER_START_BYTES + _WORKER_BYTES * images,
    }
    over = {f"memory of the {name}": size / _GOAL_BYTES for name, size in sizes.items()}
    over |= {"tasks of the index": index_tasks / _GOAL_TASKS, "tasks of comparing": tiles / _GOAL_TASKS}
    worst = max(over, key=over.__getitem__)
    return Scale(
        images=images,
        pairs=pairs,
        pairs_left=round(left),
        index_tasks=index_tasks,
        compare_tasks=tiles,
        bytes_read=images * rates.file_bytes,
        bytes_moved=round(_STRIPS_READ * tiles * sorted_bytes / max(1, strips)) + _ROWS_READ_BYTES * images,
        disk_bytes=images * _ROW_BYTES + stored_bytes + sorted_bytes,
        **{f"{name}_bytes": size for name, size in sizes.items()},
        index_hours=round(index_s / 3600, 4),
        compare_hours=round(compare_s / 3600, 4),
        core_hours=round((index_s + (0 if gpus else compare_s)) * workers / 3600, 4),
        gpu_hours=round(compare_s * gpus / 3600, 4),
        breaks_first=worst if over[worst] > 1 else "",
    )

"""Every place that a run writes to in its run directory: its name, which stage leaves it, what may be in it."""

import re
from typing import Final

LOCK: Final = "lock"
LOG: Final = "run.log"
ASIDE: Final = "relaid"  # a folder of stores that are made aside, to be put in place when whole

# What each stage leaves. Marks of progress come before what they vouch for: nothing is believed to be there that has
# been taken away.
ARTIFACTS: Final = {
    "index": (
        "hashes.parquet",
        "mse.zarr",
        ASIDE,
        "thumbs.zarr",
        "levels.zarr",
        "sorted.zarr",
        "images.parquet",
        "index",
        "files.parquet",
    ),
    "compare": (
        "receipt.json",
        "unfinished.json",
        "compared.parquet",
        "relations.parquet",
        "tiles.zarr",
        "matches.parquet",
        "looks.parquet",
        "settled.parquet",
        "settled-matches.parquet",
    ),
    "cluster": ("clusters.parquet",),
    "report": ("report.html",),
    "plan": ("plan.parquet",),
}
# Nobody could make the last two again.
_OF_NO_STAGE: Final = ("run.json", "progress.json", LOG, "journal.jsonl", "decisions.parquet")

_ARRAY: Final = r"(zarr\.json|c(\.\d+)+)"
DAMAGED: Final = ".damaged"  # an empty file in an array of which a reader found a chunk damaged
_INDEXED: Final = rf"({_ARRAY}|{re.escape(DAMAGED)})"  # there alone: a damaged chunk of another is made again unasked
_GROUPS: Final = {"levels.zarr": _INDEXED, "sorted.zarr": _ARRAY}  # the arrays in them
_MATCHES: Final = r"part-(\d{5,}-\d{5,}-\d{3,}|identical|settled)\.parquet"
FOLDERS: Final = {  # the artifacts that are folders, and what of ours is in each
    "index": r"(part-\d{6,}|_images)\.parquet",
    "matches.parquet": _MATCHES,
    "looks.parquet": _MATCHES,
    "relations.parquet": r"part-(\d{6,}|equal)\.parquet",
    "decisions.parquet": r"part-\d{20}-[0-9a-f]{32}\.parquet",
    "thumbs.zarr": _INDEXED,
    "tiles.zarr": _ARRAY,
    "mse.zarr": _ARRAY,
    **{name: rf"({array}|\w+|\w+/{array})" for name, array in _GROUPS.items()},
}
_NAMES: Final = [*_OF_NO_STAGE, *(name for names in ARTIFACTS.values() for name in names if name != ASIDE)]
_PLACES: Final = re.compile(
    rf"{ASIDE}|({ASIDE}/)?("
    + "|".join(re.escape(name) + (f"(/{FOLDERS[name]})?" if name in FOLDERS else "") for name in _NAMES)
    + ")"
)
_PICTURE: Final = re.compile(r"explain-\d+-\d+\.png")
_UNFINISHED: Final = re.compile(r"\.([^/]+)\.[0-9a-f]{32}")


def is_place(place: str) -> bool:
    """Whether a file or folder of this name, relative to a run directory, is one that a run writes."""
    return _PLACES.fullmatch(place) is not None


def is_folder(place: str) -> bool:
    """Whether a place of ours is a folder: an artifact that holds files, or an array of a group."""
    name, _, inner = place.removeprefix(f"{ASIDE}/").partition("/")
    if inner:
        return name in _GROUPS and re.fullmatch(r"\w+", inner) is not None
    return name == ASIDE or name in FOLDERS


def is_picture(name: str) -> bool:
    """Whether a file of this name is a picture of `explain`."""
    return _PICTURE.fullmatch(name) is not None


def final_name(name: str) -> str:
    """The name that a file gets when it is finished: its own, unless it is one that waits to be renamed."""
    unfinished = _UNFINISHED.fullmatch(name)
    return unfinished[1] if unfinished else name


def is_of_a_lock(name: str) -> bool:
    """Whether a file is there before a run begins: the lock, the log, or an unfinished one, which is swept away."""
    final = final_name(name)
    return name in (LOCK, LOG) or (final != name and (is_place(final) or is_picture(final)))

"""A list of pictures for training, COCO's or YOLO's, the same without its duplicates."""

import json
import os
from collections.abc import Mapping, Sequence

import pyarrow.compute as pc

from dupegrid.core.errors import UsageError
from dupegrid.core.text import printable
from dupegrid.results.export.joined import RunTables, selected
from dupegrid.results.named import nfc


def filtered_coco(tables: RunTables, text: bytes, folder: str, searched: bool) -> tuple[bytes, dict[str, int]]:
    """COCO's JSON without the images that are duplicates of others in it, and without their annotations.

    How names are found is as `gone` has it. UsageError where it is not such JSON.
    """
    try:
        coco = json.loads(text)
        images, annotations = coco["images"], coco.get("annotations", [])
        names = [os.fsencode(image["file_name"]) for image in images]
        without, counts = gone(tables, names, folder, searched)
        dropped = {images[place]["id"] for place in without}
        kept = [image for image in images if image["id"] not in dropped]
        left = [annotation for annotation in annotations if annotation["image_id"] not in dropped]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UsageError("the file to filter is no COCO JSON, with images of file_name and id: give another") from None
    if "annotations" in coco:
        counts["annotations"] = len(left)
        coco["annotations"] = left
    return json.dumps({**coco, "images": kept}).encode("ascii") + b"\n", {**counts, "images": len(kept)}


def filtered_yolo(tables: RunTables, text: bytes, folder: str, searched: bool) -> tuple[bytes, dict[str, int]]:
    """A list of pictures, a path a line, without those that are duplicates of others in it; the lines as they were.

    How names are found is as `gone` has it.
    """
    lines = text.splitlines(keepends=True)
    places = [place for place, line in enumerate(lines) if line.strip()]
    without, counts = gone(tables, [lines[place].strip() for place in places], folder, searched)
    dropped = {places[number] for number in without}
    kept = [line for place, line in enumerate(lines) if place not in dropped]
    return b"".join(kept), {**counts, "images": len(places) - len(dropped)}


def gone(tables: RunTables, names: Sequence[bytes], folder: str, searched: bool) -> tuple[list[int], dict[str, int]]:
    """Which of some names are duplicates whose keepers are named too, by their place; and how many are what.

    A name is that of a path, as seen from `folder`, if the run has such a picture; else, where it is to be `searched`,
    of the picture whose path ends with it. UsageError where several do, or no name is known. What the run does not
    know stays, as does a duplicate whose keeper is not named.
    """
    paths = selected("images", ["path_raw"], tables).whole()["path_raw"]
    ids = _found(paths.to_pylist(), names, folder, searched)
    if names and max(ids) < 0:
        raise UsageError(
            f"the run has none of the {len(names):,} pictures in the list: name the folder of its names with --under"
        )
    rows = selected("clusters", ["image", "keeper", "role"], tables).whole()
    rows = rows.filter(pc.equal(rows["role"], "duplicate"))
    keeper_of = dict(zip(rows["image"].to_pylist(), rows["keeper"].to_pylist(), strict=True))
    named = set(ids)
    duplicates = [place for place, image in enumerate(ids) if image in keeper_of]
    without = [place for place in duplicates if keeper_of[ids[place]] in named]
    counts = {
        "images": len(names) - len(without),
        "left_out_duplicates": len(without),
        "kept_though_not_in_the_run": ids.count(-1),
        "kept_as_their_keeper_is_not_listed": len(duplicates) - len(without),
    }
    return without, {name: count for name, count in counts.items() if count or name == "images"}


def _found(paths: Sequence[bytes], names: Sequence[bytes], folder: str, searched: bool) -> list[int]:
    """The image that each name is of, or -1; of one that is not there, by its composed form, as it is typed."""
    found = _found_as_they_are(paths, names, folder, searched)
    if any(image < 0 and not name.isascii() for image, name in zip(found, names, strict=True)):
        typed = os.fsdecode(nfc(os.fsencode(folder)))
        again = _found_as_they_are([*map(nfc, paths)], [*map(nfc, names)], typed, searched)
        found = [image if image >= 0 else other for image, other in zip(found, again, strict=True)]
    return found


def _found_as_they_are(paths: Sequence[bytes], names: Sequence[bytes], folder: str, searched: bool) -> list[int]:
    known = {path: image for image, path in enumerate(paths)}
    by_end: dict[bytes, list[int]] = {}
    if searched:
        ends = {os.path.basename(name) for name in names}
        for path, image in known.items():
            if (end := os.path.basename(path)) in ends:
                by_end.setdefault(end, []).append(image)
    base = os.fsencode(folder)
    found = (known.get(os.path.normpath(os.path.join(base, name)), -1) for name in names)
    return [
        image if image >= 0 else _ending_with(os.path.normpath(name), paths, by_end)
        for image, name in zip(found, names, strict=True)
    ]


def _ending_with(name: bytes, paths: Sequence[bytes], by_end: Mapping[bytes, list[int]]) -> int:
    """The image whose path ends with a name, or -1; `by_end` are the images by the last part of their paths."""
    found = [image for image in by_end.get(os.path.basename(name), ()) if paths[image].endswith(b"/" + name)]
    if len(found) > 1:
        text = printable(os.fsdecode(name))
        raise UsageError(
            f"{len(found)} pictures of the run end with {text}: name the folder of the list's with --under"
        )
    return found[0] if found else -1

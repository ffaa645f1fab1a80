"""What is done with files, as values: a plan in, a list of acts out, the same for a dry run and for the act. Pure."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import clamped64, signed64
from dupegrid.core.text import quoted
from dupegrid.images.facts import IDENTITY
from dupegrid.images.listing import QUARANTINE
from dupegrid.results.answers import Answer

_OF_PLAN: Final = [
    *("action", "path_raw", "image", "goes_with", "keeper", "keeper_path_raw", "file_hash", "keeper_file_hash"),
    *(of + name for of in ("", "keeper_") for name in IDENTITY),
]
LINKS: Final = ("hardlink", "symlink", "reflink")  # only between files that are equal byte for byte


@dataclass(frozen=True)
class Stamp:
    """What a file was when it was indexed; a time or an inode of 0 says nothing."""

    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    device: int
    inode: int
    file_hash: str | None


def stamps_of(status: os.stat_result) -> dict[str, int]:
    """What a file is known by, IDENTITY, as the tables of a run keep it: numbers of int64."""
    return {
        "size_bytes": status.st_size,
        "mtime_ns": clamped64(status.st_mtime_ns),
        "ctime_ns": clamped64(status.st_ctime_ns),
        "device": signed64(status.st_dev),
        "inode": signed64(status.st_ino),
    }


@dataclass(frozen=True)
class Act:
    """One file and what is done with it."""

    action: str  # one of ACTIONS, and not 'keep'; or 'xmp', before a file goes that has what its keeper lacks
    path: bytes
    root: bytes  # the folder of the run that it lies in; empty: it lies in an archive or on a server
    was: Stamp
    keeper: bytes
    keeper_root: bytes
    keeper_was: Stamp
    pair: tuple[int, int] | None  # the ids of the two; None for a sidecar
    goes_with: bytes | None = None  # the picture whose file this one belongs to
    to: bytes | None = None  # where it is moved, of a quarantine,
    to_root: bytes = b""  # and the folder that was there before, in which that is
    may_copy: bool = False  # to another volume
    packet: bytes | None = None  # of action 'xmp': what is written beside the keeper, at `path`
    keeper_decodes: bool = True  # False of what no run decodes, and is equal to its keeper byte for byte: a RAW, a film


@dataclass(frozen=True)
class Row:
    """What became of one file."""

    path: str
    action: str
    outcome: str  # 'done', 'would' (a dry run), 'skipped', 'missing', 'before' (an earlier apply did it)
    reason: str | None = None
    command: str | None = None  # as a shell would say it


@dataclass(frozen=True)
class Applied(Answer):
    """What apply did, or would do."""

    id: str  # by which undo knows it
    dry_run: bool
    counts: dict[str, int]  # of rows, by outcome
    bytes: int  # of the files that went, a link's as what it no longer takes
    rows: list[Row]


@dataclass(frozen=True)
class AskedFor(Answer):
    """What a plan asks for."""

    files: dict[str, int]  # by action, 'keep' left out
    freed_bytes: int  # as the plan has it: a file under several names once


@dataclass(frozen=True)
class Undone(Answer):
    """What undo put back, and what not."""

    counts: dict[str, int]  # 'back', 'skipped', 'missing', 'gone' (deleted for good)
    rows: list[Row]


@dataclass(frozen=True)
class Placing:
    """Where acts find files and put them: the folders of the run, what goes into a quarantine of its own."""

    roots: tuple[bytes, ...]  # folders
    apply_id: str
    quarantine: bytes | None = None  # a folder that was named

    def root_of(self, path: bytes) -> bytes | None:
        """The innermost folder that a path lies in."""
        around = [root for root in self.roots if path.startswith(root.rstrip(b"/") + b"/")]
        return max(around, key=len, default=None)

    def set_aside(self, path: bytes, root: bytes) -> tuple[bytes, bytes]:
        """Where a file is moved: its path below the root, or all of it, mirrored in a folder of this apply.

        And the folder that all of this is in.
        """
        into, below = root, path[len(root.rstrip(b"/")) + 1 :]
        if self.quarantine is not None:
            into, below = self.quarantine, path.lstrip(b"/")
        return b"/".join([into.rstrip(b"/"), QUARANTINE, self.apply_id.encode(), below]), into


def acts_of(plan: pa.Table, placing: Placing) -> list[Act]:
    """The acts of a plan that was checked (schema PLAN): each picture's, followed by those of what goes with it."""
    rows = plan.filter(pc.not_equal(plan["action"], "keep")).select(_OF_PLAN).to_pylist()
    pictures = {row["image"]: row for row in rows if row["goes_with"] is None}
    beside: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        if row["goes_with"] is not None:
            beside.setdefault(row["goes_with"], []).append(row)
    return [
        _act(row, picture, placing) for image, picture in pictures.items() for row in (picture, *beside.get(image, ()))
    ]


def units(acts: Sequence[Act]) -> Iterator[list[Act]]:
    """The acts, those together that go together or not at all."""
    for _, unit in groupby(acts, lambda act: act.goes_with or act.path):
        yield list(unit)


def command(act: Act) -> str:
    """What is done, as a shell would say it, for people: apply does the same with more care."""
    path, keeper, to = (quoted(place or b"") for place in (act.path, act.keeper, act.to))
    link = quoted(os.path.relpath(act.keeper, os.path.dirname(act.path)))
    source = quoted(act.goes_with or b"")
    return {
        "xmp": f"exiftool -o {path} -TagsFromFile {source} -xmp:DateTimeOriginal -xmp:GPS* -xmp:Rating",
        "quarantine": f"mv --no-clobber -- {path} {to}",
        "trash": f"gio trash -- {path}",
        "delete": f"rm -- {path}",
        "hardlink": f"ln --force -- {keeper} {path}",
        "symlink": f"ln --force --symbolic -- {link} {path}",
        "reflink": f"cp --reflink=always -- {keeper} {path}",
    }[act.action]


def _act(row: dict[str, Any], picture: dict[str, Any], placing: Placing) -> Act:
    path, is_picture = row["path_raw"], row is picture
    of = row if row["file_hash"] is not None else picture  # a sidecar has no keeper but that of its picture
    keeper = of["keeper_path_raw"]
    root, keeper_root = placing.root_of(path) or b"", placing.root_of(keeper) or b""
    moved = row["action"] == "quarantine" and root
    to, to_root = placing.set_aside(path, root) if moved else (None, b"")
    return Act(
        action=row["action"],
        path=path,
        root=root,
        was=_stamp(row, ""),
        keeper=keeper,
        keeper_root=keeper_root,
        keeper_was=_stamp(of, "keeper_"),
        pair=(row["image"], picture["keeper"]) if is_picture else None,
        goes_with=None if is_picture else picture["path_raw"],
        to=to,
        to_root=to_root,
        keeper_decodes=keeper == picture["keeper_path_raw"],
        may_copy=placing.quarantine is not None,
    )


def _stamp(row: dict[str, Any], of: str) -> Stamp:
    return Stamp(**{name: row[of + name] or 0 for name in IDENTITY}, file_hash=row[of + "file_hash"])

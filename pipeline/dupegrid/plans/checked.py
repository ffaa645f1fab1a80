"""Whether a plan may be acted on: held against the tables of its run, and refused by name before anything moves.

A plan is a file that people edit and hand on. What the run itself does not say of a file does not happen to it.
"""

import os
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.config import Config
from dupegrid.core.errors import DamagedError, StoreError, UsageError
from dupegrid.core.text import printable, shown
from dupegrid.images.facts import IDENTITY
from dupegrid.images.sources import Sources
from dupegrid.plans.actions import LINKS
from dupegrid.plans.units import is_named_after, is_sidecar
from dupegrid.results.keepers import Keeping
from dupegrid.storage.schemas import PLAN
from dupegrid.storage.tables import read_table
from dupegrid.storage.words import ACTIONS

_STAMPS: Final = (*IDENTITY, "file_hash")
_AT_ONCE: Final = 10_000  # rows of a plan, of which one takes 3 kB as objects of Python
_ROLES: Final = ("image", "cluster", "role", "reason", "keeper")
_IMAGES: Final = ("path_raw", "status", "link_kind", *_STAMPS)


def read_plan(path: Path) -> pa.Table:
    """plan.parquet (schema PLAN). StoreError where there is none, or a damaged one."""
    again = "make it with 'dupegrid plan RUN'"
    if not path.exists():
        raise StoreError(f"{shown(path)} is not there yet: {again}")
    try:
        return read_table(path, PLAN)
    except DamagedError as error:
        raise StoreError(f"{shown(path)} is damaged ({error.problem}): {again}") from None


def folders_of(config: Config, images: pa.Table) -> tuple[bytes, ...]:
    """The folders that a run looked into; those around what a file of paths named, and around files named as PATHs."""
    named = config.roots.index(config.files_from) if config.files_from else -1
    given = {os.fsencode(root) for root in config.roots if root != config.files_from}
    alone = pc.is_in(images["path_raw"], pa.array(sorted(given), pa.binary()))
    files = set(images.filter(pc.or_kleene(pc.equal(images["root"], named), alone))["path_raw"].to_pylist())
    roots = (given - files) | set(map(os.path.dirname, files))
    sources = Sources.of(config)
    return tuple(sorted(root for root in roots if root.startswith(b"/") and sources.place(root) is None))


def check_plan(plan: pa.Table, images: pa.Table, clusters: pa.Table, config: Config) -> None:
    """Raise UsageError, naming the file, where a plan would do what its run does not allow."""
    going = plan.filter(pc.not_equal(plan["action"], "keep").fill_null(True)).combine_chunks()
    for path, count in Counter(going["path_raw"].to_pylist()).items():
        if path and count > 1:
            raise refused(path, "is in it twice")
    keepers = set(going["keeper_path_raw"].to_pylist())
    leads = pc.and_(pc.is_null(going["goes_with"]), pc.is_in(going["image"], pc.unique(going["goes_with"])))
    pictures = {row["image"]: row for row in going.filter(leads).to_pylist()}
    checked = _Checked(images, clusters, config)
    for start in range(0, len(going), _AT_ONCE):
        some = going.slice(start, _AT_ONCE)
        for row, is_protected in zip(some.to_pylist(), checked.taken_up(some), strict=True):
            if row["action"] not in ACTIONS:
                raise refused(row["path_raw"], f"has the action {row['action']!r}, which there is not")
            checked.place(row["path_raw"], is_protected)
            if row["goes_with"] is None:
                checked.picture(row)
            else:
                checked.companion(row, pictures.get(row["goes_with"]))
            if row["path_raw"] in keepers:
                raise refused(row["path_raw"], "is to be kept for others")


class _Checked:
    """The tables of a run, as rows of a plan are held against them, those that were `taken_up`."""

    def __init__(self, images: pa.Table, clusters: pa.Table, config: Config) -> None:
        self._images, self._clusters = images.select(list(_IMAGES)), clusters.select(list(_ROLES))
        self._keeping, self._roots, self._sources = Keeping.of(config), folders_of(config, images), Sources.of(config)
        self._known: dict[int, dict[str, Any]] = {}
        self._roles: dict[int, dict[str, Any]] = {}
        self._by_path: dict[bytes, int] = {}

    def taken_up(self, rows: pa.Table) -> list[bool]:
        """Look up what the run says of some rows of a plan. Returns which of their files are protected."""
        names = rows["path_raw"].fill_null(b"").combine_chunks()
        along = names.filter(pc.is_valid(rows["goes_with"]).combine_chunks())
        of_path = pc.index_in(along, self._images["path_raw"]).drop_null()
        wanted = [rows["image"].drop_null(), rows["keeper"].drop_null(), of_path]
        ids = np.unique(np.concatenate([column.to_numpy(zero_copy_only=False) for column in wanted]).astype(np.int64))
        ids = ids[(ids >= 0) & (ids < len(self._images))]
        self._known = dict(zip(ids.tolist(), self._images.take(pa.array(ids)).to_pylist(), strict=True))
        self._by_path = {row["path_raw"]: id for id, row in self._known.items()}
        found = pc.index_in(pa.array(ids), self._clusters["image"]).drop_null()
        self._roles = {row["image"]: row for row in self._clusters.take(found).to_pylist()}
        return list(self._keeping.protected(pa.table({"path_raw": names})))

    def place(self, path: bytes | None, is_protected: bool) -> None:
        """That a path lies in a folder of the run, and not in what is protected."""
        if not path:
            raise UsageError("the plan has a row without a path: make it again with 'dupegrid plan RUN'")
        if self._sources.place(path) is not None:  # of an archive or a server, and left alone
            return
        inside = any(path.startswith(root.rstrip(b"/") + b"/") for root in self._roots)
        if not inside or {b"..", b"."} & set(path.split(b"/")) or b"\0" in path:
            raise refused(path, "lies in no folder of this run")
        if is_protected:
            raise refused(path, "is protected")

    def picture(self, row: dict[str, Any]) -> None:
        """That a picture is a duplicate of its keeper by the tables of the run."""
        path = row["path_raw"]
        for id, name, of in ((row["image"], "path_raw", ""), (row["keeper"], "keeper_path_raw", "keeper_")):
            known = self._image(id)
            if known is None or known["path_raw"] != row[name]:
                raise refused(path, f"is not the image {id} of images.parquet, or its keeper is not")
            if any(known[stamp] != row[of + stamp] for stamp in _STAMPS):
                raise refused(path, "is of another moment than images.parquet")
            if known["link_kind"] == "symbolic":
                raise refused(row[name], "is a symbolic link, or leads over one")
            if known["status"] != "ok" or known["file_hash"] is None:
                raise refused(row[name], f"is no picture that was read ({known['status']})")
        role = self._roles.get(row["image"])
        if role is not None and role["role"] == "keep":
            raise refused(path, "is the one to keep of its cluster")
        if role is None or role["role"] != "duplicate" or role["keeper"] != row["keeper"]:
            raise refused(path, "is no duplicate of that keeper by clusters.parquet")
        if row["action"] in LINKS and row["file_hash"] != row["keeper_file_hash"]:
            raise refused(path, f"is to be a {row['action']}, and is not equal to its keeper byte for byte")

    def companion(self, row: dict[str, Any], picture: dict[str, Any] | None) -> None:
        """That a file goes with a picture: in its folder, named after it, and no picture that is kept elsewhere."""
        path = row["path_raw"]
        if picture is None or picture["action"] != row["action"] or row["action"] in LINKS:
            raise refused(path, "goes with a picture to which that does not happen")
        folder, name = os.path.split(picture["path_raw"])
        if os.path.dirname(path) != folder or not is_named_after(os.path.basename(path), name):
            raise refused(path, "is not named after the picture that it goes with")
        if row["file_hash"] is None and not is_sidecar(path):
            raise refused(path, "is no sidecar, and no file that is equal to it is kept for it")
        if row["file_hash"] is not None and row["file_hash"] != row["keeper_file_hash"]:
            raise refused(path, "is not equal to the file that is kept for it")
        known = self._image(self._by_path.get(path))
        if known is not None and known["status"] == "ok" and row["file_hash"] is None:
            raise refused(path, "is a picture, and none is kept for it")
        if known is not None and known["link_kind"] == "symbolic":
            raise refused(path, "is a symbolic link, or leads over one")
        role = self._roles.get(self._by_path.get(path, -1))
        if role is not None and role["reason"] == "raw":  # it goes for its copy, whatever else it was compared with
            role = None
        if role is not None and role["role"] != "duplicate":
            raise refused(path, "is a picture that is kept")
        if role is None and known is not None and known["status"] == "ok" and known["file_hash"] != row["file_hash"]:
            raise refused(path, "is of another moment than images.parquet")

    def _image(self, id: int | None) -> dict[str, Any] | None:
        return None if id is None else self._known.get(id)


def refused(path: bytes, problem: str) -> UsageError:
    """The error that names a file of a plan."""
    name = printable(path.decode("utf-8", "backslashreplace"))
    return UsageError(f"the plan is refused, and nothing was done: {name} {problem}; make it with 'dupegrid plan RUN'")


def orientation_of(matches: pa.Table, pair: tuple[int, int]) -> str:
    """What is done to the second of two images, the higher id, before they are compared; of no match, nothing."""
    a, b = (matches[name].to_numpy() for name in ("a", "b"))
    at = np.flatnonzero((a == min(pair)) & (b == max(pair)))
    return str(matches["orientation"][int(at[0])].as_py()) if len(at) else "identity"

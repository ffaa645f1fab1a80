"""A run -> what may be done with its duplicates: plan.parquet."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypedDict, Unpack

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.app.api import cluster
from dupegrid.app.decide import is_of_decisions, take_decisions
from dupegrid.app.opening import as_run, locked_run
from dupegrid.app.run import Run
from dupegrid.app.terminal import Terminal
from dupegrid.core.arrays import Bools
from dupegrid.core.errors import UsageError
from dupegrid.core.text import counted, printable, size_text
from dupegrid.core.values import StrPath, located
from dupegrid.images.hashing import hashes_of
from dupegrid.images.sources import Sources
from dupegrid.plans.actions import LINKS
from dupegrid.plans.beside import beside, rating_of
from dupegrid.plans.plan import OF_PLANS, Totals, between_folders, kept, loses_metadata, plan_of, totals_of
from dupegrid.plans.units import with_lost_sidecars, with_units
from dupegrid.plans.where import chosen
from dupegrid.results.keepers import Keeping
from dupegrid.results.questions.tree import folders_in
from dupegrid.results.stored import clusters_of, images_of, relations_if_told
from dupegrid.storage.schemas import CLUSTERS
from dupegrid.storage.tables import write_table
from dupegrid.storage.words import ACTIONS

_IN: Final = " in "
_PATIENCE_S: Final = 60.0  # for a file that is read for its hash


class PlanOptions(TypedDict, total=False):
    """What else `plan` takes."""

    where: str  # an expression of SQL over the columns of PLAN: what it is not true for is kept
    folders: str | Sequence[StrPath]  # 'B in A', or the two: only files of B whose keepers are in A
    threshold: float  # another for the run from now on, up to its cutoff
    keep_metadata: bool  # keep what has metadata that its keeper lacks
    decisions: Any  # decisions that were made elsewhere, taken first


@dataclass(frozen=True)
class Plan:
    """A plan that was written: the table (schema PLAN), where it is, and its totals."""

    run: str
    path: Path
    action: str
    threshold: float
    table: pa.Table
    totals: Totals
    gone: int  # files that would go, and are not there any more

    def __repr__(self) -> str:
        kept = counted(sum(self.totals.kept.values()), "file")
        goes = f"{counted(self.totals.files, 'file')} to {self.action}, {size_text(self.totals.freed_bytes)}"
        return f"Plan of {goes}; {kept} kept; table, totals, path"

    def as_dict(self) -> dict[str, Any]:
        """All but the table."""
        known = {"run": self.run, "plan": str(self.path), "action": self.action, "threshold": self.threshold}
        return {**known, **asdict(self.totals), "gone": self.gone}


def plan(run: StrPath | Run, action: str = "quarantine", **options: Unpack[PlanOptions]) -> Plan:
    """Write down what may be done with the duplicates of a run: plan.parquet, whose rows `apply` acts on.

    A row a file that would go, by `action`: 'quarantine', 'trash', 'delete', 'hardlink', 'symlink' or 'reflink'; and a
    row a file that is kept, with the reason. Where pairs were decided since, or another threshold is given, the
    clusters are made again first, and the report with them, as `cluster` does. The options are the keys of PlanOptions.
    Raises UsageError for what the caller can put right, StoreError where the run is not finished.
    """
    if action not in ACTIONS or action == "keep":
        raise UsageError(f"no action {printable(str(action))!r}: there are {', '.join([*ACTIONS][1:])}")
    for name in options.keys() - PlanOptions.__annotations__.keys():
        raise UsageError(f"plan takes no {printable(name)!r}: there are {', '.join(PlanOptions.__annotations__)}")
    given = as_run(run)
    with given.run_dir.locked(Terminal().say):
        take_decisions(given.run_dir, options.get("decisions"))
    if options.get("threshold") is not None or not given.is_clustered or not is_of_decisions(given):
        cluster(given.path, options.get("threshold"))
    with locked_run(given.path, Terminal().say) as done:
        images = images_of(done).columns(OF_PLANS)
        table = _planned(done, images, action, options)
        write_table(done.run_dir.plan, table)
    goes = table.filter(pc.not_equal(table["action"], "keep"))["path_raw"]
    gone = sum(not os.path.lexists(path.as_py()) for path in goes)
    totals = totals_of(table, images)
    return Plan(str(done.path), done.run_dir.plan, action, done.config.threshold, table, totals, gone)


def _planned(done: Run, images: pa.Table, action: str, options: PlanOptions) -> pa.Table:
    clusters = clusters_of(done).columns([name for name in CLUSTERS.names if name not in ("path", "path_raw")])
    table = plan_of(images, clusters, relations_if_told(done), action, _here(done))
    if options.get("folders") is not None:
        inside, other = _two_folders(images, options["folders"])
        table = kept(table, ~between_folders(table, inside, other), "folders")
    listed = pa.table({}) if action in LINKS else beside(_folders(table))
    if action not in LINKS:  # a link stays where the file was, beside what belongs to it
        rated = images.filter(pc.is_valid(images["rating"]))["path_raw"]
        table = with_lost_sidecars(table, listed, set(rated.to_pylist()), rating_of)
    if options.get("where") is not None:
        table = kept(table, ~chosen(table, options["where"]), "where")
    if options.get("keep_metadata"):
        table = kept(table, loses_metadata(table), "metadata")
    if action in LINKS:
        return table
    return with_units(table, images, listed, Keeping.of(done.config).protected(listed), _hash)


def _hash(path: bytes, size_bytes: int) -> str | None:
    return hashes_of([(path, size_bytes)], False, _PATIENCE_S, lambda _: None)[0]


def _here(done: Run) -> Bools:
    """Which images of clusters are files in a folder of this machine, bool (n,), by id."""
    sources, here = Sources.of(done.config), np.ones(len(images_of(done)), bool)
    for part in clusters_of(done).each(["image", "path_raw"]):
        here[part["image"].to_numpy()] = [sources.place(path) is None for path in part["path_raw"].to_pylist()]
    return here


def _folders(table: pa.Table) -> set[bytes]:
    """The folders of the files that would go, and of their keepers."""
    goes = table.filter(pc.not_equal(table["action"], "keep"))
    return {folder or b"/" for name in ("path_raw", "keeper_path_raw") for folder in folders_in(goes[name])[0]}


def _two_folders(images: pa.Table, folders: str | Sequence[StrPath]) -> tuple[bytes, bytes]:
    """The folder that files go of, and the one where they are kept. UsageError where they are not known."""
    if isinstance(folders, str):
        words = folders.split(_IN)
        splits = [(_IN.join(words[:k]), _IN.join(words[k:])) for k in range(1, len(words))]
    else:
        splits = [(os.fsdecode(folders[0]), os.fsdecode(folders[1]))] if len(folders) == 2 else []
    known = {folder or b"/" for folder in folders_in(images["path_raw"])[0]}
    pairs = [(_folder(known, first), _folder(known, second)) for first, second in splits]
    found = [(first, second) for first, second in pairs if first is not None and second is not None]
    if len(found) != 1:
        raise UsageError(f"folders {printable(str(folders))!r}: give two folders of this run, as 'B in A'")
    inside, other = found[0]
    if (inside + b"/").startswith(other + b"/") or (other + b"/").startswith(inside + b"/"):
        raise UsageError(f"folders {printable(str(folders))!r}: neither may lie in the other")
    return inside, other


def _folder(known: set[bytes], name: str) -> bytes | None:
    """The folder that is meant by a path or the end of one; None where no picture is below it, or several are meant."""
    try:
        whole = os.fsencode(located(name)).rstrip(b"/")
    except ValueError:
        return None
    if any((folder + b"/").startswith(whole + b"/") for folder in known):
        return whole
    end = b"/" + os.fsencode(name).strip(b"/") + b"/"
    found = {(folder + b"/")[: (folder + b"/").index(end) + len(end) - 1] for folder in known if end in folder + b"/"}
    return found.pop() if len(found) == 1 else None

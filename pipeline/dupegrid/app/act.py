"""The verbs that act on a user's files: apply, undo, journal; a Run or its path -> records of what was done."""

import os
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypedDict, Unpack

import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.app.decide import is_of_decisions
from dupegrid.app.opening import open_run
from dupegrid.app.run import Run
from dupegrid.app.terminal import Terminal
from dupegrid.core.errors import UsageError
from dupegrid.core.text import counted, display_path, printable, quoted
from dupegrid.core.values import StrPath, place_of
from dupegrid.plans.actions import Act, Applied, AskedFor, Placing, Undone, acts_of
from dupegrid.plans.apply import Care, apply_acts, new_id
from dupegrid.plans.beside import rating_of
from dupegrid.plans.checked import check_plan, folders_of, read_plan
from dupegrid.plans.journal import Done, reading, writing
from dupegrid.plans.plan import totals_of
from dupegrid.plans.rescue import with_rescues
from dupegrid.plans.undo import applies, chosen_by, undo_acts
from dupegrid.storage.bucket import BucketPath
from dupegrid.storage.schemas import MATCHES


class ApplyOptions(TypedDict, total=False):
    """How `apply` goes about it."""

    verify: bool
    stop_on_error: bool
    quarantine: StrPath | None
    delete_for_good: bool
    write_xmp: bool


def apply(run_dir: StrPath, *, dry_run: bool = False, quiet: bool = False, **options: Unpack[ApplyOptions]) -> Applied:
    """Do what plan.parquet of a run says with its files, each looked at again right before.

    The journal knows all of it. A file that is not as it was indexed, or whose picture to keep is not, is left alone
    with its reason; a plan that the tables of the run do not bear out is refused whole. `dry_run` only says what would
    be done. `verify` reads both files again: byte for byte, or of near duplicates all pixels. `stop_on_error` ends at
    the first file that is left alone. `quarantine` is a folder to move files to, in the place of one in each PATH, also
    on another volume. With `write_xmp` a sidecar is written beside a keeper that lacks the date, the place or the
    rating of a file before that goes. Where the plan deletes, `delete_for_good` has to say so too. Raises UsageError
    for what the caller can put right.
    """
    for name in options.keys() - ApplyOptions.__annotations__.keys():
        raise UsageError(f"apply takes no {name!r}: {', '.join(ApplyOptions.__annotations__)}, dry_run and quiet")
    named = options.get("quarantine")
    aside = None if named is None else _quarantine(named)
    careful = options.get("verify", False), options.get("stop_on_error", False)
    with nullcontext() if dry_run else _on_disk(run_dir).run_dir.locked(Terminal(quiet=quiet).say):
        run = _on_disk(run_dir)
        care = Care(dry_run, *careful, run.config.file_timeout, run.config.max_pixels)
        plan = _checked_plan(run)
        forever = pc.sum(pc.equal(plan["action"], "delete")).as_py() or 0
        if forever and not (options.get("delete_for_good") or dry_run):
            raise UsageError(
                f"the plan deletes {counted(forever, 'file')} for good, which no undo brings back: "
                "say --delete-for-good, or plan another action"
            )
        apply_id = new_id(datetime.now())
        acts = acts_of(plan, Placing(folders_of(run.config, run.images), apply_id, aside))
        acts = with_rescues(acts, plan, run.images, rating_of) if options.get("write_xmp") else acts
        acts = _by_representatives(acts, run.images) if care.verify else acts
        matches = run.match_scores if care.verify else MATCHES.empty_table()
        opened = nullcontext(reading(run.run_dir)) if dry_run else writing(run.run_dir)
        with opened as journal, Terminal(quiet=quiet).stage("apply", len(acts), "files") as advance:
            return apply_acts(acts, journal, care, apply_id, matches, advance)


def _by_representatives(acts: list[Act], images: pa.Table) -> list[Act]:
    """The same acts with the pairs that were compared for theirs, which say how the two are turned."""
    stands_for = pc.coalesce(images["identical_to"], images["id"]).to_pylist()
    return [replace(act, pair=act.pair and (stands_for[act.pair[0]], stands_for[act.pair[1]])) for act in acts]


def plan_totals(run_dir: StrPath) -> AskedFor:
    """What the plan of a run asks for. The plan is held against the run, as by `apply`."""
    run = _on_disk(run_dir)
    plan = _checked_plan(run)
    files = Counter(action for action in plan["action"].to_pylist() if action != "keep")
    return AskedFor(dict(files), totals_of(plan, run.images).freed_bytes)


def undo(
    run_dir: StrPath, path: StrPath | None = None, *, last: bool = False, action: str | None = None, quiet: bool = False
) -> Undone:
    """Put back what `apply` moved, threw into the trash or made a link of, with times and modes; all, or what is named.

    `path` is a file, by its path before, or a folder; `last` is the last apply that is not undone in full; `action` is
    the id of an apply or of one act. Nothing that has come since is replaced.
    """
    if sum((path is not None, last, action is not None)) > 1:
        raise UsageError("undo takes one of PATH, --last and --action: leave the others out")
    with _on_disk(run_dir).run_dir.locked(Terminal(quiet=quiet).say):
        run = _on_disk(run_dir)
        with writing(run.run_dir) as journal:
            standing = [done for done in journal.acts.values() if done.is_standing or done.outcome is None]
            ids = {name for done in journal.acts.values() for name in (done.id, done.id.rpartition("-")[0])}
            if action is not None and action not in ids:
                raise UsageError(
                    f"the journal knows no {printable(action)}; all of it: dupegrid journal {quoted(str(run.path))}"
                )
            wanted = ["", *applies(standing)][-1] if last else action
            below = None if path is None else os.fsencode(place_of("the PATH", path))
            chosen = chosen_by(wanted, below)
            with Terminal(quiet=quiet).stage("undo", sum(map(chosen, standing)), "files") as advance:
                return undo_acts(journal, chosen, advance)


def journal(run_dir: StrPath) -> list[dict[str, Any]]:
    """All that was ever done to files by `apply` and `undo`, in its order: a record an act."""
    return [_record(done) for done in reading(_on_disk(run_dir).run_dir).acts.values()]


def _record(done: Done) -> dict[str, Any]:
    to = done.value("to")
    state = {None: "unfinished", "done": "done", "not done": "taken back"}[done.outcome]
    return {
        "id": done.id,
        "at": done.meant["at"],
        "action": done.meant["action"],
        "path": display_path(done.path),
        "to": None if to is None else display_path(to),
        "keeper": display_path(done.meant["keeper"]),
        "size_bytes": done.meant["was"]["size"],
        "state": "undone" if done.undo == "done" else state,
    }


def _on_disk(run_dir: StrPath) -> Run:
    """A run whose lock and journal are on a disk of this machine."""
    run = open_run(run_dir)
    if isinstance(run.path, BucketPath):
        raise UsageError(
            f"{printable(str(run.path))} is in a bucket: copy it to a disk of the machine with the pictures"
        )
    return run


def _checked_plan(run: Run) -> Any:
    plan = read_plan(run.run_dir.plan)
    if not is_of_decisions(run):
        raise UsageError(
            "pairs were decided since the plan was made, and nothing was done; make it again: "
            f"dupegrid plan {quoted(str(run.path))}"
        )
    check_plan(plan, run.images, run.clusters, run.config)
    return plan


def _quarantine(folder: StrPath) -> bytes:
    place = place_of("--quarantine", folder)
    if not Path(place).is_dir():
        raise UsageError(f"--quarantine {printable(place)} is no folder: make it first")
    return os.fsencode(place)

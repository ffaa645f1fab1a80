"""A plan that was checked -> what is done, a unit after another: looked at on the disk, meant, done, noted."""

import errno
import os
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from itertools import count

import pyarrow as pa

from dupegrid.core.errors import DupegridError
from dupegrid.core.progress import Advance
from dupegrid.core.text import display_path, printable
from dupegrid.plans import trash
from dupegrid.plans.actions import LINKS, Act, Applied, Row, command, units
from dupegrid.plans.checked import orientation_of
from dupegrid.plans.deeds import Deed, do
from dupegrid.plans.intact import Identity, Keepers, identity, same_at_full_size, unchanged
from dupegrid.plans.journal import Done, Journal
from dupegrid.plans.rescue import names_of_sidecars
from dupegrid.plans.roots import MissingError, Place, Roots, SkippedError
from dupegrid.plans.settle import holds, is_link, reason_of, settle, settle_act
from dupegrid.plans.undo import undo_acts


@dataclass(frozen=True)
class Care:
    """How carefully an apply goes about it."""

    dry_run: bool = False
    verify: bool = False  # both files are read again, and compared
    stop_on_error: bool = False
    timeout_s: float = 60.0  # of a decoder
    max_pixels: int = 250_000_000


def new_id(now: datetime) -> str:
    """What an apply is known by: its moment, and what no other has."""
    return f"{now:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"


def apply_acts(
    acts: Sequence[Act], journal: Journal, care: Care, apply_id: str, matches: pa.Table, advance: Advance
) -> Applied:
    """Carry out acts in their order, or with `dry_run` only look; goes on from what the journal says.

    `matches` are those of the run, for `care.verify`. DupegridError where the journal cannot be written, where a disk
    is full, and with `stop_on_error` at the first file that is left alone.
    """
    if any(act.action == "trash" for act in acts):
        trash.check_there()
    with Roots() as roots:
        rows = [] if care.dry_run else settle(journal, roots)
        if rows and care.stop_on_error:
            raise DupegridError(str(rows[0].reason))
        doing = _Doing(journal, roots, care, apply_id, matches)
        for unit in units(acts):
            for row in doing.unit(unit):
                rows.append(row)
                if care.stop_on_error and row.outcome in ("skipped", "missing"):
                    raise DupegridError(
                        f"stopped at {printable(row.path)}, which {row.reason}; what was done before is kept: "
                        "'dupegrid journal' lists it, and without --stop-on-error the others go on"
                    )
            if doing.full is not None:
                raise DupegridError(
                    f"stopped at {printable(doing.full)}; what was done before is kept: "
                    "make room and run the same command again"
                )
            advance(len(unit))
    return Applied(apply_id, care.dry_run, dict(Counter(row.outcome for row in rows)), doing.freed_bytes, rows)


class _Doing:
    """An apply at work."""

    def __init__(self, journal: Journal, roots: Roots, care: Care, apply_id: str, matches: pa.Table) -> None:
        self.freed_bytes = 0
        self._names: Counter[Identity] = Counter()  # how many of a file went, and how many it had
        self._had: dict[Identity, int] = {}
        self.full: str | None = None  # the file that a full disk did not take, and which that was
        self._journal, self._roots, self._care, self._matches = journal, roots, care, matches
        self._keepers = Keepers(care.timeout_s, care.max_pixels)
        gone = (done for done in journal.acts.values() if done.is_standing and done.meant["action"] != "xmp")
        self._before = {done.path: done for done in gone}
        self._led_to = {done.meant["keeper"] for done in self._before.values() if done.meant["action"] == "symlink"}
        self._ids = (f"{apply_id}-{number}" for number in count(1))
        self._would: set[bytes] = set()  # sidecars of a dry run

    def unit(self, acts: Sequence[Act]) -> Iterator[Row]:
        """What becomes of files that go together or not at all."""
        with ExitStack() as stack:
            deeds: list[Deed] = []
            for place, act in enumerate(acts):
                try:
                    deed = (self._looked_at if act.packet is None else self._sidecar)(act, stack)
                except (SkippedError, OSError) as error:
                    yield from _left([*(deed.act for deed in deeds), *acts[place:]], act, error)
                    return
                if deed is not None:
                    deeds.append(deed)
                elif act.packet is None:
                    yield Row(display_path(act.path), act.action, "before", "was done by an earlier apply")
            deeds.sort(key=lambda deed: deed.act.packet is None)  # what is lost is written down first
            if self._care.dry_run:
                self._would.update(deed.act.path for deed in deeds if deed.act.packet is not None)
                yield from (_row(deed.act, "would") for deed in deeds)
            else:
                yield from self._done_together(deeds)

    def _done_together(self, deeds: Sequence[Deed]) -> Iterator[Row]:
        """What becomes of files whose looks were fine. Where one cannot be done, those before it are put back."""
        done: list[Deed] = []
        for place, deed in enumerate(deeds):
            row = self._done(deed)
            if row.outcome != "done":
                yield from self._put_back(done, row.path)
                yield row
                yield from (_with(other, row.path) for other in deeds[place + 1 :])
                return
            done.append(deed)
        yield from (_row(deed.act, "done") for deed in done)

    def _put_back(self, done: Sequence[Deed], stays: str) -> Iterator[Row]:
        """The rows of files that were done and go with one that `stays`; what was deleted does not come back."""
        ids = {deed.id for deed in done}
        rows = undo_acts(self._journal, lambda act: act.id in ids, lambda _: None).rows if ids else []
        back = {row.path for row in rows if row.outcome == "back"}
        for deed in done:
            if display_path(deed.act.path) in back:
                self.freed_bytes -= self._freed(deed)
                self._names[deed.known] -= 1
                yield _with(deed, stays)
            else:
                yield _row(deed.act, "done")

    def _looked_at(self, act: Act, stack: ExitStack) -> Deed | None:
        """An act whose files are as they should be; None where an earlier apply did it."""
        if not act.root or not act.keeper_root:
            whose = "or its picture to keep " if act.root else ""
            raise SkippedError(f"{whose}lies in an archive or on a server, where nothing is changed")
        if act.path in self._led_to:
            raise SkippedError("is what a symbolic link of an earlier apply leads to: undo that first")
        earlier = self._before.get(act.path)
        try:
            drop = stack.enter_context(self._roots.place(act.path, act.root))
            if earlier is not None and self._stands(earlier, drop):
                return None
            status = unchanged(drop, act.was)
        except MissingError:
            if earlier is not None:
                return None
            raise
        keeper, keeper_status = self._keeper(act, stack)
        if identity(status) == identity(keeper_status) and (status.st_nlink < 2 or act.action in LINKS):
            raise SkippedError("is the picture to keep itself, by another name")
        if self._care.verify and act.pair is not None:
            orientation = orientation_of(self._matches, act.pair)
            files = (drop, status), (keeper, keeper_status)
            same_at_full_size(act, *files, orientation, self._care.timeout_s)
        return Deed(next(self._ids), act, drop, status, keeper, keeper_status, self._roots)

    def _sidecar(self, act: Act, stack: ExitStack) -> Deed | None:
        """An act that writes beside a keeper; None where that is there as it would be written."""
        drop = stack.enter_context(self._roots.place(act.path, act.root))
        if act.path in self._would or holds(drop, act.was.file_hash):
            return None
        for name in map(os.path.basename, names_of_sidecars(act.keeper)):
            if drop.beside(name).status() is not None:
                raise SkippedError("is not written: the picture to keep has a sidecar, which stays as it is")
        keeper, status = self._keeper(act, stack)
        return Deed(next(self._ids), act, drop, status, keeper, status, self._roots)

    def _keeper(self, act: Act, stack: ExitStack) -> tuple[Place, os.stat_result]:
        """The picture to keep of an act, which is there and whole."""
        try:
            keeper = stack.enter_context(self._roots.place(act.keeper, act.keeper_root))
        except SkippedError as reason:
            raise SkippedError(f"is left: the picture to keep {reason}") from None
        return keeper, self._keepers.check(keeper, act.keeper_was, act.keeper_decodes)

    def _stands(self, earlier: Done, drop: Place) -> bool:
        """Whether what an earlier apply did to a file is so still."""
        action = earlier.meant["action"]
        if action in ("hardlink", "symlink"):
            return is_link(drop, earlier)
        return action == "reflink" or drop.status() is None

    def _done(self, deed: Deed) -> Row:
        """Carry out an act. What fails is taken back, as far as that can be."""
        try:
            facts = do(deed, self._journal)
        except SkippedError as reason:
            return self._taken_back(deed, str(reason))
        except OSError as error:
            to = f"be moved into {display_path(deed.act.to_root)}" if deed.act.to_root else "be done"
            problem = f"could not {to}: {reason_of(error)}"
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                self.full = f"{display_path(deed.act.path)}, which {problem}"
            return self._taken_back(deed, problem)
        self._journal.note("done", deed.id, **facts)
        if deed.act.action == "hardlink":
            self._keepers.linked(deed.keeper)
        self._names[deed.known] += 1
        self.freed_bytes += self._freed(deed)
        return _row(deed.act, "done")

    def _freed(self, deed: Deed) -> int:
        """The bytes that the last name of a file frees; other names free none."""
        self._had.setdefault(deed.known, deed.status.st_nlink)
        is_last = self._names[deed.known] == self._had[deed.known]
        return deed.status.st_size if is_last and deed.act.packet is None else 0

    def _taken_back(self, deed: Deed, reason: str) -> Row:
        known = self._journal.acts.get(deed.id)
        if known is None:
            return _row(deed.act, "skipped", reason)
        try:
            settle_act(known, self._journal, self._roots)
        except (SkippedError, OSError) as error:
            reason += f"; it is half done, and the next apply or undo looks after it ({reason_of(error)})"
        return _row(deed.act, "done" if known.outcome == "done" else "skipped", reason)


def _with(deed: Deed, stays: str) -> Row:
    return _row(deed.act, "skipped", f"goes with {stays}, which stays")


def _left(acts: Sequence[Act], at: Act, error: Exception) -> Iterator[Row]:
    """The rows of a unit that is left alone, as one of its files is not as it should be."""
    reason = reason_of(error) if isinstance(error, SkippedError) else f"cannot be read: {reason_of(error)}"
    for act in acts:
        outcome = error.outcome if isinstance(error, SkippedError) and act is at else "skipped"
        yield _row(act, outcome, reason if act is at else f"goes with {display_path(at.path)}, which {reason}")


def _row(act: Act, outcome: str, reason: str | None = None) -> Row:
    return Row(display_path(act.path), act.action, outcome, reason, command(act))

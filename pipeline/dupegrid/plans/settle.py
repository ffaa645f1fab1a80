"""What was half done, by a stop or by what came in between, is taken back, or found to be done: by what is on the disk.

Nothing that is found is replaced, and what is removed is a name of ours, or of a file that has another.
"""

import os
import stat
from contextlib import suppress
from typing import Any, Final

from dupegrid.core.text import display_path
from dupegrid.images.listing import ASIDE, COPY, LINK, QUARANTINE
from dupegrid.images.xmp import OURS_BYTES, is_ours
from dupegrid.plans import trash
from dupegrid.plans.actions import Row
from dupegrid.plans.intact import hash_of, identity
from dupegrid.plans.journal import Done, Journal
from dupegrid.plans.rescue import names_of_sidecars
from dupegrid.plans.roots import MissingError, Place, Roots, SkippedError, move


def settle(journal: Journal, roots: Roots) -> list[Row]:
    """Settle whatever no second line was written for. Returns rows of the files of which that was not possible."""
    left = []
    for done in list(journal.acts.values()):
        try:
            if done.outcome is None:
                settle_act(done, journal, roots)
            elif done.undo == "meant":
                settle_undo(done, journal, roots)
        except (SkippedError, OSError) as error:
            path = display_path(done.path)
            reason = f"{path} was half done, and cannot be looked after now: {reason_of(error)}"
            left.append(Row(path, "settle", "skipped", reason))
    return left


def settle_act(done: Done, journal: Journal, roots: Roots) -> None:
    """Take an act back as far as it came, or find that it was done, and write its second line.

    SkippedError or OSError where its folders cannot be reached: it stays as it is for the next time.
    """
    with roots.place(done.path, done.meant["root"]) as place:
        event, facts = _SETTLED.get(done.meant["action"], _aside)(done, place, roots)
        place.flush()
    if event == "not done":
        prune(done, roots)
    journal.note(event, done.id, **facts)


def settle_undo(done: Done, journal: Journal, roots: Roots) -> None:
    """Find whether what was half undone is back, take away what is left of that, and write the second line."""
    with roots.place(done.path, done.meant["root"]) as place:
        if done.meant["action"] == "xmp":
            back = unwritten(done, place)
        else:
            back = _link_back(done, place) if done.value("to") is None else _moved_back(done, place, roots)
        place.flush()
    if back:
        prune(done, roots)
    journal.note("undone" if back else "not undone", done.id)


def is_it(place: Place, done: Done) -> bool:
    """Whether the file that an act was on is at a place: of its size and mtime, its inode or its bytes."""
    status, was = place.status(), done.meant["was"]
    if status is None or not stat.S_ISREG(status.st_mode):
        return False
    if (status.st_size, status.st_mtime_ns) != (was["size"], was["mtime_ns"]):
        return False
    return status.st_ino == was["ino"] or holds(place, was["hash"])


def holds(place: Place, file_hash: str | None) -> bool:
    """Whether the file at a place holds the bytes of this hash."""
    status = place.status()
    if status is None or file_hash is None or not stat.S_ISREG(status.st_mode):
        return False
    return hash_of(place, status) == file_hash


def is_link(place: Place, done: Done) -> bool:
    """Whether the link that an act made is at a place."""
    status = place.status()
    if status is None:
        return False
    if done.meant["action"] == "symlink":
        return stat.S_ISLNK(status.st_mode) and os.readlink(place.name, dir_fd=place.folder) == done.meant["leads_to"]
    return status.st_ino == done.meant["keeper_ino"] and holds(place, done.meant["was"]["hash"])


def reason_of(error: Exception) -> str:
    """Why something was not done, for people."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _quarantine(done: Done, place: Place, roots: Roots) -> tuple[str, dict[str, Any]]:
    try:
        with roots.place(done.meant["to"], done.meant["to_root"]) as to:
            if done.meant["copied"]:
                return _copied(done, place, to)
            there, here = to.status(), place.status()
            if there is None:
                return "not done", {}
            if here is not None:
                if identity(here) != identity(there):
                    return "done", {}
                to.unlink()  # it was renamed in two steps, of which one was done
            elif _is_same(there, done) and _keeper_is_there(done, roots):
                return "done", {}
            else:  # another file had taken the place of the one that was looked at, or the keeper has gone
                move(to, place)
            return "not done", {}
    except MissingError:
        return "not done", {}


def _is_same(status: os.stat_result, done: Done) -> bool:
    """Whether a status is of the file that was looked at; the number of its disk may be another by now."""
    return identity(status)[1:] == tuple(done.meant["was"][name] for name in ("ino", "size", "mtime_ns"))


def _keeper_is_there(done: Done, roots: Roots) -> bool:
    try:
        with roots.place(done.meant["keeper"], done.meant["keeper_root"]) as keeper:
            status = keeper.status()
    except SkippedError:
        return False
    return status is not None and status.st_ino == done.meant["keeper_ino"]


def _copied(done: Done, place: Place, to: Place) -> tuple[str, dict[str, Any]]:
    _remove_copy(to, done)
    aside = place.beside(ASIDE % done.id.encode())
    if aside.status() is not None:
        if place.status() is not None:
            return "done", {"to": aside.path, "to_root": done.meant["root"]}
        move(aside, place)
    here = place.status()
    if here is not None and to.status() is not None and stat.S_ISREG(here.st_mode) and holds(to, hash_of(place, here)):
        to.unlink()
    return ("done" if to.status() is not None else "not done"), {}


def _remove_copy(place: Place, done: Done) -> None:
    """Remove a copy beside a place that an act had not finished."""
    unfinished = place.beside(COPY % done.id.encode())
    if unfinished.status() is not None:
        unfinished.unlink()


def _aside(done: Done, place: Place, _roots: Roots) -> tuple[str, dict[str, Any]]:
    """Of a file that was deleted or replaced by a link."""
    aside, links = place.beside(ASIDE % done.id.encode()), done.meant["action"] != "delete"
    if aside.status() is None:
        if links:
            return ("done" if is_link(place, done) else "not done"), {}
        return ("not done" if is_it(place, done) else "done"), {}
    if links and is_link(place, done):
        place.unlink()
    try:
        move(aside, place)
    except FileExistsError:  # somebody else's, since: ours waits for undo
        return "done", {"to": aside.path, "to_root": done.meant["root"]}
    return "not done", {}


def _trash(done: Done, place: Place, roots: Roots) -> tuple[str, dict[str, Any]]:
    if is_it(place, done):
        return "not done", {}
    was = done.meant["was"]
    at = trash.found(done.path, (was["dev"], was["ino"], was["size"], was["mtime_ns"]), roots)
    if at is None:
        return "done", {}
    if place.status() is None and not _keeper_is_there(done, roots):
        with roots.place(*at) as to:
            move(to, place)
        forget(at[0], roots)
        return "not done", {}
    return "done", {"to": at[0], "to_root": at[1]}


def forget(to: bytes, roots: Roots) -> None:
    """Remove what the trash says of a file that has left it."""
    with suppress(FileNotFoundError, SkippedError), roots.place(*trash.info_of(to)) as info:
        info.unlink()


def _reflink(_done: Done, _place: Place, _roots: Roots) -> tuple[str, dict[str, Any]]:
    return "not done", {}  # and harmless to do again


def _moved_back(done: Done, place: Place, roots: Roots) -> bool:
    _remove_copy(place, done)
    here = place.status()
    try:
        with roots.place(done.value("to"), done.value("to_root")) as to:
            there = to.status()
            if here is not None and there is not None and stat.S_ISREG(here.st_mode):
                if identity(here) != identity(there) and not holds(to, hash_of(place, here)):
                    return False
                to.unlink()
                return True
            gone = there is None
    except MissingError:
        gone = True
    return gone and here is not None and (here.st_ino == done.undo_ino or is_it(place, done))


def _link_back(done: Done, place: Place) -> bool:
    link = place.beside(LINK % done.id.encode())
    if link.status() is not None:
        if place.status() is None:
            move(link, place)
        elif is_link(link, done) and holds(place, done.meant["was"]["hash"]):
            link.unlink()
    _remove_copy(place, done)
    if link.status() is not None:  # another file has come to its place since: nothing was put back
        return False
    return place.status() is not None and not is_link(place, done)


def prune(done: Done, roots: Roots) -> None:
    """Remove the folders of a quarantine that are empty now."""
    if done.meant["action"] != "quarantine":
        return
    folder = os.path.dirname(done.meant["to"])
    while QUARANTINE in folder[len(done.meant["to_root"]) :].split(b"/"):
        with suppress(SkippedError, OSError), roots.place(folder, done.meant["to_root"]) as place:
            os.rmdir(place.name, dir_fd=place.folder)
        folder = os.path.dirname(folder)


def _xmp(done: Done, place: Place, _roots: Roots) -> tuple[str, dict[str, Any]]:
    _remove_copy(place, done)
    return ("done" if holds(place, done.meant["was"]["hash"]) else "not done"), {}


def unwritten(done: Done, place: Place) -> bool:
    """Remove a sidecar that an act wrote, if it is as it was written. Returns whether it is not there now."""
    aside = place.beside(ASIDE % done.id.encode())
    if aside.status() is None:
        if not _is_written(place, done):
            return place.status() is None
        move(place, aside)
    if _is_written(aside, done):
        aside.unlink()
        return True
    move(aside, place)
    return False


def _is_written(place: Place, done: Done) -> bool:
    """Whether a sidecar that an act wrote is at a place: no other file is removed, whatever a journal says."""
    beside_keeper = done.path == names_of_sidecars(done.meant["keeper"])[0]
    if not beside_keeper or not holds(place, done.meant["was"]["hash"]):
        return False
    with place.opened() as descriptor:
        return is_ours(os.read(descriptor, OURS_BYTES))


_SETTLED: Final = {"quarantine": _quarantine, "trash": _trash, "reflink": _reflink, "xmp": _xmp}

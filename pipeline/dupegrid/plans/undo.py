"""What apply did is taken back, the last first: never over a file that has come since."""

import errno
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import contextmanager
from typing import Final

from dupegrid.core.text import display_path
from dupegrid.images.listing import COPY, LINK
from dupegrid.plans.actions import Row, Undone
from dupegrid.plans.copies import copy
from dupegrid.plans.intact import facts_of, hash_of
from dupegrid.plans.journal import Done, Journal
from dupegrid.plans.roots import MissingError, Place, Roots, SkippedError, move
from dupegrid.plans.settle import forget, is_link, prune, reason_of, settle, settle_undo, unwritten

_NEW_FOLDER: Final = 0o777  # as far as the umask lets it


def undo_acts(journal: Journal, chosen: Callable[[Done], bool], advance: Callable[[int], None]) -> Undone:
    """Put back what stands of the acts that are `chosen`. DupegridError where the journal cannot be written."""
    with Roots() as roots:
        rows = settle(journal, roots)
        gone: set[bytes] = set()  # keepers of files that went later, and stay away
        for done in reversed(journal.acts.values()):
            if done.is_standing and chosen(done):
                rows.append(_undone(done, journal, roots, gone))
                advance(1)
            if done.outcome != "not done" and done.undo != "done" and done.meant["action"] != "xmp":
                gone.add(done.meant["keeper"])
    return Undone(dict(Counter(row.outcome for row in rows)), rows)


def _undone(done: Done, journal: Journal, roots: Roots, gone: Set[bytes]) -> Row:
    shown, action = display_path(done.path), done.meant["action"]
    if action == "reflink":
        journal.note("undo", done.id)
        journal.note("undone", done.id)
        return Row(shown, action, "back", "was a file of its own all along")
    if done.value("to") is None and action in ("delete", "trash"):
        why = "was deleted for good" if action == "delete" else "is not found in the trash"
        return Row(shown, action, "gone", why)
    try:
        if action == "xmp":
            if done.meant["keeper"] in gone:
                raise SkippedError("stays, as a picture went since that it may speak for, and is not back")
            return _sidecar_removed(done, journal, roots)
        note = (_link_replaced if done.value("to") is None else _moved)(done, journal, roots)
    except (SkippedError, OSError) as error:
        return _failed(done, journal, roots, error)
    prune(done, roots)
    journal.note("undone", done.id)
    return Row(shown, action, "back", note)


def _sidecar_removed(done: Done, journal: Journal, roots: Roots) -> Row:
    with roots.place(done.path, done.meant["root"]) as place:
        journal.note("undo", done.id)
        if not unwritten(done, place):
            raise SkippedError("was changed since it was written, and stays")
        place.flush()
    journal.note("undone", done.id)
    return Row(display_path(done.path), "xmp", "back", "was written beside the picture to keep, and is removed")


def _failed(done: Done, journal: Journal, roots: Roots, error: Exception) -> Row:
    """The row of a file that was not put back; what was half done of it is settled."""
    reason, outcome = reason_of(error), getattr(error, "outcome", "skipped")
    if done.undo == "meant":
        try:
            settle_undo(done, journal, roots)
        except (SkippedError, OSError) as other:
            reason += f"; it is half done, and the next undo looks after it ({reason_of(other)})"
    return Row(display_path(done.path), done.meant["action"], "back" if done.undo == "done" else outcome, reason)


def _moved(done: Done, journal: Journal, roots: Roots) -> str | None:
    """Move a file back to its name. Returns what is to be said of it."""
    with roots.place(done.value("to"), done.value("to_root")) as to:
        there, was = to.status(), done.meant["was"]
        if there is None:  # and no folder is made for it
            raise MissingError(f"is not in {display_path(to.path)} any more")
        with roots.place(done.path, done.meant["root"], make=_NEW_FOLDER) as place:
            if place.status() is not None:
                raise SkippedError("is not put back over the file that is there now: move that away first")
            journal.note("undo", done.id, ino=there.st_ino)
            try:
                move(to, place)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                unfinished = place.beside(COPY % done.id.encode())
                copy(to, unfinished, facts_of(there), None)
                move(unfinished, place)
                place.flush()
                to.unlink()
            to.flush()
            if done.meant["action"] == "trash":
                forget(done.value("to"), roots)
            place.flush()
    same = (there.st_size, there.st_mtime_ns, there.st_mode) == (was["size"], was["mtime_ns"], was["mode"])
    return None if same else "was changed while it was away"


def _link_replaced(done: Done, journal: Journal, roots: Roots) -> None:
    """Make a file of its own where a link is, with the bytes, the times and the mode that it had."""
    with roots.place(done.path, done.meant["root"], make=_NEW_FOLDER) as place:
        was, here = done.meant["was"], place.status()
        if here is not None and not is_link(place, done):
            raise SkippedError("is not the link any more that was made: another file is there now")
        with _bytes_of(done, place, roots) as source:
            journal.note("undo", done.id)
            unfinished = place.beside(COPY % done.id.encode())
            copy(source, unfinished, was, was["hash"])
        link = place.beside(LINK % done.id.encode())
        if is_link(link, done):  # of an undo that was stopped
            link.unlink()
        if here is not None:
            move(place, link)
        move(unfinished, place)
        place.flush()
        if here is not None:
            if not is_link(link, done):
                raise SkippedError("was another file in the end, which lies beside it now")
            link.unlink()
            place.flush()


@contextmanager
def _bytes_of(done: Done, place: Place, roots: Roots) -> Iterator[Place]:
    """Where the bytes of a file that became a link are: in its keeper, or in the hard link itself."""
    if done.meant["action"] == "hardlink" and place.status() is not None:
        yield place
        return
    with roots.place(done.meant["keeper"], done.meant["keeper_root"]) as keeper:
        status = keeper.status()
        if status is None or hash_of(keeper, status) != done.meant["was"]["hash"]:
            raise SkippedError("cannot be made again: the picture that the link led to is gone or has changed")
        yield keeper


def chosen_by(action: str | None, path: bytes | None) -> Callable[[Done], bool]:
    """Which acts are undone: those of one apply or one act by its id, those at or below a path, else all."""

    def chosen(done: Done) -> bool:
        if action is not None and done.id != action and not done.id.startswith(action + "-"):
            return False
        return path is None or done.path == path or done.path.startswith(path.rstrip(b"/") + b"/")

    return chosen


def applies(acts: Iterable[Done]) -> list[str]:
    """The ids of the applies that acts are of, in their order."""
    return list(dict.fromkeys(done.id.rpartition("-")[0] for done in acts))

"""The acts themselves, each in steps of which none loses a file: rename aside, act, look, remove.

Before the first step the journal knows all of it. Where a step fails, or is not what was expected, settle.py takes back
what was done, as it does after a stop.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from dupegrid.core.text import display_path
from dupegrid.images.listing import ASIDE, COPY
from dupegrid.plans import trash
from dupegrid.plans.actions import Act
from dupegrid.plans.copies import copy, share_blocks, write_new
from dupegrid.plans.intact import Identity, facts_of, hash_of, identity, still
from dupegrid.plans.journal import Journal
from dupegrid.plans.roots import Place, Roots, SkippedError, move

_SWAPPED: Final = "is another file than was looked at, which was left where it was"
_KEEPER: Final = "is left: the picture to keep was gone right after"


@dataclass(frozen=True)
class Deed:
    """An act on files that were looked at; their places are held open."""

    id: str
    act: Act
    drop: Place  # of an 'xmp' where it will be
    status: os.stat_result  # of an 'xmp' that of the keeper
    keeper: Place
    keeper_status: os.stat_result
    roots: Roots

    @property
    def aside(self) -> Place:
        """The name of the file while it is replaced."""
        return self.drop.beside(ASIDE % self.id.encode())

    @property
    def known(self) -> Identity:
        """What the file is known by, whatever its name."""
        return identity(self.status)

    def keeper_is_there(self) -> None:
        """Raise SkippedError unless the keeper is at its place still."""
        still(self.keeper, identity(self.keeper_status), _KEEPER)


def do(deed: Deed, journal: Journal) -> dict[str, Any]:
    """Carry out an act: its first line into the journal, its steps. Returns what its second line says.

    SkippedError or OSError where it cannot be done as expected: it is half done, and is to be settled.
    """
    act, facts = deed.act, {}
    if act.action == "quarantine":
        facts = _aim(deed)
    if act.action == "symlink":
        facts = {"leads_to": _leads_to(act)}
    journal.note(
        "meant",
        deed.id,
        action=act.action,
        path=act.path,
        root=act.root,
        was={**facts_of(deed.status), **({"size": len(act.packet)} if act.packet else {}), "hash": act.was.file_hash},
        keeper=act.keeper,
        keeper_root=act.keeper_root,
        keeper_ino=deed.keeper_status.st_ino,
        **facts,
    )
    return _DEEDS[act.action](deed)


def _aim(deed: Deed) -> dict[str, Any]:
    """Where a file is moved, and whether it has to be copied there."""
    act = deed.act
    assert act.to is not None
    copied = deed.roots.device(act.to_root) != deed.status.st_dev
    if copied and not act.may_copy:
        raise SkippedError(f"lies on another volume than {display_path(act.to_root)}: give --quarantine DIR")
    return {"to": act.to, "to_root": act.to_root, "copied": copied}


def _quarantine(deed: Deed) -> dict[str, Any]:
    act = deed.act
    assert act.to is not None
    with deed.roots.place(act.to, act.to_root, make=0o700) as to:
        if os.fstat(to.folder).st_dev != deed.roots.device(act.to_root):
            raise SkippedError(f"cannot be moved: another volume is mounted in {display_path(act.to_root)}")
        if to.status() is not None:
            raise SkippedError(f"cannot be moved: {display_path(act.to)} is there already")
        if os.fstat(to.folder).st_dev != deed.status.st_dev:
            return _copied(deed, to)
        with _impossible("lies on another mount than its quarantine: give --quarantine DIR", errno.EXDEV):
            move(deed.drop, to)
        still(to, deed.known, _SWAPPED)
        deed.keeper_is_there()
        to.flush()
        deed.drop.flush()
    return {}


def _copied(deed: Deed, to: Place) -> dict[str, Any]:
    unfinished = to.beside(COPY % deed.id.encode())
    hashed = copy(deed.drop, unfinished, facts_of(deed.status), deed.act.was.file_hash)
    move(unfinished, to)
    to.flush()
    _move_aside(deed)
    deed.keeper_is_there()
    if hash_of(deed.aside, deed.status) != hashed:
        raise SkippedError("changed as it was copied")
    deed.aside.unlink()
    deed.drop.flush()
    return {"hash": hashed}


def _trash(deed: Deed) -> dict[str, Any]:
    trash.send(deed.drop, deed.status.st_dev)
    at = trash.found(deed.act.path, deed.known, deed.roots)
    if at is None:
        raise SkippedError("was sent to the trash, and is not found there")
    deed.keeper_is_there()
    deed.drop.flush()
    return {"to": at[0], "to_root": at[1]}


def _delete(deed: Deed) -> dict[str, Any]:
    _move_aside(deed)
    deed.keeper_is_there()
    deed.aside.unlink()
    deed.drop.flush()
    return {}


def _hardlink(deed: Deed) -> dict[str, Any]:
    names = {"src_dir_fd": deed.keeper.folder, "dst_dir_fd": deed.drop.folder, "follow_symlinks": False}

    def link() -> None:
        with _impossible("lies on another volume than the picture to keep: no hard link leads there", errno.EXDEV):
            os.link(deed.keeper.name, deed.drop.name, **names)  # type: ignore[arg-type]
        still(deed.drop, identity(deed.keeper_status), _KEEPER)

    return _replaced(deed, link)


def _symlink(deed: Deed) -> dict[str, Any]:
    def link() -> None:
        os.symlink(_leads_to(deed.act), deed.drop.name, dir_fd=deed.drop.folder)
        status = os.stat(deed.drop.name, dir_fd=deed.drop.folder)
        if identity(status) != identity(deed.keeper_status):
            raise SkippedError("is left: the link would lead elsewhere")

    return _replaced(deed, link)


def _replaced(deed: Deed, link: Callable[[], None]) -> dict[str, Any]:
    """Put a link in the place of a file that holds the same bytes as the keeper, read just now."""
    _move_aside(deed)
    if hash_of(deed.aside, deed.status) != deed.act.keeper_was.file_hash:
        raise SkippedError("does not hold the bytes of the picture to keep")
    link()
    deed.keeper_is_there()
    deed.drop.flush()
    deed.aside.unlink()
    deed.drop.flush()
    return {}


def _reflink(deed: Deed) -> dict[str, Any]:
    cannot = errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV, errno.ENOSYS
    with _impossible("cannot share blocks on this file system (btrfs and XFS can): plan a hardlink", *cannot):
        share_blocks(deed.keeper, deed.drop, deed.status.st_size)
    return {}


def _xmp(deed: Deed) -> dict[str, Any]:
    assert deed.act.packet is not None
    unfinished = deed.drop.beside(COPY % deed.id.encode())
    write_new(unfinished, deed.act.packet, deed.keeper_status.st_mode & 0o666)
    move(unfinished, deed.drop)
    deed.keeper_is_there()
    deed.drop.flush()
    return {}


def _move_aside(deed: Deed) -> None:
    """Give the file that was looked at the name that it has until it is removed."""
    move(deed.drop, deed.aside)
    still(deed.aside, deed.known, _SWAPPED)


@contextmanager
def _impossible(reason: str, *numbers: int) -> Iterator[None]:
    """SkippedError for this reason in the place of an OSError with one of these numbers."""
    try:
        yield
    except OSError as error:
        if error.errno not in numbers:
            raise
        raise SkippedError(reason) from None


def _leads_to(act: Act) -> bytes:
    """What a symbolic link holds: its keeper, as it is reached from the folder of the link."""
    return os.path.relpath(os.path.realpath(act.keeper), os.path.realpath(os.path.dirname(act.path)))


_DEEDS: Final = {
    "quarantine": _quarantine,
    "trash": _trash,
    "delete": _delete,
    "hardlink": _hardlink,
    "symlink": _symlink,
    "reflink": _reflink,
    "xmp": _xmp,
}

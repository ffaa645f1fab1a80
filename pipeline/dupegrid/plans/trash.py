"""The trash of the desktop, as freedesktop.org has it: files go there by Send2Trash; where they are then."""

import importlib.util
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain, count
from typing import Final

from dupegrid.core.errors import UsageError
from dupegrid.core.text import printable
from dupegrid.plans.intact import Identity, identity
from dupegrid.plans.roots import Place, Roots, SkippedError

_FILES: Final = re.compile(rb"/(Trash|\.Trash/\d+|\.Trash-\d+)/files\Z")
_STEM: Final = 200  # bytes of a name that stay when the trash gives it a number


def check_there() -> None:
    """Raise UsageError where Send2Trash is lacking."""
    if importlib.util.find_spec("send2trash") is None:
        raise UsageError("the trash needs Send2Trash: pip install 'dupegrid[trash]', or plan another action")


def send(place: Place, device: int) -> None:
    """Move a file to the trash of its volume. SkippedError where it has none, or the trash refuses."""
    from send2trash import send2trash

    home = _home()
    if _device(os.path.expanduser(b"~")) == device and _device(home) != device:
        raise SkippedError("would be copied to another volume, where the trash is: plan a quarantine")
    try:
        send2trash(os.fsdecode(place.path))
    except OSError as error:
        raise SkippedError(f"was refused by the trash ({printable(error.strerror or str(error))})") from None


def found(path: bytes, known: Identity, roots: Roots) -> tuple[bytes, bytes] | None:
    """Where a file with this identity lies in the trash: its path, and the folder `files` of that trash."""
    for files in (os.path.join(trash, b"files") for trash in _trashes(path)):
        with suppress(OSError, SkippedError):
            for name in chain(_numbered(path, files, roots), _alike(path, files)):
                with roots.place(os.path.join(files, name), files) as place:
                    status = place.status()
                if status is not None and identity(status) == known:
                    return os.path.join(files, name), files
    return None


def _numbered(path: bytes, files: bytes, roots: Roots) -> Iterator[bytes]:
    """The names that Send2Trash gives, as far as there are such: to list all that is in a trash takes its time."""
    stem, ending = os.path.splitext(os.path.basename(path))
    for number in count():
        name = stem + (b" %d" % number if number else b"") + ending
        with roots.place(os.path.join(files, name), files) as place:
            if place.status() is None:
                return
        yield name


def _alike(path: bytes, files: bytes) -> Iterator[bytes]:
    """What is there and begins alike: a desktop has numbers of its own."""
    stem = os.path.splitext(os.path.basename(path))[0][:_STEM]
    yield from sorted(name for name in os.listdir(files) if name.startswith(stem))


def is_in_one(to: bytes, files: bytes, path: bytes) -> bool:
    """Whether a path is one that a trash gives a file, in its folder `files`."""
    folder, name = os.path.split(to)
    stem = os.path.splitext(os.path.basename(path))[0][:_STEM]
    return folder == files and _FILES.search(files) is not None and name.startswith(stem)


def info_of(to: bytes) -> tuple[bytes, bytes]:
    """The file that says of one in the trash where it came from, and its folder."""
    files, name = os.path.split(to)
    folder = os.path.join(os.path.dirname(files), b"info")
    return os.path.join(folder, name + b".trashinfo"), folder


def _trashes(path: bytes) -> list[bytes]:
    top, uid = os.path.dirname(path), str(os.getuid()).encode()
    while not os.path.ismount(top) and top != b"/":
        top = os.path.dirname(top)
    return [_home(), os.path.join(top, b".Trash", uid), os.path.join(top, b".Trash-" + uid)]


def _home() -> bytes:
    data = os.environb.get(b"XDG_DATA_HOME") or os.path.expanduser(b"~/.local/share")
    return os.path.join(data, b"Trash")


def _device(path: bytes) -> int:
    """The volume of a path, or of where it would be made."""
    while True:
        try:
            return os.stat(path).st_dev
        except FileNotFoundError:
            path = os.path.dirname(path)

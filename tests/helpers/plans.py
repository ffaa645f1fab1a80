"""Plans as a run's tables have them, made by hand; and trees of files, as they are told apart."""

import errno
import hashlib
import itertools
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import dupegrid
from dupegrid.plans import roots
from dupegrid.storage.schemas import PLAN
from dupegrid.storage.tables import write_table

_STAMPS = ("size_bytes", "mtime_ns", "ctime_ns", "device", "inode", "file_hash")


def plan_rows(run: dupegrid.Run, action: str = "quarantine") -> list[dict[str, object]]:
    """A row a duplicate of a run, which goes; and a row a bridge, which is kept."""
    images, rows = run.images.to_pylist(), []
    for member in run.clusters.to_pylist():
        if member["role"] == "keep":
            continue
        image, keeper = images[member["image"]], images[member["keeper"]]
        goes = member["role"] == "duplicate"
        row = dict.fromkeys(PLAN.names) | {
            "action": action if goes else "keep",
            "reason": None if goes else member["reason"],
            "cluster": member["cluster"],
            "image": image["id"],
            "path": image["path"],
            "path_raw": image["path_raw"],
            "keeper": keeper["id"],
            "keeper_path": keeper["path"],
            "keeper_path_raw": keeper["path_raw"],
            "mse": member["mse_to_keeper"],
        }
        row |= {name: image[name] for name in _STAMPS} | {f"keeper_{name}": keeper[name] for name in _STAMPS}
        rows.append(row)
    return rows


def sidecar(row: dict[str, object], path: Path) -> dict[str, object]:
    """The row of a file that goes with the picture of another row."""
    status = path.stat()
    numbers = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino, None)
    facts = dict(zip(_STAMPS, numbers, strict=True))
    names = {"path": str(path), "path_raw": os.fsencode(path), "image": None, "goes_with": row["image"]}
    return row | names | facts


def write_plan(run: dupegrid.Run, rows: Iterable[dict[str, object]]) -> None:
    write_table(run.path / "plan.parquet", pa.Table.from_pylist(list(rows), PLAN))


def planned(run: dupegrid.Run, action: str = "quarantine") -> list[dict[str, object]]:
    """Write the plan of a run. Returns the rows that go."""
    rows = plan_rows(run, action)
    write_plan(run, rows)
    return [row for row in rows if row["action"] != "keep"]


def state(folder: Path) -> dict[bytes, tuple[object, ...]]:
    """Every path below a folder: kind, mode, and of a file its bytes and mtime, of a link where it leads."""
    found = {}
    for base, dirs, files in os.walk(os.fsencode(folder)):
        for name in [*dirs, *files]:
            path = os.path.join(base, name)
            status = os.lstat(path)
            kind, mode = stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode)
            if stat.S_ISREG(kind):
                found[path] = kind, mode, file_hash(path), status.st_mtime_ns
            else:
                found[path] = kind, mode, os.readlink(path) if stat.S_ISLNK(kind) else None
    return found


def file_hash(path: bytes | Path) -> str:
    """The hash of a file, as file_hash of images.parquet."""
    return hashlib.blake2b(Path(os.fsdecode(path)).read_bytes(), digest_size=16).hexdigest()


def trash_in(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Have the trash of the user in a folder."""
    other = pytest.importorskip("send2trash.plat_other")
    patch.setenv("XDG_DATA_HOME", str(folder / "share"))
    patch.setattr(other, "XDG_DATA_HOME", os.fsencode(folder / "share"))
    patch.setattr(other, "HOMETRASH_B", os.fsencode(folder / "share/Trash"))


class KilledError(BaseException):
    """The process is gone: nothing that it would have done after this happens."""


class Faults:
    """Counts the calls by which files change, and ends the process at one, or has the system refuse from one on.

    Ends it before the call, or after it; once it is gone, it changes nothing more.
    """

    NAMES = ("link", "unlink", "symlink", "mkdir", "rmdir", "rename", "write", "fsync", "ftruncate", "utime", "fchmod")

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.calls, self.at, self.kind, self.dead = 0, -1, "", False
        self.made = 0  # calls by the work that was done last
        for name in self.NAMES:
            patch.setattr(os, name, self._wrapped(getattr(os, name), name))
        patch.setattr(roots, "renameat2", self._wrapped(roots.renameat2, "renameat2"))

    def set(self, at: int = -1, kind: str = "before") -> None:
        """From now on call number `at`, counted from 0, is the last: 'before' or 'after' it, or it is 'refused'."""
        self.calls, self.at, self.kind, self.dead = 0, at, kind, False

    def at_call(self, number: int, work: Callable[[], object], kind: str = "before") -> bool:
        """Do some work, killed at this call. Returns whether it was, and had not come to its end before."""
        self.set(number, kind)
        try:
            work()
        except KilledError:
            return True
        finally:
            self.made = self.calls
            self.set()
        return False

    def at_calls(self, step: int, work: Callable[[], object]) -> Iterator[int]:
        """Do some work again and again, killed at every so many-th call in turn, until it comes to its end.

        Gives the number of the call after each kill.
        """
        for number in itertools.count(0, step):
            if not self.at_call(number, work, "after" if number % 2 else "before"):
                assert self.made <= number, f"it went on over call {number} of {self.made}"
                return
            yield number

    def _wrapped(self, function: Callable[..., object], name: str) -> Callable[..., object]:
        def called(*arguments: object, **options: object) -> object:
            if self.dead:
                raise KilledError
            number, self.calls = self.calls, self.calls + 1
            if number == self.at and self.kind == "before":
                self.dead = True
                raise KilledError
            if self.kind == "refused" and 0 <= self.at <= number and name not in ("unlink", "ftruncate", "rmdir"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            try:
                return function(*arguments, **options)
            finally:  # also after a call that is refused: the name was taken, or gone
                if number == self.at and self.kind == "after":
                    self.dead = True
                    raise KilledError

        return called

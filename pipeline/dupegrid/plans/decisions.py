"""What people decided of pairs of pictures: decisions.parquet, a folder of small parts that are only ever added.

A part appears whole and is on disk when `append` returns; its name says when its last decision was made. Where there
are many, one is written that holds them all, and then those are removed: whoever reads meanwhile, or is killed, finds
each decision at least once, and the same one twice counts once. So two may write at a time, and none needs the lock.
"""

import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.errors import DamagedError, RunDirError, StoreError, UsageError
from dupegrid.core.text import printable
from dupegrid.storage.files import flush_folder
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.schemas import DECISIONS
from dupegrid.storage.tables import parts_in, read_table, write_table
from dupegrid.storage.words import VERDICTS

_MANY: Final = 64  # parts, that are put together
_TRIES: Final = 20  # what is listed may be gone when it is read, as another has put it together with others
_HASH: Final = "^[0-9a-f]{32}$"
_WORD_BYTES: Final = 100  # at most, of `by`
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)
# Of two decisions of one moment the one that lets fewer files go counts.
_CAUTION: Final = ("undecided", "same", "variant", "not-same")
_ORDER: Final = ("decided_at", "hash_a", "hash_b", "caution", "keeper", "by")


def decided_row(a: str, b: str, decision: str, keeper: str | None, by: str) -> dict[str, Any]:
    """What was decided of two pictures, by the hashes of their files, for `append`. UsageError where it is one."""
    if a == b:
        raise UsageError("the two are equal byte for byte: there is nothing to decide")
    hash_a, hash_b = sorted((a, b))
    return {"hash_a": hash_a, "hash_b": hash_b, "decision": decision, "keeper": keeper, "by": by}


def append(run_dir: RunDir, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add decisions, which are on disk when this returns.

    A row is a mapping: hash_a, hash_b in any order, `decision`, one of VERDICTS, `by`, and where that is said `keeper`,
    one of the two. What has no `decided_at` is decided now, after all that is there already, in the order given. Raises
    UsageError where a row is none, RunDirError where it cannot be written.
    """
    rows = list(rows)
    if not rows:
        return
    parts = _parts(run_dir.decisions)
    last = max((_time_of(part) for part in parts), default=0)
    now = _EPOCH + max(time.time_ns() // 1000, last + 1) * _MICROSECOND
    stamped = [{**row, "decided_at": row.get("decided_at") or now + k * _MICROSECOND} for k, row in enumerate(rows)]
    _write(run_dir.decisions, union([_table(stamped)]))
    if len(parts) >= _MANY:
        _put_together(run_dir.decisions)


def append_table(run_dir: RunDir, table: pa.Table) -> int:
    """Add those decisions of a table (schema DECISIONS) that are not there yet, and say how many these were.

    Raises UsageError where a row is no decision.
    """
    rows = union([_checked(table.select(DECISIONS.names).cast(DECISIONS))])
    known = read(run_dir)
    more = len(union([known, rows])) - len(known)
    if more:
        _write(run_dir.decisions, rows)
    return more


def read(run_dir: RunDir) -> pa.Table:
    """All decisions of a run in the order in which they were made (schema DECISIONS); none where nobody decided.

    Raises StoreError where a part is damaged: nobody but the user can make it again, so that nothing removes it.
    """
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):
            return union([_part(part) for part in _parts(run_dir.decisions)])
    raise StoreError(f"{printable(str(run_dir.decisions))} changes all the time: try again when others have ended")


def union(tables: Sequence[pa.Table]) -> pa.Table:
    """Every decision of some tables once, in the order of time (schema DECISIONS): the same whichever comes first."""
    table = pa.concat_tables([DECISIONS.empty_table(), *(table.cast(DECISIONS) for table in tables)])
    once = table.group_by(DECISIONS.names).aggregate([])
    ranked = once.append_column("caution", pc.index_in(once["decision"], pa.array(_CAUTION)))
    return ranked.sort_by([(name, "ascending") for name in _ORDER]).select(DECISIONS.names).combine_chunks()


def in_force(table: pa.Table) -> pa.Table:
    """Of a table of decisions in their order the last of each pair, without those that were taken back."""
    pairs = pc.binary_join_element_wise(table["hash_a"], table["hash_b"], " ").to_numpy()[::-1]
    _, first = np.unique(pairs.astype(str), return_index=True)
    last = table.take(pa.array(np.sort(len(table) - 1 - first), pa.int64()))
    return last.filter(pc.not_equal(last["decision"], "undecided"))


def _table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as a table of schema DECISIONS. UsageError where one is no decision."""
    both = ("hash_a", "hash_b")
    ordered = [{**row, **dict(zip(both, sorted(str(row.get(name)) for name in both), strict=True))} for row in rows]
    try:
        return _checked(pa.Table.from_pylist(ordered, DECISIONS))
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        raise UsageError("a decision has values of other kinds than the columns of DECISIONS") from None


def _checked(table: pa.Table) -> pa.Table:
    """The same table. UsageError where a row of it is no decision."""
    hash_a, hash_b, keeper = (table[name] for name in ("hash_a", "hash_b", "keeper"))
    one_of_two = pc.or_(pc.equal(keeper, hash_a), pc.equal(keeper, hash_b))
    kept = pc.and_(one_of_two, pc.equal(table["decision"], "same"))
    by = pc.and_(pc.utf8_is_printable(table["by"]), pc.less_equal(pc.binary_length(table["by"]), _WORD_BYTES))
    since, until = (pc.greater_equal(table["decided_at"], _EPOCH), pc.less(table["decided_at"], _LATEST))
    for fine, problem in (
        (pc.match_substring_regex(hash_a, _HASH), "is of no two pictures by their file_hash"),
        (pc.match_substring_regex(hash_b, _HASH), "is of no two pictures by their file_hash"),
        (pc.less(hash_a, hash_b), "is of one picture and itself, or names its two in the wrong order"),
        (pc.is_in(table["decision"], pa.array(list(VERDICTS))), f"is none of {', '.join(VERDICTS)}"),
        (pc.or_(pc.is_null(keeper), pc.fill_null(kept, False)), "keeps what is none of the two, or are not the same"),
        (pc.and_(since, until), "does not say when it was made"),
        (pc.and_(by, pc.greater(pc.binary_length(table["by"]), 0)), "does not say by what it was made, in a word"),
    ):
        if not pc.all(pc.fill_null(fine, False)).as_py() and len(table):
            raise UsageError(f"a decision {problem}")
    return table


def _parts(folder: Path) -> list[Path]:
    try:
        return parts_in(folder)
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        raise RunDirError(f"{printable(str(folder))} is no folder, and not one of dupegrid's: move it away") from None


def _time_of(part: Path) -> int:
    return int(part.name.split("-")[1])


def _part(path: Path) -> pa.Table:
    """The decisions of a part. FileNotFoundError where it has been put together with others."""
    try:
        table = read_table(path, DECISIONS)
    except DamagedError as error:
        if not path.exists():
            raise FileNotFoundError(path) from None
        raise StoreError(
            f"{printable(str(path))} is damaged ({error.problem}): put back a copy of it, "
            "or move it away and decide again what it held"
        ) from None
    try:
        return _checked(table)
    except UsageError as error:
        raise StoreError(f"{printable(str(path))} is no part of dupegrid's ({error}): move it away") from None


def _write(folder: Path, rows: pa.Table) -> None:
    """A new part with these rows, on disk when this returns."""
    last = (pc.max(rows["decided_at"]).as_py() - _EPOCH) // _MICROSECOND
    path = folder / f"part-{last:020d}-{uuid.uuid4().hex}.parquet"
    for _ in range(_TRIES):
        try:
            if not folder.is_dir():
                folder.mkdir(exist_ok=True)
                flush_folder(folder.parent)
            write_table(path, rows)
            flush_folder(folder)
            return
        except FileNotFoundError:
            continue  # a run that has just begun swept away what was not in its place yet
        except OSError as error:
            raise RunDirError(f"cannot write {printable(str(path))}: {error.strerror}; nothing was decided") from None
    raise RunDirError(f"{printable(str(folder.parent))} is no longer there: nothing was decided")


def _put_together(folder: Path) -> None:
    """Write one part that holds what all others do, and remove those."""
    with suppress(FileNotFoundError):  # another is at it
        parts = _parts(folder)
        _write(folder, union([_part(part) for part in parts]))
        for part in parts:
            part.unlink(missing_ok=True)

"""Files that belong together go together, or stay: RAW and JPEG, HEIC and film, sidecars. Tables in, a table out.

They are known by folder and name. Pictures of one stem with a RAW or a film among them are a **unit**: all of it goes,
or nothing. A RAW or a film that was not compared goes only for one beside the keeper that is equal byte for byte.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence, Set
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Bools
from dupegrid.core.text import display_path
from dupegrid.images.facts import IDENTITY
from dupegrid.images.formats import RAW_ENDINGS
from dupegrid.plans.plan import kept
from dupegrid.storage.schemas import PLAN

_WITH: Final = {*RAW_ENDINGS, b"mov", b"mp4"}
_SIDECARS: Final = {b"xmp", b"json", b"aae", b"thm"}
# Of Google Takeout: 'a.jpg.supplemental-metadata.json', cut short where it is long; 'a.jpg(1).json' is of 'a(1).jpg';
# and 'a-edited.jpg' has none of its own.
_TAKEOUT: Final = b"supplemental-metadata"
_NUMBERED: Final = re.compile(rb"(.*)(\.[^.]*)(\(\d+\))", re.DOTALL)
_ROWS_AT_ONCE: Final = 1 << 16  # as objects of Python's
BESIDE = pa.schema([("path_raw", pa.binary()), *((name, pa.int64()) for name in IDENTITY)])  # stamps: what may go along


RatingOf = Callable[[bytes], int | None]  # the path of an XMP sidecar -> the rating that it says
HashOf = Callable[[bytes, int], str | None]  # a path and its size -> file_hash, None where it cannot be read


_OF_PICTURE: Final = ("image", "mse", "relation", "rule", "compared", "lost_metadata", "file_hash")


class _Along(NamedTuple):
    """A file that goes with a picture, or is kept for a `reason`."""

    path: bytes
    row: int  # of its picture in the plan
    other: bytes | None  # the equal file that it goes for, if it is no sidecar
    reason: str | None = None


class _Folder(NamedTuple):
    """The regular files of a folder."""

    stems: dict[bytes, list[bytes]]  # stem -> names, but sidecars
    sidecars: list[bytes]


def is_named_after(name: bytes, picture: bytes) -> bool:
    """Whether a file of this name belongs to a picture of that name in its folder."""
    stem, ending = _split(name)
    if ending not in _SIDECARS:
        return stem == _split(picture)[0]
    other, ending_of_other = _split(stem)
    if ending_of_other in _WITH and other == _split(picture)[0]:  # of the other half: a.dng.xmp
        return True
    return picture in _owners(name, _Folder({_split(picture)[0]: [picture]}, [name]))


def is_sidecar(path: bytes) -> bool:
    """Whether a file of this name says something of a picture, and is none itself."""
    return _split(path.rpartition(b"/")[2])[1] in _SIDECARS


def may_go_along(name: bytes) -> bool:
    """Whether a file of this name may belong to a picture."""
    ending = _split(name)[1]
    return ending in _SIDECARS or ending in _WITH


def with_units(plan: pa.Table, images: pa.Table, beside: pa.Table, protected: Bools, hash_of: HashOf) -> pa.Table:
    """The same plan, where what belongs together goes together or is kept, with a row more for each file that belongs.

    `beside` (schema BESIDE) lists the regular files in the folders of the plan's files and their keepers, some of which
    are `protected`, bool (files,); `images` is of schema IMAGES; `hash_of` reads a file that no run has read.
    """
    if beside["size_bytes"].null_count == len(beside):  # no file that may belong to another
        return plan
    folders = _folders(beside)
    goes = pc.not_equal(plan["action"], "keep").to_numpy()
    paths, keepers = plan["path_raw"].to_pylist(), plan["keeper_path_raw"].to_pylist()
    going = {paths[row]: row for row in goes.nonzero()[0].tolist()}
    known = _Known(images, beside, hash_of)
    never = set(beside["path_raw"].filter(pa.array(protected)).to_pylist())
    # What a partner may not be, as its own row says what becomes of it; that of a RAW says no more than that its keeper
    # is no RAW, and gives way to one for its copy beside the keeper.
    raws = plan["path_raw"].filter(pc.equal(plan["reason"], "raw")).to_pylist()
    in_plan = {*paths, *keepers}.difference(raws)
    along: list[_Along] = []
    stay: set[int] = set()
    for members, rows in _units(going, folders):
        partners = [path for path in members if path not in going]
        found = [
            None
            if path in in_plan or path in never
            else _equal_partner(path, [keepers[row] for row in rows], folders, known, going)
            for path in partners
        ]
        if any(other is None for other in found):
            stay.update(rows)
            continue
        along += [_Along(path, rows[0], other) for path, other in zip(partners, found, strict=True)]
    owners = {one.path: one.row for one in along} | {path: row for path, row in going.items() if row not in stay}
    for path, of in _sidecars(owners, folders):
        reason = "protected" if path in never else None if owners.keys() >= set(of) else "shared"
        along.append(_Along(path, owners[next(owner for owner in of if owner in owners)], None, reason))
    return _joined(plan, np.isin(np.arange(len(plan)), list(stay)), along, known)


def with_lost_sidecars(plan: pa.Table, beside: pa.Table, rated: Set[bytes], rating_of: RatingOf) -> pa.Table:
    """The same plan, whose `lost_metadata` names a sidecar where the file has one and its keeper has none.

    And a rating where the file has one, in itself or in a sidecar, and its keeper has none. `rated` are the paths of
    files that have one in themselves; `rating_of` reads a sidecar.
    """
    of: dict[bytes, list[bytes]] = defaultdict(list)
    for folder, listed in _folders(beside).items():
        for name in listed.sidecars:
            for owner in _owners(name, listed):
                of[_inside(folder, owner)].append(_inside(folder, name))

    def is_rated(path: bytes) -> bool:
        sidecars = [name for name in of.get(path, ()) if _split(name)[1] == b"xmp"]
        return path in rated or any(rating_of(name) is not None for name in sidecars)

    lost = []
    for start in range(0, len(plan), _ROWS_AT_ONCE):
        some, texts = plan.slice(start, _ROWS_AT_ONCE), []
        columns = (some[name].to_pylist() for name in ("lost_metadata", "path_raw", "keeper_path_raw"))
        for text, path, keeper in zip(*columns, strict=True):
            words = [word for word in (text or "").split(", ") if word not in ("", "rating")]
            words += ["rating"] if is_rated(path) and not is_rated(keeper) else []
            words += ["sidecar"] if path in of and keeper not in of else []
            texts.append(", ".join(words) or None)
        lost.append(pa.array(texts, pa.string()))
    place = plan.column_names.index("lost_metadata")
    return plan.set_column(place, PLAN.field("lost_metadata"), pa.chunked_array(lost, pa.string()))


class _Known:
    """What is known of files that may go along: as images, or from the listing alone."""

    def __init__(self, images: pa.Table, beside: pa.Table, hash_of: HashOf) -> None:
        self._hash_of = hash_of
        listed = beside.filter(pc.is_valid(beside["size_bytes"]))
        stamps = listed.select(IDENTITY).to_pylist()
        self._stamps: dict[bytes, dict[str, Any]] = dict(zip(listed["path_raw"].to_pylist(), stamps, strict=True))
        wanted = pc.is_in(images["path_raw"], beside["path_raw"].combine_chunks())
        some = images.filter(wanted).select(["path_raw", "id", "file_hash"]).to_pylist()
        self._ids = {row["path_raw"]: row["id"] for row in some}
        self._hashes: dict[bytes, str | None] = {row["path_raw"]: row["file_hash"] for row in some}

    def are_equal(self, path: bytes, other: bytes) -> bool:
        """Whether two files are equal byte for byte, as far as that can be read."""
        same_size = self._stamps[path]["size_bytes"] == self._stamps[other]["size_bytes"]
        return same_size and self._hash(path) == self._hash(other) is not None

    def _hash(self, path: bytes) -> str | None:
        if self._hashes.get(path) is None:
            self._hashes[path] = self._hash_of(path, self._stamps[path]["size_bytes"])
        return self._hashes[path]

    def rows(self, plan: pa.Table, along: Sequence[_Along]) -> pa.Table:
        """Rows of schema PLAN for files that go along, or are kept beside a picture that goes."""
        of = plan.take(pa.array([one.row for one in along], pa.int64())).to_pylist()
        return pa.Table.from_pylist([self._row(one, picture) for one, picture in zip(along, of, strict=True)], PLAN)

    def _row(self, one: _Along, picture: dict[str, Any]) -> dict[str, Any]:
        """That of its picture, but for what is of the file itself."""
        path, other = one.path, one.other
        row = picture | dict.fromkeys(_OF_PICTURE) | self._stamps[path]
        row |= {"path": display_path(path), "path_raw": path, "goes_with": picture["image"], "reason": one.reason}
        if one.reason is not None:
            row["action"] = "keep"
        if other is not None:  # the other half of a unit, which goes for a file of its own
            row |= {"image": self._ids.get(path), "file_hash": self._hash(path), "keeper": self._ids.get(other)}
            row |= {"keeper_path": display_path(other), "keeper_path_raw": other, "keeper_file_hash": self._hash(other)}
            row |= {f"keeper_{name}": value for name, value in self._stamps[other].items()}
        return row


def _folders(beside: pa.Table) -> dict[bytes, _Folder]:
    folders: dict[bytes, _Folder] = defaultdict(lambda: _Folder(defaultdict(list), []))
    for path in beside["path_raw"].to_pylist():
        folder, _, name = path.rpartition(b"/")
        stem, ending = _split(name)
        (folders[folder].sidecars if ending in _SIDECARS else folders[folder].stems[stem]).append(name)
    return folders


def _units(going: dict[bytes, int], folders: dict[bytes, _Folder]) -> Iterator[tuple[list[bytes], list[int]]]:
    """The paths of each unit that something goes of, and the rows of the plan that go of it."""
    seen = set()
    for path in going:
        folder, _, name = path.rpartition(b"/")
        stem = _split(name)[0]
        names = folders[folder].stems.get(stem, []) if folder in folders else []
        if len(names) < 2 or (folder, stem) in seen or not any(_split(other)[1] in _WITH for other in names):
            continue
        seen.add((folder, stem))
        members = [_inside(folder, other) for other in names]
        yield members, [going[member] for member in members if member in going]


def _equal_partner(
    path: bytes, keepers: list[bytes], folders: dict[bytes, _Folder], known: _Known, going: dict[bytes, int]
) -> bytes | None:
    """The file beside one of the keepers, of the same stem as that, that is equal byte for byte and stays."""
    ending = _split(path.rpartition(b"/")[2])[1]
    if ending not in _WITH:
        return None
    for keeper in keepers:
        folder, _, name = keeper.rpartition(b"/")
        for other in folders[folder].stems.get(_split(name)[0], []) if folder in folders else []:
            found = _inside(folder, other)
            if (
                _split(other)[1] == ending
                and found not in (path, keeper)
                and found not in going
                and known.are_equal(path, found)
            ):
                return found
    return None


def _sidecars(owners: dict[bytes, int], folders: dict[bytes, _Folder]) -> Iterator[tuple[bytes, list[bytes]]]:
    """Each sidecar of files that go, and all the files that it belongs to."""
    for folder in sorted({path.rpartition(b"/")[0] for path in owners} & folders.keys()):
        listed = folders[folder]
        for name in listed.sidecars:
            of = [_inside(folder, owner) for owner in _owners(name, listed)]
            if any(owner in owners for owner in of):
                yield _inside(folder, name), of


def _owners(sidecar: bytes, listed: _Folder) -> list[bytes]:
    """The names of the files that a sidecar belongs to: of its whole name, or of its stem."""
    base, ending = _split(sidecar)
    bases = [base]
    if ending == b"json":
        bare, number = re.fullmatch(rb"(.*?)(\(\d+\))?", base, re.DOTALL).groups(b"")  # type: ignore[union-attr]
        head, _, tail = bare.rpartition(b".")
        if tail and _TAKEOUT.startswith(tail.lower()):
            bases.append(head + number)
        for numbered in list(bases):
            if match := _NUMBERED.fullmatch(numbered):
                bases.append(match[1] + match[3] + match[2])
        bases += [b"%s-edited.%s" % (stem, tail) for stem, _, tail in (base.rpartition(b".") for base in bases) if stem]
    whole = [name for name in bases if name in listed.stems.get(_split(name)[0], ())]
    return list(dict.fromkeys([*whole, *(name for stem in bases for name in listed.stems.get(stem, []))]))


def _inside(folder: bytes, name: bytes) -> bytes:
    return b"%s/%s" % (folder, name)


def _split(name: bytes) -> tuple[bytes, bytes]:
    """The stem of a name and its ending in small letters, as os.path.splitext has them, in a third of its time."""
    stem, _, ending = name.rpartition(b".")
    return (stem, ending.lower()) if stem.strip(b".") else (name, b"")


def _joined(plan: pa.Table, stay: Bools, along: Sequence[_Along], known: _Known) -> pa.Table:
    """The plan, of which the units that `stay`, bool (rows,), are kept, and after each picture what goes along."""
    more = known.rows(plan, along)
    table = pa.concat_tables([kept(plan, stay, "unit"), more])
    places = [*range(len(plan)), *(one.row for one in along)]
    order = np.argsort(np.array(places, np.int64), kind="stable")
    partners = pa.array([one.path for one in along if one.other is not None], pa.binary())
    is_partner = pc.is_in(plan["path_raw"], partners).to_numpy()
    return table.take(pa.array(order[~np.append(is_partner, np.zeros(len(along), bool))[order]]))

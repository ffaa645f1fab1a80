"""What a walk may find: the stamps of files, names that are left out, which root a path is under."""

import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Ints
from dupegrid.core.config import Config
from dupegrid.core.keys import fingerprint
from dupegrid.storage.schemas import FILES


class Stamps(NamedTuple):
    """What is known of a file that lies in no folder, by the names that the status of a file has."""

    st_size: int = 0
    st_mtime_ns: int = 0
    st_ctime_ns: int = 0
    st_dev: int = 0
    st_ino: int = 0
    st_nlink: int = 1


Wanted = Callable[[bytes, bool], bool]  # of a path, and whether it is a folder's: is it looked at?
Save = Callable[[int, Iterator[bytes]], None]  # takes the bytes of a file, by its place among those asked for
Found = tuple[bytes, os.stat_result | Stamps, bool]  # path, status, whether a symbolic link was followed to get there

# The names that `apply` gives: no walk goes into the one, or takes the others, of an act, for pictures.
QUARANTINE = b".dupegrid-quarantine"
ASIDE, COPY, LINK = (b".dupegrid-%s." + kind for kind in (b"aside", b"copy", b"link"))
_ACT = rb"\d{8}-\d{6}-[0-9a-f]{6}-\d+"  # the id of one
_ON_ITS_WAY = re.compile(b"|".join(re.escape(name).replace(b"%s", _ACT) for name in (ASIDE, COPY, LINK)))
_ESCAPED = (b"http://", b"https://")
# Of freedesktop.org on a disk and at home, macOS, Windows, Samba, Synology and QNAP.
_IS_TRASH = re.compile(
    rb"/(\.Trash(es|-\d+)?|\.local/share/Trash|\$RECYCLE\.BIN|RECYCLER|[.#@]recycle)\Z", re.IGNORECASE
)
# Of freedesktop.org and Android, Synology, QNAP, Lightroom, Nextcloud, Picasa, which has there what its edits were made
# of, Photos, iPhoto and Aperture.
_IS_A_PROGRAMS = re.compile(
    rb"/(\.thumbnails|\.cache/thumbnails|@eaDir|\.@__thumb|[^/]+\.lrdata|appdata_\w+/preview|\.picasaoriginals"
    rb"|[^/]+\.photoslibrary/resources/derivatives"
    rb"|[^/]+\.(photolibrary|migratedphotolibrary|aplibrary)/(Thumbnails|Previews))\Z",
    re.IGNORECASE,
)


def stamps(place: bytes, name: bytes, size_bytes: int, mtime_ns: int, proof: Sequence[Any]) -> Stamps:
    """The stamps of a file, of that name in an archive or at an address, from what proves that it has not changed.

    They differ where the proof does. The change time is the other time, or 0 where there is no proof: merge.py and the
    index then go by the hash.
    """
    time_ns = mtime_ns or int(bool(proof))
    whole = [name.hex(), size_bytes, time_ns, *proof]
    numbers = [int(fingerprint(*parts)[:16], 16) for parts in ([place.hex()], whole)]
    return Stamps(size_bytes, time_ns, time_ns if proof else 0, *numbers)


def plain(path: bytes) -> bytes:
    """A path as its names are: without the escapes of web addresses."""
    return unquote_to_bytes(path) if path.startswith(_ESCAPED) else path


def is_ours(name: bytes) -> bool:
    """Whether a file or folder of this name is one that `apply` put there: a quarantine, or a file on its way."""
    return name.startswith(b".dupegrid-") and (name == QUARANTINE or _ON_ITS_WAY.fullmatch(name) is not None)


def is_trash(folder: bytes) -> bool:
    """Whether what a folder holds was thrown away, by its path: none of it may be kept in the place of a picture."""
    return _IS_TRASH.search(folder) is not None


def is_a_programs(folder: bytes) -> bool:
    """Whether a program keeps pictures in a folder that it made of the user's, by its path: previews, originals.

    None of these may be kept in the place of a picture, and who moves them breaks what the program knows.
    """
    return _IS_A_PROGRAMS.search(folder) is not None


def names_below(folder: bytes, path: bytes) -> list[str]:
    """The names of the folders and the file on the way from a folder, with its '/', to a path below it."""
    return os.fsdecode(plain(path)[len(plain(folder)) :]).split("/")


def sides(config: Config, roots: Ints) -> pa.Array:
    """The group of files under these roots, by number, -1 for none."""
    if not config.against:
        return pa.nulls(len(roots), pa.string())
    return pa.array(np.where(roots < config.first_against, "a", "b"), pa.string(), mask=roots < 0)


def with_roots(files: pa.Table, config: Config) -> pa.Table:
    """Files of an earlier run under the roots of this one, by their paths: schema FILES.

    A file is under the innermost folder; else named by the list of paths, where there is one; else its root is null.
    """
    the_list = len(config.paths) if config.files_from else -1
    roots = np.full(len(files), the_list)
    for number, folder in sorted(_folders(config), key=lambda entry: len(entry[1])):
        is_it = pc.equal(files["path_raw"], pa.scalar(folder[:-1], pa.binary()))  # a root may be a file
        roots[pc.or_(pc.starts_with(files["path_raw"], folder), is_it).to_numpy()] = number
    columns = {"root": pa.array(roots.astype(np.int32), mask=roots < 0), "group": sides(config, roots)}
    return pa.table({name: columns.get(name, files[name]) for name in FILES.names}, schema=FILES)


def with_left_out(files: pa.Table, config: Config) -> pa.Table:
    """Say of the removed ones among files (schema FILES) whether the settings leave them out."""
    left_out = np.zeros(len(files), bool)
    removed = np.flatnonzero(files["removed"].to_numpy(zero_copy_only=False))
    folders = dict(_folders(config))
    ignored = tuple(os.fsencode(path).rstrip(b"/") + b"/" for path in config.ignore_path)
    for row, file in zip(removed.tolist(), files.take(pa.array(removed)).to_pylist(), strict=True):
        path = file["path_raw"]
        names = names_below(folders[file["root"]], path) if file["root"] in folders else []
        left_out[row] = (
            not has_extension(path, config)
            or (file["link_kind"] == "symbolic" and not config.follow_symlinks)
            or (path + b"/").startswith(ignored)
            or any(is_ignored(name, config.ignore_name) for name in names)
        )
    return files.set_column(files.column_names.index("left_out"), "left_out", pa.array(left_out))


def has_extension(path: bytes, config: Config) -> bool:
    """Whether a path ends as one of --extensions, if there are any."""
    return config.extensions is None or path.lower().endswith(tuple(map(os.fsencode, config.extensions)))


def is_ignored(name: str, patterns: Iterable[str]) -> bool:
    """Whether the name of a file or folder is one of those that --ignore-name leaves out."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _folders(config: Config) -> Iterator[tuple[int, bytes]]:
    """The folders among the roots, each with its number and as its paths begin; of one named twice, the first."""
    the_list = len(config.paths) if config.files_from else -1
    for number, root in reversed(list(enumerate(config.roots))):
        if number != the_list:
            yield number, os.fsencode(root).rstrip(b"/") + b"/"

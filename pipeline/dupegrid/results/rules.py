"""The rules by which a picture is kept: what of it each goes by, and how that is said. Pure."""

import fnmatch
import re
import unicodedata
from collections.abc import Callable
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Ints

# What cameras, phones and scanners write; of other formats, one of the same size was converted.
_CAMERA_FORMATS: Final = ("JPEG", "MPO", "HEIF", "TIFF")
_LOSSLESS: Final = ("TIFF", "PNG", "BMP", "PPM", "TGA", "SGI", "QOI", "PCX", "DIB", "IM")
COLUMNS: Final = (
    *("path", "path_raw", "root", "group", "link_kind", "width", "height", "size_bytes", "format", "has_icc", "camera"),
    *("taken_at", "latitude", "mtime_ns"),
)


def _typed(words: str) -> str:
    """Words as they are typed, and as macOS writes them into names: it takes accents apart."""
    return "|".join(dict.fromkeys([*words.split("|"), *unicodedata.normalize("NFD", words).split("|")]))


_COPY: Final = _typed("copy|kopie|copie|copia|cópia|kopia|kopi|kopya|kopio|копия|копія|コピー|副本|复制|複本|복사본")
# Google Takeout's '-edited' in the languages of its users: '-ha editado', '-編集済み'.
_EDIT: Final = _typed("edited|edit|bearbeitet|modifié|modificado|modificato|bewerkt|editado|editat|edytowane|編集済み")
_NUMBER: Final = r"([ _-]?\d+| ?\(\d+\))?"
_OF_IPHONES: Final = rf"(^|/)IMG_E\d{{4}}{_NUMBER}"  # 'IMG_E1234.JPG' is what somebody made of 'IMG_1234.JPG'
IS_EDIT: Final = rf"(?i)([ _-](de )?({_EDIT}){_NUMBER}|{_OF_IPHONES})(\.[^./]*)?$"
# 'Photo (1).jpg', 'Photo - Kopie.jpg', 'Photo-edited.jpg'; 'Copy of Photo.jpg', 'Kopie von Photo.jpg'.
_MADE_FROM_ANOTHER: Final = (
    rf"(?i)(( ?\(\d+\)|[ _-](de )?({_COPY}|{_EDIT}){_NUMBER}|{_OF_IPHONES})(\.[^./]*)?"
    rf"|(^|/)({_COPY})( ?\(\d+\)| \d+)? (of|von|de|di|da|van|av|af|z) [^/]*)$"
)


def in_folder(rows: pa.Table, glob: str) -> Ints:
    """0 where a folder above the image, written out or its last names, fits a glob such as '*/2019' or 'Camera*'."""
    pattern = re.compile(fnmatch.translate(glob.rstrip("/")))
    folders = pc.replace_substring_regex(rows["path"], r"/[^/]*$", "").combine_chunks().dictionary_encode()

    def fits(folder: str) -> bool:
        names = folder.split("/")
        tops = ["/".join(names[:end]) for end in range(1, len(names) + 1)]
        return any(pattern.match(top) or pattern.match(top.rpartition("/")[2]) for top in tops)

    known = np.array([fits(folder) for folder in folders.dictionary.to_pylist()], bool)
    return np.asarray(1 - known[folders.indices.to_numpy()], np.int64)


def _true(known: pa.ChunkedArray) -> Ints:
    return np.asarray(known.fill_null(False).to_numpy(), np.int64)


def _earliest(moments: pa.ChunkedArray) -> Ints:
    """Moments as numbers, those that are not known, or 0, last."""
    values = moments.cast(pa.int64()).fill_null(0).to_numpy()
    return np.where(values == 0, np.iinfo(np.int64).max, values)


def _pixels(rows: pa.Table) -> Ints:
    width, height = (rows[name].cast(pa.int64()).fill_null(0).to_numpy() for name in ("width", "height"))
    return np.asarray(width * height, np.int64)


def path_rank(paths: pa.ChunkedArray) -> Ints:
    """The place of each path among all of them: int64 (n,)."""
    rank = np.empty(len(paths), np.int64)
    rank[pc.sort_indices(paths).to_numpy()] = np.arange(len(paths))
    return rank


# rule -> what of it decides: rows of schema IMAGES -> int64 (n,), the smaller before the larger; 'path' is path_rank
VALUES: Final[dict[str, Callable[[pa.Table], Ints]]] = {
    "link": lambda rows: _true(pc.equal(rows["link_kind"], "symbolic")),  # never kept over what it leads to
    "archive": lambda rows: 1 - _true(pc.equal(rows["group"], "b")),
    "camera": lambda rows: 1 - _true(pc.is_valid(rows["camera"])),
    "pixels": lambda rows: -_pixels(rows),
    "format": lambda rows: 1 - _true(pc.is_in(rows["format"], pa.array(_CAMERA_FORMATS))),
    "lossless": lambda rows: 1 - _true(pc.is_in(rows["format"], pa.array(_LOSSLESS))),
    "icc": lambda rows: 1 - _true(rows["has_icc"]),
    "date": lambda rows: 1 - _true(pc.is_valid(rows["taken_at"])),
    "gps": lambda rows: 1 - _true(pc.is_valid(rows["latitude"])),  # has_gps may be of coordinates that say no place
    "name": lambda rows: _true(pc.match_substring_regex(rows["path"], _MADE_FROM_ANOTHER)),
    "taken": lambda rows: _earliest(rows["taken_at"]),
    "older": lambda rows: _earliest(rows["mtime_ns"]),  # 0: the file system does not say
    "newer": lambda rows: -rows["mtime_ns"].fill_null(0).to_numpy(),
    "bytes": lambda rows: -rows["size_bytes"].to_numpy(),
    "paths": lambda rows: rows["root"].cast(pa.int64()).fill_null(1 << 40).to_numpy(),
    "shortest": lambda rows: pc.binary_length(rows["path_raw"]).cast(pa.int64()).to_numpy(),
}


def _moment(rows: pa.Table, column: str, kind: pa.DataType) -> pa.ChunkedArray:
    return pc.utf8_slice_codeunits(rows[column].cast(kind).cast(pa.string()), 0, 19).fill_null("none")


def _yes_or_no(known: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(known.fill_null(False), "yes", "no")


# rule -> what it compared, for people: rows of schema IMAGES -> text (n,)
SHOWN: Final[dict[str, Callable[[pa.Table], pa.ChunkedArray]]] = {
    "camera": lambda rows: rows["camera"].fill_null("none"),
    "pixels": lambda rows: pc.binary_join_element_wise(
        rows["width"].cast(pa.string()), rows["height"].cast(pa.string()), " x "
    ),
    "format": lambda rows: rows["format"].fill_null("none"),
    "lossless": lambda rows: rows["format"].fill_null("none"),
    "icc": lambda rows: _yes_or_no(rows["has_icc"]),
    "date": lambda rows: _yes_or_no(pc.is_valid(rows["taken_at"])),
    "gps": lambda rows: _yes_or_no(pc.is_valid(rows["latitude"])),
    "taken": lambda rows: _moment(rows, "taken_at", pa.timestamp("s")),
    "older": lambda rows: _moment(rows, "mtime_ns", pa.timestamp("ns")),
    "newer": lambda rows: _moment(rows, "mtime_ns", pa.timestamp("ns")),
    "bytes": lambda rows: pc.binary_join_element_wise(rows["size_bytes"].cast(pa.string()), "bytes", " "),
}

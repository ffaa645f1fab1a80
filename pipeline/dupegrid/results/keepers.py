"""Which picture of a cluster is kept: the original before what was made from it. Pure: a table in, ranks out."""

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Ints

# What cameras, phones and scanners write; of other formats, one of the same size was converted.
_CAMERA_FORMATS: Final = ("JPEG", "MPO", "HEIF", "TIFF")
_SIZES: Final = ("width", "height", "size_bytes")
_COLUMNS: Final = ("path", "path_raw", "group", "link_kind", "format", "has_icc", "camera", "mtime_ns", *_SIZES)
_COPY: Final = "copy|kopie|copie|copia|cópia|kopia|kopi|kopya|kopio|копия|копія|コピー|副本|复制|複本|복사본"
_EDIT: Final = "edited|edit|bearbeitet|modifié|modificado|modificato|bewerkt"
# 'Photo (1).jpg', 'Photo - Kopie.jpg', 'Photo-edited.jpg'; 'Copy of Photo.jpg', 'Kopie von Photo.jpg'.
_MADE_FROM_ANOTHER: Final = (
    rf"(?i)(( ?\(\d+\)|[ _-](de )?({_COPY}|{_EDIT})([ _-]?\d+| ?\(\d+\))?)(\.[^./]*)?"
    rf"|(^|/)({_COPY})( ?\(\d+\)| \d+)? (of|von|de|di|da|van|av|af|z) [^/]*)$"
)


def criteria(images: pa.Table, ids: Ints) -> dict[str, Ints]:
    """What decides which of two images is kept, the first thing first, the smaller value before the larger.

    `images` is a table of schema IMAGES, `ids` int64 (n,) are some of it, and the values int64 (n,). No two images are
    equal in the last.
    """
    columns = images.select(_COLUMNS).take(pa.array(ids))
    width, height = (columns[name].cast(pa.int64()).fill_null(0).to_numpy() for name in ("width", "height"))
    age_ns = columns["mtime_ns"].fill_null(0).to_numpy()
    return {
        "link": _true(pc.equal(columns["link_kind"], "symbolic")),  # never kept over what it leads to
        "archive": 1 - _true(pc.equal(columns["group"], "b")),
        "camera": 1 - _true(pc.is_valid(columns["camera"])),
        "pixels": -width * height,
        "format": 1 - _true(pc.is_in(columns["format"], pa.array(_CAMERA_FORMATS))),
        "icc": 1 - _true(columns["has_icc"]),
        "name": _true(pc.match_substring_regex(columns["path"], _MADE_FROM_ANOTHER)),
        "older": np.where(age_ns == 0, np.iinfo(np.int64).max, age_ns),  # 0: the file system does not say
        "bytes": -columns["size_bytes"].to_numpy(),
        "path": pc.binary_length(columns["path_raw"]).cast(pa.int64()).to_numpy(),
        "order": _path_rank(columns),
    }


def ranked(values: dict[str, Ints]) -> Ints:
    """The place of each of the images among all of them, the best keeper first: int64 (n,)."""
    order = np.lexsort(list(values.values())[::-1])
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank


def rules(values: dict[str, Ints], places: Ints, keepers: Ints) -> npt.NDArray[np.str_]:
    """The first of the criteria in which an image differs from its keeper; '' for an image and itself.

    Both are named by their places in the values, int64 (k,).
    """
    differ = [some[places] != some[keepers] for some in values.values()]
    names = ["path" if name == "order" else name for name in values]
    return np.select(differ, names, "")


def _path_rank(images: pa.Table) -> Ints:
    rank = np.empty(len(images), np.int64)
    rank[pc.sort_indices(images["path_raw"]).to_numpy()] = np.arange(len(images))
    return rank


def _true(known: pa.ChunkedArray) -> Ints:
    return np.asarray(known.fill_null(False).to_numpy(), np.int64)

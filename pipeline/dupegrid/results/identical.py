"""Pictures that are equal by a hash, in sets. Pure: tables in, a table out."""

import numpy as np
import pyarrow as pa

from dupegrid.core.arrays import Ints
from dupegrid.pairs.ask import numbered
from dupegrid.results.clusters import numbers_by_size
from dupegrid.results.keepers import Keeping, criteria, ranked
from dupegrid.results.schemas import IDENTICAL


def identical(images: pa.Table, hashes: pa.ChunkedArray, keeping: Keeping) -> pa.Table:
    """The sets of two images or more whose hashes are equal, one row an image (schema IDENTICAL).

    `hashes` are text, one of each image of `images` (schema IMAGES); null is equal to none. The largest set is number 0
    and ties go by the path of the one to keep, which is the first of its set, by the rules of clusters.
    """
    image, label = _in_sets(hashes)
    values = criteria(images, image, keeping)
    rank = ranked(values)
    order = np.lexsort((rank, label))
    image, label = image[order], label[order]
    first = np.diff(label, prepend=-1) != 0
    of_set, keeper = numbers_by_size(first, values["path"][order]), image[first][np.cumsum(first) - 1]
    order = np.argsort(of_set, kind="stable")
    image = image[order]
    named = images.select(["path", "path_raw", "size_bytes", "link_of"]).take(pa.array(image))
    columns = {"set": of_set[order], "image": image, "keeper": keeper[order], "hash": hashes.take(pa.array(image))}
    columns |= {name: named[name] for name in named.column_names}
    return pa.table(columns, schema=IDENTICAL)


def _in_sets(hashes: pa.ChunkedArray) -> tuple[Ints, Ints]:
    """The ids of the images whose hash another one has too, and a number of the hash of each: int64 (k,) both."""
    codes = numbered(hashes)
    count = np.bincount(codes + 1)
    image = np.flatnonzero((codes >= 0) & (count[codes + 1] > 1))
    return image, codes[image]

"""The folders that images lie in, as a tree. Pure: paths in, arrays out."""

from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from dupegrid.core.arrays import Bools, Ints

_PATHS_AT_ONCE: Final = 1 << 16  # as objects of Python's


@dataclass(frozen=True)
class Tree:
    """Folders in an order in which each comes right before all that is below it."""

    names: list[bytes]  # without the '/' at the end
    parents: Ints  # (f,): the nearest folder of the tree above each, or -1
    ends: Ints  # (f,): one past the last folder below it

    def nested(self, first: Ints, second: Ints) -> Bools:
        """Whether one of two folders is the other, or lies below it."""
        return ((first <= second) & (second < self.ends[first])) | ((second <= first) & (first < self.ends[second]))

    def summed(self, values: Ints) -> Ints:
        """By folder the sum of the values, (f,), of itself and of all below it."""
        upto = np.zeros(len(values) + 1, np.int64)
        np.cumsum(values, out=upto[1:])
        return upto[self.ends] - upto[:-1]


def folders_in(paths: pa.ChunkedArray) -> tuple[list[bytes], Ints]:
    """The folders of these paths of files, each once, and the place of each file's among them: int64 (n,)."""
    places: dict[bytes, int] = {}
    found = np.empty(len(paths), np.int64)
    for start in range(0, len(paths), _PATHS_AT_ONCE):
        some = paths.slice(start, _PATHS_AT_ONCE).to_pylist()
        holders = (path.rpartition(b"/")[0] for path in some)
        found[start : start + len(some)] = [places.setdefault(folder, len(places)) for folder in holders]
    return list(places), found


def folder_tree(paths: pa.ChunkedArray) -> tuple[Tree, Ints]:
    """The folders of these paths of files, and the one that each of the files lies in: int64 (n,).

    In the tree are folders that hold files themselves, and those from which two or more branches lead to some; one
    that only leads to another says nothing that the other does not.
    """
    holders, holder = folders_in(paths)
    direct = set(holders)
    seen, branches = set(direct), Counter[bytes]()
    waiting = list(direct)
    for folder in waiting:
        if b"/" not in folder or folder.endswith(b":/"):  # the root, or what comes before a host or a bucket
            continue
        above = folder.rpartition(b"/")[0]
        branches[above] += 1
        if above not in seen:
            seen.add(above)
            waiting.append(above)
    names = sorted((name for name in seen if name in direct or branches[name] > 1), key=lambda name: name + b"/")
    place = {name: number for number, name in enumerate(names)}
    return _tree(names), np.array([place[name] for name in holders], np.int64)[holder]


def _tree(names: list[bytes]) -> Tree:
    parents, ends = np.full((2, len(names)), -1, np.int64)
    above: list[int] = []
    for number, name in enumerate(names):
        while above and not name.startswith(names[above[-1]] + b"/"):
            ends[above.pop()] = number
        parents[number] = above[-1] if above else -1
        above.append(number)
    ends[above] = len(names)
    return Tree(names, parents, ends)

"""Thumbnails that were read lately, kept for whoever asks next."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import numpy as np

from dupegrid.core.arrays import Pixels
from dupegrid.results.run_like import ThumbsOf

_KEPT_BYTES: Final = 50_000_000  # 4,069 thumbnails of 64 pixels


class KeptThumbs:
    """Thumbnails by id; may be asked by several threads."""

    def __init__(self, thumbs_of: ThumbsOf) -> None:
        self._thumbs_of, self._lock = thumbs_of, threading.Lock()
        self._kept: OrderedDict[int, Pixels] = OrderedDict()

    def take(self, ids: Sequence[int]) -> list[Pixels]:
        """Thumbnails, (S, S, 3) each."""
        with self._lock:
            missing = [id for id in dict.fromkeys(ids) if id not in self._kept]
            if missing:
                self._kept.update(zip(missing, self._thumbs_of(np.array(missing, np.int64)), strict=True))
            found = [self._kept[id] for id in ids]
            while found and len(self._kept) * found[0].nbytes > _KEPT_BYTES:
                self._kept.popitem(last=False)
            return found

"""What those who draw a run read of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from dupegrid.core.arrays import Ints, Pixels
from dupegrid.core.config import Config
from dupegrid.core.text import printable
from dupegrid.core.values import StrPath
from dupegrid.pairs.batches import Matches
from dupegrid.results.answers import Receipt
from dupegrid.results.decided import Decided
from dupegrid.storage.run_dir import RunDir

ThumbsOf = Callable[[Ints], Pixels]  # ids -> thumbnails


def measure(config: Config) -> str:
    """What the score of a match is called: MSE, or the name of a function."""
    return "MSE" if config.metric == "mse" else printable(config.metric)


class RunLike(Protocol):
    """A run as those see it who draw it; `dupegrid.Run` is one."""

    path: Path
    config: Config
    run_dir: RunDir

    @property
    def pairs_key(self) -> str: ...
    @property
    def images(self) -> pa.Table: ...
    @property
    def hashes(self) -> pa.Table: ...
    @property
    def saved(self) -> dict[str, Any]: ...
    @property
    def hashed_images(self) -> pa.Table: ...
    @property
    def match_scores(self) -> pa.Table: ...
    @property
    def match_batches(self) -> Matches: ...
    @property
    def clusters(self) -> pa.Table: ...
    @property
    def is_compared(self) -> bool: ...
    @property
    def is_clustered(self) -> bool: ...
    @property
    def decided(self) -> Decided | None: ...
    @property
    def receipt(self) -> Receipt: ...
    def thumbs_of(self, ids: Ints) -> Pixels: ...
    def id_of(self, image: int | StrPath) -> int: ...
    def existing(self, name: str) -> Path: ...

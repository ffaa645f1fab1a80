"""The name of a metric -> its function, and what its code is known by."""

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from dupegrid.core.arrays import Pixels
from dupegrid.core.functions import code_of, load_function
from dupegrid.pairs.kernel import mae

Metric = Callable[[Pixels, Pixels], npt.NDArray[np.generic]]

FILTERED: Final = "mse"  # the one that pairs/tile.py filters
_BUILT_IN: Final[dict[str, Metric]] = {"mae": mae}


def is_built_in(name: str) -> bool:
    """Whether a metric is one of dupegrid's own: no other code is imported for it."""
    return name == FILTERED or name in _BUILT_IN


def load_metric(name: str) -> Metric:
    """The block function of a name or 'package.module:function': uint8 (m, D), (n, D) -> (m, n), less is more alike.

    Imports the module. ConfigError where there is none, or its import fails in any way.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    advice = f"use {', '.join([FILTERED, *_BUILT_IN])} or package.module:function"
    return load_function(name, "metric", advice)


def metric_code(name: str) -> str:
    """What the code of a metric is known by: its versions and a digest of its source; '' for one of dupegrid's own.

    Imports the module.
    """
    return "" if is_built_in(name) else code_of(name, load_metric(name))

"""The name of a metric -> its function, and what its code is known by."""

import hashlib
import importlib
import marshal
import sys
from collections.abc import Callable
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dupegrid.core.arrays import Pixels
from dupegrid.core.errors import ConfigError
from dupegrid.core.keys import fingerprint
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
    known = ", ".join([FILTERED, *_BUILT_IN])
    module, colon, function = name.partition(":")
    if not colon:
        raise ConfigError(f"no metric {name!r}: use {known} or package.module:function")
    try:
        found = getattr(importlib.import_module(module), function)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"no metric {name!r} ({said(error)}): use {known} or package.module:function") from None
    if not callable(found):
        raise ConfigError(f"metric {name!r} is a {type(found).__name__}, not a function")
    metric: Metric = found
    return metric


def metric_code(name: str) -> str:
    """What the code of a metric is known by: its versions and a digest of its source; '' for one of dupegrid's own.

    Imports the module.
    """
    if is_built_in(name):
        return ""
    metric = load_metric(name)
    module = name.partition(":")[0]
    package = module.partition(".")[0]
    names = {module, getattr(metric, "__module__", None) or module}  # it may be defined elsewhere
    sources = {_source(sys.modules[name]) for name in names if name in sys.modules} - {""}
    if not sources and hasattr(metric, "__code__"):  # typed into a notebook
        sources = {hashlib.blake2b(marshal.dumps(metric.__code__)).hexdigest()}
    named = {str(getattr(sys.modules.get(name), "__version__", "")) for name in (module, package)} - {""}
    return " ".join([*sorted({*_versions(package), *named}), fingerprint(sorted(sources))])


def said(error: BaseException) -> str:
    """An exception of someone else's code, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


@cache
def _versions(package: str) -> tuple[str, ...]:
    """The versions of the distributions that hold a package."""
    return tuple(version(name) for name in set(packages_distributions().get(package, ())))


_sources: dict[str, tuple[Any, str]] = {}  # by the name of a module; with its spec, which a reload replaces


def _source(module: ModuleType) -> str:
    """A digest of the source file of a module, '' where it has none.

    It is read once: what is edited after the import is not what runs, until the module is loaded again.
    """
    spec, digest = _sources.get(module.__name__, (None, None))
    if digest is None or spec is not module.__spec__:
        try:
            digest = hashlib.blake2b(Path(module.__file__ or "").read_bytes()).hexdigest()
        except (OSError, AttributeError):
            digest = ""
        _sources[module.__name__] = module.__spec__, digest
    return digest

"""Functions of others, by the name 'package.module:function', and what their code is known by."""

import hashlib
import importlib
import marshal
import sys
from collections.abc import Callable
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path
from types import ModuleType
from typing import Any

from dupegrid.core.errors import ConfigError
from dupegrid.core.keys import fingerprint


def load_function(name: str, kind: str, advice: str) -> Callable[..., Any]:
    """The function of a name 'package.module:function'. Imports the module.

    ConfigError, that says which `kind` of function it was to be and gives `advice`, where there is none.
    """
    module, colon, function = name.partition(":")
    if not colon:
        raise ConfigError(f"no {kind} {name!r}: {advice}")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"no {kind} {name!r} ({error_line(error)}): {advice}") from None
    if not callable(found):
        raise ConfigError(f"{kind} {name!r} is a {type(found).__name__}, not a function")
    return found


def code_of(name: str, function: Callable[..., Any]) -> str:
    """What the code of a function is known by, of the name 'package.module:function' under which it was found."""
    module = name.partition(":")[0]
    package = module.partition(".")[0]
    names = {module, getattr(function, "__module__", None) or module}  # it may be defined elsewhere
    sources = {_source(sys.modules[name]) for name in names if name in sys.modules} - {""}
    if not sources and hasattr(function, "__code__"):  # typed into a notebook
        sources = {hashlib.blake2b(marshal.dumps(function.__code__)).hexdigest()}
    named = {str(getattr(sys.modules.get(name), "__version__", "")) for name in (module, package)} - {""}
    return " ".join([*sorted({*_versions(package), *named}), fingerprint(sorted(sources))])


def error_line(error: BaseException) -> str:
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

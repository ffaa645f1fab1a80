"""dupegrid: every duplicate and near-duplicate in an image collection, by comparing all images with all images.

The names are loaded when they are asked for: a process that decodes pictures needs none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dupegrid.app.act import apply, journal, undo
    from dupegrid.app.api import cluster, compare, estimate, index, report, run
    from dupegrid.app.ask import evaluate, folders, leakage, top, unique
    from dupegrid.app.decide import decide
    from dupegrid.app.demo import demo
    from dupegrid.app.export import export
    from dupegrid.app.fastdif.config import FastDiffPyConfig
    from dupegrid.app.fastdif.fastdifpy import FastDifPy
    from dupegrid.app.opening import open_run
    from dupegrid.app.plan import plan
    from dupegrid.app.review.served import review
    from dupegrid.app.run import Run
    from dupegrid.app.status import status
    from dupegrid.core.errors import DupegridError
    from dupegrid.results.drawn import plots as plots

_HOMES = {
    "DupegridError": "core.errors",
    "FastDifPy": "app.fastdif.fastdifpy",
    "FastDiffPyConfig": "app.fastdif.config",
    "Run": "app.run",
    "decide": "app.decide",
    "export": "app.export",
    "plan": "app.plan",
    "review": "app.review.served",
    "demo": "app.demo",
    "open_run": "app.opening",
    **dict.fromkeys(("apply", "journal", "undo"), "app.act"),
    **dict.fromkeys(("cluster", "compare", "estimate", "index", "report", "run"), "app.api"),
    "status": "app.status",
    **dict.fromkeys(("evaluate", "folders", "leakage", "top", "unique"), "app.ask"),
}

__all__ = [
    "DupegridError",
    "FastDifPy",
    "FastDiffPyConfig",
    "Run",
    "apply",
    "cluster",
    "compare",
    "decide",
    "demo",
    "estimate",
    "evaluate",
    "export",
    "folders",
    "index",
    "journal",
    "leakage",
    "open_run",
    "plan",
    "report",
    "review",
    "run",
    "status",
    "top",
    "undo",
    "unique",
]


def __getattr__(name: str) -> Any:
    if name == "plots":  # a module of its own, which needs matplotlib
        return import_module("dupegrid.results.drawn.plots")
    if name == "__version__":
        from importlib.metadata import version

        return version("dupegrid")
    if name not in _HOMES:
        raise AttributeError(f"module 'dupegrid' has no attribute {name!r}")
    import_module("dupegrid.core.address_space")  # first, as it looks whether the libraries can be loaded
    value = getattr(import_module(f"dupegrid.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "plots", "__version__"]

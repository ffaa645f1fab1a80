"""dupegrid: every duplicate and near-duplicate in an image collection, by comparing all images with all images."""

from dupegrid import memory as _memory  # noqa: F401 (first, as it looks whether the others can be loaded)
from dupegrid.errors import DupegridError
from dupegrid.run import cluster, compare, estimate, index, report, run, status
from dupegrid.rundir import Run, open_run

__all__ = ["DupegridError", "Run", "cluster", "compare", "estimate", "index", "open_run", "report", "run", "status"]

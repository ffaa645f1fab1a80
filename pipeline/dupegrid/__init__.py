"""dupegrid: every duplicate and near-duplicate in an image collection, by comparing all images with all images."""

from dupegrid.config import Config
from dupegrid.errors import DupegridError
from dupegrid.run import cluster, compare, index, report, run, status
from dupegrid.rundir import Run, open_run

__all__ = ["Config", "DupegridError", "Run", "cluster", "compare", "index", "open_run", "report", "run", "status"]

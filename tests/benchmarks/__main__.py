"""`make bench`."""

import os
import platform
import tempfile
from pathlib import Path

import numpy as np

from tests.benchmarks import measure

with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    rows = measure.index(folder)
    for n in (2000, 5000):
        rows += measure.compare(folder, n, "none", 50)
    rows += measure.compare(folder, 2000, "rotations", 50)
print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}\n")
print(measure.table(rows))

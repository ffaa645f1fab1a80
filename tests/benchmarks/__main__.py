"""`make bench`: both stages beside their limits, and the peers; `make bench-million`: the large end;
`make bench-kinds`: the dense and the even collection.

`make bench OTHER=../older` measures this tree and another checkout in turn instead; MILLION=1 adds a million images.
"""

import os
import platform
import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.benchmarks import measure
from tests.benchmarks.beside import beside
from tests.benchmarks.collection import make_run
from tests.benchmarks.peers import peers

with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    rows: list[measure.Row] = []
    if "beside" in sys.argv:
        other = Path(sys.argv[sys.argv.index("beside") + 1])
        rows += beside(folder, other, "million" in sys.argv)
    elif "million" in sys.argv:
        for n in (100_000, 1_000_000):
            run = make_run(folder / f"run{n}", n)
            for orientations in ("none", "rotations"):
                more, _ = measure.compare(run, orientations, 50, repeats=1)
                rows += more
    elif "kinds" in sys.argv:
        for n in (60_000, 300_000):
            for kind in ("dense", "even"):
                more, _ = measure.compare(make_run(folder / f"{kind}{n}", n, kind), "none", 50, repeats=1)
                rows += more
    else:
        rows += measure.index(folder)
        for side in (32, 128):
            rows += measure.incremental(folder, side=side)
        for n in (2000, 10_000):
            more, _ = measure.compare(make_run(folder / f"run{n}", n), "none", 200)
            rows += more
        run = make_run(folder / "run60000", 60_000)
        for orientations, threshold in (("none", 200), ("none", 50), ("rotations", 50), ("rotations", 200)):
            more, rate = measure.compare(run, orientations, threshold)
            rows += more
        print(measure.table(rows), flush=True)  # the peers take minutes
        (folder / "peers").mkdir()
        rows += peers(folder / "peers", rate)
print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}\n")
print(measure.table(rows))

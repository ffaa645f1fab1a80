"""Calls as a user writes them; never run, only type-checked: mypy complains of an ignored error that is none."""

from pathlib import Path

import dupegrid


def right(folder: Path) -> float:
    run = dupegrid.run(folder, "more", out="run", threshold=20, memory="4GB", extensions=".jpg,.png", workers=None)
    dupegrid.index(paths=["photos", folder], out=folder, against=folder, orientations="all")
    dupegrid.estimate(folder, ignore_name=["*.tmp"], max_aspect=1.1)
    dupegrid.compare(run.path, cutoff=100, tile=512)
    dupegrid.export(run, folder / "x.csv", columns=["a", "b", "width_a"], replace=True)
    return run.summary.duplicate_bytes / run.summary.duplicates


def wrong() -> None:
    dupegrid.run("photos", out="run", treshold=20)  # type: ignore[call-arg]
    dupegrid.run("photos", out="run", threshold="20")  # type: ignore[arg-type]
    dupegrid.index("photos", out="run", orientations="most")  # type: ignore[arg-type]
    dupegrid.compare("run", thumb=32)  # type: ignore[call-arg]
    dupegrid.export("run", "x.csv", column="a")  # type: ignore[call-arg]
    dupegrid.estimate("photos", config=20)  # type: ignore[arg-type]

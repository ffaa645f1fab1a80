"""Which chunks images.parquet is of: what was stored at another moment is whole too, and of other files.

Every chunk file ends with a checksum of itself. images.parquet keeps, for each array of thumbs.zarr and levels.zarr, a
digest of these: its seal.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dupegrid.core.errors import StoreError
from dupegrid.core.keys import fingerprint
from dupegrid.core.text import printable
from dupegrid.storage.arrays import Arrays, Thumbs
from dupegrid.storage.tables import read_metadata

THUMBS: Final = "thumbs"


def seals(run_dir: Path) -> str:
    """The seals of all arrays as they are on disk, as a fact of images.parquet."""
    cells = Arrays(run_dir / "levels.zarr")
    found = {name: fingerprint(cells.checksums(name)) for name in cells.names}
    return json.dumps({**found, THUMBS: fingerprint(Thumbs(run_dir / "thumbs.zarr").checksums())}, sort_keys=True)


def check_seals(run_dir: Path, *names: str) -> None:
    """Raise StoreError unless these arrays, of levels.zarr or `THUMBS`, are those that images.parquet is of."""
    cells = Arrays(run_dir / "levels.zarr")
    for name in names:
        checksums = Thumbs(run_dir / "thumbs.zarr").checksums() if name == THUMBS else cells.checksums(name)
        _check(run_dir, name, checksums)


def _check(run_dir: Path, name: str, checksums: Sequence[str]) -> None:
    known = json.loads(read_metadata(run_dir / "images.parquet").get("seals", "{}"))
    if known.get(name) != fingerprint(checksums):
        raise StoreError(
            f"the thumbnails in {printable(str(run_dir))} are of another moment than its images.parquet: "
            "run 'dupegrid run' again to make them"
        )

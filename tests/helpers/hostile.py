"""A run whose pictures have names that break software, all of them copies of one."""

import os
from pathlib import Path

import dupegrid
from tests.conftest import save

NAMES = (
    b"plain.png",
    b"=cmd|' C calc'!A0.png",
    b"-rf.png",
    b"x;=1+1.png",
    b"x\n@SUM(A1).png",
    b"new\nline\n\\.\n.png",
    b"quote'\".png",
    b"$(touch ran)`touch ran`.png",
    b"not utf8 \xff\xfe.png",
    b"not utf8 \\xff\\xfe.png",  # shown as the one before is
    "日本 \u202egnp.png".encode(),
    b"%s%d {0} \\ \\n \\x00.png",
    b"l" * 246 + b".png",
)


def hostile_run(folder: Path) -> dupegrid.Run:
    """Two copies of one picture under each name, in two folders, and one other picture."""
    first = save(folder / "pictures/first.png", 1).read_bytes()
    for place in (b"=a", b"b;-b"):
        os.mkdir(os.fsencode(folder / "pictures") + b"/" + place)
        for name in NAMES:
            Path(os.fsdecode(os.path.join(os.fsencode(folder / "pictures"), place, name))).write_bytes(first)
    save(folder / "pictures/other.png", 2)
    return dupegrid.run(folder / "pictures", out=folder / "run", thumb=16, quiet=True)

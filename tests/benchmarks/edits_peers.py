"""What the peers say of edited pictures: pHash, dHash and PDQ by bits, difPy by what it finds."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Final

import numpy as np

from dupegrid.core.arrays import Pixels
from tests.benchmarks.peers import ENVIRONMENTS, environment

# By bits that differ, as their authors count; each of pictures as files.
HASHES: Final = """
import json, sys
import imagehash, numpy, pdqhash
from PIL import Image
def bits(file):
    image = Image.open(file).convert("RGB")
    return {
        "pHash 16 x 16": imagehash.phash(image, 16).hash.ravel(),
        "dHash 16 x 16": imagehash.dhash(image, 16).hash.ravel(),
        "PDQ": pdqhash.compute(numpy.asarray(image))[0],
    }
for file in sys.stdin.read().split("\\n"):
    print(json.dumps({name: "".join("01"[int(bit)] for bit in found) for name, found in bits(file).items()}))
"""

# Given folders: what of the first matches what of each other one, by the numbers of the files.
DIFPY: Final = """
import contextlib, json, pathlib, sys
import difPy
if __name__ == "__main__":
    for folder in sys.argv[2:]:
        with contextlib.redirect_stdout(sys.stderr):
            built = difPy.build(sys.argv[1], folder, show_progress=False)
            found = difPy.search(built, similarity="similar", rotate=False, same_dim=False, show_progress=False).result
        print(json.dumps([[image, match[0]] for image, matches in found.items() for match in matches]))
"""


def hashed(bytes_of: dict[str, list[bytes]]) -> dict[str, dict[str, Pixels]]:
    """Bits as 0 and 1, uint8 (pictures, 1, bits), by measure and edit: their mean square difference is their share."""
    python = environment("hashes", ["imagehash", "pdqhash", "pillow"])
    files = _files(bytes_of)
    listed = "\n".join(str(file) for several in files.values() for file in several)
    rows = [json.loads(line) for line in _told(python, HASHES, given=listed)]
    columns: dict[str, dict[str, Pixels]] = {measure: {} for measure in rows[0]}
    for name, several in files.items():
        for measure, of_edits in columns.items():
            bits = [[int(bit) for bit in row[measure]] for row in rows[: len(several)]]
            of_edits[name] = np.array(bits, np.uint8)[:, None]
        rows = rows[len(several) :]
    return columns


def found_by_difpy(bytes_of: dict[str, list[bytes]]) -> dict[str, float]:
    """The share of each edit that difPy finds in its default of 'similar'."""
    python, shares, files = environment("difPy", ["difPy==4.2.1"]), {}, _files(bytes_of)
    lines = _told(python, DIFPY, *(str(several[0].parent) for several in files.values()))
    for (name, edited), line in zip(list(files.items())[1:], lines, strict=True):
        pairs = {frozenset(pair) for pair in json.loads(line)}
        own = [frozenset(map(str, pair)) in pairs for pair in zip(files[""], edited, strict=True)]
        shares[name] = float(np.mean(own))
    return shares


def _files(bytes_of: dict[str, list[bytes]]) -> dict[str, list[Path]]:
    """The pictures as files, a folder an edit; the originals, under '', come first."""
    shutil.rmtree(ENVIRONMENTS / "edited", ignore_errors=True)
    files: dict[str, list[Path]] = {}
    for number, (name, several) in enumerate(bytes_of.items()):
        folder = ENVIRONMENTS / f"edited/{number}"
        folder.mkdir(parents=True)
        files[name] = [folder / f"{place}.jpg" for place in range(len(several))]
        for file, data in zip(files[name], several, strict=True):
            file.write_bytes(data)
    return files


def _told(python: str, script: str, *words: str, given: str = "") -> list[str]:
    """The lines that a script prints, a file as difPy starts processes from it."""
    file = ENVIRONMENTS / "script.py"
    file.write_text(script)
    done = subprocess.run([python, file, *words], input=given, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()

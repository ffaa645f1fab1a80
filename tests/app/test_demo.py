"""The demo finds all that it plants, and nothing else."""

from pathlib import Path

import pytest

import dupegrid
from dupegrid.app import demo
from tests.conftest import tree_state


@pytest.mark.slow
def test_the_demo_finds_what_it_planted(tmp_path: Path) -> None:
    result = demo.demo(tmp_path)
    assert len(list((tmp_path / "pictures").iterdir())) > 290
    assert [row.kind for row in result.score.kinds] == [*demo._EDITS, "unreadable"]
    assert all(row.found == row.planted > 0 for row in result.score.kinds), result.score.kinds
    assert result.score.false == 0


def test_the_count_can_fail(pictures: Path, tmp_path: Path) -> None:
    """A run that cannot see mirrored pictures, or calls everything a duplicate, does not pass for a good one."""
    plants = [
        {"kind": "mirrored", "original": "0012.jpg", "file": "0012_mirrored.jpg"},
        {"kind": "unreadable", "original": "", "file": "0001.jpg"},
    ]
    before = tree_state(pictures)
    rotations = dupegrid.run(pictures, out=tmp_path / "run", orientations="rotations", quiet=True)
    assert [row.found for row in demo.score(rotations, plants).kinds] == [0, 0]
    loose = dupegrid.run(pictures, out=tmp_path / "loose", threshold=5000, quiet=True)
    assert demo.score(loose, plants).false > 0
    assert tree_state(pictures) == before

"""Originals for a browser: as they are, drawn anew, or the reason why not; against what Pillow reads."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dupegrid.app.review import originals
from dupegrid.app.review.originals import original
from dupegrid.core.config import Config
from dupegrid.images import sandbox

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(paths=[str(tmp_path)], thumb=16)


def listed(path: Path, **options: Any) -> dict[str, Any]:
    """A picture, and its row of images.parquet."""
    Image.fromarray(PIXELS).save(path, **options)
    status = path.stat()
    row = {"path_raw": os.fsencode(path), "width": PIXELS.shape[1], "height": PIXELS.shape[0]}
    return {**row, "size_bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


@pytest.mark.parametrize(
    ("name", "kind"), [("a.jpg", "jpeg"), ("a.png", "png"), ("a.gif", "gif"), ("a.webp", "webp"), ("a.txt", "png")]
)
def test_what_browsers_draw_is_sent_as_it_is(name: str, kind: str, tmp_path: Path, config: Config) -> None:
    image = listed(tmp_path / name, **({"format": "PNG"} if name == "a.txt" else {}))
    found = original(image, config)
    assert (found.data, found.kind, found.reason) == ((tmp_path / name).read_bytes(), f"image/{kind}", "")


def test_others_are_drawn_anew_by_a_process_that_is_kept(tmp_path: Path, config: Config) -> None:
    processes = []
    for name in ("a.tif", "b.bmp"):
        found = original(listed(tmp_path / name), config)
        assert found.kind == "image/jpeg"
        pixels = np.asarray(Image.open(io.BytesIO(found.data)), float)
        assert pixels.shape == PIXELS.shape
        assert np.abs(pixels - PIXELS).mean() < 30  # noise, as a JPEG file has it
        processes.append(sandbox._idle[-1])
    assert processes[0] is processes[1]


def test_what_is_not_the_file_that_was_indexed_is_not_sent(tmp_path: Path, config: Config) -> None:
    path = tmp_path / "a.png"
    image = listed(path)
    for other in ({"size_bytes": image["size_bytes"] + 1}, {"mtime_ns": image["mtime_ns"] - 1}):
        assert original({**image, **other}, config).reason == "the file has changed since it was indexed"
    assert original({**image, "mtime_ns": 0}, config).data, "a listing that says nothing of times"
    (tmp_path / "link.png").symlink_to(path)
    link = {**image, "path_raw": os.fsencode(tmp_path / "link.png")}
    assert original(link, config).data == b""
    assert original(link, config.model_copy(update={"follow_symlinks": True})).data
    path.unlink()
    assert original(image, config).reason == "the file is not there, or is in an archive"
    os.mkfifo(path)
    assert original(image, config).data == b""
    assert "folder" in original({**image, "path_raw": b"s3://bucket/a.png"}, config).reason


def test_what_is_too_large_or_does_not_decode_is_said(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = listed(tmp_path / "a.png")
    assert original({**image, "width": 10_000, "height": 10_000}, config).reason == "it has over 60 megapixels"
    monkeypatch.setattr(originals, "_LARGEST_BYTES", image["size_bytes"] - 1)
    assert original(image, config).reason.startswith("it has over ")
    monkeypatch.undo()
    damaged = tmp_path / "b.tif"
    damaged.write_bytes(b"II*\0" + b"\xff" * 100)
    status = damaged.stat()
    row = {"path_raw": os.fsencode(damaged), "size_bytes": 104, "mtime_ns": status.st_mtime_ns}
    found = original({**image, **row}, config)
    assert found.data == b""
    assert found.reason

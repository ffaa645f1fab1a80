"""What is like one picture: beside brute force over all thumbnails, orientations and looks; files of nobody's run."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

import dupegrid
from dupegrid.app.command.lines import like_lines
from dupegrid.core.errors import InputError, UsageError
from dupegrid.images.decoded import Reading
from dupegrid.images.recipe import decode
from tests.conftest import save
from tests.helpers import reference
from tests.helpers.forks import command
from tests.helpers.images import KINDS, thumbs
from tests.pairs.test_views import indexed


def expected(
    query: np.ndarray, pictures: np.ndarray, ids: list[int], choice: str, cutoff: float
) -> list[tuple[int, float, str]]:
    """All at or under the cutoff, or the nearest one, uint8 (looks, S, S, 3) and (looks, n, S, S, 3)."""
    names, found = reference.ORIENTATIONS[choice], []
    for id in ids:
        sse, turn = min(
            (reference.sse(one, reference.turn(other[id], name)), turn)
            for turn, name in enumerate(names)
            for one in query
            for other in pictures
        )
        found.append((sse / query[0].size, id, names[turn]))
    near = [row for row in sorted(found) if row[0] <= cutoff] or sorted(found)[:1]
    return [(id, mse, turn) for mse, id, turn in near]


def told(found: object) -> list[tuple[int, float, str]]:
    return [(near.id, near.mse, near.orientation) for near in found.nearest]  # type: ignore[attr-defined]


@settings(max_examples=12, phases=[Phase.explicit, Phase.generate])
@given(
    st.integers(0, 1 << 32),
    st.sampled_from(KINDS),
    st.sampled_from(list(reference.ORIENTATIONS)),
    st.sampled_from([1, 3]),
    st.sampled_from([0.0, 40.0, 3000.0, 65025.0]),
)
def test_what_is_like_an_image_is_what_brute_force_finds(
    tmp_path_factory: pytest.TempPathFactory, seed: int, kind: str, choice: str, looks: int, cutoff: float
) -> None:
    pictures = np.stack([thumbs(kind, 24, seed + look) for look in range(looks)])
    run = dupegrid.open_run(
        indexed(tmp_path_factory.mktemp("like") / "run", pictures, orientations=choice, cutoff=cutoff, threshold=0.0)
    )
    for id in (0, 11, 23):
        others = [other for other in range(24) if other != id]
        wanted = expected(pictures[:, id], pictures, others, choice, cutoff)
        found = run.explain(id)
        assert told(found) == wanted[:20]
        assert found.matches == sum(mse <= cutoff for _, mse, _ in wanted)


@pytest.mark.parametrize(
    "asked_for",
    [
        {"orientations": "all"},
        {"orientations": "rotations", "looks": ("full", "centre95")},
        {"normalize": "contrast", "colour": "grey", "trim": True, "orientations": "all"},
    ],
    ids=["turned", "looks", "tones"],
)
def test_a_file_that_is_not_in_the_run_is_read_as_the_run_reads(tmp_path: Path, asked_for: dict[str, object]) -> None:
    photos, sent = tmp_path / "photos", tmp_path / "sent.png"
    for k in range(8):
        save(photos / f"{k}.png", k)
    Image.open(photos / "3.png").transpose(Image.Transpose.ROTATE_90).resize((90, 120)).save(sent)
    run = dupegrid.run(photos, out=tmp_path / "run", quiet=True, threshold=30, cutoff=100, **asked_for)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    found = run.explain(sent)
    reading = Reading(64, **{name: value for name, value in asked_for.items() if name != "orientations"})  # type: ignore[arg-type]
    stored = [decode((photos / f"{k}.png").read_bytes(), reading) for k in range(8)]
    one = decode(sent.read_bytes(), reading)
    assert one.thumb is not None

    def all_looks(of: object) -> list[np.ndarray]:
        return [of.thumb, *([] if of.crops is None else of.crops)]  # type: ignore[attr-defined]

    pictures = np.stack([all_looks(of) for of in stored], axis=1)
    wanted = expected(np.stack(all_looks(one)), pictures, list(range(8)), run.config.orientations, 100)
    assert told(found) == wanted
    assert wanted[0][0] == 3
    assert (found.picture.id, found.place, found.nearest[0].same_file) == (None, None, False)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}, "nothing is written"


def test_a_picture_says_where_it_is_and_what_matches_it(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    save(photos / "a.png", 1)
    (photos / "b.png").write_bytes((photos / "a.png").read_bytes())
    os.utime(photos / "a.png", (1, 1))
    save(photos / "alone.png", 2)
    (photos / "bad.jpg").write_bytes((photos / "a.png").read_bytes()[:300])
    run = dupegrid.run(photos, out=tmp_path / "run", quiet=True)

    lines = "\n".join(like_lines(run.explain("b.png")))
    assert f"cluster     0: duplicate of {photos}/a.png (MSE 0), which is older" in lines
    assert "alike       1 picture at or under the cutoff 50" in lines
    assert lines.endswith("the same bytes")
    assert f"b.png: 1 image at or under 50, the nearest {photos}/a.png at MSE 0;" in repr(run.explain("b.png"))
    assert "cluster     0: the one to keep" in "\n".join(like_lines(run.explain(0)))
    lines = "\n".join(like_lines(run.explain("alone.png")))
    assert "cluster     in none" in lines
    assert "alike       0 pictures at or under the cutoff 50; the nearest there is:" in lines
    bad = run.explain("bad.jpg")
    assert (bad.nearest, bad.matches) == ([], 0)
    assert "as it was not read" in "\n".join(like_lines(bad))

    (photos / "alone.png").unlink()
    run = dupegrid.index(photos, out=tmp_path / "run", quiet=True)
    assert "as it is gone" in "\n".join(like_lines(run.explain("alone.png")))
    assert "cluster     not known: this run has no clusters yet" in "\n".join(like_lines(run.explain("b.png")))


def test_a_file_that_is_there_goes_before_the_end_of_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cameras count from IMG_0001 on: another picture of that name is not the one that was sent."""
    photos = tmp_path / "photos"
    save(photos / "IMG_0001.png", 1)
    save(photos / "other.png", 2)
    save(tmp_path / "IMG_0001.png", 2)
    (tmp_path / "link.png").symlink_to(photos / "other.png")
    run = dupegrid.run(photos, out=tmp_path / "run", quiet=True)
    monkeypatch.chdir(tmp_path)
    sent = run.explain("IMG_0001.png")
    assert (sent.picture.id, Path(sent.nearest[0].path).name, sent.nearest[0].mse) == (None, "other.png", 0)
    assert run.explain("photos/IMG_0001.png").picture.id == 0
    assert run.explain("link.png").picture.id == run.id_of("other.png")
    monkeypatch.chdir("/")
    assert run.explain("IMG_0001.png").picture.id == 0
    with pytest.raises(UsageError, match=r"no image ends with nowhere\.png: .*, or a file that is there"):
        run.explain("nowhere.png")
    (tmp_path / "note.txt").write_text("no picture")
    with pytest.raises(InputError, match=r"note.txt was not read: unidentified"):
        run.explain(tmp_path / "note.txt")


def test_explain_of_one_picture_says_what_the_run_left_out_and_what_goes_by_another_metric(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/1.png", "b/2.png"):
        save(tmp_path / name, 1)
    out = tmp_path / "run"
    done = command("run", tmp_path / "a", tmp_path / "b", "--out", out, "--scope", "across", "--metric", "mae")
    assert done.returncode == 0, done.stderr
    done = command("explain", out, tmp_path / "b/1.png", "--json")
    told = json.loads(done.stdout)
    assert told["matches"] is None
    assert [(os.path.relpath(near["path"], tmp_path), near["not_asked_for"]) for near in told["nearest"]] == [
        ("a/1.png", False),
        ("b/2.png", True),
    ]
    said = command("explain", out, tmp_path / "b/1.png").stdout
    assert "alike       the nearest by MSE, which is not what this run goes by" in said
    assert "not compared with it by this run's settings" in said

"""What draws itself in a notebook: a run in any state, pairs, tables with pictures; names are text, no script."""

import os
import pickle
import re
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

import dupegrid
from dupegrid.core.errors import DupegridError, UsageError
from tests.conftest import save

NAMES = [b"<img src=x onerror=alert(1)>.png", b"'\"&amp;<script>.png", b"\xff\xfe.png", b"\xe2\x80\xaetxt.png"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dupegrid.Run:
    """Two pictures twice each, under names of ill will, and a file that is none."""
    folder = tmp_path_factory.mktemp("notebook")
    for place, name in enumerate(NAMES):
        picture = save(folder / "drawn.png", place // 2)
        path = os.fsencode(folder / "photos") + b"/" + name
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(os.fsdecode(path)).write_bytes(picture.read_bytes())
    (folder / "photos/<b>.jpg").write_bytes(b"none")
    return dupegrid.run(folder / "photos", out=folder / "run", thumb=16, cutoff=60000, quiet=True)


def tags(html: str) -> set[str]:
    return set(re.findall(r"<(\w+)", html))


def harmless(html: str) -> bool:
    """Whether a page holds no script, no event, nothing from elsewhere, and no name as it is."""
    sources = re.findall(r"(?:src|href)='([^']*)'", html)
    return (
        not tags(html) & {"script", "iframe", "object", "link", "b.jpg"}
        and not re.search(r"<[^>]*\son\w+=", re.sub(r"'[^']*'", "''", html))
        and all(source.startswith(("data:image/jpeg;base64,", "data:image/png;base64,")) for source in sources)
        and "<img src=x" not in html
        and "\u202e" not in html
        and not any("\ud800" <= c <= "\udfff" for c in html)
    )


def test_a_run_tells_of_itself(run: dupegrid.Run) -> None:
    html = run._repr_html_()
    assert harmless(html)
    for words in ("5 files, 4 pictures read", "2 duplicates at MSE 50", "<svg", "unidentified", "\\xff\\xfe.png"):
        assert words in html, words
    assert html.count("<details") == html.count("</details>") == 6
    assert "<b>dupegrid.Run</b>" in html


def test_a_run_in_any_state_draws_itself(image_tree: Path, tmp_path: Path) -> None:
    run = dupegrid.index(image_tree, out=tmp_path / "run", thumb=16, quiet=True)
    assert "not finished" in run._repr_html_()
    assert "matches.parquet is not there yet" in run._repr_html_()
    run = dupegrid.compare(run, quiet=True)
    assert "clusters.parquet is not there yet" in run._repr_html_()
    (tmp_path / "none").mkdir()
    assert "0 files" in dupegrid.run(tmp_path / "none", out=tmp_path / "empty", thumb=16, quiet=True)._repr_html_()


def test_pairs_come_in_order_side_by_side(run: dupegrid.Run) -> None:
    mse = run.pairs().matches["mse"].to_pylist()
    assert mse == sorted(run.matches["mse"].to_pylist())
    assert run.pairs(order="-mse").matches["mse"].to_pylist() == mse[::-1]
    shown = run.pairs().show(2).html
    assert harmless(shown)
    assert (shown.count("<img"), f"{len(mse) - 2} pairs more" in shown) == (4, True)
    assert len(run.pairs()[1:3]) == 2
    assert repr(run.pairs()[:0]) == "Pairs(0 pairs)"
    assert repr(run.pairs()[:1]) == "Pairs(1 pair, MSE 0 to 0)"


def of_polars(table: pa.Table) -> object:
    import polars  # here, as most processes of `make test` do without

    return polars.from_arrow(table)


@pytest.mark.parametrize(
    "of", [pa.Table.to_pandas, lambda table: table.to_pandas()[::-1], of_polars, lambda table: table]
)
def test_a_frame_of_any_library_has_pictures(of, run: dupegrid.Run) -> None:
    frame = of(run.matches.select(["a", "b", "mse", "path_a", "orientation"]))
    html = run.html(frame, most=2).html
    assert harmless(html)
    assert html.count("<img") == 4
    assert html.count("<tr>") == 3
    assert f"… and {len(run.matches) - 2} rows more" in html
    assert "__index" not in html  # the rows of pandas that are not in their order


def test_an_id_that_is_null_is_an_empty_cell_and_one_that_was_not_read_a_word(run: dupegrid.Run) -> None:
    unread = run.images["status"].to_pylist().index("unidentified")
    html = run.html(pd.DataFrame({"keeper": [0, None, unread], "<i>": ["<u>", "x", "y"]}), images="keeper").html
    assert html.count("<img") == 1
    assert "<td></td>" in html
    assert "not read" in html
    assert {"i", "u"}.isdisjoint(tags(html))


def test_a_cut_is_short_and_shows_its_clusters(run: dupegrid.Run) -> None:
    cut = run.at(50)
    assert repr(cut) == "Cut at 50: 2 pairs, 4 images in 2 clusters"
    assert cut.show(0).html.count("<img") == 2
    assert "onerror=alert(1)>" not in cut.show([0, 1]).html


def test_an_explanation_names_both_files(run: dupegrid.Run) -> None:
    for pair in ((0, 1), (0, 4)):
        html = run.explain(*pair)._repr_html_()
        assert harmless(html)
        assert html.count("<bdi>") == 2
    assert (
        "in one cluster from threshold"
        in run.explain(*run.at(50).matches.to_pandas()[["a", "b"]].iloc[0])._repr_html_()
    )


def test_a_run_travels_without_its_tables(run: dupegrid.Run) -> None:
    assert len(run.images) == 5
    sent = pickle.dumps(run)
    assert len(sent) < 2000
    assert pickle.loads(sent).matches == run.matches


def test_wrong_types_are_one_line(run: dupegrid.Run, tmp_path: Path) -> None:
    for call in (
        lambda: run.at("x"),
        lambda: run.show("a"),
        lambda: run.show(0.5),
        lambda: run.show([None]),
        lambda: run.at(5).show(9),
        lambda: run.frame(5),
        lambda: run.pairs("best"),
        lambda: run.pairs()[3],
        lambda: run.pairs().show("x"),
        lambda: run.html(5),
        lambda: run.html(run.matches, images="mse"),
        lambda: run.html(run.matches, images="keeper"),
        lambda: run.html(pd.DataFrame({"a": [99]}), images="a"),
        lambda: dupegrid.open_run(5),
        lambda: dupegrid.run([5], out=tmp_path / "x"),
        lambda: dupegrid.run(None, out=tmp_path / "x"),
    ):
        with pytest.raises(UsageError) as raised:
            call()
        assert "\n" not in str(raised.value)
    assert issubclass(UsageError, DupegridError)


def test_paths_may_be_a_list_or_a_column(tmp_path: Path) -> None:
    save(tmp_path / "a/x.png", 1)
    save(tmp_path / "b/y.png", 1)
    paths = [tmp_path / "a", tmp_path / "b"]
    for given in (paths, pd.Series(map(str, paths)), tuple(paths)):
        assert (
            len(dupegrid.index(given, out=tmp_path / f"run-{type(given).__name__}", thumb=16, quiet=True).images) == 2
        )


def test_a_cell_that_is_interrupted_says_what_was_kept_and_how_to_go_on(
    image_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(run: dupegrid.Run) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dupegrid.app.api.write_page", interrupted)
    with pytest.raises(KeyboardInterrupt) as stopped:
        dupegrid.run(image_tree, out=tmp_path / "run", thumb=16, quiet=True)
    (line,) = stopped.value.__notes__
    pairs = dupegrid.open_run(tmp_path / "run").receipt.pairs["total"]
    assert line == (
        f"stopped at compare, {pairs} of {pairs} pairs; what was finished is kept in {tmp_path}/run: "
        "run the same again to go on"
    )
    monkeypatch.undo()
    assert dupegrid.run(image_tree, out=tmp_path / "run", thumb=16, quiet=True).is_clustered


def test_the_matrix_has_paths_as_coordinates_and_is_lazy(run: dupegrid.Run) -> None:
    pytest.importorskip("xarray", reason="xarray is not installed")
    matrix = run.mse_xarray()
    assert type(matrix.data) is type(run.mse)
    for row in run.matches.to_pylist():
        assert float(matrix.sel(a=row["path_a"], b=row["path_b"])) == row["mse"]
    assert matrix["id_b"].values.tolist() == run.images["id"].to_pylist()
    unread = run.images["path"].to_pylist()[run.images["status"].to_pylist().index("unidentified")]
    assert bool(matrix.sel(a=unread).isnull().all())


def test_without_xarray_the_matrix_says_what_to_install(run: dupegrid.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(UsageError, match=r"needs xarray: pip install 'dupegrid\[notebooks\]'"):
        run.mse_xarray()

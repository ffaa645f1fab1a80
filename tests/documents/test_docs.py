"""The documents are held to the truth: commands run, files exist, folders keep their order, configurations load."""

import ast
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from graphlib import TopologicalSorter
from importlib.metadata import version
from pathlib import Path

import dask
import pytest
import yaml

import dupegrid
from dupegrid.app import demo
from dupegrid.core.config import Config, Taken, load_config
from dupegrid.core.errors import DupegridError
from tests.conftest import ROOT, save
from tests.helpers.forks import command, executed, started

README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
PACKAGE = ROOT / "pipeline/dupegrid"
PAGES = sorted(page for page in (ROOT / "docs").rglob("*.md") if not page.resolve().is_relative_to(ROOT / "decisions"))


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_pictures(tmp_path_factory.mktemp("readme"))


def with_pictures(folder: Path) -> Path:
    """A folder with the folders of pictures that the documents speak of."""
    for place, name in enumerate(("photos/a.jpg", "photos/b.png", "photos/c.jpg", "new/d.jpg", "archive/e.png")):
        save(folder / name, place % 2)
    (folder / "list").write_text("photos/a.jpg\nphotos/c.jpg\n")
    shutil.make_archive(str(folder / "photos"), "zip", folder / "photos")
    return folder


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 150


def test_what_the_readme_leaves_is_not_committed() -> None:
    ignored = ROOT / ".gitignore"
    if not ignored.is_file():
        pytest.skip("no .gitignore here, as in an sdist")
    left = set(re.findall(r"(?:--out|--to) ([\w.-]+)", "".join(blocks("sh"))))
    assert len(left) >= 5
    assert {f"/{name}" for name in left} <= {line.rstrip("/") for line in ignored.read_text().splitlines()}


@pytest.mark.slow
def test_the_commands_of_the_readme_run(sandbox: Path) -> None:
    lines = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    commands = [shlex.split(line) for line in lines if line.startswith("dupegrid ")]
    assert len(commands) >= 5
    for number, words in enumerate(commands):
        if number:
            done = command(*words[1:], cwd=sandbox)
        else:  # the first as a process of its own, which starts with nothing loaded
            words_of_python = [sys.executable, "-m", *words]
            done = subprocess.run(words_of_python, cwd=sandbox, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: {done.stderr}"


@pytest.mark.slow
def test_the_python_of_the_readme_runs(sandbox: Path) -> None:
    assert blocks("python")
    for block in blocks("python"):
        done = executed(block, sandbox)
        assert done.returncode == 0, done.stderr


@contextmanager
def at_work(words: list[str], folder: Path, port: int) -> Iterator[None]:
    """A command of dask's, which goes on until it is ended; what listens does so by then."""
    assert words[:2] in (["dask", "scheduler"], ["dask", "worker"])
    text = f"from distributed.cli.dask_{words[1]} import main; main()"
    with started(text, *words[2:], cwd=folder):
        end = time.monotonic() + 120
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert time.monotonic() < end, words
            time.sleep(0.1)
        yield


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs_from_top_to_bottom_and_shows_what_it_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """dask's commands go on beside the others, at a port that is free.

    The demo draws fewer and smaller pictures, with as many plants; tests/app/test_demo.py runs it as it is.
    """
    folder, said, drawn = with_pictures(tmp_path), "", demo.drawn
    monkeypatch.setattr(demo, "drawn", lambda random: drawn(random).reduce(3))
    monkeypatch.setattr(demo, "draw", partial(demo.draw, originals=9 * demo.EACH_KIND + 1))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = page.read_text().replace("HOST", "127.0.0.1").replace("8786", str(port))
    with ExitStack() as beside:
        for language, block in re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL):
            if language == "text":
                assert block in said
                continue
            for words in (
                [shlex.split(line) for line in block.splitlines()] if language == "sh" else [["python", block]]
            ):
                if words[0] == "dask":
                    beside.enter_context(at_work(words, folder, port))
                    continue
                if words[0] == "export":
                    name, value = words[1].split("=", 1)
                    assert name.startswith("DASK_"), words
                    assert dask.config.get(name.removeprefix("DASK_").lower().replace("__", ".")), "dask has no such"
                    monkeypatch.setenv(name, value)
                    continue
                if words[0] == "dupegrid":
                    done = command(*words[1:], cwd=folder, limit_s=300)
                else:
                    assert words[0] == "python", words
                    done = executed(block, folder)
                assert done.returncode == 0, f"{words}: {done.stderr}"
                said += done.stdout


def test_the_menu_has_every_page() -> None:
    menu = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    listed = re.findall(r"\S+\.md$", menu, re.MULTILINE)
    decisions = {f"decisions/{file.name}" for file in (ROOT / "decisions").glob("*.md")}
    assert sorted(listed) == sorted({str(page.relative_to(ROOT / "docs")) for page in PAGES} | decisions)


def test_the_reference_has_every_name_and_the_error_tree() -> None:
    text = (ROOT / "docs/reference.md").read_text()
    assert sorted(re.findall(r"^::: dupegrid\.(\w+)$", text, re.MULTILINE)) == sorted(dupegrid.__all__)
    (members,) = re.findall(r"members:\n((?: +- \w+\n)+)", text)
    assert all(getattr(dupegrid.Run, name).__doc__ for name in yaml.safe_load(members))
    listed = re.findall(r"^\| (\w+Error) \| (\w+Error) \| (\d) \|", text, re.MULTILINE)
    kinds = [DupegridError]
    for kind in kinds:
        kinds += [below for below in kind.__subclasses__() if below.__module__ == DupegridError.__module__]
    assert sorted(listed) == sorted((kind.__name__, kind.__base__.__name__, str(kind.exit_code)) for kind in kinds[1:])


def test_the_reference_has_every_setting_as_config_has_it() -> None:
    rows = []
    for name, field in Config.model_fields.items():
        (taken,) = (fact for fact in field.metadata if isinstance(fact, Taken))
        default = taken.unset or {False: "no", (): "none", None: "none"}.get(field.default, str(field.default))
        rows.append(f"| {name} | {default} | {field.description} |")
    text = (ROOT / "docs/reference.md").read_text()
    assert re.findall(r"^\|.*\|$", text.partition("## Settings")[2].partition("\n## ")[0], re.MULTILINE)[2:] == rows


def test_make_targets_are_those_the_readme_names() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(" ".join(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)).split())
    named = set(re.findall(r"\bmake ([a-z-]+)", README + CONTRIBUTING))
    assert {"demo", "test", "check", "bench"} <= named <= targets
    ci = (ROOT / ".ci/run").read_text()
    called = {name for line in re.findall(r"^make ([a-z -]+)", ci, re.MULTILINE) for name in line.split()}
    assert {"check", "test", "dist"} == called <= named


def test_links_of_the_documents_lead_somewhere() -> None:
    for document in (README, ARCHITECTURE, CONTRIBUTING, (ROOT / "GLOSSARY.md").read_text()):
        for target in re.findall(r"\]\(([^)#]+)\)", document):
            assert (ROOT / target).exists(), target
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_contributing_is_short_and_the_changelog_knows_the_version() -> None:
    assert len(CONTRIBUTING.splitlines()) <= 40
    assert version("dupegrid") in (ROOT / "CHANGELOG.md").read_text()


def test_files_that_the_architecture_names_exist() -> None:
    named = re.findall(r"`([\w/]+\.py)`", ARCHITECTURE)
    assert len(named) > 10
    for name in named:
        assert (PACKAGE / name).exists() or (ROOT / name).exists(), name


def rooms() -> dict[str, dict[str, str]]:
    """folder -> file -> the libraries that it is the door of, in the order of ARCHITECTURE.md."""
    found: dict[str, dict[str, str]] = {}
    for section in ARCHITECTURE.split("\n### ")[1:]:
        files, inner = found.setdefault(section.partition("/:")[0], {}), ""
        for names, doors in re.findall(r"^\| ([^|]+) \|[^|]*\|([^|]*)\|$", section, re.MULTILINE):
            if names.startswith("**"):  # a folder in it, of which the next rows are
                inner = names.strip("*/") + "."
            elif names.endswith(".py"):
                files |= {inner + name.removesuffix(".py"): doors for name in names.split(", ")}
    return found


def is_file(module: str) -> bool:
    """Whether a name is that of a module of the package: `from dupegrid.app import demo` imports that file."""
    return PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py").exists()


@cache
def imports() -> list[tuple[str, str, bool]]:
    """(importing module, imported module, whether inside a function) for the whole package."""
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        module, tree = ".".join(file.relative_to(PACKAGE).with_suffix("").parts), ast.parse(file.read_text())
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        inside = {id(node) for function in functions for node in ast.walk(function)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found += [(module, alias.name, id(node) in inside) for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.append((module, node.module, id(node) in inside))
                modules = (f"{node.module}.{alias.name}" for alias in node.names)
                found += [(module, name, id(node) in inside) for name in modules if is_file(name)]
    return found


def test_every_file_is_in_its_folder() -> None:
    files = {".".join(file.relative_to(PACKAGE).with_suffix("").parts) for file in PACKAGE.rglob("*.py")}
    listed = {f"{folder}.{name}" for folder, names in rooms().items() for name in names}
    assert listed == {name for name in files if not name.endswith(("__init__", "__main__"))}


def test_a_file_imports_only_from_its_own_folder_and_those_above() -> None:
    places = {folder: place for place, folder in enumerate(rooms())}
    for module, imported, _ in imports():
        folder = module.split(".")[0]
        if imported.startswith("dupegrid.") and folder in places:
            assert places[imported.split(".")[1]] <= places[folder], f"{module} imports {imported}"


def test_inside_a_folder_there_is_no_circle() -> None:
    within: dict[str, set[str]] = {}
    for module, imported, _ in imports():
        other = imported.removeprefix("dupegrid.")
        if imported.startswith("dupegrid.") and other.split(".")[0] == module.split(".")[0]:
            within.setdefault(module, set()).add(other)
    assert len(within) > 20
    assert list(TopologicalSorter(within).static_order())  # CycleError names the circle


def test_each_outside_library_has_one_door() -> None:
    doors = {
        library.strip(): f"{folder}.{name}"
        for folder, names in rooms().items()
        for name, libraries in names.items()
        for library in libraries.split(",")
        if library.strip()
    }
    assert {"zarr", "cupy", "distributed", "PIL"} <= set(doors)
    for module, imported, is_inside in imports():
        library = imported.split(".")[0]
        if (module, library) != ("app.demo", "PIL"):
            assert doors.get(library, module) == module, f"{module} imports {imported}"
        late = {"cupy", "dask", "distributed", "zarr", "fsspec"}  # what most commands do without, and would wait for
        late |= {"aiohttp", "dask_jobqueue", "dask_kubernetes", "duckdb", "obstore"}  # what not everybody has
        late |= {"sqlalchemy", "IPython", "send2trash", "anywidget", "skimage", "xarray", "numba", "jinja2"}
        if not module.endswith(("__init__", "__main__")):  # these load the rest when it is asked for
            assert not is_inside or library in late, f"{module} imports {imported} inside a function"


# What has more than 6 parameters, and why.
MANY_PARAMETERS = {
    "app/fastdif/fastdifpy.py: second_loop_iteration": "fast-diff-py has it so, and its callers pass them by place",
}


def test_files_and_functions_are_short_and_take_few_parameters() -> None:
    many = set()
    for file in PACKAGE.rglob("*.py"):
        text, name = file.read_text(), str(file.relative_to(PACKAGE))
        assert len(text.splitlines()) <= 300, name
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno - node.lineno < 45, f"{name}: {node.name}"
                taken = [it.arg for it in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                if len(set(taken) - {"self", "cls"}) > 6:
                    many.add(f"{name}: {node.name}")
    assert many == set(MANY_PARAMETERS)


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda file: file.name)
def test_configs_load(file: Path) -> None:
    assert load_config(file, paths=["."]).threshold == 50  # a flag wins


def test_decisions_are_short_and_whole() -> None:
    decisions = sorted((ROOT / "decisions").glob("*.md"))
    assert decisions
    for number, file in enumerate(decisions, 1):
        text = file.read_text()
        assert file.name.startswith(f"{number:04d}-")
        assert len(text.splitlines()) <= 40, file.name
        for heading in ("## Context", "## Options", "## Decision"):
            assert heading in text, f"{file.name} lacks {heading}"

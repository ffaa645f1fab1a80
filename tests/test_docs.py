"""The documents are held to the truth: commands run, files exist, folders keep their order, configurations load."""

import ast
import re
import shlex
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib.metadata import version
from pathlib import Path

import pytest

from dupegrid.core.config import load_config
from tests.conftest import ROOT, save

README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
PACKAGE = ROOT / "pipeline/dupegrid"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the folders of pictures that the README speaks of."""
    folder = tmp_path_factory.mktemp("readme")
    for place, name in enumerate(("photos/a.jpg", "photos/b.png", "photos/c.jpg", "new/d.jpg", "archive/e.png")):
        save(folder / name, place % 2)
    (folder / "list").write_text("photos/a.jpg\nphotos/c.jpg\n")
    return folder


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 150


@pytest.mark.slow
def test_the_commands_of_the_readme_run(sandbox: Path) -> None:
    lines = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    commands = [shlex.split(line) for line in lines if line.startswith("dupegrid ")]
    assert len(commands) >= 5
    for words in commands:
        done = subprocess.run([sys.executable, "-m", *words], cwd=sandbox, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: {done.stderr}"


@pytest.mark.slow
def test_the_python_of_the_readme_runs(sandbox: Path) -> None:
    assert blocks("python")
    for block in blocks("python"):
        done = subprocess.run([sys.executable, "-c", block], cwd=sandbox, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_make_targets_are_those_the_readme_names() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE).group(1).split())
    named = set(re.findall(r"\bmake ([a-z-]+)", README + CONTRIBUTING))
    assert {"demo", "test", "check", "bench"} <= named <= targets
    ci = (ROOT / ".ci/run").read_text()
    assert set(re.search(r"^make (.*)$", ci, re.MULTILINE).group(1).split()) <= named


def test_links_of_the_documents_lead_somewhere() -> None:
    for document in (README, ARCHITECTURE, CONTRIBUTING, (ROOT / "GLOSSARY.md").read_text()):
        for target in re.findall(r"\]\(([^)#]+)\)", document):
            assert (ROOT / target).exists(), target


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
    found = {}
    for section in ARCHITECTURE.split("\n### ")[1:]:
        folder = section.partition("/:")[0]
        found[folder] = dict(re.findall(r"^\| (\w+)\.py \|[^|]*\|([^|]*)\|$", section, re.MULTILINE))
    return found


def imports() -> list[tuple[str, str, int]]:
    """(importing module, imported module, column) for the whole package."""
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(file.relative_to(PACKAGE).with_suffix("").parts)
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found += [(module, alias.name, node.col_offset) for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.append((module, node.module, node.col_offset))
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
    for module, imported, column in imports():
        library = imported.split(".")[0]
        if (module, library) != ("app.demo", "PIL"):
            assert doors.get(library, module) == module, f"{module} imports {imported}"
        late = ("cupy", "dask", "distributed", "zarr")  # what most commands do without, and would wait for
        if not module.endswith("__init__"):
            assert column == 0 or library in late, f"{module} imports {imported} inside a function"


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda file: file.name)
def test_configs_load(file: Path) -> None:
    assert load_config(file, paths=["."]).threshold == 50


def test_decisions_are_short_and_whole() -> None:
    decisions = sorted((ROOT / "decisions").glob("*.md"))
    assert decisions
    for number, file in enumerate(decisions, 1):
        text = file.read_text()
        assert file.name.startswith(f"{number:04d}-")
        assert len(text.splitlines()) <= 40, file.name
        for heading in ("## Context", "## Options", "## Decision"):
            assert heading in text, f"{file.name} lacks {heading}"

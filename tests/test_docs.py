"""The documents are held to the truth: commands run, files exist, ranks hold, configurations load."""

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dupegrid.config import load_config
from tests.conftest import ROOT, save
from tests.forks import command

README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()
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


def test_the_commands_of_the_readme_run(sandbox: Path) -> None:
    lines = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    commands = [shlex.split(line) for line in lines if line.startswith("dupegrid ")]
    assert len(commands) >= 5
    started: set[str] = set()
    for words in commands:
        if words[1] in started:
            done = command(*words[1:], cwd=sandbox)
        else:  # each verb once as a process of its own
            words_of_python = [sys.executable, "-m", *words]
            done = subprocess.run(words_of_python, cwd=sandbox, capture_output=True, text=True, check=False)
        started.add(words[1])
        assert done.returncode == 0, f"{words}: {done.stderr}"


def test_the_python_of_the_readme_runs(sandbox: Path) -> None:
    assert blocks("python")
    for block in blocks("python"):
        done = subprocess.run([sys.executable, "-c", block], cwd=sandbox, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_make_targets_are_those_the_readme_names() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE).group(1).split())
    named = set(re.findall(r"\bmake ([a-z-]+)", README))
    assert {"demo", "test", "check", "bench"} <= named <= targets
    ci = (ROOT / ".ci/run").read_text()
    assert set(re.search(r"^make (.*)$", ci, re.MULTILINE).group(1).split()) <= named


def test_links_of_the_documents_lead_somewhere() -> None:
    for document in (README, ARCHITECTURE, (ROOT / "GLOSSARY.md").read_text()):
        for target in re.findall(r"\]\(([^)#]+)\)", document):
            assert (ROOT / target).exists(), target


def test_files_that_the_architecture_names_exist() -> None:
    named = re.findall(r"`([\w/]+\.py)`", ARCHITECTURE)
    assert len(named) > 10
    for name in named:
        assert (PACKAGE / name).exists() or (ROOT / name).exists(), name


def rank_table() -> tuple[dict[str, int], dict[str, str]]:
    """module -> rank and library -> module, as ARCHITECTURE.md says."""
    rows = re.findall(r"^\| (\d+) \| (\S+)\.py \|[^|]*\|([^|]*)\|$", ARCHITECTURE, re.MULTILINE)
    ranks = {name.replace("/", "."): int(rank) for rank, name, _ in rows}
    doors = {
        library.strip(): name.replace("/", ".")
        for _, name, doors in rows
        for library in doors.split(",")
        if library.strip()
    }
    return ranks, doors


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


def test_a_file_imports_only_from_lower_ranks() -> None:
    ranks, _ = rank_table()
    modules = {".".join(file.relative_to(PACKAGE).with_suffix("").parts) for file in PACKAGE.rglob("*.py")}
    assert set(ranks) == {module for module in modules if not module.endswith(("__init__", "__main__"))}
    for module, imported, _ in imports():
        if module in ranks and imported.startswith("dupegrid."):
            assert ranks[imported.removeprefix("dupegrid.")] < ranks[module], f"{module} imports {imported}"


def test_each_outside_library_has_one_door() -> None:
    _, doors = rank_table()
    assert {"zarr", "cupy", "distributed", "PIL"} <= set(doors)
    for module, imported, column in imports():
        library = imported.split(".")[0]
        if (module, library) != ("demo", "PIL"):
            assert doors.get(library, module) == module, f"{module} imports {imported}"
        late = ("cupy", "dask", "distributed", "zarr")  # what most commands do without, and would wait for
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

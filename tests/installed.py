"""What others install, tried in empty environments outside the tree: `make dist` and `make test-pythons`.

python -m tests.installed dist            the wheel and the sdist of this folder, by this Python
python -m tests.installed dist 3.12 3.13  the wheel by these Pythons, and a short form of the suite
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PLANTED = 54  # by the demo, beside files that cannot be read
SHORT = ("app/test_api", "images/test_thumbnail", "pairs/test_kernel", "results/test_clusters", "storage/test_store")
TOOLS = ("hypothesis", "pandas", "pytest")


def interpreter(version: str) -> str | None:
    """A Python of this version that starts: on the PATH, beside this one, or among those of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    beside = [kept for root in (Path(sys.base_prefix).parent, pyenv) for kept in root.glob(f"{version}.*[0-9]")]
    for python in (shutil.which(f"python{version}"), *(str(kept / "bin/python") for kept in beside)):
        if python and subprocess.run([python, "--version"], capture_output=True, check=False).returncode == 0:
            return python
    return None


def environment(python: str, folder: Path, *what: object) -> str:
    """Install into an empty environment; its Python."""
    subprocess.run([python, "-m", "venv", folder], check=True)
    own = str(folder / "bin/python")
    install(own, *what)
    return own


def install(python: str, *what: object) -> None:
    # What is imported is compiled then; all of it would take longer than all that is tried here.
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    subprocess.run([*pip, *what], check=True)


def demo(python: str, folder: Path, what: str) -> None:
    """Run `dupegrid demo` of an environment in a new folder; it has to find all that it planted, and nothing else."""
    folder.mkdir()
    command = [Path(python).parent / "dupegrid", "demo", "--json"]
    result = json.loads(subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE).stdout)
    kinds = [row for row in result["kinds"] if row["kind"] != "unreadable"]
    found, planted = (sum(row[name] for row in kinds) for name in ("found", "planted"))
    print(f"{what}: the demo found {found} of {planted}, and {result['false']} that are none", flush=True)
    if (found, planted, result["false"]) != (PLANTED, PLANTED, 0):
        sys.exit(f"{what}: not the {PLANTED} that were planted")


def test(python: str, sdist: Path, folder: Path, *arguments: str) -> None:
    """Run tests of the sdist against what is installed in an environment."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    tree = folder / sdist.name.removesuffix(".tar.gz")
    subprocess.run([python, "-m", "pytest", "-p", "no:cacheprovider", *arguments], cwd=tree, check=True)


def try_here(wheel: Path, sdist: Path, folder: Path) -> None:
    """The wheel, then the sdist in its place, by this Python."""
    python = environment(sys.executable, folder / "venv", wheel)
    demo(python, folder / "of-wheel", wheel.name)
    subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "dupegrid"], check=True)
    install(python, sdist, *TOOLS)
    demo(python, folder / "of-sdist", sdist.name)
    test(python, sdist, folder / "sdist", "tests/documents/test_docs.py", "-m", "not slow")


def try_with(version: str, wheel: Path, sdist: Path, folder: Path) -> None:
    """The wheel by another Python, if that is here."""
    found = interpreter(version)
    if found is None:
        print(f"Python {version}: skipped, as there is none here", flush=True)
        return
    python = environment(found, folder / f"venv{version}", wheel, *TOOLS)
    demo(python, folder / version, f"Python {version}")
    test(python, sdist, folder / f"sdist{version}", *(f"tests/{name}.py" for name in SHORT))


def main(dist: Path, versions: list[str]) -> None:
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor() as pool:
        if not versions:
            try_here(wheel, sdist, Path(name))
        for done in [pool.submit(try_with, version, wheel, sdist, Path(name)) for version in versions]:
            done.result()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])

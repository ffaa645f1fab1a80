"""Prints the lowest versions that pyproject.toml allows, as constraints for pip: `make test-lowest`."""

import re
import tomllib
from itertools import chain
from pathlib import Path


def lowest(pyproject: Path) -> list[str]:
    """The lowest version of each direct dependency, of the extras and of the build: 'name==version'."""
    facts = tomllib.loads(pyproject.read_text())
    project = facts["project"]
    named = chain(
        facts["build-system"]["requires"], project["dependencies"], *project["optional-dependencies"].values()
    )
    bounds = (re.match(r"([\w.-]+)(?:\[[^]]*\])?>=([\w.]+)", requirement) for requirement in named)
    return sorted({f"{bound[1]}=={bound[2]}" for bound in bounds if bound})


if __name__ == "__main__":
    print("\n".join(lowest(Path(__file__).parent.parent / "pyproject.toml")))

"""A YAML file of settings -> their values."""

from pathlib import Path
from typing import Any, Final

import yaml

from dupegrid.core.errors import ConfigError

_CHARACTERS: Final = 1 << 20  # read of a file


class _Plain(yaml.SafeLoader):
    """YAML without aliases: ten lines of them can stand for billions of values."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias (*name) is not taken: write the value out")
        return super().compose_node(parent, index)


def read_yaml(file: Path) -> dict[str, Any]:
    """The settings in a YAML file, as they are written there. ConfigError where it cannot be read as such."""
    try:
        with open(file, encoding="utf-8") as text:
            values = yaml.load(text.read(_CHARACTERS), _Plain)
    except OSError as error:
        raise ConfigError(
            f"cannot read the configuration {file}: {error.strerror}; give --config an existing file"
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = " ".join(str(error).split())[:200]
        raise ConfigError(f"{file} is not valid YAML: {problem}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{file} must hold 'key: value' lines, not a {type(values).__name__}")
    return values

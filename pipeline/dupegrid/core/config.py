"""One validated configuration: defaults < YAML file < flags."""

import os
import re
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from dupegrid.core.arrays import CHANNELS
from dupegrid.core.errors import ConfigError
from dupegrid.core.keys import fingerprint

SCHEDULERS = "sync, threads, processes, local or tcp://HOST:PORT"
SCHEDULERS_HERE = ("sync", "threads", "processes", "local")  # on this machine, connecting to nothing
_ADDRESS: Final = re.compile(r"tcp://([^\s/:\[\]]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}/?")
_YAML_CHARACTERS = 1 << 20  # read of a file of settings
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def _known_scheduler(name: str) -> str:
    if name in SCHEDULERS_HERE or _ADDRESS.fullmatch(name):
        return name
    raise ValueError(f"is {name!r}: use {SCHEDULERS}")


def resolved(path: Any) -> str:
    """An absolute path of what the system finds under a path, in its own spelling where it holds no '..'.

    `link/../pics` lies beside what the link leads to. Raises ValueError for what names no place on a file system.
    """
    if not isinstance(path, str | bytes | os.PathLike):
        raise ValueError(f"is {path!r}: give one path")
    text = os.fsdecode(path)
    if not text or "\0" in text:
        raise ValueError(f"is {text!r}: name a folder")
    if _URL.match(text):
        raise ValueError(f"is {text!r}: only folders and files of this machine can be named, so mount it first")
    parts = os.path.expanduser(text).split("/")
    if ".." not in parts:
        return os.path.abspath("/".join(parts))
    tail = len(parts) - parts[::-1].index("..")
    try:
        head = os.path.realpath("/".join(parts[:tail]), strict=True)
    except OSError as error:
        raise ValueError(f"is {text!r}: {error.strerror}, before its last '..'") from None
    return os.path.normpath("/".join([head, *parts[tail:]]))


def _one_or_several(value: Any) -> Any:
    return [value] if isinstance(value, str | bytes | os.PathLike) else value


def _extension(name: str) -> str:
    return "." + name.strip().lower().removeprefix(".")


def _bytes(size: Any) -> Any:
    if not isinstance(size, str):
        return size
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)i?B?", size.strip())
    if parts is None:
        raise ValueError(f"is {size!r}: give it as 500MB or 4GB")
    return int(float(parts[1]) * 1000 ** " kMGT".index(parts[2] or " "))


SizeBytes = Annotated[int, BeforeValidator(_bytes)]
FolderPath = Annotated[str, BeforeValidator(resolved)]
OneFile = Annotated[str, BeforeValidator(resolved)]
Extension = Annotated[str, AfterValidator(_extension)]
Extensions = Annotated[tuple[Extension, ...], BeforeValidator(_one_or_several), Field(min_length=1)]
Folders = Annotated[tuple[FolderPath, ...], BeforeValidator(_one_or_several)]
Patterns = Annotated[tuple[str, ...], BeforeValidator(_one_or_several)]


class Config(BaseModel):
    """All settings of a run. Frozen; paths are absolute; `cutoff` is never below `threshold`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    paths: Folders = Field((), description="folders to search for images")
    against: Folders = Field((), description="compare paths with these folders only")
    threshold: float = Field(50.0, ge=0, le=65025, description="pairs with an MSE at or under it are duplicates")
    cutoff: float = Field(-1.0, le=65025, description="keep pairs up to this MSE; default: the threshold")
    thumb: int = Field(64, ge=4, le=256, description="side of the thumbnails, pixels")
    orientations: Literal["none", "rotations", "all"] = "rotations"
    scope: Literal["all", "across", "within"] = "all"
    metric: str = Field("mse", pattern=r"^\w+$|^[\w.]+:\w+$", description="mse, mae or package.module:function")
    same_size: bool = Field(False, description="compare images of the same width and height only")
    max_aspect: float | None = Field(None, ge=1, description="largest factor between the aspects of a pair")
    files_from: OneFile | None = Field(
        None, description="a file of paths, by NUL or newline, to take as one more folder"
    )
    follow_symlinks: bool = Field(False, description="follow symbolic links; loops end")
    exact_decode: bool = Field(False, description="decode all of each picture, without the shortcuts of the recipe")
    decode_again: bool = Field(False, description="decode again what other versions of the decoders decoded")
    max_pixels: int = Field(250_000_000, ge=1, le=4_000_000_000, description="larger pictures are not decoded")
    file_timeout: float = Field(60.0, gt=0, le=86_400, description="seconds a decoder may take for one file")
    extensions: Extensions | None = Field(None, description="only these; default: every file is looked at")
    ignore_name: Patterns = Field((), description="glob patterns of file and folder names to leave out")
    ignore_path: Folders = Field((), description="files and folders to leave out")
    scheduler: Annotated[str, AfterValidator(_known_scheduler)] = "threads"
    workers: int | None = Field(None, ge=1, description="threads or processes; default: one a core")
    matrix: bool = Field(False, description="store the whole all-to-all matrix in mse.zarr too")
    memory: SizeBytes | None = Field(
        None, ge=1_000_000, description="bytes for comparing; default: half of the machine"
    )
    tile: int | None = Field(None, ge=1, description="images a side of a tile; default: by the size of a thumbnail")

    @model_validator(mode="before")
    @classmethod
    def _cutoff_follows_threshold(cls, values: dict[str, Any]) -> dict[str, Any]:
        if values.get("cutoff") is None:
            values = {**values, "cutoff": values.get("threshold", 50.0)}
        return values

    @model_validator(mode="after")
    def _agree(self) -> "Config":
        if self.cutoff < self.threshold:
            raise ValueError(f"cutoff {self.cutoff:g} is below threshold {self.threshold:g}: raise it or leave it out")
        if self.against and self.scope == "within":
            raise ValueError("scope 'within' keeps no pair of an --against run: leave one of the two out")
        return self

    @property
    def roots(self) -> tuple[str, ...]:
        """What is searched: the folders of PATH, the file of paths if there is one, the folders of --against."""
        return (*self.paths, *([self.files_from] if self.files_from else []), *self.against)

    @property
    def first_against(self) -> int:
        """How many of `roots` are on the side of PATH."""
        return len(self.roots) - len(self.against)

    @property
    def values_per_thumb(self) -> int:
        """Number of values in one thumbnail: side x side x 3."""
        return self.thumb * self.thumb * CHANNELS


@dataclass(frozen=True)
class Ask:
    """What decides which pairs are matches, and their scores."""

    cutoff: float
    orientations: str
    scope: str
    against: bool
    same_size: bool
    max_aspect: float | None
    metric: str
    metric_code: str  # what its code is known by

    @classmethod
    def of(cls, config: Config, metric_code: str) -> "Ask":
        """What a configuration asks for."""
        same_named = {field.name: getattr(config, field.name) for field in fields(cls)[:-1]}
        return cls(**same_named | {"against": bool(config.against), "metric_code": metric_code})

    def key(self, images: str) -> str:
        """A key of the matches among images that have a key: equal when these would be the same."""
        return fingerprint(images, *astuple(self))


def load_config(file: str | os.PathLike[str] | None = None, kept_cutoff: float = -1.0, /, **flags: Any) -> Config:
    """The configuration from defaults, an optional YAML file, and flags that are not None; later ones win.

    `kept_cutoff` is that of a run to go on with: where none is asked for and it serves the threshold, it stays.
    Raises ConfigError, naming the key, for anything unknown or out of range.
    """
    values = {} if file is None else _read_yaml(Path(file))
    values.update({key: value for key, value in flags.items() if value is not None})
    config = _validated(values, f"{os.fspath(file)}: " if file is not None else "")
    return config if "cutoff" in values or kept_cutoff <= config.threshold else changed(config, cutoff=kept_cutoff)


def changed(config: Config, **flags: Any) -> Config:
    """A copy with the flags that are not None; a threshold above the cutoff takes the cutoff along."""
    values = config.model_dump()
    given = {key: value for key, value in flags.items() if value is not None}
    if "threshold" in given and "cutoff" not in given and given["threshold"] > config.cutoff:
        given["cutoff"] = given["threshold"]
    return _validated(values | given, "")


def _validated(values: dict[str, Any], where: str) -> Config:
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(where + _first_problem(error)) from None


class _Plain(yaml.SafeLoader):
    """YAML without aliases: ten lines of them can stand for billions of values."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias (*name) is not taken: write the value out")
        return super().compose_node(parent, index)


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        with open(file, encoding="utf-8") as text:
            values = yaml.load(text.read(_YAML_CHARACTERS), _Plain)
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


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in problem["loc"]) or "settings"
    if problem["type"] == "extra_forbidden":
        return f"unknown setting {key!r}; known are: {', '.join(Config.model_fields)}"
    message = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    if "is " + repr(problem["input"]) in message:
        return f"{key} {message}"
    return f"{key} is {problem['input']!r}: {message[0].lower()}{message[1:]}"

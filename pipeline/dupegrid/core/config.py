"""Each setting, once: its default, its range, its help, its flag, and which verbs take it.

A setting comes from the defaults, then a YAML file, then flags or keyword arguments; the later one wins.
"""

import os
from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from dupegrid.core.errors import ConfigError
from dupegrid.core.values import (
    QUEUES,
    SCHEDULERS_HERE,
    StrPath,
    StrPaths,
    Texts,
    comma_separated,
    endings,
    extension,
    in_bytes,
    known_looks,
    known_rule,
    known_scheduler,
    located,
    none_or_several,
    one_or_several,
    resolved,
)

_MAKING: Final = ("run", "index")  # the verbs that make a run directory
_TRYING: Final = (*_MAKING, "estimate")
_CLUSTERING: Final = ("run", "cluster")
_COMPARING: Final = (*_MAKING, "compare")
SEARCHED: Final = {"paths", "files_from"}
_BY_LOOKS: Final = ("mse", "numpy", "any", False)  # metric, array, same_hash and whether on a GPU, with several looks

Orientations = Literal["none", "rotations", "all"]
Normalize = Literal["none", "mean", "contrast"]
Colour = Literal["rgb", "grey"]
Looks = Annotated[tuple[str, ...], BeforeValidator(comma_separated, Texts), AfterValidator(known_looks)]
Scope = Literal["all", "across", "within"]
SameHash = Literal["any", "only", "skip"]
# Before a converter stands what a caller may give: Settings says the same to type checkers, and a test compares them.
SizeBytes = Annotated[int, BeforeValidator(in_bytes, json_schema_input_type=int | str)]
FilePath = Annotated[str, BeforeValidator(resolved, json_schema_input_type=StrPath)]
Location = Annotated[str, BeforeValidator(located, json_schema_input_type=StrPath)]
Locations = Annotated[tuple[Location, ...], BeforeValidator(one_or_several, json_schema_input_type=StrPaths)]
LocationsOrNone = Annotated[tuple[Location, ...], BeforeValidator(none_or_several, json_schema_input_type=StrPaths)]
Rule = Annotated[str, AfterValidator(known_rule)]
Rules = Annotated[tuple[Rule, ...], BeforeValidator(comma_separated, json_schema_input_type=Texts)]
Patterns = Annotated[tuple[str, ...], BeforeValidator(one_or_several, json_schema_input_type=Texts)]
Extension = Annotated[str, AfterValidator(extension)]
Extensions = Annotated[tuple[Extension, ...], BeforeValidator(endings, Texts), Field(min_length=1)]
Scheduler = Annotated[str, AfterValidator(known_scheduler)]


class Taken(NamedTuple):
    """By which verbs a setting is taken; and what --help says of it besides its description and its default."""

    by: tuple[str, ...]
    metavar: str | None = None  # where the type does not say it
    unset: str = ""  # in words, what holds where none is given
    of_run: str = "RUN's"  # the same for a verb that goes on with a RUN
    flag: bool = True  # whether the command has a flag for it


class Config(BaseModel):
    """All settings of a run. Frozen; paths are absolute or addresses; `cutoff` is never below `threshold`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    paths: Annotated[Locations, Taken(_TRYING, flag=False)] = Field(
        (), description="Folders of images, files, zip and tar archives, s3://, gs://, az:// and http(s):// addresses."
    )
    against: Annotated[Locations, Taken(_MAKING, "PATH")] = Field(
        (), description="Say which pictures of PATH are under these PATHs too; no pair inside either side."
    )
    threshold: Annotated[float, Taken((*_COMPARING, "cluster"))] = Field(
        50.0, ge=0, le=65025, description="Pairs with an MSE at or under it are duplicates."
    )
    cutoff: Annotated[float, Taken(_COMPARING, unset="the threshold")] = Field(
        default_factory=lambda values: values.get("threshold"),
        le=65025,
        description="Keep pairs up to this MSE, so that the threshold can be moved later.",
    )
    keep: Annotated[Rules, Taken(_CLUSTERING, "RULE,...", unset="default, the original")] = Field(
        (), description="Rules for the picture of a cluster to keep; the first that tells two apart decides."
    )
    protect: Annotated[LocationsOrNone, Taken(_CLUSTERING, "PATH")] = Field(
        (), description="Nothing under this PATH is ever a duplicate."
    )
    only: Annotated[LocationsOrNone, Taken(_CLUSTERING, "PATH")] = Field(
        (), description="Only what is under this PATH may be a duplicate."
    )
    thumb: Annotated[int, Taken(_TRYING)] = Field(64, ge=4, le=256, description="Side of the thumbnails, pixels.")
    normalize: Annotated[Normalize, Taken(_TRYING)] = Field(
        "none", description="Ignore what edits change: the brightness (mean), or brightness and contrast."
    )
    colour: Annotated[Colour, Taken(_TRYING)] = Field("rgb", description="Compare in colour, or in grey.")
    trim: Annotated[bool, Taken(_TRYING)] = Field(False, description="Cut plain borders off before comparing.")
    looks: Annotated[Looks, Taken(_TRYING, "full,centre95,...", unset="full")] = Field(
        ("full",), description="Compare the middle of each picture too, 95 or 90 % of each side: finds crops."
    )
    orientations: Annotated[Orientations, Taken((*_TRYING, "compare"))] = Field(
        "rotations", description="Whether turned copies count as the same, or mirrored ones too."
    )
    scope: Annotated[Scope, Taken(_MAKING)] = Field(
        "all", description="Compare all pairs, only those across two PATHs, or only those within one."
    )
    metric: Annotated[
        str, Taken(_COMPARING, "mse|mae|MODULE:FUNCTION", of_run="RUN's; code of yours has to be given again")
    ] = Field("mse", pattern=r"^\w+$|^[\w.]+:\w+$", description="The distance; all but mse compare every pair in full.")
    same_size: Annotated[bool, Taken(_MAKING)] = Field(
        False, description="Compare only pictures of the same width and height."
    )
    max_aspect: Annotated[float | None, Taken(_MAKING, "F")] = Field(
        None, ge=1, description="Compare only pictures whose shapes (width to height) differ by this factor at most."
    )
    hash: Annotated[
        str | None, Taken(_COMPARING, "shift:N|MODULE:FUNCTION", of_run="RUN's; code of yours has to be given again")
    ] = Field(
        None,
        pattern=r"^shift:(-?[1-7]|0)$|^[\w.]+:[A-Za-z_]\w*$",
        description="Keep a hash of each thumbnail too, in hashes.parquet.",
    )
    same_hash: Annotated[SameHash, Taken(_MAKING)] = Field(
        "any", description="Compare all pairs, only those with the same hash, or only the others."
    )
    files_from: Annotated[FilePath | None, Taken(_TRYING, "FILE")] = Field(
        None, description="Take the files named in this file too, one a line or ended by NUL."
    )
    follow_symlinks: Annotated[bool, Taken(_TRYING)] = Field(False, description="Follow symbolic links; loops end.")
    exact_decode: Annotated[bool, Taken(_TRYING)] = Field(
        False, description="Decode all of each picture, without shortcuts: slower."
    )
    decode_again: Annotated[bool, Taken(_MAKING)] = Field(
        False, description="Decode again the pictures that other versions of the decoders read."
    )
    max_pixels: Annotated[int, Taken(_MAKING)] = Field(
        250_000_000, ge=1, le=4_000_000_000, description="Pictures of more pixels than this are not decoded."
    )
    file_timeout: Annotated[float, Taken(_MAKING, "SECONDS")] = Field(
        60.0,
        gt=0,
        le=86_400,
        description="Seconds a decoder may take for one file; while the run is stopped none pass.",
    )
    extensions: Annotated[Extensions | None, Taken(_TRYING, ".jpg,.png", unset="at every file")] = Field(
        None, description="Look at files with these endings only."
    )
    ignore_name: Annotated[Patterns, Taken(_TRYING, "GLOB")] = Field(
        (), description="Leave out files and folders of this name."
    )
    ignore_path: Annotated[Locations, Taken(_TRYING, "PATH")] = Field((), description="Leave out this file or folder.")
    scheduler: Annotated[
        Scheduler | None,
        Taken(
            _COMPARING,
            "|".join((*SCHEDULERS_HERE, *QUEUES, "tcp://...")),
            unset="threads",
            of_run="RUN's, unless that is an address",
        ),
    ] = Field(None, description="Where the work is done; also tls://HOST:PORT or a scheduler file.")
    allow_cpu: Annotated[bool, Taken(_COMPARING)] = Field(
        False, description="With --scheduler gpu: where there is no GPU, do the same on the cores."
    )
    array: Annotated[Literal["numpy", "cupy"], Taken(_COMPARING)] = Field(
        "numpy", description="cupy: the workers of your cluster compare on their GPUs."
    )
    workers: Annotated[int | None, Taken((*_TRYING, "compare"), unset="one a core")] = Field(
        None, ge=1, description="Threads or processes."
    )
    memory: Annotated[SizeBytes | None, Taken(_COMPARING, "4GB", unset="half of what it has")] = Field(
        None, ge=1_000_000, description="Memory that each process may take for comparing."
    )
    retries: Annotated[int, Taken(_COMPARING)] = Field(
        2, ge=0, le=100, description="How often failed work is tried again before it is set aside."
    )
    matrix: Annotated[bool, Taken(("run", "compare"))] = Field(
        False, description="Store the whole all-to-all MSE matrix in mse.zarr too."
    )
    relations: Annotated[bool, Taken(("run", "compare"))] = Field(
        False, description="Say how the pictures of each match are related, by all of their pixels."
    )
    tile: Annotated[int | None, Taken(_COMPARING, flag=False)] = Field(
        None, ge=1, description="Images a side of a tile; by default as many as the size of a thumbnail allows."
    )

    @model_validator(mode="after")
    def _agree(self) -> "Config":
        if self.cutoff < self.threshold:
            raise ValueError(f"cutoff {self.cutoff:g} is below threshold {self.threshold:g}: raise it or leave it out")
        if self.against and self.scope == "within":
            raise ValueError("scope 'within' keeps no pair of an --against run: leave one of the two out")
        if self.looks[1:] and (self.metric, self.array, self.same_hash, self.scheduler == "gpu") != _BY_LOOKS:
            raise ValueError("several looks are compared by mse, on cores, whatever their hash: leave out --looks")
        if self.same_hash != "any" and self.hash is None:
            raise ValueError(f"same_hash {self.same_hash!r} needs a hash: give --hash shift:4, or leave it out")
        return self

    @property
    def roots(self) -> tuple[str, ...]:
        """What is searched: the PATHs, the file of paths if there is one, those of --against."""
        return (*self.paths, *([self.files_from] if self.files_from else []), *self.against)

    @property
    def first_against(self) -> int:
        """How many of `roots` are on the side of PATH."""
        return len(self.roots) - len(self.against)

    def root_around(self, folder: Path) -> str | None:
        """The one of `roots` in which a folder lies, here or in a bucket: nothing is written beside the photos."""
        real = folder.resolve()
        for root in {*self.roots} - {self.files_from}:
            here = root.startswith("/")
            if real.is_relative_to(Path(root).resolve()) if here else f"{folder}/".startswith(f"{root}/"):
                return root
        return None


def settings_of(verb: str) -> dict[str, Taken]:
    """The settings that a verb takes, by name, and how."""
    fields = Config.model_fields.items()
    known = ((name, entry) for name, field in fields for entry in field.metadata if isinstance(entry, Taken))
    return {name: taken for name, taken in known if verb in taken.by}


def load_config(file: str | os.PathLike[str] | None = None, before: Config | None = None, /, **flags: Any) -> Config:
    """The configuration from defaults, an optional YAML file, and flags that are not None; later ones win.

    `before` is that of a run to go on with: its threshold, its cutoff where that serves the threshold, and what decides
    the roles (keep, protect, only) stay where they are not given; 'default' and 'none' unset these. Where no PATH is
    given, all of it stays that is not given.
    Raises ConfigError, naming the key, for anything unknown or out of range.
    """
    values = given_settings(file, flags)
    if before is not None and not SEARCHED & values.keys():
        return changed(before, **values)
    if before is not None:
        values = {"threshold": before.threshold, **values}
    config = _validated(values, f"{os.fspath(file)}: " if file is not None else "")
    if before is None:
        return config
    kept = {key: getattr(before, key) for key in ("keep", "protect", "only") if key not in values}
    if "cutoff" not in values and before.cutoff > config.threshold:
        kept["cutoff"] = before.cutoff
    return changed(config, **kept)


def given_settings(file: StrPath | None, flags: Mapping[str, Any]) -> dict[str, Any]:
    """What a YAML file and flags give, which win. ConfigError where the file cannot be read."""
    values: dict[str, Any] = {}
    if file is not None:
        values = import_module("dupegrid.core.settings_file").read_yaml(Path(file))  # which most runs do without
    values = {key: value for key, value in values.items() if value is not None or key not in Config.model_fields}
    return values | {key: value for key, value in flags.items() if value is not None}


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


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in problem["loc"]) or "settings"
    if problem["type"] == "extra_forbidden":
        near = get_close_matches(key, Config.model_fields, 1)
        known = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(Config.model_fields)}"
        return f"unknown setting {key!r}; {known}"
    message = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    if message.startswith("is ") or "is " + repr(problem["input"]) in message:
        return f"{key} {message}"
    return f"{key} is {problem['input']!r}: {message[0].lower()}{message[1:]}"

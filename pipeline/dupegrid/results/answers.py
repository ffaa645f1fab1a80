"""What a run says of itself, as records: how far it is, how its pairs were decided, what was found."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.storage.unfinished import Missing


@dataclass(frozen=True)
class Answer:
    """A record that a verb gives; `--json` prints what `as_dict` returns."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Files:
    """How many files were found, and how many of them are pictures that were read."""

    found: int
    ok: int
    failed: dict[str, int]  # the others, by their status
    removed: int  # were there in an earlier run, and are not counted as found


@dataclass(frozen=True)
class Receipt(Answer):
    """What was compared, and how every pair was decided: receipt.json."""

    images: Files
    unreadable_folders: list[str]
    links_left_alone: int  # symbolic ones, that were not followed
    pairs: dict[str, int]  # 'total', and by how they were decided: these add up to it
    tiles: int
    matches: int  # pairs at or under the cutoff
    fingerprint: str  # of the pictures and the settings that decide which pairs match
    cutoff: float
    orientations: str
    scope: str
    versions: dict[str, str]

    @classmethod
    def of(cls, saved: Mapping[str, Any]) -> "Receipt":
        """The receipt that receipt.json holds. KeyError or TypeError where it holds another thing."""
        return cls(**{**saved, "images": Files(**saved["images"])})


@dataclass(frozen=True)
class Progress:
    """How far a stage is."""

    done: int
    total: int
    unit: str


@dataclass(frozen=True)
class Failure:
    """A file that could not be read."""

    path: str
    status: str
    error: str | None


@dataclass(frozen=True)
class Status(Answer):
    """How far a run is, stage by stage, and which of its files could not be read."""

    run: str
    index: Progress
    compare: Progress  # 0 of 0 tiles where earlier runs decided all pairs
    compared: bool  # whether every pair is decided
    relate: Progress | None  # with --relations
    cluster: bool
    report: bool
    relations: dict[str, int]  # how many matches have which, as far as they were looked at
    failed: dict[str, int]  # by status
    failures: list[Failure]
    missing: list[Missing]  # pieces of work that failed at every try of the last run


@dataclass(frozen=True)
class Summary(Answer):
    """A run in a few numbers; what is of images at or under the threshold is of `threshold`."""

    run: str
    report: str
    images: int  # files found
    ok: int  # pictures read
    failed: dict[str, int]  # the others, by their status
    removed: int  # files of an earlier run that are gone, or left out
    unreadable_folders: list[str]
    links_left_alone: int
    pairs: int  # of pictures read
    threshold: float
    matches: int  # pairs at or under the threshold
    clusters: int
    duplicates: int
    bridges: int
    duplicate_bytes: int  # on disk, a file under several names once
    not_asked_for: int  # pairs left out by --against, --scope, --same-size, --max-aspect or --same-hash
    relations: dict[str, int]  # how many of `matches` have which; empty where nobody has looked at all of them
    nothing_under: list[str]  # PATHs of --protect and --only under which no file was found
    pictures_of_path: int | None = None  # with --against: pictures read that are not on its side,
    already_there: int | None = None  # and how many of these have a match on its side

    def as_dict(self) -> dict[str, Any]:
        values = asdict(self)
        return values if self.already_there is not None else dict(list(values.items())[:-2])


@dataclass(frozen=True)
class CutSummary(Answer):
    """What a run would say at another threshold, in the words of Summary."""

    threshold: float
    matches: int
    clusters: int
    duplicates: int
    bridges: int
    duplicate_bytes: int


@dataclass(frozen=True)
class Export(Answer):
    """What was handed on, and where to."""

    to: str  # a file, or the URL of a database without its password
    format: str
    counts: dict[str, int]  # how many rows of what, and how many were left out for which reason


def counted_files(status: pa.ChunkedArray) -> Files:
    """What the column `status` of images.parquet says."""
    counts = {entry["values"]: entry["counts"] for entry in pc.value_counts(status).to_pylist()}
    ok, removed = counts.pop("ok", 0), counts.pop("removed", 0)
    return Files(len(status) - removed, ok, dict(sorted(counts.items())), removed)

"""Whether a folder may be written to as a run directory, and what run.json of an earlier run says of it; run.json."""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

from dupegrid.app.opening import open_run
from dupegrid.app.trust import check_going_on
from dupegrid.core.config import SEARCHED, Config, given_settings, load_config
from dupegrid.core.errors import ConfigError, DamagedError, RunDirError, UsageError
from dupegrid.core.settings import Settings
from dupegrid.core.text import printable, shown
from dupegrid.core.values import StrPath, StrPaths, flattened
from dupegrid.storage.chunked import stored_facts
from dupegrid.storage.files import write_json
from dupegrid.storage.ours import is_known, leftovers
from dupegrid.storage.places import is_of_a_lock
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.schemas import IMAGES


def with_paths(settings: Settings, folders: Sequence[StrPaths]) -> Settings:
    """All settings of a call, the PATHs among them where some were given."""
    if folders and "paths" in settings:
        raise ConfigError("the PATHs are given twice, as arguments and as 'paths': leave one of the two out")
    return {**settings, "paths": flattened(folders)} if folders else settings


def chosen_config(
    folders: Sequence[StrPaths], run_dir: RunDir, file: StrPath | None, settings: Settings, say: Callable[[str], None]
) -> Config:
    """All settings of a run as it will be, those of an earlier one there among them. UsageError where it cannot be.

    A PATH of the earlier one that is not there any more may be left out, which is said.
    """
    before = _known_config(run_dir)
    given = given_settings(file, with_paths(settings, folders))
    if before is not None:
        before = _without_gone_files(before, run_dir)
    try:
        chosen = load_config(None, before, **given)
    except ConfigError as error:
        raise ConfigError(f"{os.fspath(file)}: {error}" if file is not None else str(error)) from None
    if before is not None and not SEARCHED & given.keys():
        check_going_on(chosen, given)
        _check_there(chosen)
    _check_apart(run_dir, chosen)
    if before is not None:
        _check_thumbnails(run_dir, chosen, before)
        for root in _gone_roots(run_dir, chosen, before):
            say(
                f"index: {root} is not there: of its pictures those that are found elsewhere stay, the others are "
                "taken to be gone; once its disk is back, name it again"
            )
    return chosen


def _check_there(config: Config) -> None:
    """Refuse to go on without a PATH that is not there: its disk may be unplugged."""
    if gone := next((root for root in config.roots if root != config.files_from and _is_gone(root)), None):
        raise UsageError(
            f"{printable(gone)} does not exist: is its disk connected? If it is gone for good, or elsewhere now, "
            "name the PATHs that there are, with the other settings of this run: 'dupegrid run PATH... --out RUN'"
        )


def _is_gone(root: str) -> bool:
    """Whether nothing is there; never of an address, which is not asked."""
    try:
        os.lstat(root)
    except (FileNotFoundError, NotADirectoryError):
        return root.startswith("/")
    except OSError:
        return False
    return False


def _without_gone_files(before: Config, run_dir: RunDir) -> Config:
    """The settings of an earlier run without those PATHs that were files and are gone: they need not be named again.

    Where its folder is gone too, a disk may be unplugged: such a file is missed as a folder is.
    """
    of_disk = (root for root in before.paths if root.startswith("/") and os.path.isdir(os.path.dirname(root)))
    missing = {root for root in of_disk if not os.path.lexists(root)}
    if not missing or not run_dir.images.exists():
        return before
    known = {os.fsdecode(path) for path in run_dir.image_columns(IMAGES, ["path_raw"])["path_raw"].to_pylist()}
    return before.model_copy(update={"paths": tuple(root for root in before.paths if root not in missing & known)})


def _known_config(run_dir: RunDir) -> Config | None:
    """The settings of an earlier run in a folder; None where there is none, or they are damaged.

    RunDirError where the folder is a run of another format, or holds a run.json that is not ours.
    """
    try:
        return open_run(run_dir.path).config if run_dir.run_json.is_file() else None
    except DamagedError:
        # An empty file may be anybody's, but for what lies beside it.
        is_run = run_dir.run_json.stat().st_size or any(map(stored_facts, (run_dir.thumbs_zarr, run_dir.levels_zarr)))
        if not is_known(run_dir.run_json) or not is_run:
            raise RunDirError(
                f"--out {shown(run_dir.path)} has other files in it, and its run.json is not one of dupegrid's: "
                "choose a new or empty folder"
            ) from None
        leftovers(run_dir.path)  # raises where something else in it is not ours
        return None


def _check_apart(run_dir: RunDir, config: Config) -> None:
    """Refuse an --out that would mix with the photos or with other files."""
    path = run_dir.path
    text, root = shown(path), config.root_around(path)
    if root is not None:
        raise RunDirError(
            f"--out {text} lies inside {printable(root)}: choose a folder outside it, "
            "as nothing is written beside the photos"
        )
    try:
        occupied = path.exists() and any(not is_of_a_lock(file.name) for file in path.iterdir())
    except OSError as error:
        raise RunDirError(f"cannot use --out {text}: {error.strerror}; choose a new or empty folder") from None
    if occupied and not run_dir.run_json.exists():
        raise RunDirError(f"--out {text} has other files in it and is no run directory: choose a new or empty folder")


def _check_thumbnails(run_dir: RunDir, config: Config, before: Config) -> None:
    """Refuse to go on with thumbnails that an earlier run made by other settings."""
    for key in ("thumb", "exact_decode", "normalize", "colour", "trim", "looks"):
        old, new = getattr(before, key), getattr(config, key)
        if old != new and run_dir.thumbs_zarr.exists():
            old, new = (",".join(value) if key == "looks" else value for value in (old, new))
            raise RunDirError(
                f"{shown(run_dir.path)} holds thumbnails with {key} = {old}, asked for is {new}: "
                f"choose another --out, or ask for {old}"
            )


def _gone_roots(run_dir: RunDir, config: Config, before: Config) -> list[str]:
    """The PATHs of an earlier run that are not named again, as nothing is there any more.

    RunDirError where one is left out that is there: ids and decisions are of all of them.
    """
    gone: list[str] = []
    for key, old, new in (("paths", before.paths, config.paths), ("against", before.against, config.against)):
        left_out = [root for root in old if root not in new]
        there = [printable(root) for root in left_out if not (new and _is_gone(root))]
        if there:
            more = f" and {len(there) - 3:,} more" if there[3:] else ""
            raise RunDirError(
                f"{shown(run_dir.path)} is a run of other {key}: name {', '.join(there[:3])}{more} again, with more "
                "if you like, or choose another --out"
            )
        gone += map(printable, left_out)
    return gone


def write_run_json(run_dir: RunDir, saved: Mapping[str, Any]) -> None:
    """Write run.json, into a folder that is made if need be. RunDirError where that cannot be."""
    try:
        run_dir.path.mkdir(parents=True, exist_ok=True)
        write_json(run_dir.run_json, saved)
    except OSError as error:
        raise RunDirError(
            f"cannot write to {shown(run_dir.path)}: {error.strerror}; choose a folder you can write to"
        ) from None


@cache
def versions() -> dict[str, str]:
    """The versions of what a run was made with."""
    names = ("dupegrid", "dask", "numpy", "pillow", "pillow-heif", "pyarrow", "zarr")
    return {"python": platform.python_version()} | {name: version(name) for name in names}

"""The flags of the command, each once."""

from pathlib import Path
from typing import Any, Final, NamedTuple

from dupegrid.core.errors import ConfigError


class Option(NamedTuple):
    """A flag that need not be given: what its value is, and what --help says of it."""

    kind: Any
    help: str
    name: str | None = None  # where it does not follow from the field
    metavar: str | None = None


# By the name of a field of Config; `config` names a file of them.
OPTIONS: Final = {
    "against": Option(list[str], "Compare with these folders only, no pair inside either side.", metavar="PATH"),
    "threshold": Option(float, "Pairs with an MSE at or under it are duplicates.  [default: 50]"),
    "cutoff": Option(
        float, "Keep pairs up to this MSE, so that the threshold can be moved later.  [default: the threshold]"
    ),
    "thumb": Option(int, "Side of the thumbnails, pixels.  [default: 64]"),
    "orientations": Option(
        str, "Turns (and mirrors) that count as the same.  [default: rotations]", metavar="none|rotations|all"
    ),
    "scope": Option(
        str,
        "Pairs of all images, across PATHs only or within one PATH only.  [default: all]",
        metavar="all|across|within",
    ),
    "metric": Option(
        str, "The measure; all but mse compare every pair in full.  [default: mse]", metavar="mse|mae|MODULE:FUNCTION"
    ),
    "same_size": Option(bool, "Compare pictures of the same width and height only.", "--same-size"),
    "max_aspect": Option(float, "Compare pictures whose aspects differ by this factor at most.", metavar="F"),
    "files_from": Option(Path, "Take the files named in this file too, one a line or ended by NUL.", metavar="FILE"),
    "follow_symlinks": Option(bool, "Follow symbolic links; loops end.", "--follow-symlinks"),
    "exact_decode": Option(bool, "Decode all of each picture, without shortcuts: slower.", "--exact-decode"),
    "decode_again": Option(bool, "Decode again what other versions of the decoders decoded.", "--decode-again"),
    "max_pixels": Option(int, "Larger pictures are not decoded.  [default: 250000000]"),
    "file_timeout": Option(
        float,
        "Seconds a decoder may take for one file; while all is stopped none pass.  [default: 60]",
        metavar="SECONDS",
    ),
    "extensions": Option(str, "Look at files with these endings only.  [default: at every file]", metavar=".jpg,.png"),
    "ignore_name": Option(list[str], "Leave out files and folders of this name.", metavar="GLOB"),
    "ignore_path": Option(list[str], "Leave out this file or folder.", metavar="PATH"),
    "config": Option(Path, "Settings from a file; flags win.", metavar="FILE.yaml"),
    "scheduler": Option(
        str, "Where the work is done.  [default: threads]", metavar="sync|threads|processes|local|tcp://..."
    ),
    "workers": Option(int, "Threads or processes.  [default: one a core]"),
    "memory": Option(str, "Memory for comparing.  [default: half of the machine]", metavar="4GB"),
    "matrix": Option(bool, "Store the whole all-to-all MSE matrix in mse.zarr too.", "--matrix"),
}
# Of a verb that takes a RUN the same flags have another default.
OF_RUN: Final = {
    "threshold": Option(float, "Pairs with an MSE at or under it are duplicates.  [default: RUN's]"),
    "cutoff": Option(float, "Keep pairs up to this MSE.  [default: RUN's]"),
    "orientations": Option(str, "Turns that count as the same.  [default: RUN's]", metavar="none|rotations|all"),
    "metric": Option(str, "RUN's metric again, where that is code of yours.", metavar="MODULE:FUNCTION"),
    "scheduler": Option(
        str,
        "Where the work is done.  [default: RUN's, unless that is an address]",
        metavar="sync|threads|processes|local|tcp://...",
    ),
}


def settings(flags: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments of a verb's function: flags that were given; ConfigError for a list that holds nothing."""
    given = {key: value for key, value in flags.items() if value not in (None, [])}
    if "extensions" in given:
        given["extensions"] = [name for name in given["extensions"].split(",") if name.strip()]
        if not given["extensions"]:
            raise ConfigError("--extensions names none: give it as '.jpg,.png' or leave it out")
    return given

"""The options of fast-diff-py, by their names there, and the file that keeps them."""

import glob
import math
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from dupegrid.core.config import load_config
from dupegrid.core.errors import ConfigError, DamagedError, RunDirError
from dupegrid.core.keys import fingerprint
from dupegrid.core.settings import Settings
from dupegrid.core.text import printable, shown
from dupegrid.core.values import StrPath, place_of, resolved
from dupegrid.storage.files import read_json, write_json

PIXEL_VALUES: Final = 3  # fast-diff-py divides the squared differences by the pixels, we by the values
_ENDINGS: Final = (".jpg", ".jpeg", ".png", ".bmp", ".tiff", ".tif", ".gif", ".webp")
_THEIR_THUMBNAILS: Final = ".temp_thumb*"  # what fast-diff-py left beside the photos is no photo


@dataclass(init=False)
class FastDiffPyConfig:
    """The options of a `FastDifPy`, as its `config`; what each does here stands in the docstring of that class.

    They are kept in the file `task_path` (by default in the user's cache), which is read unless `task_purge`; `cfg`
    are options to begin with. Raises ConfigError for an option that there is none of, RunDirError where the file is
    not ours.
    """

    p_root_dir_a: str | None = None
    p_root_dir_b: str | None = None
    thumbnail_size_x: int = 64
    thumbnail_size_y: int = 64
    similarity_threshold: float = 200.0
    ignore_names: list[str] = field(default_factory=list)
    ignore_paths: list[str] = field(default_factory=list)
    supported_file_types: list[str] = field(default_factory=lambda: list(_ENDINGS))
    enough_images_to_compare: bool = False
    state: str | None = None
    verbose: bool = False
    retain_config: bool = True
    fl_compute_thumbnails: bool = True
    fl_compute_hash: bool = False
    fl_shift_amount: int = 4
    fl_cpu_proc: int | None = None
    fl_inserted_counter: int = 0
    sl_matching_aspect: bool = False
    sl_matching_hash: bool = False
    sl_has_thumb: bool = False
    sl_make_diff_plots: bool = False
    sl_plot_output_dir: str | None = None
    sl_cpu_proc: int | None = None
    sl_gpu_proc: int = 0
    # Taken, and without a meaning here.
    update_timeout: int = 30
    less_optimized: bool = False
    retry_limit: int = 1000
    max_queue_size: int = 200
    fl_use_workers: bool = True
    sl_use_workers: bool = True
    sl_use_special_b_algo: bool = True
    sl_base_a: bool = True
    sl_queue_status: Any = None
    database: dict[str, Any] = field(default_factory=dict)
    retain_db: bool = True
    cli_args: Any = None

    def __init__(
        self, task_path: StrPath | None = None, task_purge: bool = False, cfg: dict[str, Any] | None = None
    ) -> None:
        self.cfg_path = _default_path() if task_path is None else Path(resolved(task_path))
        for option in fields(self):
            default = option.default_factory() if callable(option.default_factory) else option.default
            setattr(self, option.name, default)
        kept = cfg if cfg is not None else {} if task_purge or not self.cfg_path.exists() else _read(self.cfg_path)
        for name, value in kept.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "cfg_path" and name not in self.__dataclass_fields__:
            raise ConfigError(f"fast-diff-py has no option {name!r}: known are {', '.join(self.__dataclass_fields__)}")
        super().__setattr__(name, value)

    @property
    def has_dir_b(self) -> bool:
        """Whether there is a second directory."""
        return self.p_root_dir_b is not None

    @property
    def run_dir(self) -> Path:
        """The run directory: beside the file of the options, another one for other directories and thumbnails."""
        key = fingerprint(*self.directories, self.thumbnail_size_x)
        return self.cfg_path.with_name(f"{self.cfg_path.stem}-{key}.run")

    @property
    def thumb_dir_a(self) -> str:
        """Where the thumbnails are: all in one store of the run directory, nothing beside the photos."""
        return str(self.run_dir / "thumbs.zarr")

    @property
    def thumb_dir_b(self) -> str:
        """Where the thumbnails of the second directory are: in the same store."""
        return self.thumb_dir_a

    @property
    def directories(self) -> list[str]:
        """The first directory and, where there is one, the second. ConfigError where there is none."""
        if self.p_root_dir_a is None:
            raise ConfigError("no directory to search: give directory_a")
        given = (self.p_root_dir_a, self.p_root_dir_b)
        return [place_of("the directory", path, ConfigError) for path in given if path is not None]

    def directory_around(self, place: Path) -> str | None:
        """The directory that a place lies in, where nothing is written; None where it lies in none."""
        return load_config(paths=self.directories).root_around(place)

    @property
    def threshold(self) -> float:
        """`similarity_threshold` as an MSE of ours."""
        return mse_of(self.similarity_threshold)

    def settings(self) -> Settings:
        """These options as settings of `index`. ConfigError where thumbnails are to be no squares."""
        if self.thumbnail_size_x != self.thumbnail_size_y:
            raise ConfigError(
                f"thumbnails of {self.thumbnail_size_x} x {self.thumbnail_size_y}: they are squares here, "
                "so set thumbnail_size_x and thumbnail_size_y to the same"
            )
        found: Settings = {
            "paths": self.directories[:1],
            "against": self.directories[1:],
            "thumb": self.thumbnail_size_x,
            "extensions": self.supported_file_types,
            "ignore_name": [*map(glob.escape, self.ignore_names), _THEIR_THUMBNAILS],
            "ignore_path": self.ignore_paths,
        }
        return found

    def write_to_file(self) -> None:
        """Keep the options in their file, unless `retain_config` is off. RunDirError where it is not ours."""
        if not self.retain_config:
            return
        if os.path.lexists(self.cfg_path):
            _read(self.cfg_path)  # raises where it is not ours
        try:
            self.cfg_path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.cfg_path, {"fast_diff_py": asdict(self)})
        except OSError as error:
            raise RunDirError(
                f"cannot write {shown(self.cfg_path)}: {error.strerror}; give config_path a place you can write to"
            ) from None

    def remove_file(self) -> None:
        """Remove the file, where it is there, ours, and not of another program's directories by now."""
        if os.path.lexists(self.cfg_path) and _read(self.cfg_path).get("p_root_dir_a") == self.p_root_dir_a:
            self.cfg_path.unlink()


def mse_of(similarity: float) -> float:
    """A similarity of fast-diff-py as an MSE of ours: 200 is 66.67. ConfigError where it is no number, 0 or more."""
    try:
        found = float(similarity) / PIXEL_VALUES
    except (TypeError, ValueError):
        found = -1.0
    if not 0 <= found < math.inf:
        raise ConfigError(f"the similarity is {printable(repr(similarity))}: give a number, 0 or more")
    return found


def _default_path() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(cache), "dupegrid", "fast-diff-py", "task.json")


def _read(path: Path) -> dict[str, Any]:
    try:
        options: dict[str, Any] = read_json(path)["fast_diff_py"]
        return dict(options)
    except (DamagedError, KeyError, TypeError, ValueError):
        raise RunDirError(
            f"{shown(path)} holds no options that were kept here (fast-diff-py's own are of other thumbnails): "
            "move it away, or give another config_path"
        ) from None

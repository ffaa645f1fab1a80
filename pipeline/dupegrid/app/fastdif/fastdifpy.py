"""`FastDifPy`: the class of fast-diff-py, method by method and option by option, on the pipeline here."""

from pathlib import Path
from typing import Any, Final

import dupegrid.app.api as api
from dupegrid.app.fastdif.config import FastDiffPyConfig, mse_of
from dupegrid.app.fastdif.plots import draw_pairs, plot_folder
from dupegrid.app.fastdif.results import Clusters, as_dicts, remove_run, sets_as_dicts
from dupegrid.app.opening import open_run
from dupegrid.app.run import Run
from dupegrid.app.status import status
from dupegrid.app.terminal import Terminal
from dupegrid.core.config import load_config
from dupegrid.core.errors import ConfigError, RunDirError, UsageError
from dupegrid.core.settings import Settings
from dupegrid.core.text import counted, printable, shown, size_text
from dupegrid.core.values import StrPath, place_of
from dupegrid.images.discover import discover

_RULE: Final = "-" * 120


class FastDifPy:
    """Finds duplicates by the calls of fast-diff-py 0.2: change the import, keep the program.

    The results are those of `dupegrid.run`: every pair of pictures, exactly, turned by 0, 90, 180 and 270 degrees. They
    lie in a run directory beside the file of the options, in the user's cache or beside `config_path`, and nothing is
    written beside the photos. A program that was stopped goes on when it is started again. Raises UsageError for what
    the caller can put right.

    fast-diff-py divides the sum of the squared differences by the pixels, we by the values, of which a pixel has three:
    its similarity 200 is an MSE of 66.67 here. It asks for pairs under it, we take those at it too.

    What an option of `config` does:

    | option | here |
    |---|---|
    | cfg_path | the file of the options; the run directory lies beside it |
    | update_timeout | no meaning: the options are written at each step, and a run keeps its own progress |
    | retain_config | whether the options are written |
    | thumbnail_size_x, thumbnail_size_y | `thumb`; thumbnails are squares, so both have to be the same |
    | p_root_dir_a | PATH |
    | p_root_dir_b | `against`: only pairs of one picture of each directory are compared |
    | thumb_dir_a, thumb_dir_b | read only: thumbs.zarr in the run directory, one for both |
    | has_dir_b | read only: whether there is a second directory |
    | similarity_threshold | `threshold`, three times as large as ours |
    | ignore_names | `ignore_name`, each name as it is, no pattern |
    | ignore_paths | `ignore_path` |
    | enough_images_to_compare | set by index_the_dirs: of a single picture, the loops do nothing |
    | supported_file_types | `extensions` |
    | less_optimized | no meaning: thumbnails are read by blocks, in every case |
    | retry_limit | no meaning: thumbnails have no names that could be taken |
    | verbose | shows the progress, as `progress` does |
    | state | how far the calls are; nothing goes by it, as a run knows what it has done |
    | fl_compute_thumbnails | no meaning: thumbnails are always made, as they are what is compared |
    | fl_compute_hash | makes the shifted hash too; hashes of the files are always made |
    | fl_shift_amount | how far it shifts: to the right, or to the left where it is negative |
    | fl_cpu_proc | `workers` of the first loop |
    | fl_inserted_counter | read only: files whose thumbnails were tried |
    | fl_use_workers | no meaning: there are no queues |
    | database | no meaning: tables are parquet files of the run directory |
    | retain_db | no meaning: no database, no password |
    | max_queue_size | no meaning: there are no queues |
    | sl_matching_hash | compares pairs of the same shifted hash only |
    | sl_has_thumb | read only: whether the thumbnails were made |
    | sl_matching_aspect | `same_size`: the same width and height, sides swapped or not |
    | sl_make_diff_plots | draws each matching pair into diff_location |
    | sl_plot_output_dir | diff_location |
    | sl_gpu_proc | no meaning: most pairs are ruled out in blocks, before a GPU would have begun |
    | sl_cpu_proc | `workers` of the second loop |
    | sl_queue_status | no meaning: finished tiles are marked in the run directory |
    | sl_base_a | no meaning: tiles hold pairs both ways |
    | sl_use_workers | no meaning: there are no queues |
    | sl_use_special_b_algo | no meaning: one algorithm, whose pairs are proven to be all |
    """

    def __init__(
        self,
        directory_a: StrPath | None = None,
        directory_b: StrPath | None = None,
        default_db: bool = True,
        progress: bool = True,
        **kwargs: Any,
    ) -> None:
        """Nothing is read or written yet. `kwargs`: debug, disable_config_timeout, config_path, retain_config.

        default_db has no meaning, as there is no database; debug writes no file of its own; and no options are lost
        that there would be a timeout to save. Without directories they are given by `config`.
        """
        known = {"debug", "disable_config_timeout", "config_path", "retain_config"}
        if kwargs.keys() - known:
            raise ConfigError(f"unknown {', '.join(kwargs.keys() - known)}: known are {', '.join(sorted(known))}")
        self.config = FastDiffPyConfig(kwargs.get("config_path"), task_purge=True)
        self.config.retain_config = kwargs.get("retain_config", True)
        self.config.p_root_dir_a, self.config.p_root_dir_b = (
            None if directory is None else place_of("the directory", directory, ConfigError)
            for directory in (directory_a, directory_b)
        )
        self.config.state = "init"
        self._progress = progress
        self._counts: tuple[int, int] | None = None  # files of each directory

    @classmethod
    def init_new(
        cls,
        directory_a: StrPath,
        directory_b: StrPath | None = None,
        default_db: bool = True,
        progress: bool = True,
        **kwargs: Any,
    ) -> "FastDifPy":
        """A new one, as the constructor makes it; the options are written."""
        made = cls(directory_a, directory_b, default_db, progress, **kwargs)
        made.config.write_to_file()
        return made

    @classmethod
    def init_preexisting_config(
        cls,
        config: FastDiffPyConfig | None = None,
        config_path: StrPath | None = None,
        progress: bool = True,
        retain_config: bool = True,
        db: Any = None,
        integrity_check: bool = False,
    ) -> "FastDifPy":
        """One with the options `config`, or of the file `config_path`, by default the last that were kept.

        db has no meaning, as there is no database, and neither has integrity_check: indexing looks at every file.
        """
        made = cls(progress=progress)
        made.config = FastDiffPyConfig(config_path) if config is None else config
        made.config.retain_config = retain_config
        made.config.directories  # noqa: B018  # raises where nothing was kept
        return made

    def index_the_dirs(self) -> None:
        """List the files of the directories; none is opened."""
        self._check_place()
        self._counts = None
        in_a, in_b = self._listed()
        self.config.enough_images_to_compare = in_a + in_b > 1 and in_a >= 1
        self._reached("indexed_dirs")

    def estimate_disk_usage(self, print_results: bool = True) -> tuple[int, int]:
        """The bytes of the thumbnails of each directory; prints them, and how many pairs there are."""
        each = self.config.thumbnail_size_x * self.config.thumbnail_size_y * 3
        in_a, in_b = self._listed()
        found = in_a * each, in_b * each
        if print_results:
            for directory, size_bytes in zip(self.config.directories, found, strict=False):
                print(f"Thumbnails of {printable(directory)}: {size_text(size_bytes)}")
            pairs = in_a * in_b if self.config.has_dir_b else in_a * (in_a - 1) // 2
            print(f"{counted(in_a + in_b, 'file')}, {counted(pairs, 'pair')}")
        return found

    def first_loop_iteration(
        self, compute_thumbnails: bool = True, compute_hash: bool = False, amount: int = 4, cpu_proc: int | None = None
    ) -> None:
        """Make the thumbnails. Raises ConfigError where the amount is not within -7 and 7."""
        if amount not in range(-7, 8):
            raise ConfigError(f"amount is {amount!r}: give a whole number from -7 to 7")
        self.config.fl_compute_thumbnails, self.config.fl_compute_hash = compute_thumbnails, compute_hash
        self.config.fl_shift_amount, self.config.fl_cpu_proc = amount, cpu_proc
        if not self._has_enough():
            return
        self._reached("first_loop_in_progress")
        self._check_place()
        settings: Settings = {**self._settings(), "workers": cpu_proc}
        run = api.index(out=self.config.run_dir, quiet=self._quiet, **settings)
        self.config.fl_inserted_counter, self.config.sl_has_thumb = len(run.images), True
        self._reached("first_loop_done")

    def second_loop_iteration(
        self,
        only_matching_aspect: bool = False,
        only_matching_hash: bool = False,
        make_diff_plots: bool = False,
        similarity_threshold: float = 200.0,
        gpu_proc: int = 0,
        cpu_proc: int | None = None,
        diff_location: StrPath | None = None,
    ) -> None:
        """Compare all pairs, and draw those that match if asked for. Raises UsageError for plots without a place."""
        config = self.config
        mse_of(similarity_threshold)  # raises before anything is kept
        config.sl_matching_aspect, config.sl_matching_hash = only_matching_aspect, only_matching_hash
        config.sl_make_diff_plots, config.similarity_threshold = make_diff_plots, similarity_threshold
        config.sl_gpu_proc, config.sl_cpu_proc = gpu_proc, cpu_proc
        if make_diff_plots:
            config.sl_plot_output_dir = str(plot_folder(diff_location, config))
        if not self._has_enough():
            return
        self._reached("second_loop_in_progress")
        run = self._compared(config.threshold)
        if make_diff_plots and config.sl_plot_output_dir is not None:
            draw_pairs(run, config.threshold, Path(config.sl_plot_output_dir))
        self._reached("second_loop_done")

    def print_preprocessing_errors(self) -> None:
        """Print the files that could not be read, and why."""
        for row in status(self.config.run_dir).failures if self.config.enough_images_to_compare else ():
            print(f"File {printable(row.path)} encountered error:\n{row.status}: {printable(row.error or '')}")
        print(_RULE)

    def print_compare_errors(self) -> None:
        """Print the pairs that could not be compared: none, as what was read can be compared."""
        print(_RULE)

    def get_duplicates(self, similarity: float | None = None, dif_based: bool = True) -> tuple[Clusters, list[str]]:
        """The clusters, each with its best picture and its `duplicates`, and the paths of all of lower quality.

        Of pairs at or under `similarity`, by default that of the second loop; above it all is compared again. Where not
        `dif_based`, of pictures with the same shifted hash. A cluster is a dict: filename, location and path of the one
        to keep, its width, height and size_bytes, `duplicates`, a list of paths, and `bridges`: path -> why it is in
        the cluster and may be no duplicate of the one to keep; these are not in the second result. Paths are as the
        system takes them.
        """
        if not self._has_enough():
            return {}, []
        run = open_run(self.config.run_dir)
        if not dif_based:
            return sets_as_dicts(run.images, run.identical("hash"))
        limit = self.config.threshold if similarity is None else mse_of(similarity)
        if limit > run.config.cutoff:
            run = self._compared(limit)
        return as_dicts(run.images, run.at(limit).clusters, self.config.sl_matching_aspect)

    def clean_up(self, thumbs: bool = True, db: bool = True, config: bool = True) -> None:
        """Remove what was left, and nothing else: the thumbnails, the tables and the file of the options."""
        if self.config.p_root_dir_a is not None and (self.config.run_dir / "run.json").exists():
            remove_run(open_run(self.config.run_dir), thumbs, db, Terminal(quiet=self._quiet).say)
        if config:
            self.config.remove_file()

    @property
    def verbose(self) -> bool:
        """Whether the progress is shown."""
        return self.config.verbose

    @verbose.setter
    def verbose(self, value: bool) -> None:
        self.config.verbose = self._progress = value

    @property
    def _quiet(self) -> bool:
        return not (self._progress or self.config.verbose)

    def _has_enough(self) -> bool:
        """Whether there is more than one picture. UsageError where nobody has looked yet."""
        if self.config.state == "init" and not self.config.enough_images_to_compare:
            raise UsageError("no directory was indexed yet: call index_the_dirs() first")
        return self.config.enough_images_to_compare

    def _listed(self) -> tuple[int, int]:
        """How many files each directory holds."""
        if self._counts is None:
            config = load_config(None, None, **self.config.settings())
            files = discover(config).files
            in_b = sum(count for root, count in files.roots if root >= config.first_against)
            self._counts = len(files) - in_b, in_b
        return self._counts

    def _settings(self) -> Settings:
        asked: Settings = {"same_size": self.config.sl_matching_aspect}
        if self.config.fl_compute_hash or self.config.sl_matching_hash:
            asked["hash"] = f"shift:{self.config.fl_shift_amount}"
            asked["same_hash"] = "only" if self.config.sl_matching_hash else "any"
        return {**self.config.settings(), **asked}

    def _compared(self, threshold: float) -> Run:
        self._check_place()
        settings: Settings = {**self._settings(), "workers": self.config.sl_cpu_proc, "threshold": threshold}
        return api.run(out=self.config.run_dir, quiet=self._quiet, **settings)

    def _reached(self, state: str) -> None:
        self.config.state = state
        self.config.write_to_file()

    def _check_place(self) -> None:
        place = self.config.run_dir.resolve()
        directory = self.config.directory_around(place)
        if directory is not None:
            raise RunDirError(
                f"the run directory {shown(place)} would lie inside {printable(directory)}, where nothing is "
                "written: give config_path a file elsewhere"
            )

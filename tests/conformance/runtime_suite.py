"""What every runtime keeps to, whoever computes: a module for each kind gives `runtime`, and inherits a suite."""

import os
import re
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dupegrid.core.errors import ConfigError
from dupegrid.core.tasks import Runtime
from tests.helpers.tasks import blas_threads, waited_until

WORKERS = 3

Opened = Callable[[], AbstractContextManager[Runtime]]


def results(workers: Runtime, task: Callable[[Any], Any], items: Any) -> list[Any]:
    """What a task gives for each item, in the order of arriving."""
    found: list[Any] = []
    workers.each(task, items, found.append)
    return found


class RuntimeSuite:
    """Tests of a runtime with so many workers."""

    count = WORKERS
    held = 1  # items at most that a worker was given and has not begun
    soon_s = 30

    # First, as there is none that is shared yet.
    def test_a_task_has_one_blas_thread_and_what_is_around_is_as_it_was(self, runtime: Opened) -> None:
        def task(_item: int) -> list[int]:
            return blas_threads()

        before = blas_threads(), dict(os.environ)
        with runtime() as workers:
            for threads in results(workers, task, range(2 * self.count)):
                assert set(threads) == {1}
        assert (blas_threads(), dict(os.environ)) == before

    @pytest.mark.parametrize(
        "items",
        [
            [],
            [7],
            range(40),
            [None, "text", ("task", 0), (max, 1, 2), [(max, 1, 2)], {"a": (1, 2)}, b"bytes", abs],
            np.arange(30).reshape(15, 2),
            np.empty((0, 2), np.int64),
        ],
        ids=["none", "one", "many", "whatever they are", "rows", "no rows"],
    )
    def test_every_item_is_done_once(self, workers: Runtime, tmp_path: Path, items: Any) -> None:
        def task(item: Any) -> Any:
            with (tmp_path / str(hash(repr(item)))).open("ab") as file:
                file.write(b"x")
            return item

        here: set[int] = set()
        found: list[str] = []

        def on_done(result: Any) -> None:
            found.append(repr(result))
            here.add(threading.get_ident())

        workers.each(task, items, on_done)
        assert sorted(found) == sorted(map(repr, items))
        assert here <= {threading.get_ident()}
        assert [path.stat().st_size for path in tmp_path.iterdir()] == [1] * len(items)

    @pytest.mark.parametrize("items", [range(40), np.arange(40)], ids=["bag", "array"])
    def test_items_are_started_in_the_order_in_which_they_are_given(self, workers: Runtime, items: Any) -> None:
        def task(item: Any) -> tuple[int, int]:
            return time.monotonic_ns(), int(item)

        started = [item for _, item in sorted(results(workers, task, items))]
        # Late may be what a worker holds that stands still; early is nothing by more than the others hold.
        early = max(item - place for place, item in enumerate(started))
        assert early <= (self.count - 1) * self.held

    def test_results_arrive_as_they_finish(self, workers: Runtime, tmp_path: Path) -> None:
        first = tmp_path / "first"

        def task(item: int) -> int:
            if item:
                waited_until(first.exists)
            return item

        def on_done(item: int) -> None:
            found.append(item)
            first.touch()

        found: list[int] = []
        workers.each(task, range(2 * self.count), on_done)
        assert found[0] == 0
        assert sorted(found) == list(range(2 * self.count))

    def test_as_many_tasks_as_workers_are_at_work_at_once(self, workers: Runtime, tmp_path: Path) -> None:
        count = self.count

        def meet(item: int) -> tuple[int, int]:
            (tmp_path / str(item)).touch()
            waited_until(lambda: len(list(tmp_path.iterdir())) >= count)  # in vain if fewer are at work
            return os.getpid(), threading.get_ident()

        room = workers.room(None)
        assert room.threads * room.processes == count
        assert len(set(results(workers, meet, range(count)))) == count

    @pytest.mark.parametrize("kind", [ConfigError, MemoryError])
    def test_what_says_nothing_of_an_item_is_raised_and_the_others_are_left(
        self, workers: Runtime, tmp_path: Path, kind: type[Exception]
    ) -> None:
        """Each item takes longer than the one before: 150 take half a minute, however late the error is told."""

        def task(item: int) -> int:
            if item == 0:
                raise kind("no good")
            (tmp_path / str(item)).touch()
            time.sleep(0.01 * len(list(tmp_path.iterdir())))
            return item

        with pytest.raises(kind, match="no good"):
            results(workers, task, range(200))
        assert results(workers, abs, [-1]) == [1], "a run may go on after an error"
        assert len(list(tmp_path.iterdir())) < 150

    @pytest.mark.parametrize("items", [range(9), np.arange(18).reshape(9, 2)], ids=["list", "rows"])
    def test_an_item_that_fails_is_tried_again_and_set_aside_and_the_others_are_done(
        self, workers: Runtime, tmp_path: Path, items: Any
    ) -> None:
        def task(item: Any) -> int:
            number = int(np.sum(item))
            with (tmp_path / str(number)).open("ab") as file:
                file.write(b"x")
                if number == int(np.sum(items[2])) or (number == int(np.sum(items[5])) and file.tell() == 1):
                    raise ValueError("no\ngood")
            return number

        found: list[int] = []
        (aside,) = workers.each(task, items, found.append)
        sums = [int(np.sum(item)) for item in items]
        assert np.array_equal(aside.item, items[2])
        assert aside.problem.startswith("ValueError: no\\ngood (")
        assert sorted(found) == sorted({*sums} - {sums[2]})
        tries = {int(path.name): path.stat().st_size for path in tmp_path.iterdir()}
        assert tries == dict.fromkeys(sums, 1) | {sums[2]: 3, sums[5]: 2}

    def test_an_interrupt_is_raised_soon_and_the_other_items_are_left(self, runtime: Opened, tmp_path: Path) -> None:
        end = tmp_path / "end"

        def task(item: int) -> int:
            (tmp_path / str(item)).touch()
            if item:
                waited_until(lambda: end.exists() or not tmp_path.exists(), 300)  # it goes with the test
            return item

        def interrupt(_result: int) -> None:
            at.append(time.monotonic())
            raise KeyboardInterrupt

        at: list[float] = []
        try:
            with pytest.raises(KeyboardInterrupt), runtime() as workers:
                workers.each(task, range(50), interrupt)
            assert time.monotonic() - at[0] < self.soon_s
        finally:
            end.touch()
        assert len(list(tmp_path.iterdir())) < 30


class ProcessesSuite(RuntimeSuite):
    """Tests of one whose workers are other processes."""

    soon_s = 60
    how_one_died = "died"

    def test_an_item_that_kills_its_workers_is_set_aside_and_the_others_are_done(self, workers: Runtime) -> None:
        def task(item: int) -> int:
            if item == 3:
                os._exit(1)
            return item

        found: list[int] = []
        (aside,) = workers.each(task, range(9), found.append)
        assert aside.item == 3
        assert re.search(self.how_one_died, aside.problem)
        assert "\n" not in aside.problem
        assert sorted(found) == [0, 1, 2, 4, 5, 6, 7, 8]


class ClusterSuite(ProcessesSuite):
    """Tests of one whose workers are those of a dask cluster."""

    # Of 40 short items two are a task; a worker has two of these ahead, as dask saturates them, and may steal one more.
    held = 6
    how_one_died = r"1 workers died while they were at it, the last one at tcp://127\.0\.0\.1:\d+, .* of memory"

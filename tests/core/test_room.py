"""What a task may take: half of what its process has, unless it is said, shared by the tasks of that process."""

import ctypes
import os
from pathlib import Path

import dask.system
import pytest

from dupegrid.core import room as room_module
from dupegrid.core.malloc import keep_memory
from dupegrid.core.room import Room, machine_bytes, process_has
from dupegrid.core.runtime import runtime
from tests.helpers.forks import in_fork
from tests.helpers.tasks import new_pages

GB = 10**9


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_module, "machine_bytes", lambda: 32 * GB)


@pytest.mark.parametrize(
    ("scheduler", "process_bytes", "task_bytes"),
    [
        ("sync", 16 * GB, 16 * GB),
        ("threads", 16 * GB, 4 * GB),
        ("gpu", 16 * GB, 4 * GB),
        ("processes", 4 * GB, 4 * GB),
    ],
)
def test_tasks_at_work_at_once_take_half_of_the_machine(scheduler: str, process_bytes: int, task_bytes: int) -> None:
    with runtime(scheduler, 4) as workers:
        room, said = workers.room(None), workers.room(GB)
    assert (room.process_bytes(), room.task_bytes()) == (process_bytes, task_bytes)
    assert said.process_bytes() == GB
    assert said.task_bytes() == (GB // 4 if scheduler in ("threads", "gpu") else GB)


def test_a_worker_that_knows_its_own_limit_and_threads_goes_by_them() -> None:
    with process_has(8 * GB, 2):
        assert (Room(None, 1, 5).process_bytes(), Room(None, 1, 5).task_bytes()) == (4 * GB, 2 * GB)
        assert (Room(GB, 1, 5).process_bytes(), Room(GB, 1, 5).task_bytes()) == (GB, GB // 2)
    with process_has(0, 2):  # no limit
        assert (Room(None, 1, 4).process_bytes(), Room(None, 1, 4).task_bytes()) == (4 * GB, 2 * GB)
    assert Room(None, 1, 4).process_bytes() == 4 * GB


@pytest.mark.parametrize(
    ("says", "less_than_the_machine"),
    [(["400000000\n", None], True), ([None, "400000000\n"], True), (["max\n", str(2**63 - 4096)], False)],
)
def test_c31_a_container_takes_what_it_is_told_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: list[str | None], less_than_the_machine: bool
) -> None:
    """In the files of a cgroup of version 2 and of version 1, as a container sees them; and its cores, by dask."""
    places = [tmp_path / "memory.max", tmp_path / "memory.limit_in_bytes"]
    for place, text in zip(places, says, strict=True):
        if text is not None:
            place.write_text(text)
    monkeypatch.setattr(room_module, "_LIMITS", places)
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert machine_bytes.__wrapped__() == (400_000_000 if less_than_the_machine else whole)
    monkeypatch.setattr(room_module, "machine_bytes", machine_bytes.__wrapped__)
    for count in (1, 3):
        monkeypatch.setattr(dask.system, "CPU_COUNT", count)
        with runtime("threads") as workers:
            room = workers.room(None)
        assert (room.threads, room.process_bytes()) == (count, machine_bytes.__wrapped__() // 2)


def test_c2_what_is_freed_is_kept_where_dask_has_its_workers_give_it_back() -> None:
    """Counted in pages that are touched anew, in a process of its own: how malloc was told cannot be taken back."""

    def work() -> None:
        libc = ctypes.CDLL(None)
        libc.mallopt(-1, 1 << 16), libc.mallopt(-3, 1 << 17)  # as MALLOC_TRIM_THRESHOLD_=65536 does
        before = new_pages(1 << 20, 20)
        keep_memory.__wrapped__()
        after = new_pages(1 << 20, 20)
        assert 10 * after < before, (before, after)

    assert in_fork(work, decodes=False) == 0

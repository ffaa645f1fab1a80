"""What a task may take: half of what its process has, unless it is said, shared by the tasks of that process."""

import pytest

from dupegrid.core import room as room_module
from dupegrid.core.room import Room, process_has
from dupegrid.core.runtime import runtime

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

"""Which cluster is taken, by what name; what is said where nobody works; how items are cut into tasks."""

import pickle
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import dask
import numpy as np
import pytest
import yaml
from distributed import Client
from distributed.comm import CommClosedError
from distributed.utils import key_split

from dupegrid.core import dask_clients, dask_window
from dupegrid.core.config import Config, load_config
from dupegrid.core.dask_clients import Patience
from dupegrid.core.dask_cluster import DaskCluster
from dupegrid.core.dask_window import Answer, Window
from dupegrid.core.errors import ConfigError, DupegridError
from dupegrid.core.runtime import runtime, runtime_of
from dupegrid.core.sights import look
from dupegrid.core.tasks import Answers, SetAside
from tests.helpers.clusters import ROOT, dask_scheduler


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with dask_scheduler(tmp_path_factory.mktemp("scheduler")) as (address, _):
        yield address


@pytest.mark.parametrize(
    "name", ["sync", "slurm", "kubernetes", "tls://host:8786", "ucx://10.0.0.1:1", "host:8786", "tcp://[::1]:8786"]
)
def test_names_of_schedulers(name: str) -> None:
    assert load_config(scheduler=name).scheduler == name


@pytest.mark.parametrize("name", ["", "host", "none.json", "gopher://host:1", "tcp://host", "tcp://a b:1", "pbs"])
def test_what_is_no_scheduler_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"scheduler is .*use sync"):
        load_config(scheduler=name)


def opened(said: list[str], client: Any = None, **settings: Any) -> str | None:
    """The scheduler that is taken, None for one that is dask's own."""
    with runtime_of(Config(workers=1, **settings), client, said.append) as workers:
        return workers._client.scheduler.address if isinstance(workers, DaskCluster) else None


def test_the_current_client_is_taken_and_said_unless_the_caller_says_otherwise(address: str) -> None:
    said: list[str] = []
    assert opened(said) is None
    with Client(address) as client:
        assert opened(said) == address
        assert said == [f"the work is done by the current dask client, at {address}"]
        assert opened(said, client=False) is None
        assert opened(said, scheduler="sync") is None
        assert client.status == "running"
    assert len(said) == 1


def test_dasks_own_settings_are_respected(address: str) -> None:
    said: list[str] = []
    with dask.config.set({"scheduler-address": address}):
        assert opened(said) == address
        assert opened(said, scheduler="threads") is None
    with dask.config.set({"scheduler": "single-threaded"}):
        assert opened(said) is None
    assert said == [f"the work is done by {name}, as dask's configuration says" for name in (address, "sync")]


@pytest.mark.parametrize("name", ["scheduler-address", "scheduler"])
def test_what_dask_is_told_and_cannot_be_used_here_is_said_in_a_line(name: str) -> None:
    with (
        dask.config.set({name: "gateway://host:8786"}),
        pytest.raises(ConfigError, match=r"^scheduler is 'gateway://host:8786': use sync, .*$"),
    ):
        opened([])


def test_a_scheduler_file_and_an_address_without_a_protocol(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("file")
    with dask_scheduler(folder) as (address, _):
        assert opened([], scheduler=str(folder / "scheduler.json")) == address
        assert opened([], scheduler=address.removeprefix("tcp://")) == address


class Pods:
    """What stands in for a KubeCluster, whose client breaks another package here."""

    status = "running"
    dashboard_link = "http://127.0.0.1:8787/status"

    def __init__(self, **given: Any) -> None:
        self.asked: list[Any] = [given]

    def __enter__(self) -> "Pods":
        return self

    def __exit__(self, *_: object) -> None:
        self.asked.append("closed")

    def scale(self, count: int) -> None:
        self.asked.append(count)

    def adapt(self, **bounds: Any) -> None:
        self.asked.append(bounds)


def test_kubernetes_is_asked_for_workers_and_ended(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Pods] = []

    def cluster(**given: Any) -> Pods:
        made.append(Pods(**given))
        made[-1].scheduler_address = address  # type: ignore[attr-defined]
        return made[-1]

    operator = types.ModuleType("dask_kubernetes.operator")
    operator.KubeCluster = cluster  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dask_kubernetes", types.ModuleType("dask_kubernetes"))
    monkeypatch.setitem(sys.modules, "dask_kubernetes.operator", operator)
    said: list[str] = []
    with runtime("kubernetes", 7, say=said.append) as workers:
        assert isinstance(workers, DaskCluster)
    with dask.config.set({"distributed.adaptive.maximum": 9}), runtime("kubernetes"):
        pass
    given = {"n_workers": 0, "quiet": True}
    assert [pods.asked for pods in made] == [
        [given, 7, "closed"],
        [given, {"minimum": 0, "maximum": 9}, "closed"],
    ]
    assert said == [f"kubernetes: a dask cluster at {address}, its dashboard is {Pods.dashboard_link}"]


def test_what_a_queue_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="how many workers"), runtime("slurm"):
        pass
    with pytest.raises(ConfigError, match=r"cannot start a cluster: .*cores"), runtime("slurm", 2):
        pass
    monkeypatch.setitem(sys.modules, "dask_kubernetes", None)
    with pytest.raises(ConfigError, match=r"pip install 'dupegrid\[kubernetes\]'"), runtime("kubernetes", 2):
        pass


def commented(file: Path) -> Any:
    """The part for dask's own configuration in a file of configs/, which is a comment there."""
    lines = file.read_text().partition("\n# jobqueue:")[2].splitlines()
    return yaml.safe_load("jobqueue:\n" + "\n".join(line.removeprefix("# ") for line in lines if line.startswith("#")))


def test_configs_slurm_is_what_the_installed_dask_jobqueue_knows() -> None:
    from dask_jobqueue import SLURMCluster

    section = commented(ROOT / "configs/slurm.yaml")
    assert section["jobqueue"]["slurm"].keys() <= dask.config.get("jobqueue.slurm").keys()
    section = dask.config.merge({"jobqueue": dask.config.get("jobqueue")}, section)
    with dask.config.set(section), SLURMCluster(scheduler_options={"dashboard_address": "127.0.0.1:0"}) as cluster:
        script = cluster.job_script()
    for line in ("#SBATCH -p compute", "#SBATCH -t 04:00:00", "#SBATCH --cpus-per-task=8", "#SBATCH --mem=30G"):
        assert line in script
    assert "--nthreads 1 --memory-limit 3.75GiB --nworkers 8" in script


class Workers:
    """A client whose scheduler says what it is told to say."""

    def __init__(self, *workers: tuple[str, int]) -> None:
        self._workers = {
            f"tcp://{k}": {"nthreads": 1, "status": status, "memory_limit": limit}
            for k, (status, limit) in enumerate(workers)
        }

    def scheduler_info(self, n_workers: int) -> dict[str, Any]:
        return {"workers": self._workers}


@pytest.mark.parametrize(
    ("workers", "limit_s", "ends_after_s", "problem"),
    [
        ([], 60, 60, "no worker at tcp://x: start some"),
        ([], None, None, ""),
        ([("paused", 300_000_000)] * 2, None, 30, r"all 2 workers at tcp://x are paused.*300\.0 MB each"),
        ([("paused", 1), ("running", 1)], 60, None, ""),
    ],
    ids=["nobody at an address", "nobody in a queue", "all paused", "one paused"],
)
def test_where_nobody_works_it_is_said_and_ended(
    workers: Any, limit_s: Any, ends_after_s: Any, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(dask_clients.time, "monotonic", lambda: now)
    said: list[str] = []
    patience = Patience(Workers(*workers), "tcp://x", said.append, limit_s)  # type: ignore[arg-type]
    ended: DupegridError | None = None
    while now < 3600 and ended is None:
        try:
            patience.look()
        except DupegridError as error:
            ended = error
        else:
            now += 5
    assert (None if ended is None else now) == ends_after_s
    assert re.search(problem, str(ended or ""))
    if ends_after_s is None:
        assert len(said) == (0 if workers else 119)
        assert set(said) <= {"tcp://x: 0 workers; waiting"}


class Done:
    """A future that has ended."""

    def __init__(self, answer: Any) -> None:
        self.status, self.answer = "finished", answer

    def add_done_callback(self, call: Any) -> None:
        call(self)

    def release(self) -> None:
        """Nothing."""


class AtOnce(Workers):
    """A client that does each task as it is submitted, in so many seconds an item by its own word."""

    def __init__(self, item_s: float) -> None:
        super().__init__(*[("running", 1)] * 4)
        self.item_s = item_s
        self.keys: list[str] = []

    def submit(self, function: Any, work: bytes, key: str, **_: Any) -> Done:
        self.keys.append(key)
        return Done(function(work))

    def gather(self, futures: list[Done]) -> list[Any]:
        for future in futures:
            if isinstance(future.answer, Answer):
                future.answer = future.answer._replace(took_s=self.item_s * len(future.answer.given))
        return [future.answer for future in futures]


def work(items: bytes) -> Answer:
    return Answer("tcp://0", 0, [int(np.sum(item)) for item in pickle.loads(items)], None)


def fails(items: bytes) -> Answer:
    return Answer("tcp://0", 0, [SetAside(item, "no good") for item in pickle.loads(items)], None)


def window(client: AtOnce, what: Any = work, name: str = "compare-tile") -> Window:
    patience = Patience(client, "tcp://x", str, None)  # type: ignore[arg-type]
    return Window(client, pickle.dumps(what), name, 2, patience)


@pytest.mark.parametrize(
    ("item_s", "count", "most_tasks"), [(0.005, 20_000, 250), (3.0, 300, 300), (3.0, 1_700, 1_000)]
)
def test_short_items_share_a_task_and_no_stage_has_very_many(
    item_s: float, count: int, most_tasks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_window, "_MOST_TASKS", 1_000)
    client, found = AtOnce(item_s), []
    window(client).all_done(range(count), Answers(found.append))
    assert found == list(range(count))
    assert len(client.keys) <= most_tasks
    assert len(set(client.keys)) == len(client.keys)


def test_tasks_have_names_that_say_the_stage_the_chunk_and_the_tile() -> None:
    client = AtOnce(9)
    window(client).all_done(np.array([[3, 7], [3, 8]]), Answers(lambda _done: None))
    window(client, name="index-chunk").all_done([12], Answers(lambda _done: None))
    assert [key.rpartition("-")[0] for key in client.keys] == ["compare-tile-3-7", "compare-tile-3-8", "index-chunk-12"]
    assert [key_split(key) for key in client.keys] == ["compare-tile", "compare-tile", "index-chunk"]


def test_where_nothing_works_the_rest_is_left() -> None:
    client = AtOnce(0.001)
    with pytest.raises(DupegridError, match="none could be done, the last one: no good"):
        window(client, fails).all_done(range(100_000), Answers(lambda _done: None))


def test_an_answer_that_is_none_of_ours_ends_the_run() -> None:
    with pytest.raises(DupegridError, match="a worker answered bytes"):
        window(AtOnce(1), bytes).all_done(range(3), Answers(lambda _done: None))


def test_a_worker_that_dies_while_its_results_are_fetched_ends_no_run() -> None:
    class Dying(AtOnce):
        def gather(self, futures: list[Done]) -> list[Any]:
            answers = super().gather(futures)
            for future in futures:
                future.status = "lost"
            return answers

    found: list[int] = []
    window(Dying(1)).all_done(range(3), Answers(found.append))
    assert found == [0, 1, 2]


def test_a_scheduler_needs_no_dupegrid() -> None:
    class Sent(AtOnce):
        def submit(self, function: Any, work: bytes, key: str, **named: Any) -> Done:
            pickled = dask_clients.dumps((function, work, key))
            assert b"dupegrid" not in pickled.replace(work, b"")
            return super().submit(function, work, key, **named)

    window(Sent(1)).all_done(range(3), Answers(lambda _done: None))


@pytest.mark.parametrize("here", [0, 2])
def test_a_first_worker_is_waited_for_with_a_task_that_needs_it(here: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some clusters start workers only where there is work."""

    class Later(Workers):
        asked: ClassVar[list[str]] = []

        def submit(self, function: Any, *items: Any, key: str) -> "Later":
            assert function(*items) == 1
            self.asked.append(key.rpartition("-")[0])
            self._workers |= Workers(("running", 1))._workers
            return self

        def release(self) -> None:
            self.asked.append("released")

    monkeypatch.setattr(dask_clients, "_ASK_EVERY_S", 0)
    patience = Patience(Later(*[("running", 1)] * here), "tcp://x", str, None)  # type: ignore[arg-type]
    Later.asked.clear()
    patience.first_worker()
    assert len(patience.addresses) == (here or 1)
    assert Later.asked == ([] if here else ["first-worker", "released"])


def test_a_worker_that_leaves_while_it_is_looked_at_ends_no_run(tmp_path: Path) -> None:
    class Leaves(Workers):
        def run(self, *_: Any, **__: Any) -> dict[str, Any]:
            return {"tcp://0": CommClosedError("Address removed."), "tcp://1": there}

    client: Any = Leaves(("running", 1), ("running", 1))
    workers = DaskCluster(client, 0, Patience(client, "tcp://x", str, None))
    there: Any = look((bytes(tmp_path / "lock"), ()))
    workers.check(tmp_path / "lock")
    there = ImportError("no dupegrid")
    with pytest.raises(ConfigError, match="the worker at tcp://1 cannot look"):
        workers.check(tmp_path / "lock")

"""Items on their way through a cluster: a bounded window of tasks, of several items each where these are short."""

import pickle
import time
import uuid
from collections import deque
from collections.abc import Iterable
from concurrent.futures import CancelledError
from operator import methodcaller
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple

import numpy as np
from toolz import compose

from dupegrid.core.dask_clients import GO_ON, Patience, cluster_lost, dumps, killed_by, lost
from dupegrid.core.errors import DupegridError
from dupegrid.core.tasks import Answers, Items, SetAside

_TASK_S: Final = 1.0  # a task of short items takes: the scheduler takes 3 ms for each
_WINDOW: Final = 1000  # tasks with the scheduler at once, or more where there are very many workers
_A_WORKER: Final = 4  # of these, for each thread, before it is known how long an item takes
_MOST_TASKS: Final = 16_384  # about, in one stage: each takes the scheduler 10 kB to its end
_AHEAD: Final = 100  # failures that wait for all others to be finished first
_LOOK_EVERY_S: Final = 5.0
_DONE_AGAIN_S: Final = 0.1


class Answer(NamedTuple):
    """What a task sends back: for each of its items the result or a SetAside; or an error that ends all."""

    address: str
    took_s: float
    given: list[Any]
    fatal: Exception | None


class Window:
    """What one call of `each` has to do, and how far each item is. `work` is pickled, and does a list of items."""

    def __init__(self, client: Any, work: bytes, name: str, retries: int, patience: Patience) -> None:
        self._client, self._work, self._name = client, work, name
        self._retries, self._patience = retries, patience
        self._items: Items = []
        self._next = 0  # the first item that was in no task yet
        self._again: deque[int] = deque()  # places of items that failed
        self._suspects: deque[int] = deque()  # of those whose task killed its workers; each is tried alone
        self._tries: dict[int, int] = {}
        self._failed_at: dict[int, str] = {}
        self._at: dict[Any, list[int]] = {}
        self._kept: list[Any] = []  # to the end, so that the bars of dask's dashboard count up
        self._ended: SimpleQueue[Any] = SimpleQueue()
        self._item_s: float | None = None
        self._looked = 0.0

    def all_done(self, items: Items, answers: Answers) -> None:
        """Have all items done. DupegridError where the cluster is lost, or nobody in it works."""
        self._items = items
        try:
            fatal = self._until_done(answers)
        except lost() as error:
            raise cluster_lost(error) from None
        finally:
            for future in self._kept:
                future.release()  # what has not started is called off
        if fatal is not None:
            raise fatal

    def _until_done(self, answers: Answers) -> Exception | None:
        self._look()
        self._fill()
        while self._at:
            futures = self._some_ended()
            if any(future.status == "cancelled" for future in futures):
                raise CancelledError  # by whoever lost the scheduler; nothing can be asked of it
            there = self._statuses(futures)
            finished = [future for future, status in there.items() if status == "finished"]
            results = dict(zip(finished, self._client.gather(finished) if finished else (), strict=True))
            for future in there:
                places = self._at.pop(future)
                if future in results:
                    fatal = self._taken(places, results[future], answers)
                else:
                    fatal = self._troubled(places, future, answers)
                if fatal is not None:
                    return fatal
            self._fill()
        return None

    def _statuses(self, futures: list[Any]) -> dict[Any, str]:
        """Those futures that have ended, and how; one whose worker died since is done again.

        Looked at once: a moment later a result may be lost.
        """
        statuses = {future: future.status for future in futures}
        there = {future: status for future, status in statuses.items() if status in ("finished", "error")}
        if len(there) < len(statuses):
            time.sleep(_DONE_AGAIN_S)
            for future in statuses.keys() - there.keys():
                self._ended.put(future)
        return there

    def _some_ended(self) -> list[Any]:
        """Futures that have ended, at least one; looks after the workers while it waits."""
        while True:
            if time.monotonic() - self._looked >= _LOOK_EVERY_S:
                self._look()
            try:
                ended = [self._ended.get(timeout=_LOOK_EVERY_S)]
            except Empty:
                continue
            while not self._ended.empty():
                ended.append(self._ended.get())
            return ended

    def _look(self) -> None:
        self._patience.look()
        self._looked = time.monotonic()

    def _taken(self, places: list[int], answer: Any, answers: Answers) -> Exception | None:
        if not isinstance(answer, Answer) or (answer.fatal is None and len(answer.given) != len(places)):
            return DupegridError(f"a worker answered {type(answer).__name__}, which no task here does")
        if answer.fatal is not None:
            return answer.fatal
        item_s = answer.took_s / len(places)
        self._item_s = item_s if self._item_s is None else 0.8 * self._item_s + 0.2 * item_s
        for place, given in zip(places, answer.given, strict=True):
            if isinstance(given, SetAside):
                self._tries[place] = self._tries.get(place, 0) + 1
                if self._tries[place] <= self._retries and (answers.any_done or len(self._again) < _AHEAD):
                    self._failed_at[place] = answer.address
                    self._again.append(place)
                    continue
                given = SetAside(self._items[place], given.problem)
            answers.take(given)
        return None

    def _troubled(self, places: list[int], future: Any, answers: Answers) -> Exception | None:
        """Of a task that gave no answer: as a rule workers died at it."""
        error = future.exception()
        problem = killed_by(error)
        if problem is None:
            return DupegridError(f"a worker cannot do its work ({type(error).__name__}: {error}); {GO_ON}")
        if len(places) == 1 and places[0] in self._tries and places[0] not in self._failed_at:
            answers.take(SetAside(self._items[places[0]], problem))
        else:  # which of them it was nobody knows, nor whether it was one that another worker had beside it
            for place in places:
                self._failed_at.pop(place, None)
                self._tries[place] = 1
            self._suspects += places
        return None

    def _fill(self) -> None:
        width = max(_WINDOW, _A_WORKER * self._patience.threads)
        if self._item_s is None:
            width = _A_WORKER * max(_A_WORKER, self._patience.threads)
        while len(self._at) < width and (places := self._next_places()):
            self._submit(places)

    def _next_places(self) -> list[int]:
        count = len(self._items)
        if self._again and (self._next == count or len(self._again) > _AHEAD):
            return [self._again.popleft()]
        if self._next < count:
            first, self._next = self._next, min(count, self._next + self._batch(count - self._next))
            return list(range(first, self._next))
        return [self._suspects.popleft()] if self._suspects and not self._at else []

    def _batch(self, left: int) -> int:
        """How many items the next task has."""
        if self._item_s is None:
            return 1
        in_time = int(_TASK_S / max(self._item_s, 1e-6))
        fair = -(-left // (_A_WORKER * max(1, self._patience.threads)))  # the last tasks end together
        return max(-(-len(self._items) // _MOST_TASKS), min(in_time, fair), 1)

    def _submit(self, places: list[int]) -> None:
        items = dumps([self._items[place] for place in places])
        avoided = self._failed_at.pop(places[0], None)
        others = [address for address in self._patience.addresses if address != avoided]
        future = self._client.submit(
            # The scheduler may lack dupegrid: what it unpickles is Python's and toolz'.
            compose(methodcaller("__call__", items), pickle.loads),
            self._work,
            key=f"{self._name}-{self._described(places)}-{uuid.uuid4().hex[:12]}",
            priority=-len(self._kept),  # in the order given
            workers=others if avoided and others else None,
            allow_other_workers=bool(avoided and others),
        )
        self._at[future] = places
        self._kept.append(future)
        future.add_done_callback(self._ended.put)

    def _described(self, places: list[int]) -> str:
        first = self._items[places[0]]
        numbers: Iterable[Any] = first.tolist() if isinstance(first, np.ndarray) and first.ndim else [first]
        text = "-".join(str(n) if isinstance(n, int | np.integer) else str(places[0]) for n in numbers)
        return text if len(places) == 1 else f"{text}-and-{len(places) - 1}-more"

"""What a handle of a run directory keeps of it: made once, whoever asks, and never waited for in vain."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from dupegrid.storage.run_dir import RunDir


@pytest.mark.parametrize("after", range(8))
def test_who_asks_after_a_ctrl_c_anywhere_in_the_asking_has_an_answer(tmp_path: Path, after: int) -> None:
    run_dir, been = RunDir(tmp_path), set[int]()

    def traced(frame: Any, event: str, _: Any) -> Any:
        if frame.f_code is not RunDir.once.__code__:
            return None
        # A `with` comes twice: as a lock is let go no signal is seen.
        if event == "line" and frame.f_lineno not in been:
            been.add(frame.f_lineno)
            if len(been) > after:
                raise KeyboardInterrupt
        return traced

    before = sys.gettrace()
    sys.settrace(traced)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_dir.once("name", lambda: 1)
    finally:
        sys.settrace(before)
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(run_dir.once("name", lambda: 1)), daemon=True)
    asking.start()
    asking.join(30)
    assert answers == [1]


def test_what_fails_fails_for_all_who_wait_and_is_made_again_for_the_next(tmp_path: Path) -> None:
    run_dir, begun, go = RunDir(tmp_path), threading.Event(), threading.Event()

    def fails() -> int:
        begun.set()
        go.wait(30)
        raise OSError("the disk was away")

    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(run_dir.once, "name", fails)]
        begun.wait(30)
        asked += [pool.submit(run_dir.once, "name", lambda: 1) for _ in range(2)]
        go.set()
        wait(asked)
    assert isinstance(asked[0].exception(), OSError)
    assert run_dir.once("name", lambda: 2) in {1, 2}

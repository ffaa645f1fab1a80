"""Coroutines are awaited in the thread that calls, in a notebook too, and end with it."""

import asyncio
import signal
import threading
from contextvars import ContextVar

import pytest

from dupegrid.storage.awaiting import now

run: ContextVar[str] = ContextVar("run", default="none")


async def seen() -> str:
    await asyncio.sleep(0)
    return run.get()


@pytest.mark.parametrize("loop", ["none", "a notebook's"])
def test_a_coroutine_sees_for_which_run_it_works(loop: str) -> None:
    async def cell() -> str:
        return now(seen())

    before = run.set("this")
    try:
        assert (now(seen()) if loop == "none" else asyncio.run(cell())) == "this"
    finally:
        run.reset(before)


def test_what_an_interrupt_ends_does_not_go_on_with_the_next() -> None:
    steps = []

    async def work() -> None:
        steps.append("begun")
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
        await asyncio.sleep(0.05)
        steps.append("ended")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            now(work())
    finally:
        signal.signal(signal.SIGINT, before)
    now(asyncio.sleep(0.2))
    assert steps == ["begun"]
    assert now(seen()) == "none"


def test_the_loop_of_a_thread_is_closed_as_that_ends() -> None:
    """Not whenever its memory is collected, which is said on standard error where its sockets have gone before it."""
    loops = []

    async def note() -> None:
        loops.append(asyncio.get_running_loop())

    thread = threading.Thread(target=lambda: now(note()))
    thread.start()
    thread.join()
    assert loops[0].is_closed()

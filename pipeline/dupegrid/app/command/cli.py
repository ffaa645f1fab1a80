"""The command `dupegrid`: its verbs in groups. Results go to standard output, all else to standard error."""

import contextlib
import io
import multiprocessing
import os
import signal
import sys
import threading
import time
from importlib.metadata import version
from types import FrameType
from typing import Annotated, Any, Final, NoReturn

from dupegrid.app.command import verbs_act, verbs_ask, verbs_find, verbs_hand_on, verbs_look, verbs_plan, verbs_review
from dupegrid.app.command.flags import BadCall, Exit, Flags, app, option
from dupegrid.core.errors import DupegridError
from dupegrid.core.text import printable

VERBS: Final = {
    "Find": (verbs_find.run, verbs_find.index, verbs_find.compare, verbs_find.cluster, verbs_find.estimate),
    "Look": (verbs_look.status, verbs_look.report, verbs_look.explain),
    "Ask": (verbs_ask.folders, verbs_ask.unique, verbs_ask.top, verbs_ask.leakage, verbs_ask.evaluate),
    "Decide": (verbs_plan.plan, verbs_plan.decide, verbs_review.review),
    "Act": (verbs_act.apply, verbs_act.undo, verbs_act.journal),
    "Hand on": (verbs_hand_on.export,),
    "Try": (verbs_find.demo,),
}


def _version(asked: bool) -> None:
    if asked:
        print(f"dupegrid {version('dupegrid')}")
        raise Exit


@app.callback()
def verbs(
    _version: Annotated[bool, option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Find every duplicate and near-duplicate in an image collection, by comparing all images with all images."""


for _group, _verbs in VERBS.items():
    for _verb in _verbs:
        app.command(cls=Flags, rich_help_panel=_group)(_verb)


def main() -> NoReturn:
    """The entry point: exit codes and one-line errors as the README lists them."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    _wake_at_signals()
    try:
        code = app(args=sys.argv[1:] or ["--help"], prog_name="dupegrid", standalone_mode=False)
    except DupegridError as error:
        code = _fail(str(error), error.exit_code)
    except BadCall as error:
        code = _fail(f"{_problem(error)} See '{_asked(error)} --help'.", 2)
    except MemoryError:
        code = _fail("there is not enough memory; what was finished is kept: run the same command again with more", 1)
    except OSError as error:
        code = _fail(f"{error}; what was finished is kept: put that right and run the same command again", 1)
    except (_Stopped, Exception) as error:
        stopped = _stop_behind(error)
        if stopped is None:
            raise
        code = _fail("stopped; what was finished is kept: run the same command again to go on", 128 + stopped.number)
    if isinstance(code, int) and (code or not all(thread.daemon for thread in threading.enumerate()[1:])):
        _leave(code)
    _drop_unwritten()
    sys.exit(0)


def _asked(error: Exception) -> str:
    """The command that was not called rightly: 'dupegrid', or with its verb."""
    context = getattr(error, "ctx", None)
    return "dupegrid" if context is None else str(context.command_path)


def _problem(error: Any) -> str:
    """What is wrong with a call, with what --help says of the word in question; or with the verb that a PATH takes."""
    problem: str = error.format_message().rstrip(".")
    said = (getattr(getattr(error, "param", None), "help", None) or "").partition("  [")[0].rstrip(".")
    if said:
        problem += f": {said}"
    elif problem.startswith("No such command") and os.path.exists(sys.argv[1]):
        problem += "; for what is there: dupegrid run PATH --out RUN"
    return problem if problem.endswith("?") else problem + "."


class _Stopped(BaseException):
    """Raised on a signal, so that it unwinds through everything, as a KeyboardInterrupt would."""

    def __init__(self, number: int) -> None:
        self.number = number


def _stop_behind(error: BaseException | None) -> _Stopped | None:
    """The signal that was being seen to when an error came up, as where it fell into the release of a lock."""
    while error is not None and not isinstance(error, _Stopped):
        error = error.__context__
    return error


def _wake_at_signals() -> None:
    """Wake the main thread after a signal: it may have begun to wait, for hours, just before it would have seen it."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGURG, lambda *_: None)  # ends a wait, and does nothing else
    threading.Thread(target=_wake, args=(reader, threading.get_ident()), daemon=True).start()


def _wake(signals: int, sleeper: int) -> None:
    while number := os.read(signals, 1):
        for pause_s in (0.05, 0.5) if number[0] != signal.SIGURG else ():
            time.sleep(pause_s)
            signal.pthread_kill(sleeper, signal.SIGURG)


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    for again in (signal.SIGINT, signal.SIGTERM):
        signal.signal(again, _stop_now)
    raise _Stopped(number)


def _stop_now(number: int, _frame: FrameType | None) -> NoReturn:
    """End at the second signal, though the first is still being seen to: a run can be killed at any moment."""
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(128 + number)


def _leave(code: int) -> NoReturn:
    """End now: threads still at work would be waited for, and nothing they could leave unfinished does harm.

    Those of a library that still reads ahead of what was given up would even have the process abort.
    """
    for child in multiprocessing.active_children():
        child.kill()
    _drop_unwritten()
    os._exit(code)


def _drop_unwritten() -> None:
    """Write what waits in the standard streams; where that fails, Python would say so again when it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _fail(message: str, code: int) -> int:
    with contextlib.suppress(OSError, ValueError):  # nobody reads it
        print(f"dupegrid: {printable(message)}", file=sys.stderr, flush=True)
    return code

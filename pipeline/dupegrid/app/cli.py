"""The command `dupegrid`: one verb a function of api.py. Results go to standard output, all else to standard error."""

import contextlib
import inspect
import io
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from types import FrameType, UnionType
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin

import typer
from typer.exceptions import TyperException

import dupegrid as api
from dupegrid.app.lines import (
    cluster_lines,
    demo_lines,
    estimate_lines,
    explain_lines,
    receipt_lines,
    status_lines,
    summary_lines,
)
from dupegrid.core.config import Config, Taken, settings_of
from dupegrid.core.errors import DupegridError
from dupegrid.core.start import without_pandas
from dupegrid.core.text import printable
from dupegrid.storage.ours import check_picture
from dupegrid.storage.tables import write_bytes

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Paths = Annotated[list[str] | None, typer.Argument(metavar="PATH", help=Config.model_fields["paths"].description)]
RunDir = Annotated[str, typer.Argument(metavar="RUN", help="A run directory.")]
Image = Annotated[str, typer.Argument(help="An id, a path, or the end of one.")]
Out = Annotated[str, typer.Option(metavar="RUN", help="The run directory: a new folder, or one to go on with.")]
File = Annotated[str | None, typer.Option("--config", metavar="FILE.yaml", help="Settings from a file; flags win.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else, on standard output.")]
Verb = Callable[..., None]


def _takes_settings(verb: Verb) -> Verb:
    """Give a verb the flags of its settings in place of its `**flags`, and `--json` as `as_json` after them."""
    *own, as_json, _flags = inspect.signature(verb).parameters.values()
    of_run = "run_dir" in inspect.signature(verb).parameters
    flags = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_flag(name, taken, of_run))
        for name, taken in settings_of(verb.__name__).items()
        if taken.flag
    ]
    verb.__signature__ = inspect.Signature([*own, *flags, as_json])  # type: ignore[attr-defined]
    return verb


def _flag(name: str, taken: Taken, of_run: bool) -> Any:
    """What typer needs to know of a setting."""
    field = Config.model_fields[name]
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    default = taken.of_run if of_run else taken.unset or _text(field.default)
    return Annotated[
        _kind(field.annotation) | None,
        typer.Option(
            *(["--" + name.replace("_", "-")] if field.annotation is bool else []),  # else there is a --no-... too
            metavar=taken.metavar or "|".join(choices) or None,
            help=f"{field.description}  [default: {default}]" if default else field.description,
        ),
    ]


def _kind(annotation: Any) -> Any:
    """What typer makes of the text of a flag: switches, lists and numbers. Config makes the others of text."""
    if get_origin(annotation) is tuple:
        return list[str]
    if get_origin(annotation) in (Union, UnionType):
        annotation = get_args(annotation)[0]
    return annotation if annotation in (bool, int, float) else str


def _text(default: Any) -> str:
    """A default as --help says it; not at all where it is that nothing is asked for."""
    return "" if default in (None, False, ()) else f"{default:g}" if isinstance(default, float) else str(default)


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags that were given."""
    return {key: value for key, value in flags.items() if value not in (None, [])}


def _version(asked: bool) -> None:
    if asked:
        print(f"dupegrid {version('dupegrid')}")
        raise typer.Exit


@app.callback()
def verbs(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find every duplicate and near-duplicate in an image collection, by comparing all images with all images."""


@app.command()
@_takes_settings
def run(out: Out, paths: Paths = None, config: File = None, *, as_json: Json = False, **flags: Any) -> None:
    """Find the duplicates under the PATHs: index, compare, cluster and report, into RUN."""
    summary = api.run(*(paths or []), out=out, config=config, **_given(flags)).summary
    _print(summary.as_dict(), summary_lines(summary), as_json)


@app.command()
@_takes_settings
def index(out: Out, paths: Paths = None, config: File = None, *, as_json: Json = False, **flags: Any) -> None:
    """Find the files under the PATHs and make their thumbnails, into RUN."""
    done = api.index(*(paths or []), out=out, config=config, **_given(flags))
    state = api.status(done.path)
    _print(state.as_dict(), status_lines(state), as_json)


@app.command()
@_takes_settings
def compare(run_dir: RunDir, *, as_json: Json = False, **flags: Any) -> None:
    """Compare all images of RUN with all; settings not given are those of RUN."""
    receipt = api.compare(run_dir, **_given(flags)).receipt
    _print(receipt.as_dict(), receipt_lines(receipt), as_json)


@app.command()
@_takes_settings
def cluster(run_dir: RunDir, *, as_json: Json = False, **flags: Any) -> None:
    """Join the matches of RUN to clusters; the threshold may be anything up to RUN's cutoff."""
    summary = api.cluster(run_dir, **_given(flags)).summary
    _print(summary.as_dict(), cluster_lines(summary), as_json)


@app.command()
def report(run_dir: RunDir, as_json: Json = False) -> None:
    """Draw the clusters of RUN: report.html."""
    page = str(api.report(run_dir))
    _print({"report": page}, [f"report: {page}"], as_json)


@app.command()
def status(run_dir: RunDir, as_json: Json = False) -> None:
    """How far RUN is, and which of its files could not be read."""
    state = api.status(run_dir)
    _print(state.as_dict(), status_lines(state), as_json)


@app.command()
def explain(run_dir: RunDir, a: Image, b: Image, as_json: Json = False) -> None:
    """Why two images of RUN match or do not: every number that decides, and a picture of where they differ."""
    done = api.open_run(run_dir)
    found = done.explain(a, b)
    picture = done.path / f"explain-{found.a.id}-{found.b.id}.png"
    check_picture(picture)
    write_bytes(picture, found.picture)
    lines = [*explain_lines(found), f"picture     {picture}"]
    _print({**found.as_dict(), "picture": str(picture)}, lines, as_json)


@app.command()
@_takes_settings
def estimate(paths: Paths = None, config: File = None, *, as_json: Json = False, **flags: Any) -> None:
    """What a run on the PATHs would cost, from a few seconds of trying; nothing is written."""
    cost = api.estimate(*(paths or []), config=config, **_given(flags))
    _print(cost.as_dict(), estimate_lines(cost), as_json)


@app.command()
def demo(
    out: Annotated[str, typer.Option(metavar="FOLDER", help="Where to draw the pictures and put the run.")] = "demo",
    as_json: Json = False,
) -> None:
    """Draw some 300 pictures with planted duplicates, find them, and say what was found of what was planted."""
    # Here, as it loads all that a run needs: --help and workers, which load the program's script, do without.
    result = import_module("dupegrid.app.demo").demo(out)
    _print(result.as_dict(), demo_lines(result), as_json)


def main() -> NoReturn:
    """The entry point: exit codes and one-line errors as the README lists them."""
    without_pandas()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        code = app(args=sys.argv[1:] or ["--help"], prog_name="dupegrid", standalone_mode=False)
    except DupegridError as error:
        code = _fail(str(error), error.exit_code)
    except TyperException as error:
        code = _fail(f"{error.format_message().rstrip('.')}. See 'dupegrid --help', 'dupegrid run --help'.", 2)
    except MemoryError:
        code = _fail("there is not enough memory; what was finished is kept: run the same command again with more", 1)
    except OSError as error:
        code = _fail(f"{error}; what was finished is kept: put that right and run the same command again", 1)
    except _Stopped as stopped:
        code = _fail("stopped; what was finished is kept: run the same command again to go on", 128 + stopped.number)
        _leave(code)
    _drop_unwritten()
    sys.exit(code if isinstance(code, int) else 0)


class _Stopped(BaseException):
    """Raised on a signal, so that it unwinds through everything, as a KeyboardInterrupt would."""

    def __init__(self, number: int) -> None:
        self.number = number


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
    """End now: threads still at work would be waited for, and nothing they could leave unfinished does harm."""
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


def _print(result: dict[str, Any], lines: list[str], as_json: bool) -> None:
    text = json.dumps(result, indent=2) if as_json else "\n".join(printable(line) for line in lines)
    try:
        print(text, flush=True)
    except OSError as error:
        raise DupegridError(
            f"cannot write the result to standard output ({error.strerror}); all else is done"
        ) from None

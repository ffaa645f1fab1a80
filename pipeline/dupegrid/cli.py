"""The command `dupegrid`: one verb a function of run.py. Results go to standard output, all else to standard error."""

import io
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from typer.exceptions import TyperException

import dupegrid as api
from dupegrid import demo as demo_stage
from dupegrid.errors import ConfigError, DupegridError
from dupegrid.progress import counted, quantity, size_text
from dupegrid.records import printable, write_bytes

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Paths = Annotated[list[str] | None, typer.Argument(metavar="PATH...", help="Folders of images.")]
RunDir = Annotated[str, typer.Argument(metavar="RUN", help="A run directory.")]
Image = Annotated[str, typer.Argument(help="An id, a path, or the end of one.")]
Out = Annotated[str, typer.Option(metavar="RUN", help="The run directory: a new folder, or one to go on with.")]
Against = Annotated[
    list[str] | None, typer.Option(metavar="PATH", help="Compare with these folders only, no pair inside either side.")
]
Threshold = Annotated[
    float | None, typer.Option(help="Pairs with an MSE at or under it are duplicates.  [default: 50]")
]
Cutoff = Annotated[
    float | None,
    typer.Option(help="Keep pairs up to this MSE, so that the threshold can be moved later.  [default: the threshold]"),
]
Thumb = Annotated[int | None, typer.Option(help="Side of the thumbnails, pixels.  [default: 64]")]
Orientations = Annotated[
    str | None,
    typer.Option(
        metavar="none|rotations|all", help="Turns (and mirrors) that count as the same.  [default: rotations]"
    ),
]
Scope = Annotated[
    str | None,
    typer.Option(
        metavar="all|across|within",
        help="Pairs of all images, across PATHs only or within one PATH only.  [default: all]",
    ),
]
Extensions = Annotated[
    str | None,
    typer.Option(metavar=".jpg,.png", help="Look at files with these endings only.  [default: at every file]"),
]
IgnoreName = Annotated[list[str] | None, typer.Option(metavar="GLOB", help="Leave out files and folders of this name.")]
IgnorePath = Annotated[list[str] | None, typer.Option(metavar="PATH", help="Leave out this file or folder.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE.yaml", help="Settings from a file; flags win.")
]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="sync|threads|processes|local|tcp://...", help="Where the work is done.  [default: threads]"),
]
SameSize = Annotated[
    bool | None, typer.Option("--same-size", help="Compare pictures of the same width and height only.")
]
MaxAspect = Annotated[
    float | None, typer.Option(metavar="F", help="Compare pictures whose aspects differ by this factor at most.")
]
Metric = Annotated[
    str | None,
    typer.Option(
        metavar="mse|mae|MODULE:FUNCTION", help="The measure; all but mse compare every pair in full.  [default: mse]"
    ),
]
Matrix = Annotated[bool | None, typer.Option("--matrix", help="Store the whole all-to-all MSE matrix in mse.zarr too.")]
Memory = Annotated[
    str | None, typer.Option(metavar="4GB", help="Memory for comparing.  [default: half of the machine]")
]
RunThreshold = Annotated[
    float | None, typer.Option("--threshold", help="Pairs with an MSE at or under it are duplicates.  [default: RUN's]")
]
RunCutoff = Annotated[float | None, typer.Option("--cutoff", help="Keep pairs up to this MSE.  [default: RUN's]")]
RunOrientations = Annotated[
    str | None,
    typer.Option(
        "--orientations", metavar="none|rotations|all", help="Turns that count as the same.  [default: RUN's]"
    ),
]
RunScheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="sync|threads|processes|local|tcp://...",
        help="Where the work is done.  [default: RUN's]",
    ),
]
Workers = Annotated[int | None, typer.Option(help="Threads or processes.  [default: one a core]")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else, on standard output.")]


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
def run(
    out: Out,
    paths: Paths = None,
    against: Against = None,
    threshold: Threshold = None,
    cutoff: Cutoff = None,
    thumb: Thumb = None,
    orientations: Orientations = None,
    scope: Scope = None,
    metric: Metric = None,
    same_size: SameSize = None,
    max_aspect: MaxAspect = None,
    extensions: Extensions = None,
    ignore_name: IgnoreName = None,
    ignore_path: IgnorePath = None,
    config: ConfigFile = None,
    scheduler: Scheduler = None,
    workers: Workers = None,
    memory: Memory = None,
    matrix: Matrix = None,
    as_json: Json = False,
) -> None:
    """Find the duplicates under PATH...: index, compare, cluster and report, into RUN."""
    done = api.run(*(paths or []), **_settings(locals()))
    _print(done.summary, as_json, _summary_lines)


@app.command()
def index(
    out: Out,
    paths: Paths = None,
    against: Against = None,
    threshold: Threshold = None,
    cutoff: Cutoff = None,
    thumb: Thumb = None,
    orientations: Orientations = None,
    scope: Scope = None,
    metric: Metric = None,
    same_size: SameSize = None,
    max_aspect: MaxAspect = None,
    extensions: Extensions = None,
    ignore_name: IgnoreName = None,
    ignore_path: IgnorePath = None,
    config: ConfigFile = None,
    scheduler: Scheduler = None,
    workers: Workers = None,
    memory: Memory = None,
    as_json: Json = False,
) -> None:
    """Find the files under PATH... and make their thumbnails, into RUN."""
    done = api.index(*(paths or []), **_settings(locals()))
    _print(api.status(done.path), as_json, _status_lines)


@app.command()
def compare(
    run_dir: RunDir,
    threshold: RunThreshold = None,
    cutoff: RunCutoff = None,
    orientations: RunOrientations = None,
    scheduler: RunScheduler = None,
    workers: Workers = None,
    memory: Memory = None,
    as_json: Json = False,
) -> None:
    """Compare all images of RUN with all; settings not given are those of RUN."""
    flags = {key: value for key, value in locals().items() if key not in ("run_dir", "as_json")}
    done = api.compare(run_dir, **flags)
    _print(done.receipt, as_json, _receipt_lines)


@app.command()
def cluster(run_dir: RunDir, threshold: RunThreshold = None, as_json: Json = False) -> None:
    """Join the matches of RUN to clusters; the threshold may be anything up to RUN's cutoff."""
    _print(api.cluster(run_dir, threshold).summary, as_json, _cluster_lines)


@app.command()
def report(run_dir: RunDir, as_json: Json = False) -> None:
    """Draw the clusters of RUN: report.html."""
    _print({"report": str(api.report(run_dir))}, as_json, lambda made: [f"report: {made['report']}"])


@app.command()
def status(run_dir: RunDir, as_json: Json = False) -> None:
    """How far RUN is, and which of its files could not be read."""
    _print(api.status(run_dir), as_json, _status_lines)


@app.command()
def explain(run_dir: RunDir, a: Image, b: Image, as_json: Json = False) -> None:
    """Why two images of RUN match or do not: every number that decides, and a picture of where they differ."""
    done = api.open_run(run_dir)
    found = done.explain(a, b)
    picture = done.path / f"explain-{found.a['id']}-{found.b['id']}.png"
    write_bytes(picture, found.picture)
    _print({**found.as_dict(), "picture": str(picture)}, as_json, _explain_lines)


@app.command()
def estimate(
    paths: Paths = None,
    thumb: Thumb = None,
    orientations: Orientations = None,
    extensions: Extensions = None,
    ignore_name: IgnoreName = None,
    ignore_path: IgnorePath = None,
    config: ConfigFile = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """What a run on PATH... would cost, from a few seconds of trying; nothing is written."""
    _print(api.estimate(*(paths or []), **_settings(locals())), as_json, _estimate_lines)


@app.command()
def demo(
    out: Annotated[str, typer.Option(metavar="FOLDER", help="Where to draw the pictures and put the run.")] = "demo",
    as_json: Json = False,
) -> None:
    """Draw some 300 pictures with planted duplicates, find them, and say what was found of what was planted."""
    _print(demo_stage.demo(out), as_json, _demo_lines)


def main() -> NoReturn:
    """The entry point: exit codes and one-line errors as the README lists them."""
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
    except OSError as error:
        code = _fail(f"{error}; what was finished is kept: put that right and run the same command again", 1)
    except _Stopped as stopped:
        code = _fail("stopped; what was finished is kept: run the same command again to go on", 128 + stopped.number)
        _leave(code)
    sys.exit(code if isinstance(code, int) else 0)


class _Stopped(BaseException):
    """Raised on a signal, so that it unwinds through everything, as a KeyboardInterrupt would."""

    def __init__(self, number: int) -> None:
        self.number = number


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    raise _Stopped(number)


def _leave(code: int) -> NoReturn:
    """End now: threads still at work would be waited for, and nothing they could leave unfinished does harm."""
    for child in multiprocessing.active_children():
        child.kill()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _fail(message: str, code: int) -> int:
    print(f"dupegrid: {printable(message)}", file=sys.stderr)
    return code


def _settings(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of api.run: flags that were given; ConfigError for a comma list that holds nothing."""
    settings = {
        key: value for key, value in flags.items() if key not in ("paths", "as_json") and value not in (None, [])
    }
    if "extensions" in settings:
        settings["extensions"] = [name for name in settings["extensions"].split(",") if name.strip()]
        if not settings["extensions"]:
            raise ConfigError("--extensions names none: give it as '.jpg,.png' or leave it out")
    return settings


def _print(result: dict[str, Any], as_json: bool, lines: Any) -> None:
    text = json.dumps(result, indent=2) if as_json else "\n".join(printable(line) for line in lines(result))
    print(text)


def _reasons(failed: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in failed.items()) or "none"


def _summary_lines(summary: Mapping[str, Any]) -> list[str]:
    files = f"{summary['images']:,} found, {summary['ok']:,} pictures read; not read: {_reasons(summary['failed'])}"
    left_out = summary["not_asked_for"]
    lines = [
        f"files       {files}" if summary["images"] else "files       none under the PATHs: nothing to compare",
        *(
            [f"folders     {len(summary['unreadable_folders']):,} not listed: see run.json"]
            if summary["unreadable_folders"]
            else []
        ),
        f"pairs       {quantity(summary['pairs'] - left_out)} compared"
        + (f", {quantity(left_out)} not asked for" if left_out else ""),
        *_cluster_lines(summary),
        f"tables      {summary['run']}{os.sep}",
        f"report      {summary['report']}",
    ]
    if "already_there" in summary:
        there = f"{summary['already_there']:,} of {summary['pictures_of_path']:,}"
        lines.insert(-2, f"known       {there} pictures of PATH have a match under --against")
    return lines


def _cluster_lines(summary: Mapping[str, Any]) -> list[str]:
    clusters, bridges = counted(summary["clusters"], "cluster"), counted(summary["bridges"], "bridge")
    size, pairs = size_text(summary["duplicate_bytes"]), counted(summary["matches"], "matching pair")
    found = f"{summary['duplicates']:,} in {clusters} at MSE {summary['threshold']:g}"
    return [f"duplicates  {found}, {size} in them; {bridges}; {pairs}"]


def _receipt_lines(receipt: Mapping[str, Any]) -> list[str]:
    pairs = dict(receipt["pairs"])
    total = pairs.pop("total")
    return [
        f"pairs       {total:,}: " + ", ".join(f"{name} {count:,}" for name, count in pairs.items()),
        f"matches     {receipt['matches']:,} at or under {receipt['cutoff']:g}",
    ]


def _status_lines(state: Mapping[str, Any]) -> list[str]:
    shown = 20
    stages = [
        f"{name:<8} {state[name]['done']:,} of {state[name]['total']:,} {state[name]['unit']}"
        for name in ("index", "compare")
    ]
    stages += [f"{name:<8} {'done' if state[name] else 'to do'}" for name in ("cluster", "report")]
    failures = [
        f"  {row['status']}: {row['path']}" + (f" ({row['error']})" if row["error"] else "")
        for row in state["failures"][:shown]
    ]
    more = len(state["failures"]) - len(failures)
    return [
        *stages,
        f"not read: {_reasons(state['failed'])}",
        *failures,
        *([f"  and {more:,} more: see 'status' and 'error' in images.parquet"] if more else []),
    ]


def _explain_lines(found: Mapping[str, Any]) -> list[str]:
    sides = [
        f"{name}           {image['id']}: {image['path']}, {image['width']} x {image['height']}, {image['status']}"
        for name, image in (("a", found["a"]), ("b", found["b"]))
    ]
    joined = "over the cutoff" if found["joined_at"] is None else f"threshold {found['joined_at']:.4f}"
    return [
        *sides,
        f"same bytes  {'yes' if found['same_file'] else 'no'}",
        *(
            f"MSE         {value:.4f} {name}" + (" (best)" if name == found["best"] else "")
            for name, value in found["mse"].items()
        ),
        *(f"bound       {value:.4f} {name}" for name, value in found["bounds"].items()),
        f"one cluster {joined}",
        f"picture     {found['picture']}",
    ]


def _estimate_lines(cost: Mapping[str, Any]) -> list[str]:
    return [
        f"files       {cost['images']:,}, {size_text(cost['bytes_read'])}",
        f"pairs       {quantity(cost['pairs'])}",
        f"index       {_duration(cost['index_hours'])} at {cost['images_per_s']:,.0f} files/s",
        f"compare     {_duration(cost['compare_hours_at_most'])} at most, at {quantity(cost['pairs_per_s'])} pairs/s",
        f"memory      {size_text(cost['memory_bytes'])}",
        f"disk        {size_text(cost['disk_bytes'])}",
    ]


def _duration(hours: float) -> str:
    minutes = hours * 60
    return f"{hours:.1f} hours" if hours >= 1 else f"{minutes:.0f} minutes" if minutes >= 1 else f"{minutes * 60:.1f} s"


def _demo_lines(result: Mapping[str, Any]) -> list[str]:
    lines = ["planted           found  of"]
    lines += [f"{row['kind']:<16} {row['found']:>6} {row['planted']:>3}" for row in result["kinds"]]
    lines += [
        "",
        f"matches between pictures that are not duplicates: {result['false']}",
        f"pictures  {result['pictures']}{os.sep}",
        *_summary_lines(result["summary"]),
    ]
    return lines

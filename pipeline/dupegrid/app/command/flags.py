"""What the verbs of the command share: their arguments, their flags, which are the fields of Config, their output."""

import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import typer
import typer.core
import typer.exceptions

from dupegrid.core.config import Config, Taken, settings_of
from dupegrid.core.errors import DupegridError
from dupegrid.core.text import printable


class Grouped(typer.core.TyperGroup):
    """The command, whose --help lists its verbs by group."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the verbs, a section a group, a line each."""
        verbs = [self.commands[name] for name in self.list_commands(ctx)]
        for group in dict.fromkeys(getattr(verb, "rich_help_panel", "") for verb in verbs):
            with formatter.section(group):
                of_group = [verb for verb in verbs if getattr(verb, "rich_help_panel", "") == group]
                formatter.write_dl([(verb.name, verb.get_short_help_str(formatter.width)) for verb in of_group])


class Flags(typer.core.TyperCommand):
    """A verb, whose --help lists its flags by group: those of every verb first, as Options."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then the flags, a section a group."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": [], **{name: [] for name in GROUPS}}
        for parameter in self.get_params(ctx):
            name, said = parameter.get_help_record(ctx) or ("", "")
            if parameter.param_type_name == "argument":
                sections["Arguments"].append((name.partition(" <")[0], said))
            else:
                sections[getattr(parameter, "rich_help_panel", None) or "Options"].append((name, said))
        for title, rows in sections.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def invoke(self, ctx: Any) -> Any:
        """Do what the verb does. Only then is loaded what --help does without."""
        import_module("dupegrid.core.hidden_imports").without_pandas()
        return super().invoke(ctx)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words after the verb, as documents write them: RUN, not {RUN}."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


app = typer.Typer(cls=Grouped, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
argument, option, Exit, BadCall = typer.Argument, typer.Option, typer.Exit, typer.exceptions.TyperException

GROUPS: Final = {
    "What counts as a duplicate": (
        *("threshold", "cutoff", "orientations", "normalize", "colour", "trim", "looks", "thumb", "metric"),
    ),
    "Which pairs are compared": ("against", "scope", "same_size", "max_aspect", "hash", "same_hash"),
    "Which picture is kept": ("keep", "protect", "only"),
    "Which files are read, and how": (
        *("files_from", "extensions", "ignore_name", "ignore_path", "follow_symlinks", "max_pixels", "file_timeout"),
        *("exact_decode", "decode_again"),
    ),
    "Where the work is done": ("scheduler", "workers", "memory", "retries", "array", "allow_cpu"),
    "What else is written": ("matrix", "relations"),
}
_GROUP_OF: Final = {name: group for group, names in GROUPS.items() for name in names}
WORK, WRITTEN = _GROUP_OF["scheduler"], _GROUP_OF["matrix"]
_METAVARS: Final = {int: "N", float: "NUMBER", str: "TEXT"}

Paths = Annotated[list[str] | None, argument(metavar="PATH", help=Config.model_fields["paths"].description)]
RunDir = Annotated[str, argument(metavar="RUN", help="A run directory.")]
ImageA = Annotated[str, argument(metavar="A", help="An image: its id, its path, or the end of that.")]
ImageB = Annotated[str, argument(metavar="B", help="Another.")]
Out = Annotated[str, option(metavar="RUN", help="The run directory: a new folder, or one to go on with.")]
File = Annotated[str | None, option("--config", metavar="FILE.yaml", help="Settings from a file; flags win.")]
Json = Annotated[bool, option("--json", help="Print the result as JSON, and nothing else, on standard output.")]
Verb = Callable[..., None]


def flag(metavar: str, help: str, kind: Any = str, **more: Any) -> Any:
    """A flag with a value, for `with_flags`, which has its name."""
    return Annotated[kind | None, option(metavar=metavar, help=help, **more)]


def switch(name: str, help: str, **more: Any) -> Any:
    """A flag without one; it is named, as there would be a --no-... too."""
    return Annotated[bool | None, option(name, help=help, **more)]


DECISIONS: Final = flag("FILE", "Take the decisions of another run, or of a file, first.")
PLOTS: Final = {
    "plots": flag("DIR", "Save a plot of each matching pair there.", rich_help_panel=WRITTEN),
    "plots_most": flag(
        "N", "Plots at most, the most alike first.  [default: 1000]", int, min=0, rich_help_panel=WRITTEN
    ),
}


def takes_settings(verb: Verb, own: dict[str, Any] | None = None) -> Verb:
    """Give a verb the flags of its settings, after flags of its `own`, in place of its `**flags`."""
    of_run = "run_dir" in inspect.signature(verb).parameters
    settings = settings_of(verb.__name__).items()
    return with_flags((own or {}) | {name: _flag(name, taken, of_run) for name, taken in settings if taken.flag})(verb)


def with_flags(flags: dict[str, Any]) -> Callable[[Verb], Verb]:
    """Give a verb flags, annotated by their names, in place of its `**flags`, and `--json` as `as_json` after them."""

    def decorated(verb: Verb) -> Verb:
        *own, as_json, _flags = inspect.signature(verb).parameters.values()
        more = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
            for name, kind in flags.items()
        ]
        verb.__signature__ = inspect.Signature([*own, *more, as_json])  # type: ignore[attr-defined]
        return verb

    return decorated


def _flag(name: str, taken: Taken, of_run: bool) -> Any:
    """What typer needs to know of a setting."""
    field = Config.model_fields[name]
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    default = taken.of_run if of_run else taken.unset or _text(field.default)
    return Annotated[
        _kind(field.annotation) | None,
        option(
            *(["--" + name.replace("_", "-")] if field.annotation is bool else []),  # else there is a --no-... too
            metavar=taken.metavar or "|".join(choices) or _METAVARS.get(_kind(field.annotation)),
            rich_help_panel=_GROUP_OF[name],
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


def given(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags that were given."""
    return {key: value for key, value in flags.items() if value not in (None, [])}


def emit(result: dict[str, Any], lines: list[str], as_json: bool, indent: int | None = 2) -> None:
    """Print the result of a verb: its lines for people, or the whole of it as JSON. DupegridError where that fails."""
    text = json.dumps(result, indent=indent) if as_json else "\n".join(printable(line) for line in lines)
    with to_standard_output():
        print(text, flush=True)


@contextmanager
def to_standard_output() -> Iterator[None]:
    """What writes a result there: DupegridError where that fails."""
    try:
        yield
    except OSError as error:
        raise DupegridError(
            f"cannot write the result to standard output ({error.strerror}); all else is done"
        ) from None


def confirmed(question: str) -> bool:
    """Whether the person at the terminal says yes."""
    return typer.confirm(question, err=True)

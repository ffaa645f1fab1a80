"""What the value of a setting may be given as -> what it is kept as; ValueError says what is wrong with it."""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

from dupegrid.core.errors import UsageError

SCHEDULERS_HERE = ("sync", "threads", "processes", "local", "gpu")  # on this machine, connecting to nothing
QUEUES: Final = ("slurm", "kubernetes")  # which start workers as jobs
_ADDRESS: Final = re.compile(r"((tcp|tls|ucx|ucxx|ws|wss)://)?([^\s/:\[\]]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}/?")
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SECRETS: Final = re.compile(r"(?<=://).*@|[?#].*", re.DOTALL)
WEB: Final = ("http", "https")
BUCKETS: Final = ("s3", "gs", "az")
_HOSTS: Final = dict.fromkeys(WEB, r"([\w.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?") | dict.fromkeys(BUCKETS, r"[\w.-]+")

# By which picture a keeper may be chosen, beside folder:GLOB; what each means stands with RULES in storage/schemas.py.
KEEP_RULES: Final = (
    *("pixels", "bytes", "format", "lossless", "camera", "date", "gps", "icc", "name", "oldest", "newest"),
    *("shortest", "path", "paths", "default"),
)
WHOLE: Final = "full"  # the look that shows all of a picture
_MOST_LOOKS: Final = 5  # two pictures are compared 25 times by so many

StrPath = str | os.PathLike[str]
StrPaths = StrPath | Sequence[StrPath]
Texts = str | Sequence[str]


def known_scheduler(name: str) -> str:
    """A name of SCHEDULERS_HERE or QUEUES, or the address of a dask scheduler, as it is; a scheduler file as a path."""
    if name in SCHEDULERS_HERE or name in QUEUES or _ADDRESS.fullmatch(name):
        return name
    if name.endswith(".json") and os.path.isfile(name):
        return resolved(name)
    known = ", ".join((*SCHEDULERS_HERE, *QUEUES))
    raise ValueError(f"is {name!r}: use {known}, tcp:// or tls://HOST:PORT, or an existing scheduler file, *.json")


def resolved(path: Any) -> str:
    """An absolute path of what the system finds under a path, in its own spelling where it holds no '..'.

    `link/../pics` lies beside what the link leads to. Raises ValueError for what names no place on a file system.
    """
    if not isinstance(path, str | bytes | os.PathLike):
        raise ValueError(f"is {path!r}: give one path")
    text = os.fsdecode(path)
    if not text or "\0" in text:
        raise ValueError(f"is {text!r}: name a folder")
    if _URL.match(text):
        shown = _SECRETS.sub("...", text)  # no password goes into a message
        raise ValueError(f"is {shown!r}: only folders and files of this machine can be named, so mount it first")
    parts = os.path.expanduser(text).split("/")
    if ".." not in parts:
        return os.path.abspath("/".join(parts))
    tail = len(parts) - parts[::-1].index("..")
    try:
        head = os.path.realpath("/".join(parts[:tail]), strict=True)
    except OSError as error:
        raise ValueError(f"is {text!r}: {error.strerror}, before its last '..'") from None
    return os.path.normpath("/".join([head, *parts[tail:]]))


def located(path: Any) -> str:
    """A path as `resolved` gives it, or an address where pictures are: s3://bucket/folder, https://host/folder.

    ValueError for one that holds a user, a password or a key, which goes into no message: the environment has these.
    """
    text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
    scheme, _, rest = text.partition("://")
    scheme = scheme.lower()
    if not _URL.match(text) or scheme not in _HOSTS:
        return resolved(path)
    host, _, folder = rest.partition("/")
    if not re.fullmatch(_HOSTS[scheme], host, re.ASCII) or (scheme in WEB and re.search("[?#]", folder)):
        form = "s3://bucket/folder, gs:// or az://" if scheme in BUCKETS else f"{scheme}://host/folder/"
        raise ValueError(f"is an address of another form than {form}: leave users, passwords and keys out of it")
    names = [name for name in folder.split("/") if name]
    if not {".", ".."}.isdisjoint(names) or not text.isprintable():
        raise ValueError(f"is {text!r}: write the address out")
    if scheme in WEB:
        host, names = host.lower(), [quote(unquote_to_bytes(name), safe="") for name in names]
    return "/".join([f"{scheme}://{host}", *names])


def place_of(what: str, path: Any, kind: type[UsageError] = UsageError, find: Callable[[Any], str] = resolved) -> str:
    """A path as `resolved`, or `located`, has it. An error of that kind, naming `what` of a call is wrong, for none."""
    try:
        return find(path)
    except ValueError as error:
        raise kind(f"{what} {error}") from None


def one_or_several(value: Any) -> Any:
    """A list where one text or path was given."""
    return [value] if isinstance(value, str | bytes | os.PathLike) else value


def flattened(values: Iterable[Any]) -> list[Any]:
    """One list of what was given one by one or several at once: texts, paths, and lists or columns of such."""
    lists = ([v] if isinstance(v, str | bytes | os.PathLike) or not isinstance(v, Iterable) else v for v in values)
    return [value for several in lists for value in several]


def none_or_several(value: Any) -> Any:
    """A list where one text or path was given, an empty one for the word none."""
    return [] if value in ("none", ["none"]) else one_or_several(value)


def comma_separated(value: Any) -> Any:
    """The entries of a text like 'pixels unless gps, oldest', as a list."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        return value
    return [" ".join(entry.split()) for text in texts for entry in text.split(",") if entry.strip()]


def known_rule(rule: str) -> str:
    """A rule of KEEP_RULES or folder:GLOB, with or without a guard ('pixels unless gps'), as it is."""
    name, _, guard = rule.partition(" unless ")
    for part in (name, guard) if " unless " in rule else (name,):
        if part not in KEEP_RULES and not re.fullmatch(r"folder:[^,]+", part):
            raise ValueError(
                f"is {rule!r}: use {', '.join(KEEP_RULES)} or folder:GLOB, as in 'pixels unless gps,oldest'"
            )
    return rule


def known_looks(looks: tuple[str, ...]) -> tuple[str, ...]:
    """Looks at a picture, each once: 'full', all of it, and then the others, the widest first."""
    others = sorted({*looks} - {WHOLE}, reverse=True)
    known = all(re.fullmatch(r"centre[5-9][0-9]", look) for look in others)
    if not known or WHOLE not in looks or len(others) >= _MOST_LOOKS:
        raise ValueError(
            f"is {','.join(looks)!r}: use {WHOLE} and up to {_MOST_LOOKS - 1} of centre50 to centre99, "
            "as in 'full,centre95,centre90'"
        )
    return WHOLE, *others


def endings(value: Any) -> Any:
    """The endings of files in a text like '.jpg,.png', as a list."""
    if not isinstance(value, str):
        return value
    names = [name for name in value.split(",") if name.strip()]
    if not names:
        raise ValueError(f"is {value!r}: give it as '.jpg,.png', or leave --extensions out")
    return names


def extension(name: str) -> str:
    """The ending of a file in lower case, with its dot."""
    return "." + name.strip().lower().removeprefix(".")


def in_bytes(size: Any) -> Any:
    """The number of bytes in a text like '4GB'."""
    if not isinstance(size, str):
        return size
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)i?B?", size.strip())
    if parts is None:
        raise ValueError(f"is {size!r}: give it as 500MB or 4GB")
    return int(float(parts[1]) * 1000 ** " kMGT".index(parts[2] or " "))

"""Paths, names, numbers and sizes as text for people: no name can steer a terminal, a log or a page."""

import os
import shlex


def display_path(path_raw: bytes) -> str:
    r"""A path for people: UTF-8, with every other byte as \xNN."""
    return path_raw.decode("utf-8", "backslashreplace")


def printable(text: str) -> str:
    r"""Text for a terminal or a log: control, bidirectional and other unprintable characters escaped, one line.

    A byte that is no UTF-8 of a name as Python has it, a surrogate, is \xNN as in `display_path`.
    """
    if text.isprintable():  # as nearly all are: in a twentieth of the time
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(c: str) -> str:
    if "\udc80" <= c <= "\udcff":
        return f"\\x{ord(c) - 0xDC00:02x}"
    return c.encode("unicode_escape", "surrogatepass").decode()


def shown_path(path_raw: bytes) -> str:
    """A path for people, on one line."""
    return printable(display_path(path_raw))


def shown(path: os.PathLike[str]) -> str:
    """A path for a message."""
    return printable(str(path))


def quoted(path: str | bytes) -> str:
    """A path as a word of a shell (bash, zsh, POSIX of 2024), on one line: what is not printable is in $'...'.

    One that begins with a dash has ./ before it, so that no command takes it for a flag.
    """
    text = path if isinstance(path, str) else path.decode("utf-8", "surrogateescape")
    text = f"./{text}" if text.startswith("-") else text
    if text.isprintable():
        return shlex.quote(text)
    return f"$'{''.join(map(_in_quotes, text))}'"


def _in_quotes(c: str) -> str:
    if c.isprintable():
        return f"\\{c}" if c in "\\'" else c
    return "".join(f"\\{byte:03o}" for byte in c.encode("utf-8", "surrogateescape"))


def quantity(number: float) -> str:
    """A number for people: 1,234 up to a million, then 1.8 million, 1.8 billion, 1.8 trillion."""
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{number / size:.1f} {word}"
    return f"{number:,.0f}"


def size_text(size_bytes: float) -> str:
    """A size for people: 999 bytes, 1.2 kB, 3.4 MB, ..."""
    size = float(size_bytes)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def counted(number: int, noun: str) -> str:
    """A number and its noun, which takes an s unless there is one of it."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"

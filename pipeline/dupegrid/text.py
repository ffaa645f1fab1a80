"""Paths and names as text for people: nothing in a name can steer a terminal, a log or a page."""


def display_path(path_raw: bytes) -> str:
    r"""A path for people: UTF-8, with every other byte as \xNN."""
    return path_raw.decode("utf-8", "backslashreplace")


def printable(text: str) -> str:
    """Text for a terminal or a log: control, bidirectional and other unprintable characters escaped, one line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)

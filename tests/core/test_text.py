"""Text for people, and for what they paste."""

import subprocess

from dupegrid.core.text import quoted
from tests.helpers.names import naughty_names


def test_a_shell_takes_a_quoted_path_as_the_path_whatever_is_in_it() -> None:
    names = [*naughty_names(), "caf\u00e9 it's \u202e\n$x \\ 'q'".encode(), b"a\n1\xff2"]
    words = [quoted(name) for name in names]
    assert all(word.isprintable() for word in words)
    line = " ".join(["printf", r"'%s\0'", *words])
    said = subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout.split(b"\0")[:-1]
    assert said == [b"./" + name if name.startswith(b"-") else name for name in names]

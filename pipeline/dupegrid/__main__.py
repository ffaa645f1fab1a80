"""The entry point of the command: `dupegrid`, and `python -m dupegrid`."""

import signal
from typing import NoReturn


def main() -> NoReturn:
    """Load the command and be it. A Ctrl-C until then ends the process without a word: nothing has begun."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where who started it has it ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from dupegrid.app.command.cli import main as command

    command()


if __name__ == "__main__":
    main()

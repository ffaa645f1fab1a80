"""The errors that dupegrid raises on purpose. Each message is one line and says what to do.

    DupegridError            exit code 1
    ├── StoreError           what a run directory should hold is missing
    │   └── DamagedError     a file of it is damaged
    ├── SupersededError      another run has the run directory now
    ├── UnfinishedError      pieces of work failed at every try; all others are done
    └── UsageError           exit code 2: the call can be put right by the caller
        ├── ConfigError      a setting is unknown, out of range or contradicts another
        ├── InputError       a PATH does not exist or cannot be read
        └── RunDirError      a run directory is missing, is none, cannot be written or was made with other settings

An image that cannot be read is not an error but a row in images.parquet with its status.
"""

from pathlib import Path

from dupegrid.core.text import printable


class DupegridError(Exception):
    """Raised when dupegrid cannot do what was asked; the base of all errors here."""

    exit_code = 1


class StoreError(DupegridError):
    """Raised when a run directory lacks what an earlier stage should have left there, or holds it damaged."""


class DamagedError(StoreError):
    """Raised when a file of a run directory is not as it was written; `file` is its path."""

    def __init__(self, file: Path, problem: str) -> None:
        super().__init__(file, problem)
        self.file = file
        self.problem = problem

    def __str__(self) -> str:
        return f"{printable(str(self.file))} is damaged ({self.problem}): run 'dupegrid run' again to make it again"


class SupersededError(DupegridError):
    """Raised when a run that has lost its run directory, to another run or to whoever moved it, is about to write."""


class UnfinishedError(DupegridError):
    """Raised when all is done but some pieces of work, which failed at every try: running again goes on there."""


class UsageError(DupegridError):
    """Raised when the call itself has to be put right."""

    exit_code = 2


class ConfigError(UsageError):
    """Raised when a setting is unknown, out of range or contradicts another."""


class InputError(UsageError):
    """Raised when a PATH to search does not exist, is not a folder or cannot be listed."""


class RunDirError(UsageError):
    """Raised when a run directory is missing, is none, cannot be written, or was made with other settings."""

"""MariaDB and PostgreSQL, started from Debian's packages for as long as a test takes; what is not there is skipped."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mariadb() -> Iterator[str]:
    """An empty MariaDB that listens on a socket only: the URL of its database, for root without a password."""
    server, install = _program("mariadbd"), _program("mariadb-install-db")
    user = ["--user=root"] if os.geteuid() == 0 else []
    with _folder() as folder:
        options = ["--no-defaults", *user, f"--datadir={folder}/data"]
        quick = ["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]
        _run([install, *options, *quick], folder)
        few = ["--skip-networking", f"--pid-file={folder}/pid", "--innodb-flush-log-at-trx-commit=0"]
        words = [server, *options, *few, f"--socket={folder}/socket"]
        with _served(words, folder, folder / "socket"):
            yield f"mariadb://root@/mysql?unix_socket={folder}/socket"


@contextmanager
def postgresql() -> Iterator[str]:
    """An empty PostgreSQL that listens on a socket only: the URL of its database, with a password that it ignores."""
    bins = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    server, initdb = (_program(name, *map(str, bins)) for name in ("postgres", "initdb"))
    with _folder() as folder:
        user = _other_user()
        if user:
            shutil.chown(folder, user)
        options = ["--no-sync", "--no-locale", "--encoding=UTF8", "--auth=trust", "--username=tester"]
        _run([initdb, "-D", f"{folder}/data", *options], folder, user)
        words = [server, "-D", f"{folder}/data", "-k", str(folder), "-c", "listen_addresses=", "-c", "fsync=off"]
        with _served(words, folder, folder / ".s.PGSQL.5432", user):
            yield f"postgresql://tester:secret@/postgres?host={folder}"


def _program(name: str, *folders: str) -> str:
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", *folders])
    found = shutil.which(name, path=places)
    if found is None:
        pytest.skip(f"no {name} here: apt-get install mariadb-server postgresql")
    return found


def _other_user() -> str | None:
    """Whom to run as: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder with a short path, as that of a socket has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="db-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def _run(words: list[str], folder: Path, user: str | None = None) -> None:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, **_as(user))
    assert done.returncode == 0, done.stderr + done.stdout


def _as(user: str | None) -> dict[str, object]:
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}


@contextmanager
def _served(words: list[str], folder: Path, socket: Path, user: str | None = None) -> Iterator[None]:
    """A server at work until the context is left; it listens by then."""
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(words, cwd=folder, stdout=log, stderr=log, **_as(user))
        try:
            end = time.monotonic() + 60
            while not socket.exists():
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < end, "the server does not listen"
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

"""Files of a run directory: written whole or not at all, read whole; JSON with a digest of itself."""

import errno
import io
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from dupegrid.core.errors import DamagedError, DupegridError, RunDirError
from dupegrid.core.keys import fingerprint
from dupegrid.core.text import printable
from dupegrid.storage.bucket import BucketPath
from dupegrid.storage.hold import check_hold
from dupegrid.storage.ours import MADE_BY, opened

FORMAT = 7  # of the run directory; another one is refused
DIGEST = "digest"  # of the other keys: in JSON, in the facts of a table, in zarr.json
_LARGEST_BYTES = 1 << 28  # of a chunk, or of a JSON file: 100,000 folders that could not be listed take a tenth of it


@contextmanager
def writing_whole(path: Path, flushed: bool = True) -> Iterator[IO[bytes]]:
    """A file that is written whole or not at all: a temporary beside it, `flushed` to disk or not, renamed into place.

    lock.py sweeps away what was never renamed. SupersededError where another run has the run directory by then.
    """
    if isinstance(path, BucketPath):
        whole = io.BytesIO()
        yield whole
        check_hold()
        path.write_bytes(whole.getbuffer())
        return
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with open(temporary, "xb") as file:  # through no link, and nothing is there already
            yield file
            if flushed:
                file.flush()
                os.fsync(file.fileno())
        check_hold()
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, data: bytes | memoryview, flushed: bool = True) -> None:
    """Write a file whole or not at all."""
    with writing_whole(path, flushed) as file:
        file.write(data)


def flush_folder(folder: Path) -> None:
    """Have on the disk which files are in a folder; in a bucket that needs no telling."""
    if isinstance(folder, BucketPath):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # a run directory may be named by a link
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_bytes(path: Path) -> bytes:
    """All of a file of ours. DamagedError where it is missing, or larger than any that we write."""
    try:
        with opened(path, _LARGEST_BYTES) as file:
            size_bytes = file.seek(0, os.SEEK_END)
            if size_bytes > _LARGEST_BYTES:
                raise DamagedError(path, "it is larger than any that was written there")
            file.seek(0)
            return file.read(size_bytes)
    except OSError as error:
        raise read_error(path, error) from None


def read_error(path: Path, error: OSError) -> DupegridError:
    """What to raise where a file cannot be read: it is damaged if it is not there, else it may be read another time."""
    if error.errno in (errno.ELOOP, errno.ESPIPE):
        kind = "a link" if error.errno == errno.ELOOP else "no regular file"
        return RunDirError(f"{printable(str(path))} is {kind}, and not one of dupegrid's: move it away")
    if error.errno in (None, errno.ENOENT, errno.ENOTDIR):  # pyarrow's own say what is wrong with a file, by no number
        return DamagedError(path, error.strerror or " ".join(str(error).split()))
    return DupegridError(
        f"cannot read {printable(str(path))}: {error.strerror}; run the same command again, "
        "and if it stays so, delete that file: it is made again"
    )


def write_json(path: Path, value: Mapping[str, Any], flushed: bool = True) -> None:
    """Write JSON with a digest of itself, whole or not at all. Names that are not UTF-8 keep lone surrogates."""
    write_bytes(path, (json.dumps(sealed(value), indent=2) + "\n").encode("ascii"), flushed)


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote. DamagedError where it is missing, or was changed since."""
    try:
        value = unsealed(json.loads(read_bytes(path)))
    except (ValueError, RecursionError):
        raise DamagedError(path, "it is not what was written there") from None
    if value is None:
        raise DamagedError(path, "it was changed since it was written")
    return value


def sealed(facts: Mapping[str, Any], *about: Any) -> dict[str, Any]:
    """Facts as a file keeps them, with a digest of themselves and of what else it says."""
    plain = _plain(facts)
    return {**MADE_BY, **plain, DIGEST: fingerprint(plain, *about)}


def unsealed(kept: Any, *about: Any) -> dict[str, Any] | None:
    """The facts that were `sealed`; None where they, or what else the file says, were changed since."""
    if not isinstance(kept, dict):
        return None
    plain = _plain(kept)
    return plain if kept.get(DIGEST) == fingerprint(plain, *about) else None


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if key not in (DIGEST, *MADE_BY)}

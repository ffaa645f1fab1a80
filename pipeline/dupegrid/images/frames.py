"""How many frames an open picture has, counted for no longer than a while."""

import io
from typing import Any, Final

INT32_MAX: Final = (1 << 31) - 1  # what the columns of images.parquet hold
_READS: Final = 1 << 19  # two seconds at most; reads, as a clock would not give the same each time


class CountedBytes(io.BytesIO):
    """A file's bytes, which may be read from so many times; None: for ever."""

    reads_left: int | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        if self.reads_left is not None:
            if not self.reads_left:
                raise _CountingTooLongError
            self.reads_left -= 1
        return super().read(size)


class _CountingTooLongError(Exception):
    pass


def frames_of(image: Any, file: io.BytesIO) -> int | None:
    """The frames of a picture of Pillow's that was opened from `file`; None where counting them takes too long."""
    if isinstance(file, CountedBytes):
        file.reads_left = _READS
    try:
        frames = int(getattr(image, "n_frames", 1))
    except _CountingTooLongError:
        return None
    except Exception:  # a damaged later frame is no reason to lose the first
        return 1
    return frames if frames <= INT32_MAX else None

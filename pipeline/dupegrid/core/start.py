"""What processes of ours do first: those of the command and of a pool, in which nobody else's code counts on pandas."""

import sys

import pyarrow as pa


class _Hidden:
    """Where Python looks for modules first: pandas is not found there, and not looked for any further."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def without_pandas() -> None:
    """Have pyarrow take pandas for absent, which is 0.4 s sooner where it is installed.

    pyarrow loads it at the first list that becomes a column, to see whether that is of pandas, and remembers. Whoever
    asks pyarrow for a dataframe gets one all the same.
    """
    if "pandas" in sys.modules:
        return
    sys.meta_path.insert(0, _Hidden)
    try:
        pa.array([None])
    finally:
        sys.meta_path.remove(_Hidden)

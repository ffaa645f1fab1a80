"""What plots are drawn with: new Axes, names as text, heat maps, and an Axes as a PNG file. None shows anything."""

import io
import warnings
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from dupegrid.core.errors import UsageError
from dupegrid.core.text import printable, quantity

try:
    from matplotlib import pyplot
    from matplotlib.axes import Axes
    from matplotlib.colors import ListedColormap, SymLogNorm
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from matplotlib.ticker import MaxNLocator
except ImportError:
    raise UsageError("plots need matplotlib: pip install 'dupegrid[notebooks]'") from None

__all__ = ["Axes", "Figure", "heat_map", "mse_map", "named", "new_axes", "png", "short", "tile_map", "titled"]

LARGEST_MSE: Final = 65025
_CELLS_WITH_NUMBERS: Final = 12  # a side; more cannot be read
_LONGEST_NAME: Final = 36


def new_axes(ax: Axes | None, width: float = 6.4, height: float = 4.8) -> Axes:
    """The Axes that are given; or, where there are none, those of a new figure, of so many inches."""
    return pyplot.subplots(figsize=(width, height), layout="constrained")[1] if ax is None else ax


def titled(ax: Axes, text: str, y: float | None = None) -> Axes:
    """The same Axes, with a title, at a height or where there is room."""
    named([ax.set_title(text, fontsize="medium", y=y)])
    return ax


def named(texts: Iterable[Text]) -> None:
    """Have texts drawn as they are: names hold no formula between dollar signs, and are never input of TeX."""
    for text in texts:
        text.set_parse_math(False)
        text.set_usetex(False)


def short(name: str) -> str:
    """A name that fits under a picture: its beginning and its end."""
    name, half = printable(name), _LONGEST_NAME // 2
    return name if len(name) <= _LONGEST_NAME else f"{name[: half - 1]}…{name[-half:]}"


def mse_map(ax: Axes, mse: npt.NDArray[np.float64], threshold: float) -> None:
    """A matrix of MSE as colours, by its logarithm, with the threshold in the scale; NaN is left white."""
    if not mse.size:
        return
    top = max(np.nanmax(mse, initial=0.0), 10 * threshold, 10.0)
    norm = SymLogNorm(1.0, linscale=0.5, vmin=0, vmax=min(top, LARGEST_MSE))
    picture = ax.imshow(mse, cmap="magma", norm=norm, interpolation="nearest")
    ticks = [tick for tick in (0, 1, 10, 100, 1000, 10_000) if tick <= top]
    bar = ax.figure.colorbar(picture, ax=ax, label="MSE", ticks=ticks, format=lambda value, _: f"{value:,g}")
    bar.ax.axhline(threshold, color="white", linewidth=2)


def tile_map(ax: Axes, state: npt.NDArray[np.float64], names: Sequence[str], colours: Sequence[str]) -> None:
    """A square of tiles in the colours of their states, 0 to k - 1, which have names; NaN is left white."""
    ax.imshow(state, cmap=ListedColormap(list(colours)), vmin=0, vmax=len(names) - 1, interpolation="nearest")
    for name, colour in zip(names, colours, strict=True):
        ax.plot([], [], "s", color=colour, label=name)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))


def heat_map(
    values: npt.ArrayLike, rows: Sequence[str], columns: Sequence[str], ax: Axes | None = None, label: str = ""
) -> Axes:
    """A matrix of numbers, of shape (rows, columns), as colours; up to 12 x 12 with the numbers. NaN is left white."""
    matrix = np.asarray(values, np.float64)
    if matrix.shape != (len(rows), len(columns)):
        raise UsageError(f"a heat map of {len(rows)} rows and {len(columns)} columns takes no {matrix.shape} values")
    ax = new_axes(ax)
    if not matrix.size:
        return ax
    top = np.nanmax(matrix, initial=0.0) or 1.0
    picture = ax.imshow(matrix, cmap="Greens", vmin=0, vmax=top, aspect="auto", interpolation="nearest")
    ax.figure.colorbar(picture, ax=ax, label=label)
    for axis, names in ((ax.yaxis, rows), (ax.xaxis, columns)):
        axis.set_ticks(range(len(names)), [short(name) for name in names], fontsize="small")
        named(axis.get_ticklabels())
    for text in ax.get_xticklabels():
        text.set(rotation=40, ha="right", rotation_mode="anchor")
    if max(matrix.shape) <= _CELLS_WITH_NUMBERS:
        for (i, j), value in np.ndenumerate(matrix):
            if not np.isnan(value):
                number = f"{value:.3g}" if value % 1 else quantity(value)
                ax.text(j, i, number, ha="center", va="center", color="white" if value > 0.6 * top else "black")
    return ax


def png(figure: Figure, about: dict[str, str]) -> bytes:
    """A figure as a PNG file, with what it says of itself."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # of a name, which the font lacks
        figure.savefig(file, format="png", dpi=100, metadata=about)
    return file.getvalue()

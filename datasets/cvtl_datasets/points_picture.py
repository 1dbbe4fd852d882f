"""A picture of the points of a data set, to see whether pairs and edges are right."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cvtl.data import Dataset
from cvtl.terminal import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INCHES, _DPI = 8.0, 120
_INK, _EDGE, _PAIR, _EYE = "#1a2130", "#9aa4b5", "#d55e00", "#0072b2"
# More names than these would lie over one another.
_MOST_NAMES = 25

Floats = npt.NDArray[np.float64]


def points_picture(dataset: Dataset, shape: Floats) -> bytes:
    r"""Draw the mean shape of a data set: points with their numbers, edges, and dashed lines between flip pairs.

    Args:
        dataset: of K points; its edges, flip pairs and eyes are drawn.
        shape: (K, 2), y downwards; NaN for points that are never there, which are left out.

    Returns:
        A PNG file of 960 x 960 pixels.

    Example:
        >>> data = Dataset([], ("left", "right"), "example", flip_pairs=((0, 1),))
        >>> points_picture(data, np.array([[0.0, 0], [5, 0]]))[:4]
        b'\x89PNG'
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_INCHES, _INCHES), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    _lines(axes, shape, dataset.edges, color=_EDGE, linewidth=1.6, zorder=1, label="edges")
    _lines(
        axes, shape, dataset.flip_pairs or (), color=_PAIR, linewidth=1, linestyle="--", zorder=2, label="flip pairs"
    )
    known = ~np.isnan(shape[:, 0])
    x, y = shape.T
    axes.scatter(x[known], y[known], s=26, color=_INK, zorder=4)
    if dataset.eyes:
        eyes = list(dataset.eyes)
        ring: dict[str, Any] = {"facecolors": "none", "edgecolors": _EYE, "linewidths": 1.6}
        axes.scatter(x[eyes], y[eyes], s=130, zorder=3, label="eyes", **ring)
    for number in np.flatnonzero(known).tolist():
        name = f" {printable(dataset.classes[number])}" if len(dataset.classes) <= _MOST_NAMES else ""
        text = f"{number}" if name.strip() in ("", str(number)) else f"{number}{name}"
        # Names are text, not formulas.
        axes.annotate(text, shape[number], (4, 4), textcoords="offset points", fontsize=9, parse_math=False, zorder=5)
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.12)
    axes.invert_yaxis()
    axes.set_axis_off()
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="lower right", frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


def _lines(axes: Axes, shape: Floats, pairs: tuple[tuple[int, int], ...], *, label: str, **style: Any) -> None:
    """Join points; those that are nowhere are passed over by Matplotlib."""
    for number, pair in enumerate(pairs):
        axes.plot(*shape[list(pair)].T, label=label if number == 0 else None, **style)

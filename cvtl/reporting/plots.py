"""Curves as SVG that takes its colours from the page it stands in, drawn by Matplotlib."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from cvtl.reporting.sections import Curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE_COLOURS = 8
"""Lines beyond so many share a colour: `--line-0` to `--line-7`, then `--line-rest`."""

_INCHES = (4.8, 3.2)
# Matplotlib knows no CSS variables; these colours stand for them.
_INK, _GRID, _REST = "#010203", "#010204", "#010205"
_LINES = [f"#0102{16 + number:x}" for number in range(LINE_COLOURS)]
_VARIABLES = {_INK: "--ink", _GRID: "--grid", _REST: "--line-rest"} | {
    colour: f"--line-{number}" for number, colour in enumerate(_LINES)
}


def curves_svg(curves: Curves, prefix: str) -> str:
    """Draw lines.

    Args:
        curves: what to draw; the legend is the page's.
        prefix: put before every id, so that several plots fit on one page.

    Returns:
        An `<svg>` element without width and height, text as text, the same for the same curves.
    """
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES, layout="constrained", facecolor="none")
    _plot(figure.subplots(), curves)
    picture = io.StringIO()
    # How text and ids are written has no other switch; the settings are as before behind this.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "cvtl"}):
        figure.savefig(picture, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _for_page(picture.getvalue(), prefix)


def _plot(axes: Axes, curves: Curves) -> None:
    # The first lines are the most important ones and lie on top.
    for number, (x, y) in reversed(list(enumerate(curves.lines.values()))):
        colour = _LINES[number] if number < LINE_COLOURS else _REST
        # A single point has no line, hence the marker.
        axes.plot(x, y, color=colour, linewidth=1.8 if number < LINE_COLOURS else 0.8, marker="." * (len(x) == 1))
    if curves.diagonal:
        axes.axline((0, 0), slope=1, color=_INK, linewidth=0.8, linestyle=(0, (4, 4)))
    axes.set(xlabel=curves.x_label, ylabel=curves.y_label, facecolor="none")
    if curves.x_range:
        axes.set_xlim(*_with_margin(*curves.x_range))
    if curves.y_range:
        axes.set_ylim(*_with_margin(*curves.y_range))
    axes.locator_params(nbins=6)
    axes.grid(color=_GRID, linewidth=0.7)
    axes.tick_params(colors=_INK, length=0)
    axes.xaxis.label.set_color(_INK)
    axes.yaxis.label.set_color(_INK)
    axes.spines[:].set_color(_GRID)
    axes.spines[["top", "right"]].set_visible(False)


def _with_margin(low: float, high: float) -> tuple[float, float]:
    """A little more than the range, so that lines along its ends are seen whole."""
    margin = 0.015 * (high - low)
    return low - margin, high + margin


def _for_page(svg: str, prefix: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    # Its one rule would be the whole page's.
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r" font-family: [^;]*;", "", svg)
    # Ids that nothing refers to only name the parts.
    used = set(re.findall(r'(?:href="|url\()#([\w.-]+)', svg))
    svg = re.sub(r' id="([\w.-]+)"', lambda found: f' id="{prefix}{found[1]}"' if found[1] in used else "", svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#{prefix}", svg)
    return re.sub("#0102[0-9a-f]{2}", lambda found: f"var({_VARIABLES[found[0]]})", svg)

"""Curves as SVG."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from cvtl.reporting.plots import LINE_COLOURS, curves_svg
from cvtl.reporting.sections import Curves

X = np.linspace(0, 1, 11)


def curves(count: int = 2) -> Curves:
    lines = {f"line {i}": (X, X ** (i + 1)) for i in range(count)}
    return Curves(title="t", x_label="recall", y_label="precision", lines=lines, x_range=(0, 1), y_range=(0, 1))


def test_the_plot_is_well_formed_and_its_text_is_text() -> None:
    svg = ElementTree.fromstring(curves_svg(curves(), "p-"))
    texts = {each.text for each in svg.iter("{http://www.w3.org/2000/svg}text")}
    assert {"recall", "precision", "0.0", "1.0"} <= texts
    assert svg.get("viewBox")
    assert svg.get("width") is None


def test_every_line_has_a_colour_of_the_page_and_those_beyond_eight_share_one() -> None:
    svg = curves_svg(curves(LINE_COLOURS + 3), "p-")
    assert {int(each) for each in re.findall(r"stroke: var\(--line-(\d)\)", svg)} == set(range(LINE_COLOURS))
    assert svg.count("stroke: var(--line-rest)") == 3
    assert not re.findall(r"#0102[0-9a-f]{2}", svg)


def test_two_plots_share_no_id_and_refer_to_their_own() -> None:
    plots = [curves_svg(curves(), prefix) for prefix in ("a-", "b-")]
    ids = [set(re.findall(r' id="([^"]+)"', plot)) for plot in plots]
    references = [set(re.findall(r'(?:href="|url\()#([^")]+)', plot)) for plot in plots]
    assert not ids[0] & ids[1]
    assert references == ids
    assert all(ids)


def test_the_same_curves_give_the_same_text() -> None:
    assert curves_svg(curves(), "p-") == curves_svg(curves(), "p-")


def test_settings_of_the_process_stay_as_they_are() -> None:
    before = dict(matplotlib.rcParams)
    curves_svg(curves(), "p-")
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    "lines",
    [
        {},
        {"empty": (np.zeros(0), np.zeros(0))},
        {"nothing": (X, np.full(11, np.nan))},
        {"single": (np.array([0.5]), np.array([0.5]))},
    ],
)
def test_degenerate_lines_are_drawn_without_complaint(lines: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    plot = Curves(title="t", x_label="x", y_label="y", lines=lines, diagonal=True)
    assert ElementTree.fromstring(curves_svg(plot, "p-")).tag.endswith("svg")

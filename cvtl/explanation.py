"""Where in pictures the evidence for their classes lies: results that tell and show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cvtl.devices import Precision, Predictor
from cvtl.errors import UsageError
from cvtl.results import Classification, Result, UInt8Image
from cvtl.run_settings import ExplainSettings
from cvtl.terminal import printable
from cvtl.writers import overlay

if TYPE_CHECKING:
    from cvtl.model import Model
    from cvtl.workplace import Workplace

# Of drawings, in pixels.
_LONGEST_SIDE = 480
_LEAST_WIDTH = 160
_TITLE_HEIGHT = 54
_MARGIN = 8
_CHARACTER_WIDTH = 7
_CROSS = 14
_COLUMNS = 4
_DPI = 100
# Pixels, and parts of a probability, that rows leave out.
_PEAK_DIGITS = 1
_SCORE_DIGITS = 6


@dataclass(frozen=True, eq=False)
class Evidence:
    """What speaks for one class.

    Attributes:
        label: the class's name.
        score: its probability.
        heatmap: float (h, w) in [0, 1], stretched over the picture.
        peak: where it is highest, x and y in pixels of the upright picture; None if nothing speaks for the class.
    """

    label: str
    score: float
    heatmap: Tensor
    peak: tuple[float, float] | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Explanation(Classification):
    """Class probabilities of a picture, and where the evidence for some of the classes lies.

    Args:
        evidence: for each class that is explained.
        alpha: opacity of the heat maps in drawings.
    """

    evidence: tuple[Evidence, ...]
    alpha: float

    def to_dict(self) -> dict[str, Any]:
        """The row form: that of the classification, and under `explained` label, score and peak of each class."""
        explained = {
            "labels": [each.label for each in self.evidence],
            "scores": [round(each.score, _SCORE_DIGITS) for each in self.evidence],
            "peaks": [each.peak for each in self.evidence],
        }
        return {**super().to_dict(), "explained": explained}

    def draw(self, image: UInt8Image) -> UInt8Image:
        """The picture (H, W, 3) RGB, and beside it once for each class with the evidence laid over it."""
        small = _resized(image)
        titles, panels = ["picture"], [small]
        for each in self.evidence:
            panel = overlay(small, each.heatmap.numpy(), self.alpha)
            if each.peak is not None:
                _mark(panel, each.peak, small.shape[1] / image.shape[1])
            titles.append(_title(each, panel.shape[1]))
            panels.append(panel)
        return _side_by_side(panels, titles)


class Explainer(Predictor):
    """Runs a model over batches and has it explain each answer.

    Args:
        model: one that classifies, on its device, in evaluation mode.
        precision: of the computation.
        settings: what to explain.

    Raises:
        UsageError: the model knows no such class, or has no explanations to give.
    """

    def __init__(self, model: Model, precision: Precision, settings: ExplainSettings) -> None:
        super().__init__(model, precision)
        self.settings = settings
        self._label = None if settings.class_name is None else _label(settings.class_name, model.classes)
        # A plugin that cannot says so before anything is written.
        blank = torch.zeros(3, *model.input.size_hw, dtype=torch.uint8, device=model.device)
        model.explain(blank, 0)

    def _forward(self, images: Sequence[Tensor], places: Sequence[Workplace] = ()) -> list[Result]:
        results = super()._forward(images, places)
        return [self._explained(image, result) for image, result in zip(images, results, strict=True)]

    def _explained(self, image: Tensor, result: Result) -> Explanation:
        assert isinstance(result, Classification), "only weights that classify are explained"
        best = torch.argsort(result.scores, descending=True, stable=True)[: self.settings.top].tolist()
        labels = best if self._label is None else [self._label]
        evidence = tuple(self._evidence(image, label, float(result.scores[label])) for label in labels)
        return Explanation(result.scores, result.classes, result.top_k, evidence=evidence, alpha=self.settings.alpha)

    def _evidence(self, image: Tensor, label: int, score: float) -> Evidence:
        heatmap = self.model.explain(image, label)
        return Evidence(self.model.classes[label], score, heatmap, _peak(heatmap, (image.shape[1], image.shape[2])))


def _label(name: str, classes: Sequence[str]) -> int:
    if name in classes:
        return classes.index(name)
    similar = " or ".join(f"'{each}'" for each in get_close_matches(name, classes))
    raise UsageError(
        f"the weights know no class '{name}'",
        hint=f"Similar is {similar}" if similar else "`cvtl info WEIGHTS` lists the classes",
    )


def _peak(heatmap: Tensor, image_hw: tuple[int, int]) -> tuple[float, float] | None:
    """Where a map is highest, x and y in pixels of the picture that it is stretched over."""
    if not heatmap.any():
        return None
    y, x = divmod(int(heatmap.argmax()), heatmap.shape[1])
    scale_y, scale_x = image_hw[0] / heatmap.shape[0], image_hw[1] / heatmap.shape[1]
    return round((x + 0.5) * scale_x, _PEAK_DIGITS), round((y + 0.5) * scale_y, _PEAK_DIGITS)


def _resized(image: UInt8Image) -> UInt8Image:
    import cv2

    height, width = image.shape[:2]
    scale = _LONGEST_SIDE / max(height, width)
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size_wh, interpolation=method), np.uint8)


def _mark(panel: UInt8Image, peak: tuple[float, float], scale: float) -> None:
    """Draw a white cross with a dark rim."""
    import cv2

    x, y = (round(each * scale) for each in peak)
    for colour, thickness in ((0, 4), (255, 2)):
        cv2.drawMarker(panel, (x, y), (colour,) * 3, cv2.MARKER_CROSS, _CROSS, thickness)


def _title(evidence: Evidence, width: int) -> str:
    characters = max(width, _LEAST_WIDTH) // _CHARACTER_WIDTH
    name = wrap(printable(evidence.label), characters, max_lines=2, placeholder="…")
    return "\n".join([*name, f"{evidence.score:.1%}"])


def _side_by_side(panels: Sequence[UInt8Image], titles: Sequence[str]) -> UInt8Image:
    """Lay panels of one size on a white sheet, each under its title."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = panels[0].shape[:2]
    columns = min(len(panels), _COLUMNS)
    cell_hw = height + _TITLE_HEIGHT + _MARGIN, max(width, _LEAST_WIDTH) + 2 * _MARGIN
    sheet = np.full((-(-len(panels) // columns) * cell_hw[0], columns * cell_hw[1], 3), 255, np.uint8)
    # One dot is one pixel.
    figure = Figure(figsize=(sheet.shape[1] / _DPI, sheet.shape[0] / _DPI), dpi=_DPI)
    for number, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        line, column = divmod(number, columns)
        top = line * cell_hw[0] + _TITLE_HEIGHT
        left = column * cell_hw[1] + (cell_hw[1] - width) // 2
        sheet[top : top + height, left : left + width] = panel
        x, y = (left + width / 2) / sheet.shape[1], 1 - (top - _MARGIN / 2) / sheet.shape[0]
        figure.text(x, y, title, fontsize=9, ha="center", va="bottom", parse_math=False)
    figure.figimage(sheet)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])  # type: ignore[no-untyped-call]

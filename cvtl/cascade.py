"""Two models as one: a detector finds the objects in a picture, another says something of each of them."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import BaseModel, SerializeAsAny
from torch import Tensor, nn

from cvtl import weights
from cvtl.errors import UsageError
from cvtl.model import ComposedModel, Model
from cvtl.options import Options
from cvtl.results import Detections, Result
from cvtl.run_settings import DetectorSettings


class CascadeOptions(Options):
    """Both models' options."""

    detector: SerializeAsAny[BaseModel]
    model: SerializeAsAny[BaseModel]


class Cascade(ComposedModel):
    """A detector, and a model that looks into the boxes it finds (`Model.predict_in_boxes`).

    Plugin, classes and results are the second model's; a picture in which nothing is found has a result of no objects.

    Args:
        detector: of the task detect.
        model: which looks into boxes.
        settings: which of the detector's boxes count.

    Raises:
        UsageError: the detector does not know a class that is named.
    """

    options: CascadeOptions

    def __init__(self, detector: Model, model: Model, settings: DetectorSettings) -> None:
        super().__init__(CascadeOptions(detector=detector.options, model=model.options), model.classes, model.input)
        self.plugin = model.plugin  # type: ignore[misc]
        self.parts = nn.ModuleList([detector, model])
        self._threshold = settings.detector_threshold or 0.0
        self._wanted = [_label(name, detector.classes) for name in settings.detector_classes]

    def predict(self, images: Sequence[Tensor]) -> list[Result]:
        """What the second model says of the objects in each picture, those the detector is surest of first."""
        detector, model = self._models()
        boxes = [self._boxes(found).to(images[0].device) for found in detector.predict(images)]
        return model.predict_in_boxes(images, boxes)

    def with_predict_options(self, **changes: Any) -> Self:
        """Set prediction options of the second model; the detector's stay as they are in its weights.

        Raises:
            OptionsError: the second model's plugin has no such option, or the value does not fit.
        """
        detector, model = self._models()
        model.with_predict_options(**changes)
        self.options = CascadeOptions(detector=detector.options, model=model.options)
        return self

    def _models(self) -> tuple[Model, Model]:
        detector, model = self.parts
        assert isinstance(detector, Model)
        assert isinstance(model, Model)
        return detector, model

    def _boxes(self, found: Result) -> Tensor:
        assert isinstance(found, Detections)
        kept = found.scores >= self._threshold
        if self._wanted:
            kept &= torch.isin(found.labels, torch.tensor(self._wanted))
        return found.boxes[kept]


def with_detector(model: Model, settings: DetectorSettings, *, device: str | torch.device = "cpu") -> Model:
    """A model behind the detector that the settings name; the model itself if they name none.

    Args:
        model: on its device.
        settings: where the detector's weights lie, and what of its finds counts.
        device: the same one, for the detector.

    Raises:
        UsageError: the detector's weights are for another task, or do not know a class that is named; or there are
            settings for a detector, and no detector.
        WeightsError: its weights cannot be used.
    """
    if settings.detector is None:
        if settings.detector_threshold is not None or settings.detector_classes:
            raise UsageError(
                "--detector-threshold and --detector-classes choose among what a detector finds, and there is none",
                hint="Name its weights with --detector",
            )
        return model
    path = Path(settings.detector)
    weights.check_task(weights.read_header(path), "detect", path)
    return Cascade(weights.load(path, device=device), model, settings).eval()


def _label(name: str, classes: Sequence[str]) -> int:
    if name in classes:
        return classes.index(name)
    similar = " or ".join(f"'{each}'" for each in get_close_matches(name, classes))
    raise UsageError(
        f"--detector-classes: the detector knows no class '{name}'",
        hint=f"Similar is {similar}" if similar else "`cvtl info DETECTOR` lists its classes",
    )

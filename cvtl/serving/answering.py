"""What answers: a model that is loaded once, or one that is made anew for each picture's settings."""

from __future__ import annotations

import hashlib
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cvtl.devices import Precision, Predictor, Uploader
from cvtl.errors import UsageError
from cvtl.explanation import Explainer
from cvtl.files import write_atomically
from cvtl.images import encode, read_image
from cvtl.making import make
from cvtl.model import Model
from cvtl.registry import PluginSpec
from cvtl.results import Result, UInt8Image
from cvtl.run_settings import ExplainSettings
from cvtl.serving.choices import Choice, checked_options, choices_of
from cvtl.serving.jobs import Job
from cvtl.workplace import Workplace

_WARM_UP_SECONDS = 3.0
_BLANK = np.full((64, 64, 3), 128, np.uint8)


@dataclass(frozen=True, eq=False)
class Order:
    """What somebody wants to know of a picture.

    Attributes:
        image: RGB uint8 (H, W, 3).
        explain: where the evidence for the answer lies, too.
        style: a picture whose style to take, RGB uint8; or the name of one that is there.
        chosen: settings for this picture.
    """

    image: UInt8Image
    explain: bool = False
    style: UInt8Image | str | None = None
    chosen: Mapping[str, Any] = field(default_factory=dict)


Outcomes = Sequence[Result | Exception]
OrderJob = Job[Order, Result]


class Answers(ABC):
    """Something that answers orders.

    Attributes:
        task: what it is for.
        name: of what answers, for people.
        classes: what it knows; nothing where there are no classes.
        explains: whether it can say where the evidence lies.
        takes_style: whether an order has to say which style.
        styles: pictures of the styles that are there, by name.
        choices: what of each picture's work may be chosen.
    """

    task: str
    name: str
    classes: tuple[str, ...] = ()
    explains = False
    takes_style = False
    styles: Mapping[str, UInt8Image] = {}
    choices: Sequence[Choice] = ()

    @abstractmethod
    def check(self, order: Order) -> None:
        """Refuse what cannot be done, before it waits its turn.

        Raises:
            UsageError: the order does not fit.
        """

    @abstractmethod
    def together(self, order: Order) -> Hashable:
        """Orders of which this is equal are worked on together; None for one that is not."""

    @abstractmethod
    def work(self, jobs: Sequence[OrderJob]) -> Outcomes:
        """A result, or the error that stands for it, for each order."""


class Trained(Answers):
    """A model that is there.

    Args:
        model: on its device.
        task: what it is for.
        name: for people.
        precision: of the computation.
    """

    def __init__(self, model: Model, task: str, name: str, precision: Precision = "float32") -> None:
        self.task = task
        self.name = name
        self.classes = model.classes
        self._predictor = Predictor(model, precision)
        self._explainer = _explainer(model, precision) if task == "classify" else None
        self.explains = self._explainer is not None
        self._uploader = Uploader(model.device)

    def warm_up(self, batch_size: int, seconds: float = _WARM_UP_SECONDS) -> None:
        """Answer for nobody, in batches of all sizes as far as the time reaches: the first visitor need not wait.

        What a network keeps in memory for each size of a batch is then there, too.
        """
        image = np.full((*self._predictor.model.input.size_hw, 3), 128, np.uint8)
        end, size = time.monotonic() + seconds, 1
        while size <= batch_size and time.monotonic() < end:
            self._predictor.predict(self._uploader.upload([image] * size).wait())
            size *= 2

    def check(self, order: Order) -> None:
        """Refuse styles and settings, of which there are none."""
        if order.style is not None:
            raise UsageError("the weights know one style only", hint="Send no style")
        if order.chosen:
            raise UsageError(f"there are no settings, so not {', '.join(order.chosen)}")

    def together(self, order: Order) -> Hashable:
        """All answers without explanation."""
        return None if order.explain else "predict"

    def work(self, jobs: Sequence[OrderJob]) -> Outcomes:
        """One pass through the network."""
        images = self._uploader.upload([job.request.image for job in jobs]).wait()
        if jobs[0].request.explain and self._explainer is not None:
            return self._explainer.predict(images)
        return self._predictor.predict(images)


class Making(Answers):
    """Models that a plugin makes: of what is chosen for a picture.

    Args:
        spec: the plugin.
        options: of its `makes`, as whoever serves has chosen them; `style` has the paths of the styles that are there.
        device: where to work.
        precision: of the computation.

    Raises:
        CvtlError: the options do not fit, or files that they name cannot be used.
    """

    takes_style = True

    def __init__(
        self, spec: PluginSpec, options: Mapping[str, Any], device: torch.device, precision: Precision = "float32"
    ) -> None:
        self.task = spec.task
        self.name = f"the plugin '{spec.name}'"
        paths = [str(each) for each in options.get("style") or ()]
        self.styles = {name: read_image(path) for name, path in _named(paths).items()}
        self._spec = spec
        self._options = {name: value for name, value in options.items() if name != "style"}
        self._device = device
        self._precision = precision
        self._uploader = Uploader(device)
        self.choices = choices_of(spec, self._options)
        self._made: tuple[Hashable, Predictor] | None = None
        # What does not fit is told now, and not to the first visitor.
        self._predictor_for(_BLANK, self._options)

    def check(self, order: Order) -> None:
        """Refuse unknown styles, and settings beyond their limits."""
        if order.style is None:
            raise UsageError("there is no style", hint=self._hint())
        if isinstance(order.style, str) and order.style not in self.styles:
            raise UsageError(f"there is no style '{order.style}'", hint=self._hint())
        self._checked(order)

    def together(self, order: Order) -> Hashable:
        """Each by itself."""
        return None

    def work(self, jobs: Sequence[OrderJob]) -> Outcomes:
        """Make a model, and have it work on the one picture."""
        (job,) = jobs
        order = job.request
        style = self.styles[order.style] if isinstance(order.style, str) else order.style
        assert style is not None, "this is checked before"
        predictor = self._predictor_for(style, self._checked(order))
        images = self._uploader.upload([order.image]).wait()
        with tempfile.TemporaryDirectory(prefix="cvtl-") as folder:
            return predictor.predict(images, [Workplace(Path(folder), "picture.png", watch=job.watch)])

    def _checked(self, order: Order) -> dict[str, Any]:
        options = checked_options(self._spec, self.choices, {**self._options, "style": ["-"]}, order.chosen)
        return {name: value for name, value in options.items() if name != "style"}

    def _predictor_for(self, style: UInt8Image, options: Mapping[str, Any]) -> Predictor:
        key = (hashlib.sha256(style.tobytes()).hexdigest(), style.shape, tuple(sorted(map(str, options.items()))))
        if self._made is None or self._made[0] != key:
            with tempfile.TemporaryDirectory(prefix="cvtl-") as folder:
                path = write_atomically(Path(folder) / "style.png", encode(style, ".png"))
                model = make(self.task, {**options, "style": [str(path)]}).model
            self._made = key, Predictor(model.to(self._device).eval(), self._precision)
        return self._made[1]

    def _hint(self) -> str:
        known = f", or name one of {', '.join(self.styles)}" if self.styles else ""
        return f"Send a picture as 'style'{known}"


def _explainer(model: Model, precision: Precision) -> Explainer | None:
    try:
        return Explainer(model, precision, ExplainSettings())
    except UsageError:
        return None


def _named(paths: Sequence[str]) -> dict[str, str]:
    """Paths by what people call them: the files' names without their ends, numbered where two are equal."""
    named: dict[str, str] = {}
    for path in paths:
        stem = Path(path).stem.replace("_", " ").replace("-", " ").strip() or "style"
        name, number = stem, 1
        while name in named:
            number += 1
            name = f"{stem} {number}"
        named[name] = path
    return named

"""Plugins that classify by a picture's mean colour: `shades` explains itself, `plain` has no options and does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self
from zlib import crc32

import torch
from torch import Tensor, nn

from cvtl import weights
from cvtl.data import Dataset, Sample
from cvtl.errors import CvtlError
from cvtl.model import Model
from cvtl.options import Options
from cvtl.preprocessing import InputSpec, normalize
from cvtl.progress import Progress
from cvtl.registry import PluginSpec
from cvtl.results import Classification, Result

SPEC = InputSpec(size_hw=(8, 8))


class ShadesPredictOptions(Options):
    top_k: int = 5
    gain: float = 1.0


class ShadesOptions(Options):
    knows_samples: bool = False
    predict: ShadesPredictOptions = ShadesPredictOptions()


class PlainOptions(Options):
    pass


class PlainModel(Model):
    plugin = "plain"
    gain = 1.0
    top_k = 5

    def __init__(self, options: Options, classes: Sequence[str], input: InputSpec) -> None:
        super().__init__(options, classes, input)
        self.linear = nn.Linear(3, len(self.classes))

    @classmethod
    def initialize(cls, options: Options, classes: Sequence[str]) -> Self:  # type: ignore[override]
        return cls(options, classes, SPEC)

    def loss(self, images: Tensor, targets: Sequence[Any]) -> dict[str, Tensor]:
        raise NotImplementedError

    def training_samples(self, data: Dataset, *, epoch: int, seed: int) -> Sequence[tuple[Tensor, Any]]:
        raise NotImplementedError

    def predict(self, images: Sequence[Tensor]) -> list[Result]:
        colours = torch.stack([normalize(image, self.input).mean(dim=(1, 2)) for image in images])
        scores = (self.gain * self.linear(colours)).softmax(dim=1)
        return [Classification(each, self.classes, self.top_k) for each in scores]


class ShadesModel(PlainModel):
    plugin = "shades"
    options: ShadesOptions

    @property
    def gain(self) -> float:  # type: ignore[override]
        return self.options.predict.gain

    @property
    def top_k(self) -> int:  # type: ignore[override]
        return self.options.predict.top_k

    def predict_samples(
        self, samples: Sequence[Sample], *, batch_size: int, progress: Progress
    ) -> Iterator[Result | Exception] | None:
        return self._answers(samples, progress) if self.options.knows_samples else None

    def _answers(self, samples: Sequence[Sample], progress: Progress) -> Iterator[Result | Exception]:
        for sample in samples:
            progress.advance(1)
            try:
                image = torch.from_numpy(sample.read()).permute(2, 0, 1)
            except CvtlError as error:
                yield error
            else:
                yield from self.predict([image])

    def explain(self, image: Tensor, label: int) -> Tensor:
        """Brightness speaks for the first class, darkness for the second, and nothing for the others."""
        brightness = image.float().mean(dim=0) / 255
        brightness = (brightness - brightness.min()) / (brightness.max() - brightness.min()).clamp_min(1e-6)
        return (brightness, 1 - brightness, torch.zeros_like(brightness))[min(label, 2)]


def save_weights(path: Path, classes: Sequence[str], *, seed: int = 0, plugin: str = "shades", **options: Any) -> Path:
    """Weights drawn by a seed, the same for the same classes in any order."""
    model_type, options_type = {"shades": (ShadesModel, ShadesOptions), "plain": (PlainModel, PlainOptions)}[plugin]
    model = model_type.initialize(options_type(**options), classes)
    drawn = [[crc32(f"{seed} {number} {name}".encode()) / 2**30 - 2 for number in range(4)] for name in classes]
    with torch.no_grad():
        model.linear.weight.copy_(torch.tensor(drawn)[:, :3])
        model.linear.bias.copy_(torch.tensor(drawn)[:, 3])
    return weights.save(model, path, seed=seed)


def install(folder: Path) -> None:
    """Write what makes the plugins known as an installed distribution is: entry points on the path."""
    information = folder / "shades-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: shades\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[cvtl.plugins]\nshades = shades:shades\nplain = shades:plain\n")


shades = PluginSpec(
    name="shades",
    task="classify",
    summary="for tests",
    options="shades:ShadesOptions",
    model="shades:ShadesModel",
)
plain = PluginSpec(
    name="plain",
    task="classify",
    summary="for tests",
    options="shades:PlainOptions",
    model="shades:PlainModel",
)

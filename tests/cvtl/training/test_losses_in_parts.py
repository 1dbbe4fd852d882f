"""What the plugins learn from a batch, they learn from its parts: figures in docs/training-on-several-machines.md."""

from __future__ import annotations

import copy
from typing import Any

import made_objects
import numpy as np
import pytest
import torch
from parallel import in_parts
from torch import Tensor, nn

from cvtl.data import ClassTarget, Dataset, PointsTarget, Sample
from cvtl.model import Model
from cvtl.preprocessing import normalize
from cvtl.registry import plugins
from cvtl.training.samples import seed_all
from cvtl.training.whole_batch import Part

LENET = {"backbone": "lenet5"}
SMALL = LENET | {"weights": "none", "size": 64}

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "yolo, modern": ("yolo", SMALL | {"channels": 16, "ema": 0}),
    "yolo, squared": ("yolo", SMALL | {"channels": 16, "ema": 0, "loss": "squared"}),
    "localize": ("localize", SMALL | {"channels": 16, "grid": 4, "hidden": 32, "dropout": 0.0}),
    "windows": ("windows", LENET | {"refine": True, "window": 32}),
    "landmarks": ("landmarks", SMALL | {"crop": "picture", "flip_pairs": ()}),
    "classify": ("classify", SMALL | {"strategy": "scratch"}),
}


def one_object(count: int) -> Dataset:
    return made_objects.make_data(count, most=1)


def points(count: int) -> Dataset:
    """Pictures of two points, of which some are missing."""
    samples = []
    for index, sample in enumerate(made_objects.make_data(count)):
        there = np.array([index % 3 > 0, index % 2 > 0])
        where = np.random.default_rng(index).uniform(10, 50, (2, 2))
        samples.append(Sample(sample.name, sample.read, PointsTarget(np.where(there[:, None], where, np.nan), there)))
    return Dataset(samples, ("one", "two"), "made", "nowhere")


def classes(count: int) -> Dataset:
    samples = [
        Sample(sample.name, sample.read, ClassTarget(index % 3))
        for index, sample in enumerate(made_objects.make_data(count))
    ]
    return Dataset(samples, made_objects.CLASSES, "made", "nowhere")


DATA = {"localize": one_object, "landmarks": points, "classify": classes}


def gradient(model: Model, images: Tensor, targets: list[Any], share: float) -> Tensor:
    loss = torch.stack(list(model.assess(images, targets, training=True)[0].values())).sum() * share
    loss.backward()
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return nn.utils.parameters_to_vector([torch.zeros_like(p) if p.grad is None else p.grad for p in learning])


@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_parts_add_up_to_that_of_the_batch(name: str) -> None:
    plugin, options = MODELS[name]
    spec, data = plugins().get(plugin), DATA.get(plugin, made_objects.make_data)(7)
    seed_all(0)
    model = spec.model_type().initialize(spec.options_type()(**options), data.classes).train()
    samples = model.validation_samples(data, seed=0)
    items = [samples[index] for index in range(7)]
    images = normalize(torch.stack([image for image, _ in items]), model.input)
    targets = [target for _, target in items]

    def work(at: slice, part: Part) -> Tensor:
        return gradient(copy.deepcopy(model), images[at], targets[at], part.share)

    whole = gradient(copy.deepcopy(model), images, targets, 1.0)
    assert whole.abs().max() > 1e-3
    torch.testing.assert_close(sum(in_parts(7, 2, work)), whole, rtol=1e-4, atol=1e-5)

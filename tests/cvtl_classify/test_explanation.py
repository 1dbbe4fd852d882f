"""Class activation maps, against plain loops and on pictures whose evidence is known."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Literal, get_args

import pytest
import torch
from torch import Tensor, nn

from cvtl import backbones
from cvtl.backbones import Backbone, Stage
from cvtl.preprocessing import InputSpec, prepare
from cvtl_classify.explanation import explain, grad_cam
from cvtl_classify.model import ClassifyModel
from cvtl_classify.options import ClassifyOptions

Rule = Literal["stretch", "letterbox", "crop"]
RULES: tuple[Rule, ...] = get_args(Rule)
# So many that the evidence of some is positive, whatever the random weights.
CLASSES = tuple("abcdefghijkl")


def make_model(**options: Any) -> ClassifyModel:
    """A small network with random weights, and a head that standardises."""
    torch.manual_seed(0)
    backbone = backbones.load("squeezenet1_1")
    spec = InputSpec(size_hw=(64, 64))
    model = ClassifyModel(ClassifyOptions(weights="none", **options), CLASSES, spec, backbone).eval()
    with torch.no_grad():
        features = model.classifier.features(torch.randn(16, 3, 64, 64))
        model.classifier.head.get_submodule("standardization").adapt(features)  # type: ignore[operator]
        model.classifier.head.get_submodule("logits").weight.normal_()  # type: ignore[operator]
    return model


def make_image(size_hw: tuple[int, int] = (48, 80), seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (3, *size_hw), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def slow_grad_cam(model: ClassifyModel, images: Tensor, label: int) -> Tensor:
    """Equations 1 and 2 of arXiv 1610.02391, one number after the other."""
    kept: list[Tensor] = []
    hook = model.classifier.backbone.body[-1].register_forward_hook(lambda *call: kept.append(call[2]))  # type: ignore[index]
    score = model.classifier(images.requires_grad_())[0, label]
    hook.remove()
    (gradients,) = torch.autograd.grad(score, kept)
    (maps,) = kept[0].detach()
    height, width = maps.shape[1:]
    found = torch.zeros(height, width, dtype=torch.float64)
    for activation, gradient in zip(maps.tolist(), gradients[0].tolist(), strict=True):
        weight = sum(sum(row) for row in gradient) / (height * width)
        for y in range(height):
            for x in range(width):
                found[y, x] += weight * activation[y][x]
    return found.clamp_min(0)


@pytest.mark.parametrize(
    ("head", "pooling", "stages"),
    [("linear", "average", "last"), ("mlp", "max", "all"), ("svm", "grid", "last"), ("linear", "grid", "all")],
)
def test_it_is_grad_cam_of_the_last_stage(head: str, pooling: str, stages: str) -> None:
    model = make_model(head=head, pooling=pooling, stages=stages)
    images = prepare([make_image()], model.input)
    labels = range(len(CLASSES))
    expected = torch.stack([slow_grad_cam(model, images.clone(), label) for label in labels])
    found = torch.cat([grad_cam(model.classifier, images, label) for label in labels])
    assert float(expected.max()) > 0
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4 * float(expected.max()))


def test_of_averages_and_a_linear_head_it_is_the_class_activation_map() -> None:
    model = make_model()
    images = prepare([make_image()], model.input)
    with torch.no_grad():
        (maps,) = model.classifier.backbone(images)
        weights = model.classifier.head.get_submodule("logits").weight
        deviation = model.classifier.head.get_submodule("standardization").deviation
        expected = torch.einsum("lc,chw->lhw", weights / deviation, maps).clamp_min(0)  # type: ignore[arg-type, operator]
    found = torch.cat([grad_cam(model.classifier, images, label) for label in range(len(CLASSES))])
    assert float(expected.max()) > 0
    # The gradient of a mean over the map's cells is one cell's part of it.
    cells = maps[0].numel()
    torch.testing.assert_close(found * cells, expected, rtol=1e-4, atol=1e-4 * float(expected.max()))


def test_each_picture_of_a_batch_has_the_map_that_it_has_alone() -> None:
    model = make_model()
    images = prepare([make_image(seed=1), make_image(seed=2)], model.input)
    together = grad_cam(model.classifier, images, 1)
    alone = torch.cat([grad_cam(model.classifier, image[None], 1) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4 * float(alone.max()))


# What a model gives


def seeing_red(resize: Rule) -> ClassifyModel:
    """Class 0 is how red the picture is, class 1 how little: a map of 8 pixels a cell, averaged."""
    spec = InputSpec(size_hw=(64, 64), resize=resize, mean=(0, 0, 0), std=(1, 1, 1))
    body = nn.Sequential(OrderedDict(cells=nn.Sequential(nn.AvgPool2d(8))))
    backbone = Backbone("red", (Stage("cells", 3, 8),), spec, body)
    model = ClassifyModel(ClassifyOptions(weights="none"), ("red", "other"), spec, backbone).eval()
    logits = model.classifier.head.get_submodule("logits")
    with torch.no_grad():
        logits.weight.copy_(torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]]))  # type: ignore[operator]
    return model


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
@pytest.mark.parametrize("size_hw", [(64, 64), (60, 200), (300, 90), (17, 33)])
@pytest.mark.parametrize(("bottom", "right"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_the_peak_is_in_the_corner_that_the_evidence_is_in(
    resize: Rule, size_hw: tuple[int, int], bottom: int, right: int
) -> None:
    height, width = size_hw
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    patch_h, patch_w = height // 3, width // 3
    top, left = bottom * (height - patch_h), right * (width - patch_w)
    image[0, top : top + patch_h, left : left + patch_w] = 255
    heat = explain(seeing_red(resize), image, 0)
    assert (float(heat.min()), float(heat.max())) == (0.0, 1.0)
    y, x = divmod(int(heat.argmax()), heat.shape[1])
    assert top <= (y + 0.5) / heat.shape[0] * height <= top + patch_h
    assert left <= (x + 0.5) / heat.shape[1] * width <= left + patch_w


def test_the_map_has_the_pictures_shape_whatever_the_network_looked_at() -> None:
    image = make_image((100, 400))
    shapes = {rule: tuple(explain(seeing_red(rule), image, 0).shape) for rule in RULES}
    assert shapes == {"stretch": (64, 64), "letterbox": (16, 64), "crop": (64, 256)}


def test_what_a_crop_leaves_out_is_no_evidence() -> None:
    heat = explain(seeing_red("crop"), torch.full((3, 100, 400), 200, dtype=torch.uint8), 0)
    assert heat[:, 96:160].allclose(torch.tensor(1.0))
    assert not heat[:, :96].any()
    assert not heat[:, 160:].any()


def test_where_nothing_speaks_for_a_class_the_map_is_zero() -> None:
    heat = explain(seeing_red("stretch"), make_image(), 1)
    assert not heat.any()


def test_it_works_where_no_gradients_are_kept_and_leaves_none_behind() -> None:
    model = make_model(stages="all")
    expected = model.explain(make_image(), 2)
    with torch.inference_mode():
        inside = model.explain(make_image(), 2)
    with torch.no_grad():
        without = model.explain(make_image(), 2)
    assert torch.equal(inside, expected)
    assert torch.equal(without, expected)
    assert expected.device.type == "cpu"
    assert not expected.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())

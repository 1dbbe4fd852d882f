"""Predictions: where boxes come to lie, what options change, and what weights keep."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from made_objects import CLASSES, SIDE
from tiny_regions import HEADS, NETWORK, make_batch, make_model
from torch import Tensor

from cvtl import weights
from cvtl.boxes import clip_to_image, nms
from cvtl.errors import DataError, UsageError
from cvtl.preprocessing import place
from cvtl.results import Detections
from cvtl_regions import RegionsModel, RegionsOptions
from cvtl_regions.region_detector import Found

ALL = {"threshold": 0.0, "max_detections": 10_000}


def pictures(*sizes_hw: tuple[int, int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8) for size in sizes_hw]


def predict(model: RegionsModel, images: list[Tensor]) -> list[Detections]:
    with torch.inference_mode():
        found = model.predict(images)
    assert all(isinstance(each, Detections) for each in found)
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("head", HEADS)
def test_one_result_for_each_picture_with_boxes_that_lie_in_it(head: str) -> None:
    model = make_model(head=head, predict=ALL)
    images = pictures((40, 90), (64, 64), (200, 31))
    for found, image in zip(predict(model, images), images, strict=True):
        assert len(found) > 0
        assert (found.scores.diff() <= 0).all()
        assert torch.equal(found.boxes, clip_to_image(found.boxes, (image.shape[1], image.shape[2])))
        assert ((found.boxes[:, 2:] - found.boxes[:, :2]) > 0).all()
        assert found.classes == CLASSES


def test_boxes_go_back_to_where_they_are_in_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    there = torch.tensor([[20.0, 10, 60, 30], [0, 0, 90, 40]])
    model = make_model()
    placed = place((40, 90), model.input)
    grey = torch.tensor([[5.0, 0, 60, 10]])

    def detect(images: Tensor, targets: Any, options: Any) -> list[Found]:
        """Two boxes of the picture as they lie in the input, and one in the grey above it."""
        moved = torch.cat([placed.to_input(there), grey])
        return [(moved, torch.tensor([0.9, 0.8, 0.7]), torch.tensor([0, 2, 1]))] * len(images)

    monkeypatch.setattr(model.detector, "detect", detect)
    (found,) = predict(model, pictures((40, 90)))
    torch.testing.assert_close(found.boxes, there)
    assert found.labels.tolist() == [0, 2]


@pytest.mark.parametrize("head", HEADS)
def test_pictures_do_not_influence_one_another(head: str) -> None:
    model, images = make_model(head=head, predict=ALL), pictures((40, 90), (64, 64))
    together, alone = predict(model, images), [predict(model, [image])[0] for image in images]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one.scores[:20], other.scores[:20], rtol=0, atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_prediction_options_say_what_is_kept(head: str) -> None:
    model, images = make_model(head=head, predict=ALL), pictures((64, 64))

    def kept(**changes: Any) -> Detections:
        return predict(model.with_predict_options(**ALL | changes), images)[0]

    everything = kept()
    middle = float(everything.scores.median())
    assert torch.equal(kept(threshold=middle).scores, everything.scores[everything.scores > middle])
    assert 0 < len(kept(max_detections=3)) <= 3
    apart = kept(nms_iou=0.2)
    assert 0 < len(apart) < len(everything)
    assert len(nms(apart.boxes, apart.scores, apart.labels, iou_threshold=0.2 + 1e-4)) == len(apart)


@pytest.mark.parametrize("head", HEADS)
def test_weights_come_back_as_they_were_saved(tmp_path: Path, head: str) -> None:
    model = make_model(head=head, predict=ALL)
    loaded = weights.load(weights.save(model, tmp_path / "w.safetensors"))
    assert isinstance(loaded, RegionsModel)
    images = pictures((50, 70), (64, 64))
    for one, other in zip(predict(model, images), predict(loaded, images), strict=True):
        assert torch.equal(one.boxes, other.boxes)
        assert torch.equal(one.scores, other.scores)
        assert torch.equal(one.labels, other.labels)


def test_the_backbone_learns_at_its_own_rate_and_frozen_stages_do_not() -> None:
    groups = make_model(backbone_rate=0.1).parameter_groups()
    assert [factor for factor, _ in groups] == [1.0, 0.1]
    assert [factor for factor, _ in make_model(freeze="all").parameter_groups()] == [1.0]


def test_frozen_stages_keep_their_statistics() -> None:
    model = make_model(backbone="resnet18", freeze="layer4", channels=64, levels=None, size=64).train()
    before = {name: value.clone() for name, value in model.state_dict().items() if "running_mean" in name}
    model.loss(*make_batch(model))
    changed = {name for name, value in before.items() if not torch.equal(model.state_dict()[name], value)}
    assert changed
    assert all(".layer4." in name for name in changed)


def test_a_loss_in_validation_leaves_the_statistics_alone() -> None:
    model = make_model(backbone="resnet18", levels=None, size=64)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        model.assess(*make_batch(model), training=False)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("head", HEADS)
def test_validation_has_the_terms_of_the_loss_and_average_precision(head: str) -> None:
    model = make_model(head=head)
    with torch.no_grad():
        terms, figures = model.assess(*make_batch(model), training=False)
    assert figures.keys() == {*(f"{name}_loss" for name in terms), "ap"}
    assert figures["ap"].shape == (4,)
    # Nothing can be said of the picture without an object.
    assert figures["ap"].isnan().tolist() == [False, False, False, True]


def test_where_weights_come_from_has_to_be_said() -> None:
    with pytest.raises(UsageError, match="nothing says where the weights"):
        RegionsModel.initialize(RegionsOptions(**NETWORK | {"weights": None}), CLASSES)


def test_without_classes_there_is_nothing_to_find() -> None:
    with pytest.raises(DataError, match="no classes"):
        RegionsModel.initialize(RegionsOptions(**NETWORK), ())


def test_colours_change_and_nothing_else() -> None:
    images = torch.stack(pictures((SIDE, SIDE), (SIDE, SIDE)))
    assert torch.equal(make_model(jitter=0.0).augment(images), images)
    changed = make_model(jitter=0.5).augment(images)
    assert changed.shape == images.shape
    assert not torch.equal(changed, images)


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, cvtl_regions; cvtl_regions.plugin.options_type(); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

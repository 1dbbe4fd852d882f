"""The model of the windows plugin, with a network whose answers can be worked out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cvtl import weights
from cvtl.boxes import iou
from cvtl.data import ClassTarget, Dataset, Sample
from cvtl.errors import DataError
from cvtl.options import make_options
from cvtl.results import Detections
from cvtl_windows.crops import WindowTarget
from cvtl_windows.model import WindowsModel
from cvtl_windows.options import WindowsOptions

SIDE = 32


def make_model(predict: dict[str, object] | None = None, **options: object) -> WindowsModel:
    torch.manual_seed(0)
    values = {"backbone": "lenet5", "window": SIDE, "pooling": "flatten", "predict": predict or {}} | options
    return WindowsModel.initialize(make_options(WindowsOptions, values), ["background", "disc", "square"]).eval()


class Brightness(torch.nn.Module):
    """Says 'disc' of windows that are bright from corner to corner: stands in for a trained network."""

    def forward(self, windows: Tensor) -> Tensor:
        light = windows.mean(dim=(1, 2, 3))
        return torch.stack([8 * light, torch.full_like(light, -20), torch.zeros_like(light)], dim=1)


def bright_square(image_hw: tuple[int, int], left: int, top: int, side: int) -> Tensor:
    image = torch.zeros(3, *image_hw, dtype=torch.uint8)
    image[:, top : top + side, left : left + side] = 255
    return image


def test_background_is_no_class_of_the_model() -> None:
    assert make_model().classes == ("disc", "square")


@pytest.mark.parametrize(("left", "top", "side"), [(40, 20, 32), (100, 60, 48), (0, 0, 64), (96, 56, 64)])
def test_a_window_as_large_as_the_object_finds_it(left: int, top: int, side: int) -> None:
    model = make_model({"mode": "crops", "min_object": side, "max_object": side})
    model.classifier = Brightness()  # type: ignore[assignment]
    model._stride = 4
    (found,) = model.predict([bright_square((120, 160), left, top, side)])
    assert isinstance(found, Detections)
    assert found.labels[:1].tolist() == [0]
    assert float(iou(found.boxes[:1], torch.tensor([[left, top, left + side, top + side]]))) > 0.6


@pytest.mark.parametrize("pooling", ["flatten", "average"])
@pytest.mark.parametrize("fine", [1, 2])
def test_both_modes_give_the_same_detections_without_padding(pooling: str, fine: int) -> None:
    image = torch.randint(0, 256, (3, 90, 120), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    model = make_model({"threshold": 0.3, "fine": fine}, pooling=pooling)
    (conv,) = model.predict([image])
    (crops,) = model.with_predict_options(mode="crops").predict([image])
    assert isinstance(conv, Detections)
    assert isinstance(crops, Detections)
    assert len(conv) == len(crops) > 0
    assert torch.allclose(conv.scores, crops.scores, atol=1e-4)


def test_pictures_of_several_sizes_keep_their_own_answers() -> None:
    generator = torch.Generator().manual_seed(2)
    sizes = [(60, 80), (90, 70), (60, 80), (31, 200), (60, 80)]
    images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator) for size in sizes]
    model = make_model({"threshold": 0.3})
    for together, image in zip(model.predict(images), images, strict=True):
        (alone,) = model.predict([image])
        assert isinstance(together, Detections)
        assert isinstance(alone, Detections)
        assert torch.allclose(together.boxes, alone.boxes, atol=1e-3)
        assert torch.allclose(together.scores, alone.scores, atol=1e-5)


def test_boxes_lie_in_the_picture_also_where_it_is_smaller_than_the_window() -> None:
    model = make_model({"threshold": 0.0, "min_object": 8}, refine=True)
    (found,) = model.predict([torch.randint(0, 256, (3, 11, 40), dtype=torch.uint8)])
    assert isinstance(found, Detections)
    assert len(found) > 0
    assert float(found.boxes.min()) >= 0
    assert float(found.boxes[:, 2].max()) <= 40
    assert float(found.boxes[:, 3].max()) <= 11


def test_a_threshold_of_one_finds_nothing() -> None:
    (found,) = make_model({"threshold": 1.0}).predict([torch.zeros(3, 64, 64, dtype=torch.uint8)])
    assert found.to_dict() == {"boxes": [], "scores": [], "labels": []}


@pytest.mark.parametrize("nms", ["hard", "soft"])
def test_detections_are_thinned_out_and_limited(nms: str) -> None:
    image = torch.randint(0, 256, (3, 90, 120), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    model = make_model({"threshold": 0.2, "nms": nms, "max_detections": 7})
    (found,) = model.predict([image])
    assert isinstance(found, Detections)
    assert len(found) == 7
    if nms == "hard":
        for label in found.labels.unique():
            boxes = found.boxes[found.labels == label]
            assert float((iou(boxes, boxes) - torch.eye(len(boxes))).max()) <= 0.3 + 1e-6


def test_heatmaps_come_only_when_asked_for_and_are_highest_on_the_object() -> None:
    model = make_model({"mode": "crops", "min_object": 32, "max_object": 40, "scales_per_octave": 1})
    model.classifier = Brightness()  # type: ignore[assignment]
    model._stride = 4
    image = bright_square((96, 160), 104, 32, 32)
    (plain,) = model.predict([image])
    (asked,) = model.with_predict_options(heatmaps=True).predict([image])
    assert isinstance(plain, Detections)
    assert isinstance(asked, Detections)
    assert plain.heatmaps is None
    assert asked.heatmaps is not None
    assert asked.heatmaps.shape == (2, 12, 20)
    row, column = divmod(int(asked.heatmaps[0].argmax()), 20)
    assert abs((row + 0.5) * 8 - 48) <= 8
    assert abs((column + 0.5) * 8 - 120) <= 8
    assert float(asked.heatmaps[1].max()) < 0.01


def test_the_loss_is_cross_entropy_and_smooth_l1_over_the_windows_with_boxes() -> None:
    model = make_model(refine=True)
    images = torch.randn(3, 3, SIDE, SIDE)
    targets = [WindowTarget(0, (0.1, -0.2, 0.3, 0.0)), WindowTarget(2), WindowTarget(1, (0.0, 0.0, 0.0, 0.5))]
    with torch.no_grad():
        outputs, terms = model.classifier(images), model.loss(images, targets)
    entropy = sum(float(F.cross_entropy(outputs[i, :3], torch.tensor(t.label))) for i, t in enumerate(targets)) / 3
    error = 0.0
    for index in (0, 2):
        for found, wanted in zip(outputs[index, 3:].tolist(), targets[index].offset or (), strict=True):
            distance = abs(found - wanted)
            error += distance**2 / 0.2 if distance < 0.1 else distance - 0.05
    assert float(terms["class"]) == pytest.approx(entropy, rel=1e-5)
    assert float(terms["box"]) == pytest.approx(error / 2, rel=1e-5)


def test_a_batch_of_background_has_no_box_loss() -> None:
    terms = make_model(refine=True).loss(torch.randn(2, 3, SIDE, SIDE), [WindowTarget(2), WindowTarget(2)])
    assert terms["box"].item() == 0.0


def test_accuracy_counts_the_windows_told_right() -> None:
    model = make_model()
    images = torch.randn(4, 3, SIDE, SIDE)
    labels = model.classifier(images).argmax(dim=1).tolist()
    targets = [
        WindowTarget(labels[0]),
        WindowTarget(labels[1]),
        WindowTarget(labels[2]),
        WindowTarget((labels[3] + 1) % 3),
    ]
    assert float(model.measure(images, targets)["accuracy"]) == 0.75


def test_augmented_windows_stay_pictures_and_no_two_are_changed_alike() -> None:
    torch.manual_seed(0)
    images = torch.full((6, 3, SIDE, SIDE), 100, dtype=torch.uint8)
    changed = make_model().augment(images)
    assert changed.dtype == torch.uint8
    assert len({int(image[0, 0, 0]) for image in changed}) > 3


def test_windows_are_mirrored_only_where_that_is_allowed() -> None:
    torch.manual_seed(0)
    images = torch.zeros(20, 3, SIDE, SIDE, dtype=torch.uint8)
    images[..., : SIDE // 2] = 200
    for flip in (False, True):
        changed = make_model(flip=flip, jitter=0.0).augment(images)
        mirrored = [bool((image == before.flip(-1)).all()) for image, before in zip(changed, images, strict=True)]
        assert any(mirrored) is flip
        assert not all(mirrored)


def test_frozen_stages_get_no_gradient() -> None:
    model = make_model(freeze="all")
    model.loss(torch.randn(2, 3, SIDE, SIDE), [WindowTarget(0), WindowTarget(2)])["class"].backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is None for parameter in model.classifier.features.parameters())
    assert all(parameter.grad is not None for parameter in model.classifier.head.parameters())


def test_saved_and_loaded_it_predicts_the_same(tmp_path: Path) -> None:
    image = torch.randint(0, 256, (3, 64, 80), dtype=torch.uint8)
    model = make_model({"threshold": 0.2}, refine=True, hidden=[20])
    weights.save(model, tmp_path / "w.safetensors")
    loaded = weights.load(tmp_path / "w.safetensors")
    assert loaded.predict([image])[0].to_dict() == model.predict([image])[0].to_dict()


def test_crops_without_background_are_refused() -> None:
    data = Dataset([Sample("a", lambda: np.zeros((9, 9, 3), np.uint8), ClassTarget(0))] * 2, ("a", "b"), "test")
    model = WindowsModel.initialize(WindowsOptions(), data.classes)
    with pytest.raises(DataError, match=r"none of the classes \(a, b\) is background"):
        model.training_samples(data, epoch=0, seed=0)


def test_crops_cannot_teach_refinement() -> None:
    data = Dataset([Sample("a", lambda: np.zeros((9, 9, 3), np.uint8), ClassTarget(0))], ("background", "b"), "test")
    model = WindowsModel.initialize(WindowsOptions(refine=True), data.classes)
    with pytest.raises(DataError, match="no boxes to learn --refine from"):
        model.training_samples(data, epoch=0, seed=0)


def test_verify_measures_no_difference_where_no_layer_pads() -> None:
    found = make_model().verify(torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8))
    assert found["largest difference of scores"] < 1e-4
    assert found["windows on the same side of 0.5"] == "100.00%"
    assert found["why they differ"].startswith("no layer pads")
    assert found["speed-up"] > 0


def test_verify_says_which_layers_make_the_modes_differ() -> None:
    model = WindowsModel.initialize(WindowsOptions(backbone="squeezenet1_1"), ["background", "x"]).eval()
    found = model.verify(torch.randint(0, 256, (3, 96, 128), dtype=torch.uint8))
    assert "layers pad" in found["why they differ"]
    assert found["largest difference of scores"] > 0


def test_what_a_network_with_padding_says_of_a_picture_does_not_depend_on_its_neighbours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from cvtl_windows import model as module

    model = WindowsModel.initialize(
        make_options(
            WindowsOptions, {"backbone": "squeezenet1_1", "predict": {"threshold": 0.0, "max_detections": 20}}
        ),
        ["background", "x"],
    ).eval()
    images = list(torch.randint(0, 256, (3, 3, 120, 160), dtype=torch.uint8))
    monkeypatch.setattr(module, "STRIP_PIXELS", 2 * 120 * 160 + 1)
    together = model.predict(images)
    for image, found in zip(images, together, strict=True):
        (alone,) = model.predict([image])
        assert isinstance(found, Detections)
        assert isinstance(alone, Detections)
        assert torch.allclose(found.scores, alone.scores, atol=1e-5)


def test_outputs_that_are_no_numbers_are_an_error_and_not_an_empty_answer() -> None:
    model = make_model()
    with torch.no_grad():
        model.classifier.head[-1].bias[0] = torch.nan  # type: ignore[union-attr, index]
    with pytest.raises(ValueError, match="outputs are not finite"):
        model.predict([torch.zeros(3, 64, 64, dtype=torch.uint8)])


def test_detections_without_enough_agreement_are_left_out() -> None:
    image = torch.randint(0, 256, (3, 90, 120), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    model = make_model({"threshold": 0.3})
    (everything,) = model.predict([image])
    (supported,) = model.with_predict_options(min_support=2.0).predict([image])
    (nothing,) = model.with_predict_options(min_support=1e6).predict([image])
    assert len(everything.to_dict()["boxes"]) > len(supported.to_dict()["boxes"]) > 0
    assert all(box in everything.to_dict()["boxes"] for box in supported.to_dict()["boxes"])
    assert nothing.to_dict()["boxes"] == []

"""Predictions: the way from a picture to the network, and from its output back to the picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_onnx import constant_net, mean_net
from plain_detectors import READERS, Box, suppress
from torch import Tensor

from cvtl import ensemble, weights
from cvtl.cascade import with_detector
from cvtl.devices import Predictor
from cvtl.errors import UsageError, WeightsError
from cvtl.model import ComposedModel, Model
from cvtl.options import Options
from cvtl.preprocessing import InputSpec, place
from cvtl.results import Classification, Detections, Result
from cvtl.run_settings import DetectorSettings
from cvtl_onnx.layouts import cells
from cvtl_onnx.model import OnnxDetector
from cvtl_onnx.options import DetectOptions

SIDE, CLASSES = 64, 3
ULTRALYTICS = {"names": str({index: f"class {index}" for index in range(CLASSES)})}


def picture(height: int, width: int, shade: int | tuple[int, int, int] = 90) -> Tensor:
    colour = (shade,) * 3 if isinstance(shade, int) else shade
    return torch.tensor(colour, dtype=torch.uint8)[:, None, None].expand(3, height, width)


def predict(model: Model, images: list[Tensor]) -> list[Any]:
    with torch.inference_mode():
        return model.predict(images)


def crowded(case: str, seed: int = 0) -> np.ndarray[Any, Any]:
    """An output in which many boxes overlap."""
    random = np.random.default_rng(seed)
    count = cells((SIDE, SIDE))
    places, classes = random.uniform(5, 59, (2, count)), random.uniform(0, 1, (CLASSES, count))
    if case == "ultralytics":
        return np.concatenate([places, random.uniform(4, 30, (2, count)), classes]).astype(np.float32)
    if case == "yolox":
        parts = [random.uniform(0, 1, (2, count)), random.uniform(-1, 1, (2, count)), random.uniform(0, 1, (1, count))]
        return np.concatenate([*parts, classes]).T.astype(np.float32)
    grid = SIDE // 16
    return random.uniform(0, 1, (5 + CLASSES, grid, grid)).astype(np.float32)


@pytest.mark.parametrize("case", ["yolox", "ultralytics", "fastestdet"])
@pytest.mark.parametrize("image_hw", [(64, 64), (120, 50), (30, 200)])
def test_what_is_found_is_what_plain_loops_find(tmp_path: Path, case: str, image_hw: tuple[int, int]) -> None:
    output = crowded(case)
    model = weights.load(constant_net(tmp_path / "net.onnx", output, size_hw=(SIDE, SIDE)))
    model.with_predict_options(threshold=0.3, nms_iou=0.4)
    (found,) = predict(model, [picture(*image_hw)])
    assert isinstance(found, Detections)
    placed = place(image_hw, model.input)
    expected = []
    for box in suppress([each for each in READERS[case](output, (SIDE, SIDE)) if each.score >= 0.3], 0.4):
        left, top, right, bottom = box.corners
        xs = [min(max((x - placed.offset_x) / placed.scale_x, 0), image_hw[1]) for x in (left, right)]
        ys = [min(max((y - placed.offset_y) / placed.scale_y, 0), image_hw[0]) for y in (top, bottom)]
        if xs[0] < xs[1] and ys[0] < ys[1]:
            expected.append(Box((xs[0], ys[0], xs[1], ys[1]), box.score, box.label))
    assert len(expected) > 3
    assert found.labels.tolist() == [each.label for each in expected]
    np.testing.assert_allclose(found.boxes, [each.corners for each in expected], atol=1e-3)
    np.testing.assert_allclose(found.scores, [each.score for each in expected], rtol=1e-5)


def test_end_to_end_outputs_are_not_suppressed_again(tmp_path: Path) -> None:
    rows = np.zeros((300, 6), np.float32)
    rows[0] = 8, 8, 40, 40, 0.9, 2
    rows[1] = 8, 8, 40, 41, 0.8, 2
    model = weights.load(constant_net(tmp_path / "n.onnx", rows, size_hw=(SIDE, SIDE), metadata=ULTRALYTICS))
    (found,) = predict(model, [picture(128, 128)])
    assert found.to_dict() == {
        "boxes": [[16, 16, 80, 80], [16, 16, 80, 82]],
        "scores": [0.9, 0.8],
        "labels": ["class 2", "class 2"],
    }


def test_a_class_that_has_no_name_is_an_error(tmp_path: Path) -> None:
    rows = np.zeros((300, 6), np.float32)
    rows[0] = 8, 8, 40, 40, 0.9, 7
    model = weights.load(constant_net(tmp_path / "n.onnx", rows, size_hw=(SIDE, SIDE), metadata=ULTRALYTICS))
    with pytest.raises(UsageError, match="an object of class 7, but names are known of 3"):
        Predictor(model).predict([picture(64, 64)])


def test_a_picture_without_objects_has_an_empty_result(tmp_path: Path) -> None:
    nothing = np.zeros((cells((SIDE, SIDE)), 5 + CLASSES), np.float32)
    model = weights.load(constant_net(tmp_path / "net.onnx", nothing, size_hw=(SIDE, SIDE)))
    (found,) = predict(model, [picture(1, 1)])
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)


def test_the_most_boxes_are_limited_to_the_best(tmp_path: Path) -> None:
    model = weights.load(constant_net(tmp_path / "net.onnx", crowded("ultralytics"), size_hw=(SIDE, SIDE)))
    (every,) = predict(model, [picture(64, 64)])
    model.with_predict_options(max_detections=4)
    (few,) = predict(model, [picture(64, 64)])
    assert len(every) > 4
    assert few.to_dict() == {name: values[:4] for name, values in every.to_dict().items()}


@pytest.mark.parametrize("batch", [1, 2, 4, "N"])
@pytest.mark.parametrize("count", [1, 3, 5])
def test_any_number_of_pictures_goes_through_a_network_of_any_batch(
    tmp_path: Path, batch: int | str, count: int
) -> None:
    model = weights.load(mean_net(tmp_path / "net.onnx", batch=batch), reading={"mean": (0, 0, 0), "std": (1, 1, 1)})
    shades = [(10 + 7 * index, 90, 200 - 7 * index) for index in range(count)]
    found = predict(model, [picture(8 + index, 12, shade) for index, shade in enumerate(shades)])
    for shade, each in zip(shades, found, strict=True):
        expected = np.exp(np.array(shade) / 255)
        np.testing.assert_allclose(each.scores, expected / expected.sum(), rtol=1e-5)


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_a_classifier_sees_channels_as_they_are_said_to_be(tmp_path: Path, channels: str) -> None:
    said = {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.25, 0.2), "channels": channels}
    model = weights.load(mean_net(tmp_path / "net.onnx"), reading=said)
    (found,) = predict(model, [picture(8, 8, (51, 102, 204))])
    seen = [(0.2 - 0.1) / 0.5, (0.4 - 0.2) / 0.25, (0.8 - 0.3) / 0.2]
    expected = np.exp(seen if channels == "rgb" else seen[::-1])
    np.testing.assert_allclose(found.scores, expected / expected.sum(), rtol=1e-5)


def test_probabilities_are_taken_as_they_are(tmp_path: Path) -> None:
    path = mean_net(tmp_path / "net.onnx", softmax=True)
    model = weights.load(path, reading={"mean": (0, 0, 0), "std": (1, 1, 1)})
    assert model.options.scores == "probabilities"  # type: ignore[attr-defined]
    (found,) = predict(model, [picture(8, 8, (255, 0, 0))])
    np.testing.assert_allclose(found.scores, np.exp([1, 0, 0]) / np.exp([1, 0, 0]).sum(), rtol=1e-5)


def test_a_classifier_may_end_in_a_map_of_one_cell(tmp_path: Path) -> None:
    model = weights.load(constant_net(tmp_path / "net.onnx", np.array([0.2, 0.7, 0.1]).reshape(3, 1, 1)))
    (found,) = predict(model, [picture(8, 8)])
    assert isinstance(found, Classification)
    assert found.scores.tolist() == pytest.approx([0.2, 0.7, 0.1])


def test_networks_in_half_precision_are_run(tmp_path: Path) -> None:
    path = constant_net(tmp_path / "net.onnx", crowded("ultralytics"), size_hw=(SIDE, SIDE), half=True)
    (found,) = predict(weights.load(path), [picture(64, 64)])
    assert found.boxes.dtype == torch.float32
    assert len(found) > 3


def test_a_network_that_gives_no_numbers_fails_on_its_pictures_alone(tmp_path: Path) -> None:
    model = weights.load(constant_net(tmp_path / "net.onnx", np.array([np.nan, 1.0])), reading={"scores": "logits"})
    (answer,) = Predictor(model).predict([picture(8, 8)])
    assert isinstance(answer, ValueError)


def test_a_model_says_where_pictures_have_to_lie(tmp_path: Path) -> None:
    model = weights.load(mean_net(tmp_path / "net.onnx"))
    assert model.device == torch.device("cpu")
    assert model.to("meta").device == torch.device("meta")


def test_classifiers_are_averaged_with_others(tmp_path: Path) -> None:
    paths = [constant_net(tmp_path / f"{number}.onnx", np.array([number, 2.0])) for number in (0, 2)]
    with torch.inference_mode():
        (found,) = ensemble.load(paths).predict([picture(8, 8)])
    first = np.exp([0, 2]) / np.exp([0, 2]).sum()
    assert isinstance(found, Classification)
    assert found.scores.tolist() == pytest.approx(((first + 0.5) / 2).tolist(), abs=1e-5)


def test_a_detector_finds_what_another_model_looks_at(tmp_path: Path) -> None:
    rows = np.zeros((300, 6), np.float32)
    rows[0], rows[1] = (8, 8, 40, 40, 0.9, 2), (0, 0, 9, 9, 0.1, 1)
    path = constant_net(tmp_path / "n.onnx", rows, size_hw=(SIDE, SIDE), metadata=ULTRALYTICS)
    seen: list[Tensor] = []

    class Looker(ComposedModel):
        plugin = "looker"

        def predict(self, images: Sequence[Tensor]) -> list[Result]:
            raise NotImplementedError

        def predict_in_boxes(self, images: Sequence[Tensor], boxes: Sequence[Tensor]) -> list[Result]:
            seen.extend(boxes)
            return []

    looker = Looker(Options(), ("point",), InputSpec(size_hw=(8, 8)))
    settings = DetectorSettings(detector=str(path), detector_threshold=0.5)
    predict(with_detector(looker, settings), [picture(128, 64)])
    assert [each.tolist() for each in seen] == [[[0, 16, 48, 80]]]


def test_it_cannot_be_trained(tmp_path: Path) -> None:
    model = weights.load(mean_net(tmp_path / "net.onnx"))
    attempts = [
        lambda: OnnxDetector.initialize(DetectOptions(layout="yolox"), ("a",)),
        lambda: model.loss(torch.zeros(1, 3, 8, 8), []),
        lambda: model.training_samples(None, epoch=0, seed=0),  # type: ignore[arg-type]
    ]
    for attempt in attempts:
        with pytest.raises(UsageError, match="ONNX files cannot be trained"):
            attempt()


def test_without_its_file_there_is_no_network() -> None:
    with pytest.raises(WeightsError, match=r"lies in an \.onnx file"):
        OnnxDetector(DetectOptions(layout="yolox"), ("a",), InputSpec(size_hw=(8, 8)))


def test_a_network_of_onnx_is_held_by_no_other_file(tmp_path: Path) -> None:
    path = mean_net(tmp_path / "net.onnx")
    with pytest.raises(WeightsError, match="a weights file cannot hold"):
        weights.convert(path, tmp_path / "net.safetensors")

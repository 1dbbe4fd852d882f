"""What the networks find, against Ultralytics' own prediction."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from made_checkpoints import CLASSES, SIDE, TINIES, TINY, TINY_26, TINY_DETR, enliven, make_model, make_network
from torch import Tensor

from cvtl.boxes import cxcywh_to_xyxy
from cvtl.errors import UsageError, WeightsError
from cvtl.images import read_image
from cvtl.preprocessing import InputSpec, normalize, place, prepare, resize
from cvtl.results import Detections
from cvtl_ultralytics import decoding, isolation, networks
from cvtl_ultralytics.framing import tight_window
from cvtl_ultralytics.model import UltralyticsModel

# One of each family whose smallest member is quick; v3 and RT-DETR in full take minutes.
FAMILIES = ["yolov3-tiny", "yolov5n", "yolov6n", "yolov8n", "yolov9t", "yolov10n", "yolo11n", "yolo12n", "yolo26n"]
THEIR_SIZE = 320
CONFIDENCE = 0.02
MOST = 5000


def lively(
    architecture: Any, seed: int = 0, side: int = SIDE, images: Sequence[Tensor] = (), **predict: Any
) -> UltralyticsModel:
    """A model whose places find different things in some pictures, or in noise."""
    model = make_model(architecture, seed, size=side)
    enliven(model.network, prepare(images, model.input) if images else None)
    return model.with_predict_options(**{"threshold": CONFIDENCE, "max_detections": MOST} | predict)


def photograph(assets: Path, name: str) -> Tensor:
    return torch.from_numpy(read_image(assets / name)).permute(2, 0, 1)


@torch.inference_mode()
def ours(model: UltralyticsModel, image: Tensor) -> Detections:
    (found,) = model.predict([image])
    assert isinstance(found, Detections)
    return found


def theirs(model: UltralyticsModel, picture: Path, **arguments: Any) -> Tensor:
    """What Ultralytics' own predictor finds with the same weights, (N, 6): xyxy, score, class.

    It keeps what lies wholly in the grey beside a picture, without any extent when it is cut to it; cvtl does not.
    """
    with isolation.undisturbed():
        os.environ.update(isolation.SAFELY)
        rtdetr = networks.is_rtdetr(model.network)
        name = "models.rtdetr.predict" if rtdetr else "models.yolo.detect.predict"
        predictor = getattr(isolation.module(name), "RTDETRPredictor" if rtdetr else "DetectionPredictor")
        assert isinstance(model.options.model, dict)
        network: Any = networks.build(model.options.model, len(model.classes))
        network.load_state_dict(model.network.state_dict())
        network.task, network.names = "detect", dict(enumerate(model.classes))
        # As `YOLO.predict` sets them.
        settings = {"conf": CONFIDENCE, "iou": 0.7, "max_det": MOST, "rect": True, "device": "cpu"}
        settings |= {"imgsz": model.input.size_hw[0], "verbose": False, "save": False} | arguments
        (found,) = predictor(overrides=settings)(str(picture), model=network)
        boxes: Tensor = found.boxes.data.detach().cpu().clone()
        return boxes[(boxes[:, 2:4] > boxes[:, :2]).all(dim=1)]


def assert_same(found: Detections, expected: Tensor, *, pixels: float = 0.5) -> None:
    """Each box has one of the same class within some pixels of it, and nearly its score."""
    assert len(found) == len(expected)
    near = (found.boxes[None] - expected[:, None, :4]).abs().amax(dim=2) <= pixels
    near &= (found.labels[None] == expected[:, None, 5]) & ((found.scores[None] - expected[:, None, 4]).abs() < 0.01)
    for row in near:
        (places,) = row.nonzero(as_tuple=True)
        assert len(places)
        near[:, places[0]] = False


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_boxes_on_the_photographs_equal_its_own_of_every_family(assets: Path, name: str) -> None:
    pictures = ("bus.jpg", "zidane.jpg")
    model = lively(name, side=THEIR_SIZE, images=[photograph(assets, picture) for picture in pictures])
    for picture in pictures:
        found = ours(model, photograph(assets, picture))
        assert len(found) > 20
        assert_same(found, theirs(model, assets / picture))


@pytest.mark.parametrize("name", list(TINIES))
@pytest.mark.parametrize("size_hw", [(33, 61), (80, 50), (200, 47), (64, 64)])
def test_boxes_of_pictures_of_any_shape_equal_its_own(tmp_path: Path, name: str, size_hw: tuple[int, int]) -> None:
    model = lively(TINIES[name], seed=2, side=96)
    image = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    assert cv2.imwrite(str(tmp_path / "x.png"), image)
    found = ours(model, torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1))
    assert len(found) > 3
    assert_same(found, theirs(model, tmp_path / "x.png"))


@pytest.mark.parametrize("name", ["v10", "26"])
def test_answers_that_need_no_suppression_equal_its_own(assets: Path, name: str) -> None:
    model = lively(TINIES[name], seed=1, side=96, suppression="none")
    found = ours(model, photograph(assets, "zidane.jpg"))
    assert len(found) > 3
    assert_same(found, theirs(model, assets / "zidane.jpg", nms=False))


def test_all_classes_of_a_box_may_count_as_in_its_validation() -> None:
    answers = torch.rand(4 + 3, 50)
    answers[:2] = answers[:2] * 64
    answers[2:4] = answers[2:4] * 20 + 2
    boxes, scores, labels = decoding.dense(answers, 0.3, "all")
    expected = [
        (float(answers[4 + label, place]), place, label)
        for place in range(50)
        for label in range(3)
        if answers[4 + label, place] >= 0.3
    ]
    assert scores.tolist() == [score for score, _, _ in expected]
    assert labels.tolist() == [label for _, _, label in expected]
    places = torch.tensor([place for _, place, _ in expected])
    torch.testing.assert_close(boxes, cxcywh_to_xyxy(answers[:4].T[places]))


def test_a_network_without_such_a_head_says_so() -> None:
    model = make_model(TINY, predict={"suppression": "none"})
    with pytest.raises(UsageError, match="no head that gives one box for an object"):
        ours(model, torch.zeros(3, 40, 40, dtype=torch.uint8))


@pytest.mark.parametrize("frame", ["tight", "square"])
def test_a_pictures_boxes_do_not_depend_on_the_others_in_its_batch(frame: str) -> None:
    model = lively(TINY, side=96, threshold=0.2, frame=frame)
    images = [torch.randint(0, 256, (3, *hw), dtype=torch.uint8) for hw in ((50, 90), (90, 50), (50, 90), (300, 20))]
    with torch.inference_mode():
        together = model.predict(images)
    for image, found in zip(images, together, strict=True):
        alone = ours(model, image)
        assert isinstance(found, Detections)
        assert torch.equal(alone.labels, found.labels)
        torch.testing.assert_close(alone.boxes, found.boxes, atol=1e-3, rtol=1e-4)


def test_square_frames_equal_what_it_finds_with_them(assets: Path) -> None:
    model = lively(TINY, seed=3, side=96, frame="square")
    found = ours(model, photograph(assets, "bus.jpg"))
    assert_same(found, theirs(model, assets / "bus.jpg", rect=False))


def test_another_size_may_be_asked_for(assets: Path) -> None:
    model = lively(TINY, seed=3, side=96, size=160)
    assert_same(ours(model, photograph(assets, "bus.jpg")), theirs(model, assets / "bus.jpg", imgsz=160))
    with pytest.raises(UsageError, match=r"--predict\.size 100 is no multiple of 32"):
        ours(model.with_predict_options(size=100), photograph(assets, "bus.jpg"))


def test_most_detections_are_the_best_ones() -> None:
    model = lively(TINY, side=96, threshold=0.0)
    image = torch.randint(0, 256, (3, 60, 90), dtype=torch.uint8)
    many = ours(model, image)
    few = ours(model.with_predict_options(max_detections=5), image)
    assert len(few) == 5
    assert torch.equal(few.scores, many.scores[:5])


@pytest.mark.parametrize("architecture", [TINY, TINY_26, TINY_DETR])
def test_a_picture_of_one_pixel_and_none_at_all_are_no_trouble(architecture: Any) -> None:
    model = make_model(architecture)
    with torch.inference_mode():
        assert len(model.predict([torch.zeros(3, 1, 1, dtype=torch.uint8)])) == 1
        assert model.predict([]) == []


def test_answers_that_are_not_finite_are_an_error() -> None:
    model = make_model(TINY)
    with torch.no_grad():
        next(model.network.parameters()).fill_(float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        ours(model, torch.zeros(3, 40, 40, dtype=torch.uint8))


@pytest.mark.parametrize("image_hw", [(1080, 810), (720, 1280), (33, 61), (5, 640), (640, 640), (640, 1), (999, 1001)])
def test_tight_frames_have_its_pixels(image_hw: tuple[int, int]) -> None:
    letterbox = isolation.module("data.augment").LetterBox((640, 640), auto=True, stride=32)
    image = np.random.default_rng(0).integers(0, 256, (*image_hw, 3), dtype=np.uint8)
    spec = InputSpec(size_hw=(640, 640), resize="letterbox", interpolation="opencv")
    window = tight_window(image_hw, spec, 32)
    whole = resize(torch.from_numpy(image).permute(2, 0, 1), spec)
    cut = whole[:, window.top : window.top + window.height, window.left : window.left + window.width]
    assert np.array_equal(cut.permute(1, 2, 0).numpy(), letterbox(image=image))


def test_raw_boxes_of_all_places_are_its_own_up_to_folded_normalisation(assets: Path) -> None:
    image = photograph(assets, "bus.jpg")
    model = lively("yolo11n", side=THEIR_SIZE, images=[image, image])
    batch = normalize(resize(image, model.input), model.input)[None]
    with torch.inference_mode():
        plain = model.network(batch)[0][0, :4]
        folded = networks.build(model.options.model, 3)  # type: ignore[arg-type]
        folded.load_state_dict(model.network.state_dict())
        expected = folded.fuse(verbose=False).eval()(batch)[0][0, :4]  # type: ignore[operator]
    scale = place((image.shape[1], image.shape[2]), model.input).scale_x
    assert float((plain - expected).abs().max()) / scale < 0.5


def test_weights_that_are_of_another_network_are_told() -> None:
    network = make_network(TINY)
    with pytest.raises(WeightsError, match=r"'x\.pt' does not fit"):
        networks.load(network, make_network(TINY_DETR).state_dict(), "x.pt")
    folded = make_network(TINY).fuse(verbose=False)  # type: ignore[operator]
    with pytest.raises(WeightsError, match="batch normalisations folded"):
        networks.load(network, folded.state_dict(), "x.pt")


def test_its_classes_are_those_it_was_made_with() -> None:
    assert make_model(TINY).classes == CLASSES

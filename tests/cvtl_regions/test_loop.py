"""The lectures' loop with any classifier."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from made_objects import CLASSES, make_data
from torch import Tensor

from cvtl import weights
from cvtl.data import UInt8Image
from cvtl.errors import UsageError
from cvtl.model import Model
from cvtl.results import Detections
from cvtl.training import TrainSettings, train
from cvtl_classify import ClassifyModel, ClassifyOptions
from cvtl_regions import RegionsModel, RegionsOptions, detect
from cvtl_regions.options import PredictOptions

GREY = "nothing"


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a classifier with a class more than there are objects, in an order of its own."""
    torch.manual_seed(0)
    options = ClassifyOptions(backbone="lenet5", weights="none")
    model = ClassifyModel.initialize(options, [GREY, *reversed(CLASSES)])
    return weights.save(model, tmp_path_factory.mktemp("classifier") / "c.safetensors")


def make_loop(classifier: Path, classes: tuple[str, ...] = CLASSES) -> RegionsModel:
    options = RegionsOptions(head="rcnn", classifier=str(classifier), predict=PredictOptions(threshold=0.2))
    return RegionsModel.initialize(options, classes).eval()


def picture() -> UInt8Image:
    return make_data(1, first=3)[0].read()


def test_each_region_is_cut_out_and_looked_at_in_order() -> None:
    image, seen = picture(), []
    regions = np.array([[0.0, 0, 10, 10], [5, 5, 20.5, 30.2], [88, 58, 89.5, 59.5]])

    def look(patches: list[Tensor]) -> Tensor:
        seen.extend(patches)
        return torch.tensor([[0.1, 0.2], [0.9, 0.0], [0.3, 0.8]])[: len(patches)]

    found = detect(image, look, ["a", "b"], propose=lambda _: regions, options=PredictOptions(threshold=0.5))
    whole = torch.from_numpy(image).permute(2, 0, 1)
    corners = ((0, 0, 10, 10), (5, 5, 21, 31), (88, 58, 90, 60))
    for patch, (left, top, right, bottom) in zip(seen, corners, strict=True):
        assert torch.equal(patch, whole[:, top:bottom, left:right])
    torch.testing.assert_close(found.boxes, torch.from_numpy(regions[[1, 2]]).float())
    assert found.labels.tolist() == [0, 1]


def test_where_nothing_is_proposed_nothing_is_found() -> None:
    def look(patches: list[Tensor]) -> Tensor:
        raise AssertionError("there is nothing to look at")

    assert len(detect(picture(), look, ["a"], propose=lambda _: np.zeros((0, 4)))) == 0


def test_of_overlapping_regions_of_a_class_the_best_stays() -> None:
    regions = np.array([[0.0, 0, 20, 20], [0, 0, 20, 19], [40, 40, 60, 60]])
    scores = torch.tensor([[0.6], [0.8], [0.7]])
    found = detect(picture(), lambda _: scores, ["a"], propose=lambda _: regions)
    assert found.scores.tolist() == pytest.approx([0.8, 0.7])


def test_the_loop_says_of_each_region_what_the_classifier_says_of_its_patch(classifier: Path) -> None:
    model = make_loop(classifier).with_predict_options(nms_iou=1.0, threshold=0.0, max_detections=10_000, proposals=9)
    image = torch.from_numpy(picture()).permute(2, 0, 1)
    with torch.inference_mode():
        (found,) = model.predict([image])
        assert isinstance(found, Detections)
        assert len(found) == 9 * len(CLASSES)
        own = weights.load(classifier)
        for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
            left, top = box[:2].floor().long().tolist()
            right, bottom = box[2:].ceil().long().tolist()
            (answer,) = own.predict([image[:, top:bottom, left:right]])
            expected = answer.scores[own.classes.index(CLASSES[int(label)])]  # type: ignore[union-attr]
            assert float(score) == pytest.approx(float(expected), abs=1e-5)


def test_the_classifier_is_saved_with_the_detector(classifier: Path, tmp_path: Path) -> None:
    model = make_loop(classifier)
    loaded = weights.load(weights.save(model, tmp_path / "loop.safetensors"))
    image = torch.from_numpy(picture()).permute(2, 0, 1)
    with torch.inference_mode():
        (one,), (other,) = model.predict([image]), loaded.predict([image])
    assert isinstance(one, Detections)
    assert isinstance(other, Detections)
    assert len(one) > 0
    assert torch.equal(one.boxes, other.boxes)
    assert torch.equal(one.scores, other.scores)


def test_training_it_is_trying_it_once(classifier: Path, tmp_path: Path) -> None:
    model: Model = make_loop(classifier)
    settings = TrainSettings(epochs=5, workers=0, device="cpu")
    data = make_data(3, first=3)
    report = train(model, data, data, settings, tmp_path / "run", quiet=True)
    assert report.epochs == 1
    before, after = weights.load(classifier).state_dict(), weights.load(report.weights).state_dict()
    assert all(torch.equal(value, after[f"detector.classifier.{name}"]) for name, value in before.items())


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("red", "cell"), "does not know cell"),
        ((GREY, *CLASSES), "every region would be one"),
    ],
)
def test_classes_that_do_not_fit_are_refused(classifier: Path, classes: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_loop(classifier, classes)


def test_other_heads_have_no_patches_to_classify(classifier: Path) -> None:
    with pytest.raises(UsageError, match="head fcos has no patches"):
        RegionsModel.initialize(RegionsOptions(head="fcos", classifier=str(classifier)), CLASSES)


def test_weights_for_another_task_are_refused(classifier: Path, tmp_path: Path) -> None:
    path = weights.save(make_loop(classifier), tmp_path / "loop.safetensors")
    with pytest.raises(UsageError, match="holds weights for the task 'detect'"):
        make_loop(path)


def test_a_classifier_that_learns_nothing_shares_nothing_out(classifier: Path) -> None:
    assert make_loop(classifier).why_alone() == "with --classifier nothing is learnt"

"""From crops of cars to cars on the road: real data, a pretrained backbone, a detector."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from cvtl import weights
from cvtl.boxes import iou
from cvtl.images import read_image
from cvtl.results import Detections
from cvtl.training import TrainReport, TrainSettings
from cvtl.training.start import train_plugin

pytestmark = [pytest.mark.shared, pytest.mark.slow]

OPTIONS = {
    "backbone": "squeezenet1_1",
    "window": 64,
    "flip": True,
    "predict": {
        "min_object": 64,
        "max_object": 180,
        "aspects": [1.0, 1.7],
        "threshold": 0.97,
        "nms": "merge",
    },
}


def number(path: Path) -> int:
    found = re.search(r"\d+", path.stem)
    assert found
    return int(found[0])


def link_by_sequence(source: Path, target: Path) -> None:
    """The last fifth of each sequence validates: neighbouring frames of a video show the same car."""
    for sequence in sorted(path for kind in ("vehicles", "non-vehicles") for path in (source / kind).iterdir()):
        files = sorted(sequence.glob("*.png"), key=number)
        for index, file in enumerate(files):
            split = "train" if index < 0.8 * len(files) else "val"
            link = target / split / sequence.parent.name / f"{sequence.name}_{file.name}"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)


@pytest.fixture(scope="module")
def report(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainReport:
    data = tmp_path_factory.mktemp("vehicles")
    link_by_sequence(shared_data / "sliding_vehicles", data)
    pretrained = shared_data / "weights" / "squeezenet1_1_imagenet_tvnorm_fp16.pth"
    return train_plugin(
        "windows",
        data,
        tmp_path_factory.mktemp("run"),
        options=OPTIONS | {"backbone_weights": str(pretrained)},
        settings=TrainSettings(epochs=3, batch_size=32, learning_rate=3e-4, device="cpu", workers=0),
        quiet=True,
    )


def test_patches_of_unseen_parts_of_the_sequences_are_told_apart(report: TrainReport) -> None:
    assert report.metrics["val_accuracy"] >= 0.98


@pytest.mark.parametrize("frame", ["test1.jpg", "test2.jpg", "test3.jpg"])
def test_every_labelled_car_is_found_with_few_other_boxes(report: TrainReport, shared_data: Path, frame: str) -> None:
    folder = shared_data / "sliding_vehicles"
    cars = json.loads((folder / "test_boxes_checked.json").read_text())["test_images"][frame]
    image = torch.from_numpy(read_image(folder / "test_images" / frame)).permute(2, 0, 1)
    with torch.inference_mode():
        (found,) = weights.load(report.weights).predict([image])
    assert isinstance(found, Detections)
    overlap = iou(torch.tensor(cars, dtype=torch.float32).reshape(-1, 4), found.boxes)
    hits = {int(each.argmax()) for each in overlap if each.numel() and float(each.max()) >= 0.4}
    assert len(hits) == len(cars)
    assert len(found) - len(hits) <= 4

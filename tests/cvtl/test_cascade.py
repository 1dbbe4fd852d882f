"""A detector, and a model that looks at what it finds."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pydantic import BaseModel
from torch import Tensor

from cvtl import weights
from cvtl.cascade import Cascade, with_detector
from cvtl.data import UInt8Image
from cvtl.errors import ExitCode, OptionsError, UsageError
from cvtl.model import ComposedModel, Model
from cvtl.options import Options
from cvtl.preprocessing import InputSpec
from cvtl.results import Detections, Landmarks, Result
from cvtl.run_settings import DetectorSettings

Cvtl = Callable[..., subprocess.CompletedProcess[str]]


class Blobs(ComposedModel):
    """Finds a box for each bright spot: `big` ones are wider than 10 pixels, and surer."""

    plugin = "blobs"

    def predict(self, images: Sequence[Tensor]) -> list[Result]:
        return [self._find(image) for image in images]

    def _find(self, image: Tensor) -> Detections:
        count, _, stats, _ = cv2.connectedComponentsWithStats((image[0] > 128).to(torch.uint8).numpy())
        boxes = torch.tensor([[x, y, x + w, y + h] for x, y, w, h, _ in stats[1:count]], dtype=torch.float32)
        wide = (boxes.reshape(-1, 4)[:, 2] - boxes.reshape(-1, 4)[:, 0]) > 10
        return Detections(boxes.reshape(-1, 4), 0.4 + 0.5 * wide.float(), wide.long(), ("small", "big"))


class Predict(Options):
    offset: float = 0.0


class CentreOptions(Options):
    predict: Predict = Predict()


class Centres(ComposedModel):
    """Finds the middle of each box."""

    plugin = "centres"

    def predict(self, images: Sequence[Tensor]) -> list[Result]:
        raise AssertionError("it is to be asked for boxes")

    def predict_in_boxes(self, images: Sequence[Tensor], boxes: Sequence[Tensor]) -> list[Result]:
        offset = self.options.predict.offset  # type: ignore[attr-defined]
        return [
            Landmarks(((box[:, :2] + box[:, 2:]) / 2 + offset)[:, None], torch.ones(len(box), 1), ("centre",), box)
            for box in boxes
        ]


class WholePictures(ComposedModel):
    plugin = "whole"

    def predict(self, images: Sequence[Tensor]) -> list[Result]:
        return []


def made(kind: type[Model], options: BaseModel | None = None) -> Model:
    return kind(options or Options(), ("centre",) if kind is Centres else ("small", "big"), InputSpec(size_hw=(8, 8)))


def cascade(**settings: object) -> Cascade:
    return Cascade(made(Blobs), made(Centres, CentreOptions()), DetectorSettings(detector="d", **settings))  # type: ignore[arg-type]


def scene(*boxes: tuple[int, int, int, int], size_hw: tuple[int, int] = (60, 80)) -> UInt8Image:
    image = np.zeros((*size_hw, 3), np.uint8)
    for left, top, right, bottom in boxes:
        image[top:bottom, left:right] = 255
    return image


def ask(model: Model, *images: UInt8Image) -> list[Landmarks]:
    found = model.predict([torch.from_numpy(image).permute(2, 0, 1) for image in images])
    assert all(isinstance(result, Landmarks) for result in found)
    return found  # type: ignore[return-value]


BIG, SMALL = (4, 4, 24, 14), (40, 30, 46, 40)


def test_each_object_that_is_found_is_looked_at_the_surest_first() -> None:
    (found,) = ask(cascade(), scene(SMALL, BIG))
    assert found.points[:, 0].tolist() == [[14, 9], [43, 35]]
    assert found.boxes is not None
    assert found.boxes.tolist() == [list(BIG), list(SMALL)]


def test_pictures_keep_their_own_objects_and_one_without_any_has_none() -> None:
    counts = [len(found.points) for found in ask(cascade(), scene(BIG, SMALL), scene(), scene(SMALL))]
    assert counts == [2, 0, 1]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"detector_threshold": 0.5}, [list(BIG)]),
        ({"detector_threshold": 0.95}, []),
        ({"detector_classes": ("small",)}, [list(SMALL)]),
        ({"detector_classes": ("small", "big")}, [list(BIG), list(SMALL)]),
    ],
)
def test_which_objects_count_can_be_said(settings: dict[str, object], expected: list[list[int]]) -> None:
    (found,) = ask(cascade(**settings), scene(BIG, SMALL))
    assert found.boxes is not None
    assert found.boxes.tolist() == expected


def test_an_unknown_class_is_refused_with_one_like_it() -> None:
    with pytest.raises(UsageError, match=r"no class 'bigg'.*Similar is 'big'"):
        cascade(detector_classes=("bigg",))


def test_prediction_options_are_the_second_models() -> None:
    model = cascade().with_predict_options(offset=2.0)
    assert ask(model, scene(BIG))[0].points[0, 0].tolist() == [16, 11]
    assert model.options.model_dump()["model"]["predict"]["offset"] == 2
    with pytest.raises(OptionsError, match="threshold"):
        model.with_predict_options(threshold=1)


def test_a_model_that_looks_at_whole_pictures_says_so() -> None:
    model = Cascade(made(Blobs), made(WholePictures), DetectorSettings(detector="d"))
    with pytest.raises(UsageError, match="as a whole"):
        ask(model, scene(BIG))


def test_without_a_detector_the_model_stays_alone() -> None:
    model = made(Centres)
    assert with_detector(model, DetectorSettings()) is model
    with pytest.raises(UsageError, match="there is none"):
        with_detector(model, DetectorSettings(detector_threshold=0.5))


def test_weights_of_another_task_are_no_detector(tmp_path: Path) -> None:
    path = points_weights(tmp_path / "p.safetensors")
    with pytest.raises(UsageError, match="landmarks"):
        with_detector(made(Centres), DetectorSettings(detector=str(path)))


# Through the verbs, with the windows plugin's digits as the objects.


def points_weights(path: Path, seed: int = 0) -> Path:
    from cvtl.training.samples import seed_all
    from cvtl_landmarks import LandmarksModel, LandmarksOptions

    seed_all(seed)
    options = LandmarksOptions(backbone="lenet5", weights="none", size=32, edges=((0, 1),))
    return weights.save(LandmarksModel.initialize(options, ("a", "b")), path)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Three scenes of digits; weights that detect digits; weights that find two points."""
    from cvtl_datasets.scenes import digit_scenes
    from cvtl_windows.builtin import digit_weights

    folder = tmp_path_factory.mktemp("digits")
    (folder / "in").mkdir()
    for index, sample in enumerate(digit_scenes(3, seed=5, digits="test")):
        assert cv2.imwrite(str(folder / "in" / f"{index}.png"), sample.read()[..., ::-1])
    return folder / "in", digit_weights(), points_weights(folder / "points.safetensors")


def test_a_run_with_a_detector_has_a_row_of_instances_for_each_picture(
    cvtl: Cvtl, digits: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    pictures, detector, points = digits
    words = ("run", "landmarks", pictures, "--weights", points, "--detector", detector, "--save-images")
    done = cvtl(*words, "--predict.threshold", "0", "--out", tmp_path / "out")
    assert done.returncode == ExitCode.OK, done.stderr
    assert cvtl("run", "detect", pictures, "--weights", detector, "--out", tmp_path / "boxes").returncode == 0
    found, boxes = (
        [json.loads(line)["result"] for line in (tmp_path / name / "rows.jsonl").read_text().splitlines()]
        for name in ("out", "boxes")
    )
    for row, detected in zip(found, boxes, strict=True):
        assert [instance["box"] for instance in row["instances"]] == detected["boxes"]
        assert all(len(instance["points"]) == 2 for instance in row["instances"])
    assert sum(len(row["instances"]) for row in found) >= 3
    assert (cv2.imread(str(tmp_path / "out/pictures/0.png")) != cv2.imread(str(pictures / "0.png"))).any()


def test_a_run_goes_on_only_with_the_same_detector(cvtl: Cvtl, digits: tuple[Path, Path, Path], tmp_path: Path) -> None:
    pictures, detector, points = digits
    words = ("run", "landmarks", pictures, "--weights", points, "--out", tmp_path / "out", "--detector", detector)
    assert cvtl(*words).returncode == ExitCode.OK
    before = (tmp_path / "out/rows.jsonl").read_bytes()
    assert cvtl(*words, "--resume").returncode == ExitCode.OK
    assert (tmp_path / "out/rows.jsonl").read_bytes() == before
    other = cvtl(*words, "--resume", "--detector-threshold", "0.9")
    assert other.returncode == ExitCode.USAGE
    assert "detector" in other.stderr


def test_other_tasks_have_no_detector(cvtl: Cvtl, digits: tuple[Path, Path, Path]) -> None:
    pictures, detector, _ = digits
    done = cvtl("run", "detect", pictures, "--weights", detector, "--detector", detector)
    assert done.returncode == ExitCode.USAGE
    assert "--detector" in done.stderr

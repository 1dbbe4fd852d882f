"""Published weights on photographs, against a decoder of plain loops and pycocotools."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from plain_detectors import Box, Floats, megvii_input, read_fastestdet, read_yolox, suppress

import cvtl
from cvtl import weights
from cvtl.data import Dataset
from cvtl.images import read_image
from cvtl.results import Detections

pytestmark = pytest.mark.shared

THRESHOLD = 0.01
Answer = Callable[[Any, Any], list[Box]]


@pytest.fixture(scope="module")
def photographs(shared_data: Path) -> Path:
    return shared_data / "detection_coco_cc"


def yolox_alone(session: Any, image: Any) -> list[Box]:
    """What YOLOX-nano finds in a BGR picture, by loops."""
    batch, scale = megvii_input(image, 416)
    boxes = [each for each in read_yolox(_first(session, batch), (416, 416)) if each.score >= THRESHOLD]
    return [
        Box(tuple(edge / scale for edge in each.corners), each.score, each.label)  # type: ignore[arg-type]
        for each in suppress(boxes, 0.65)
    ]


def fastestdet_alone(session: Any, image: Any) -> list[Box]:
    """What FastestDet finds in a BGR picture, by loops."""
    small = cv2.resize(image, (352, 352), interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1)[None]
    output = _first(session, np.ascontiguousarray(small, np.float32) / 255)
    boxes = [each for each in read_fastestdet(output, (352, 352)) if each.score >= THRESHOLD]
    (height, width), side = image.shape[:2], 352
    scales = (width / side, height / side) * 2
    return [
        Box(tuple(e * s for e, s in zip(each.corners, scales, strict=True)), each.score, each.label)  # type: ignore[arg-type]
        for each in suppress(boxes, 0.45)
    ]


def _first(session: Any, batch: Floats) -> Floats:
    output: Floats = session.run(None, {session.get_inputs()[0].name: batch})[0][0]
    return output


@pytest.mark.slow
@pytest.mark.parametrize(("name", "alone"), [("yolox_nano", yolox_alone), ("FastestDet", fastestdet_alone)])
def test_the_average_precision_is_what_plain_loops_and_pycocotools_give(
    shared_data: Path, photographs: Path, name: str, alone: Answer
) -> None:
    path = shared_data / "weights" / f"{name}.onnx"
    data = cvtl.load_data(photographs / "instances.json")
    figures = {each.name: each.value for each in cvtl.evaluate(cvtl.predict(path, data, device="cpu"), data).figures}
    expected = _by_pycocotools(path, photographs, data, alone)
    assert expected[0] > 0.2
    assert figures["AP"] == pytest.approx(expected[0], abs=0.005)
    assert figures["AP50"] == pytest.approx(expected[1], abs=0.01)


def _by_pycocotools(path: Path, photographs: Path, data: Dataset, alone: Answer) -> tuple[float, float]:
    """AP and AP50 of the independent decoder."""
    import onnxruntime
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    names = [line for line in path.with_name("coco_classes.txt").read_text().split("\n") if line]
    truth = json.loads((photographs / "instances.json").read_text())
    categories = {each["name"]: each["id"] for each in truth["categories"]}
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    results = []
    for entry in truth["images"]:
        image = cv2.imread(str(photographs / "images" / Path(entry["file_name"]).name))
        for each in alone(session, image):
            left, right = np.clip(each.corners[::2], 0, image.shape[1]).tolist()
            top, bottom = np.clip(each.corners[1::2], 0, image.shape[0]).tolist()
            box = [left, top, right - left, bottom - top]
            category = categories[names[each.label]]
            results.append({"image_id": entry["id"], "category_id": category, "bbox": box, "score": each.score})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(photographs / "instances.json"))
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0]), float(evaluation.stats[1])


def find(path: Path, picture: Path) -> list[tuple[str, list[float]]]:
    model = weights.load(path).with_predict_options(threshold=0.4)
    with torch.inference_mode():
        (found,) = model.predict([torch.from_numpy(read_image(picture)).permute(2, 0, 1)])
    assert isinstance(found, Detections)
    return [(model.classes[label], box.tolist()) for label, box in zip(found.labels, found.boxes, strict=True)]


def test_yolox_nano_finds_the_bus_and_the_people(shared_data: Path) -> None:
    spec = find_spec("ultralytics")
    if spec is None or spec.origin is None:
        pytest.skip("bus.jpg comes with ultralytics, which is not installed")
    found = find(shared_data / "weights" / "yolox_nano.onnx", Path(spec.origin).parent / "assets" / "bus.jpg")
    assert sorted(name for name, _ in found) == ["bus", "person", "person", "person"]
    (bus,) = (box for name, box in found if name == "bus")
    assert bus == pytest.approx([20, 230, 805, 740], abs=25)


def test_the_surest_find_on_each_photograph_is_there(shared_data: Path, photographs: Path) -> None:
    """Of the photographs on which something is found with a score of 0.7, by far most have it annotated."""
    data = cvtl.load_data(photographs / "instances.json")
    model = weights.load(shared_data / "weights" / "yolox_nano.onnx").with_predict_options(threshold=0.7)
    sure = right = 0
    for sample in data:
        with torch.inference_mode():
            (found,) = model.predict([torch.from_numpy(sample.read()).permute(2, 0, 1)])
        if len(found):  # type: ignore[arg-type]
            sure += 1
            right += model.classes[int(found.labels[0])] in {  # type: ignore[union-attr]
                data.classes[int(label)]
                for label in sample.target.labels  # type: ignore[union-attr]
            }
    assert sure >= 10
    assert right >= 0.9 * sure

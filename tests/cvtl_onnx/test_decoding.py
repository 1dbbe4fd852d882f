"""Each layout's decoder against plain loops over the output."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from plain_detectors import READERS

from cvtl_onnx.decoding import DECODERS
from cvtl_onnx.layouts import LAYOUTS, cells, recognise
from cvtl_onnx.options import DetectorLayout

SIZE_HW = (64, 96)
CLASSES = 3

SHAPES: dict[str, tuple[int, ...]] = {
    "yolox": (cells(SIZE_HW), 5 + CLASSES),
    "ultralytics": (4 + CLASSES, cells(SIZE_HW)),
    "end-to-end": (300, 6),
    "fastestdet": (5 + CLASSES, 4, 6),
}


def name_of(case: str) -> DetectorLayout:
    return "ultralytics" if case == "end-to-end" else case  # type: ignore[return-value]


@pytest.mark.parametrize("case", SHAPES)
@pytest.mark.parametrize("seed", [0, 1])
def test_an_output_means_what_plain_loops_read_in_it(case: str, seed: int) -> None:
    output = np.random.default_rng(seed).random(SHAPES[case], np.float32)
    if case == "end-to-end":
        output[:, 5] = np.arange(300) % CLASSES
    boxes, scores, labels = DECODERS[name_of(case)](torch.from_numpy(output), SIZE_HW)
    expected = READERS[case](output, SIZE_HW)
    np.testing.assert_allclose(boxes, [each.corners for each in expected], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(scores, [each.score for each in expected], rtol=1e-5)
    assert labels.tolist() == [each.label for each in expected]


def test_an_end_to_end_output_of_no_boxes_has_none() -> None:
    boxes, scores, labels = DECODERS["ultralytics"](torch.zeros(0, 6), SIZE_HW)
    assert boxes.shape == (0, 4)
    assert scores.shape == labels.shape == (0,)


def test_decoding_leaves_the_output_as_it_is() -> None:
    for case, shape in SHAPES.items():
        output = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        before = output.clone()
        DECODERS[name_of(case)](output, SIZE_HW)
        assert torch.equal(output, before)


@pytest.mark.parametrize("case", SHAPES)
def test_a_layout_is_recognised_by_the_shape_of_the_output(case: str) -> None:
    found = recognise(SHAPES[case], SIZE_HW)
    assert found is not None
    assert found.name == name_of(case)
    assert found.count(SHAPES[case], SIZE_HW) == (0 if case == "end-to-end" else CLASSES)


@pytest.mark.parametrize(
    ("shape", "size_hw", "expected"),
    [
        ((8400, 85), (640, 640), "yolox"),
        ((3549, 6), (416, 416), "yolox"),  # one class: not an end-to-end output
        ((84, 8400), (640, 640), "ultralytics"),
        ((84, 34000), (1280, 1280), "ultralytics"),  # with a fourth grid
        ((85, 22, 22), (352, 352), "fastestdet"),
        ((1000,), (224, 224), "classifier"),
        ((1000, 1, 1), (224, 224), "classifier"),
        ((25200, 85), (640, 640), None),  # YOLOv5's own export
        ((1,), (224, 224), None),
        ((), (224, 224), None),
        ((8400, 5), (640, 640), None),
        ((3, 224, 224), (224, 224), None),
    ],
)
def test_shapes_of_networks_that_people_export(
    shape: tuple[int, ...], size_hw: tuple[int, int], expected: str | None
) -> None:
    found = recognise(shape, size_hw)
    assert (found and found.name) == expected


def test_every_layout_says_how_pictures_are_prepared() -> None:
    from cvtl.preprocessing import InputSpec

    for layout in LAYOUTS.values():
        InputSpec(size_hw=SIZE_HW, **layout.input)

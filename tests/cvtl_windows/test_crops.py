"""What the window classifier learns from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cvtl.boxes import iou
from cvtl.data import BoxesTarget, ClassTarget, Dataset, Sample
from cvtl.errors import DataError
from cvtl.preprocessing import InputSpec
from cvtl_datasets.scenes import CLASSES, digit_scenes
from cvtl_windows.crops import (
    BACKGROUND_IOU,
    CropSamples,
    CutWindows,
    boxes_to_offsets,
    cut,
    object_classes,
    offsets_to_boxes,
)

INPUT = InputSpec(size_hw=(16, 16))


def windows_of(data: Dataset, **changes: object) -> CutWindows:
    settings = {
        "seed": (0,),
        "windows_per_object": 3,
        "negatives_per_picture": 5,
        "aspects": (1.0,),
        "object_size": (24.0, None),
    }
    return CutWindows(data, data.classes, INPUT, **(settings | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("classes", "background", "objects"),
    [
        (("background", "car"), None, ("car",)),
        (("car", "Negatives", "truck"), None, ("car", "truck")),
        (("non-vehicles", "vehicles"), None, ("vehicles",)),
        (("a", "b"), "b", ("a",)),
        (("a", "b"), None, ("a", "b")),
        (("background", "negative", "x"), None, ("negative", "x")),
        (("background", "a"), "a", ("background",)),
    ],
)
def test_background_is_taken_out_of_the_classes(
    classes: tuple[str, ...], background: str | None, objects: tuple[str, ...]
) -> None:
    assert object_classes(classes, background) == objects


def test_a_background_that_is_no_class_is_named() -> None:
    with pytest.raises(DataError, match="there is no class 'sky'"):
        object_classes(("a", "b"), "sky")


@given(
    box=st.tuples(*[st.floats(1, 100)] * 2, *[st.floats(5, 100)] * 2),
    window=st.tuples(*[st.floats(1, 100)] * 2, *[st.floats(20, 60)] * 2),
)
def test_offsets_lead_back_to_the_box(box: tuple[float, ...], window: tuple[float, ...]) -> None:
    boxes = torch.tensor([[box[0], box[1], box[0] + box[2], box[1] + box[3]]])
    windows = torch.tensor([[window[0], window[1], window[0] + window[2], window[1] + window[3]]])
    assert torch.allclose(offsets_to_boxes(boxes_to_offsets(boxes, windows), windows), boxes, atol=1e-3)


def test_no_boxes_have_no_offsets() -> None:
    assert boxes_to_offsets(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0, 4)
    assert offsets_to_boxes(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0, 4)


@pytest.mark.parametrize("window", [(2, 1, 6, 5), (-3, -2, 4, 3), (5, 3, 12, 9), (-4, -4, 14, 12), (20, 20, 24, 24)])
def test_what_a_window_shows_beyond_the_picture_repeats_its_edge(window: tuple[int, int, int, int]) -> None:
    image = torch.arange(3 * 8 * 10, dtype=torch.uint8).view(3, 8, 10)
    found = cut(image, torch.tensor(window, dtype=torch.float32))
    x1, y1, x2, y2 = window
    for row in range(y1, y2):
        for column in range(x1, x2):
            expected = image[:, min(max(row, 0), 7), min(max(column, 0), 9)]
            assert torch.equal(found[:, row - y1, column - x1], expected)


def test_crops_of_class_folders_have_the_label_of_their_class_and_background_the_last() -> None:
    def sample(label: int) -> Sample:
        return Sample(str(label), lambda: np.full((30, 20, 3), 10 * label, np.uint8), ClassTarget(label))

    data = Dataset([sample(0), sample(1), sample(2)], ("background", "cat", "dog"), "test")
    found = [CropSamples(data, ("cat", "dog"), INPUT)[index] for index in range(3)]
    assert [target.label for _, target in found] == [2, 0, 1]
    assert [int(image[0, 5, 5]) for image, _ in found] == [0, 10, 20]
    assert all(image.shape == (3, 16, 16) for image, _ in found)


def test_every_object_is_cut_out_several_times_with_the_way_back_to_its_box() -> None:
    data = digit_scenes(6, seed=3)
    windows = windows_of(data, negatives_per_picture=0)
    assert len(windows) == 3 * sum(len(sample.target.labels) for sample in data)  # type: ignore[union-attr]
    labels = [label for sample in data for label in sample.target.labels.tolist() for _ in range(3)]  # type: ignore[union-attr]
    assert [windows[index][1].label for index in range(len(windows))] == labels
    unit = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    for index in range(len(windows)):
        offset = windows[index][1].offset
        assert offset is not None
        # The window is (0, 0, 1, 1) in its own units.
        assert float(iou(unit, offsets_to_boxes(torch.tensor([offset]), unit))) > 0.5


def test_windows_away_from_objects_are_background() -> None:
    background = len(CLASSES)
    windows = windows_of(digit_scenes(6, seed=3), windows_per_object=1)
    labels = [windows[index][1].label for index in range(len(windows))]
    assert 6 * 3 <= labels.count(background) <= 6 * 5
    assert all(windows[i][1].offset is None for i, label in enumerate(labels) if label == background)


def test_false_alarms_become_background_and_true_ones_do_not() -> None:
    data = digit_scenes(4, seed=3)
    truth = {index: torch.from_numpy(sample.target.boxes) for index, sample in enumerate(data)}  # type: ignore[union-attr]
    asked: list[np.ndarray] = []

    def find(image: np.ndarray) -> torch.Tensor:
        asked.append(image)
        return torch.cat([truth[len(asked) - 1], torch.tensor([[0.0, 0.0, 9.0, 9.0]])])

    without = windows_of(data, windows_per_object=1, negatives_per_picture=1)
    mined = windows_of(data, windows_per_object=1, negatives_per_picture=1, mine=find, mining_pictures=4)
    corner_is_free = sum(
        float(iou(boxes, torch.tensor([[0.0, 0, 9, 9]])).amax()) < BACKGROUND_IOU for boxes in truth.values()
    )
    assert len(asked) == 4
    assert len(mined) == len(without) + corner_is_free


def test_the_same_seed_cuts_the_same_windows_and_another_others() -> None:
    data = digit_scenes(3, seed=3)
    one, same, other = (windows_of(data, seed=seed) for seed in ((1, 2), (1, 2), (1, 3)))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(one, same, strict=True))
    assert [target for _, target in one] == [target for _, target in same]
    assert any(not torch.equal(a, b) for (a, _), (b, _) in zip(one, other, strict=False))


def test_crowds_and_boxes_without_extent_are_passed_over() -> None:
    target = BoxesTarget(
        boxes=np.array([[5, 5, 5, 30], [10, 10, 40, 40], [10, 50, 40, 80]], np.float32),
        labels=np.array([0, 0, 0]),
        crowd=np.array([False, True, False]),
    )
    data = Dataset([Sample("a", lambda: np.zeros((100, 100, 3), np.uint8), target)], ("x",), "test")
    assert len(windows_of(data, negatives_per_picture=0)) == 3


def test_a_picture_smaller_than_the_smallest_object_still_gives_background() -> None:
    empty = BoxesTarget(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    data = Dataset([Sample("a", lambda: np.zeros((12, 9, 3), np.uint8), empty)], ("x",), "test")
    assert len(windows_of(data, negatives_per_picture=2)) == 2


def test_boxes_labelled_background_are_no_objects() -> None:
    target = BoxesTarget(np.array([[10, 10, 40, 40], [50, 50, 90, 90]], np.float32), np.array([0, 1]))
    data = Dataset([Sample("a", lambda: np.zeros((100, 100, 3), np.uint8), target)], ("background", "x", "y"), "test")
    settings = {"seed": (0,), "windows_per_object": 2, "negatives_per_picture": 3, "aspects": (1.0,)}
    windows = CutWindows(data, ("x", "y"), INPUT, object_size=(24.0, None), **settings)  # type: ignore[arg-type]
    assert {target.label for _, target in windows} == {0, 2}

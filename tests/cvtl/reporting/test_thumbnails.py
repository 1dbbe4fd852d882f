"""Small pictures with boxes and points in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvtl.data import Sample, UInt8Image
from cvtl.reporting.sections import Marks, Thumbnail
from cvtl.reporting.thumbnails import ROLE_COLOURS, data_uri, thumbnail


def sample(height: int, width: int, shade: int = 128) -> Sample:
    return Sample("s.png", lambda: np.full((height, width, 3), shade, np.uint8))


def drawn(item: Thumbnail, side: int = 200) -> UInt8Image:
    return thumbnail(item, side)


def near(image: UInt8Image, role: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Where a picture has the colour of a role."""
    colour = [int(ROLE_COLOURS[role][i : i + 2], 16) for i in (1, 3, 5)]
    return np.asarray((np.abs(image.astype(int) - colour) < 12).all(axis=2))


@pytest.mark.parametrize(
    ("height", "width", "size_hw"),
    [(50, 100, (100, 200)), (4000, 1000, (200, 50)), (28, 28, (200, 200)), (1, 5000, (1, 200)), (1, 1, (200, 200))],
)
def test_the_longer_side_is_as_asked_and_the_shape_is_kept(height: int, width: int, size_hw: tuple[int, int]) -> None:
    image = drawn(Thumbnail(sample=sample(height, width), caption=""))
    assert image.shape == (*size_hw, 3)
    assert image.dtype == np.uint8
    assert (image == 128).all()


def test_a_box_lies_where_it_belongs_in_the_colour_of_its_role() -> None:
    marks = Marks(role="wrong", boxes=np.array([[20.0, 10, 60, 40]]))
    red = near(drawn(Thumbnail(sample=sample(50, 100), caption="", marks=(marks,))), "wrong")
    ys, xs = np.nonzero(red)
    assert abs(xs.min() - 40) <= 3
    assert abs(xs.max() - 120) <= 3
    assert abs(ys.min() - 20) <= 3
    assert abs(ys.max() - 80) <= 3
    assert not red[30:70, 50:110].any()


def test_points_lie_where_they_belong() -> None:
    marks = Marks(role="found", points=np.array([[50.0, 25.0], [np.nan, np.nan]]))
    ys, xs = np.nonzero(near(drawn(Thumbnail(sample=sample(50, 100), caption="", marks=(marks,))), "found"))
    assert abs(xs.mean() - 100) < 2
    assert abs(ys.mean() - 50) < 2


def test_later_marks_lie_over_earlier_ones() -> None:
    boxes = np.array([[20.0, 10, 60, 40]])
    marks = (Marks(role="true", boxes=boxes), Marks(role="wrong", boxes=boxes))
    image = drawn(Thumbnail(sample=sample(50, 100), caption="", marks=marks))
    assert near(image, "wrong").any()
    assert not near(image, "true").any()


def test_the_focus_is_shown_with_room_round_it() -> None:
    image = np.zeros((400, 400, 3), np.uint8)
    image[200:220, 200:220] = 255
    item = Thumbnail(sample=Sample("s", lambda: image), caption="", focus=(200, 200, 220, 220))
    shown = drawn(item)
    bright = np.nonzero(shown[..., 0] > 128)
    # 20 pixels of 20 + 2 x 12.
    assert abs(np.ptp(bright[0]) / len(shown) - 20 / 44) < 0.03
    assert abs(bright[0].mean() / len(shown) - 0.5) < 0.02


@pytest.mark.parametrize("focus", [(-500.0, -500.0, -400.0, -400.0), (1e9, 0.0, 1e9 + 5, 5.0), (-1e9, -1e9, 1e9, 1e9)])
def test_a_focus_outside_of_the_picture_shows_the_whole(focus: tuple[float, float, float, float]) -> None:
    marks = Marks(role="wrong", boxes=np.array([focus]), captions=("far away",))
    assert drawn(Thumbnail(sample=sample(50, 100), caption="", marks=(marks,), focus=focus)).shape == (100, 200, 3)


def test_a_missing_picture_is_a_grey_tile_of_its_annotated_size_that_says_why(tmp_path: Path) -> None:
    missing = Sample.of_file("a.jpg", tmp_path / "a.jpg", annotated_wh=(300, 100))
    boxes = Marks(role="true", boxes=np.array([[0.0, 0, 60, 40]]))
    image = drawn(Thumbnail(sample=missing, caption="", marks=(boxes,)))
    assert image.shape == (67, 200, 3)
    assert near(image, "true").any()
    # The reason is written in white on black.
    assert (image > 200).all(axis=2).any()


def test_a_missing_picture_of_unknown_size_is_a_tile_too(tmp_path: Path) -> None:
    assert drawn(Thumbnail(sample=Sample.of_file("a.jpg", tmp_path / "a.jpg"), caption="")).shape == (150, 200, 3)


def test_the_sample_is_left_unchanged() -> None:
    image = np.full((200, 200, 3), 7, np.uint8)
    marks = Marks(role="true", boxes=np.array([[10.0, 10, 90, 90]]), captions=("x",))
    drawn(Thumbnail(sample=Sample("s", lambda: image), caption="", marks=(marks,)))
    assert (image == 7).all()


@pytest.mark.parametrize("boxes", [np.zeros((0, 4)), None])
def test_marks_without_boxes_draw_nothing(boxes: Any) -> None:
    marks = Marks(role="true", boxes=boxes, points=np.zeros((0, 2)))
    assert (drawn(Thumbnail(sample=sample(9, 9), caption="", marks=(marks,))) == 128).all()


def test_the_address_of_a_picture_holds_it() -> None:
    import base64

    import cv2

    image = np.zeros((20, 30, 3), np.uint8)
    image[..., 0] = 200
    head, _, data = data_uri(image).partition(",")
    assert head == "data:image/jpeg;base64"
    read = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert read is not None
    assert np.abs(read.astype(int) - image).max() < 6


@pytest.mark.parametrize("annotated_wh", [(10**9, 10**9), (0, 0), (-5, 100)])
def test_an_absurd_annotated_size_costs_no_memory(annotated_wh: tuple[int, int], tmp_path: Path) -> None:
    missing = Sample.of_file("a.jpg", tmp_path / "a.jpg", annotated_wh=annotated_wh)
    assert max(drawn(Thumbnail(sample=missing, caption="")).shape) == 200


def test_captions_of_boxes_outside_of_what_is_shown_are_left_out() -> None:
    inside, outside = np.array([[10.0, 10, 20, 20]]), np.array([[10.0, 10, 20, 20], [300.0, 300, 350, 350]])
    alone, with_other = (
        drawn(
            Thumbnail(
                sample=sample(400, 400),
                caption="",
                marks=(Marks(role="found", boxes=boxes, captions=("cat",) * len(boxes)),),
                focus=(10, 10, 20, 20),
            )
        )
        for boxes in (inside, outside)
    )
    assert np.array_equal(alone, with_other)


def test_many_boxes_are_drawn_without_captions() -> None:
    boxes = np.array([[10.0 * i, 10, 10 * i + 8, 20] for i in range(9)])
    with_captions, without = (
        drawn(Thumbnail(sample=sample(40, 100), caption="", marks=(Marks(role="found", boxes=boxes, captions=each),)))
        for each in (("cat",) * 9, ())
    )
    assert np.array_equal(with_captions, without)


@pytest.mark.parametrize("caption", ["\udcff", "\x00", "漢字", "", "x" * 5000])
def test_a_caption_of_any_characters_is_drawn(caption: str) -> None:
    marks = Marks(role="found", boxes=np.array([[10.0, 10, 50, 20]]), captions=(caption,))
    assert drawn(Thumbnail(sample=sample(40, 100), caption="", marks=(marks,))).shape == (80, 200, 3)

"""The table under a picture: what was found, as text that a page can show whatever it is."""

from __future__ import annotations

import re

import pytest
import torch

from cvtl.results import Detections, Landmarks, Localization, Result

pytest.importorskip("gradio", reason="gradio is not installed")

CLASSES = ("<script>alert(1)</script>", "cat & dog")


def rows(result: Result) -> list[list[str]]:
    """The table's cells, row by row, its head first."""
    from cvtl.serving.pages.found import _table

    lines = re.findall(r"<tr>(.*?)</tr>", _table(result))
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line) for line in lines]


def test_detections_are_listed_best_first_and_escaped() -> None:
    boxes = torch.tensor([[1.0, 2.0, 3.25, 4.0], [5.0, 6.0, 7.0, 8.0]])
    found = rows(Detections(boxes, torch.tensor([0.5, 0.75]), torch.tensor([0, 1]), CLASSES))
    assert found == [
        ["class", "score", "left", "top", "right", "bottom"],
        ["cat &amp; dog", "0.750", "5.0", "6.0", "7.0", "8.0"],
        ["&lt;script&gt;alert(1)&lt;/script&gt;", "0.500", "1.0", "2.0", "3.2", "4.0"],
    ]


@pytest.mark.parametrize(
    "result",
    [
        Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), CLASSES),
        Localization(0.25, torch.tensor([0.5, 0.5]), torch.tensor([0.0, 0.0, 1.0, 1.0]), CLASSES),
        Landmarks(torch.zeros(0, 1, 2), torch.zeros(0, 1), ("eye",), boxes=torch.zeros(0, 4)),
    ],
    ids=["no detections", "absent", "nobody"],
)
def test_nothing_found_is_said_so(result: Result) -> None:
    from cvtl.serving.pages.found import _table

    assert _table(result) == '<p class="cvtl-empty">Nothing was found.</p>'


def test_an_object_is_as_probable_as_its_presence_and_its_class_together() -> None:
    box = torch.tensor([1.0, 2.0, 3.0, 4.0])
    found = rows(Localization(0.5, torch.tensor([0.25, 0.75]), box, CLASSES))
    assert found[1] == ["cat &amp; dog", "0.375", "1.0", "2.0", "3.0", "4.0"]


def test_points_are_listed_for_each_object() -> None:
    points = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]])
    visible = torch.tensor([[1.0, 0.5], [0.25, 0.125]])
    several = Landmarks(points, visible, ("eye", "nose"), boxes=torch.tensor([[0.0, 0.0, 4.0, 4.0]] * 2))
    assert rows(several) == [
        ["point", "object", "x", "y", "score"],
        ["eye", "1", "1.0", "2.0", "1.000"],
        ["nose", "1", "3.0", "4.0", "0.500"],
        ["eye", "2", "5.0", "6.0", "0.250"],
        ["nose", "2", "7.0", "8.0", "0.125"],
    ]
    assert rows(Landmarks(points[:1], visible[:1], ("eye", "nose")))[0] == ["point", "x", "y", "score"]


def test_a_long_list_is_cut() -> None:
    from cvtl.serving.pages.found import _table

    many = Detections(
        torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 130), torch.ones(130), torch.zeros(130, dtype=torch.int64), ("a",)
    )
    assert len(rows(many)) == 101
    assert "and 30 more" in _table(many)

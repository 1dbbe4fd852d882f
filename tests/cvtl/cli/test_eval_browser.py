"""The report of `cvtl eval` in a real browser."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cvtl.cli.main import main

Visiting = Callable[..., Any]

PHONE_WH, DESKTOP_WH = (390, 844), (1280, 900)
CLASSES = ("<b>cat</b>", "dog & fox")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation of detections that are right, of the wrong class, misplaced, or of nothing."""
    folder = tmp_path_factory.mktemp("eval")
    random = np.random.default_rng(0)
    images, boxes, results = [], [], []
    (folder / "images").mkdir()
    for number in range(30):
        images.append({"id": number, "file_name": f"{number}.jpg", "width": 160, "height": 120})
        cv2.imwrite(str(folder / "images" / f"{number}.jpg"), random.integers(0, 256, (120, 160, 3), np.uint8))
        box, label = [20, 20, 50, 40], number % 2
        boxes.append({"id": number + 1, "image_id": number, "category_id": label, "bbox": box, "area": 2000})
        shift = float(random.normal(0, 8))
        found = [[20 + shift, 20, 50, 40], [90, 60, 40, 30]]
        for each, score in zip(found, random.random(2).tolist(), strict=True):
            category = int(random.integers(2)) if number % 5 == 0 else label
            results.append({"image_id": number, "category_id": category, "bbox": each, "score": score})
    categories = [{"id": label, "name": name} for label, name in enumerate(CLASSES)]
    truth = {"images": images, "annotations": boxes, "categories": categories}
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "results.json").write_text(json.dumps(results))
    words = ["--predictions", folder / "results.json", folder / "truth.json", "--out", folder / "out", "--quiet"]
    assert main(["eval", *map(str, words), "--draws", "50", "--examples", "6"]) == 0
    return folder / "out" / "report.html"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size_wh", [PHONE_WH, DESKTOP_WH])
def test_it_opens_from_the_disk_without_complaint(
    visit: Visiting, report: Path, size_wh: tuple[int, int], dark: bool
) -> None:
    seen = visit(report, size_wh, dark=dark)
    assert seen.complaints == []
    assert {address.partition(":")[0] for address in seen.addresses} <= {"file", "data"}
    assert seen.overflow <= 0


def test_it_shows_figures_curves_and_pictures(visit: Visiting, report: Path) -> None:
    shown = visit(report).page
    assert shown.get_by_role("heading", level=1).inner_text() == "Evaluation of results.json on truth.json"
    value = shown.locator(".cards li", has=shown.get_by_text("AP50", exact=True)).locator("strong").inner_text()
    evaluation = json.loads((report.parent / "evaluation.json").read_text())
    assert float(value) == pytest.approx(evaluation["figures"]["AP50"]["value"], abs=5e-5)
    assert shown.locator(".curves svg").count() >= 1
    pictures = shown.locator(".thumbnails img").all()
    assert len(pictures) >= 6
    for picture in pictures:
        picture.scroll_into_view_if_needed()
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100


def test_names_of_classes_are_text(visit: Visiting, report: Path) -> None:
    shown = visit(report).page
    table = shown.locator("table.sortable", has=shown.get_by_role("button", name="class")).first
    assert {row.inner_text() for row in table.locator("tbody th").all()} >= set(CLASSES)


def test_a_table_is_sorted_by_a_click(visit: Visiting, report: Path) -> None:
    shown = visit(report).page
    table = shown.locator("table.sortable", has=shown.get_by_role("button", name="AP50")).first
    column = [each.inner_text().rstrip("↕ ") for each in table.locator("thead th").all()].index("AP50")
    table.get_by_role("button", name="AP50").click()
    cells = table.locator(f"tbody tr > :nth-child({column + 1})").all()
    values = [float(each.inner_text()) for each in cells]
    assert values == sorted(values, reverse=True)

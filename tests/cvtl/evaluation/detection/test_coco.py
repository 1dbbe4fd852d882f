"""COCO's twelve figures by both engines and by our own matching, against pycocotools on its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cvtl.data import BoxesTarget
from cvtl.errors import UsageError
from cvtl.evaluation.detection.coco import COCO_FIGURES, Engine, coco_figures
from cvtl.evaluation.detection.scorer import BoxScorer
from cvtl.evaluation.detection.tables import tabulate
from cvtl.evaluation.found import FoundBoxes

Floats = npt.NDArray[np.float64]
Figures = Callable[[Any], Floats]


def all_ways(scene: Any) -> dict[str, Floats]:
    tables = scene.tables.best()
    ways = {engine: coco_figures(tables, engine).figures for engine in get_args(Engine)}
    return ways | {"scorer": BoxScorer(tables)(np.ones((1, len(scene.targets))))[0]}


def assert_all_equal(scene: Any, expected: Floats) -> None:
    for way, figures in all_ways(scene).items():
        assert figures == pytest.approx(expected, abs=1e-9, nan_ok=True), way


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("step", [0, 4], ids=["any coordinates", "many equal overlaps"])
def test_all_ways_equal_pycocotools_on_random_pictures(
    make_scene: Any, pycocotools_figures: Figures, seed: int, step: float
) -> None:
    scene = make_scene(seed, step=step)
    assert any(target.crowd.any() for target in scene.targets)
    assert any(not len(target.boxes) for target in scene.targets)
    assert_all_equal(scene, pycocotools_figures(scene))


@pytest.mark.parametrize(
    "options",
    [
        {"pictures": 3, "classes": 1, "most": 130},
        {"pictures": 12, "classes": 30},
        {"pictures": 3, "most": 1},
        {"pictures": 1},
    ],
    ids=["more than 100 detections", "many classes", "no objects", "one picture"],
)
def test_all_ways_equal_pycocotools_at_the_edges(
    make_scene: Any, pycocotools_figures: Figures, options: dict[str, int]
) -> None:
    scene = make_scene(0, **options)
    assert_all_equal(scene, pycocotools_figures(scene))


def test_more_than_a_hundred_detections_are_among_the_edges(make_scene: Any) -> None:
    tables = make_scene(0, pictures=3, classes=1, most=130).tables
    assert len(tables.best().found) < len(tables.found)


@pytest.mark.parametrize("what", ["found", "targets"])
def test_nothing_found_and_nothing_there_equal_pycocotools(
    make_scene: Any, pycocotools_figures: Figures, what: str
) -> None:
    scene = make_scene(1)
    if what == "found":
        scene.found[:] = [FoundBoxes(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))] * 30
    else:
        scene.targets[:] = [BoxesTarget(np.zeros((0, 4)), np.zeros(0, np.int64))] * 30
    expected = pycocotools_figures(scene)
    assert_all_equal(scene, expected)
    assert np.array_equal(np.isnan(expected), np.full(12, what == "targets"))


@pytest.mark.parametrize("engine", get_args(Engine))
def test_without_pictures_there_is_nothing_to_measure(engine: Engine) -> None:
    assert np.isnan(coco_figures(tabulate([], [], ["cat"]), engine).figures).all()
    assert np.isnan(BoxScorer(tabulate([], [], ["cat"]))(np.ones((2, 0)))).all()


# Few values, so that scores, boxes and overlaps are often equal; boxes may be empty or inside out.
coordinates = st.integers(0, 12).map(float)
box_lists = st.lists(st.tuples(*[coordinates] * 4), max_size=5)


@st.composite
def pictures(draw: st.DrawFn) -> tuple[FoundBoxes, BoxesTarget]:
    boxes, objects = draw(box_lists), draw(box_lists)
    labels = st.integers(0, 1)
    scores = [draw(st.sampled_from([0.0, 0.25, 0.5, 1.0])) for _ in boxes]
    found = FoundBoxes(
        np.array(boxes).reshape(-1, 4) * 10, np.array(scores, np.float64), np.array([draw(labels) for _ in boxes], int)
    )
    # Readers leave out what has no area, so objects have one.
    corners = np.sort(np.array(objects).reshape(-1, 2, 2), axis=1) + np.array([[0, 0], [1, 1]])
    target = BoxesTarget(
        corners.reshape(-1, 4) * 10,
        np.array([draw(labels) for _ in objects], int),
        np.array([draw(st.booleans()) for _ in objects], bool),
        areas=np.array([draw(st.sampled_from([50.0, 1024.0, 5000.0, 9216.0, 2e4])) for _ in objects], np.float64),
    )
    return found, target


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(pictures(), min_size=1, max_size=3))
def test_all_ways_equal_pycocotools_whatever_the_boxes(
    make_scene: Any, pycocotools_figures: Figures, scene: list[tuple[FoundBoxes, BoxesTarget]]
) -> None:
    made = type(make_scene(0))([found for found, _ in scene], [target for _, target in scene], ("cat", "dog"))
    assert_all_equal(made, pycocotools_figures(made))


@pytest.mark.parametrize("engine", get_args(Engine))
def test_ap_by_class_equals_pycocotools(make_scene: Any, pycocotools: Callable[[Any], Any], engine: Engine) -> None:
    scene = make_scene(3, classes=40)
    precision = pycocotools(scene).eval["precision"][:, :, :, 0, -1]
    precision = np.where(precision < 0, np.nan, precision)
    by_engine = coco_figures(scene.tables.best(), engine)
    assert np.isnan(by_engine.ap).any()
    assert by_engine.ap == pytest.approx(precision.mean(axis=(0, 1)), abs=1e-9, nan_ok=True)
    assert by_engine.ap50 == pytest.approx(precision[0].mean(axis=0), abs=1e-9, nan_ok=True)


def test_without_pycocotools_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch, make_scene: Any) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(UsageError, match="pip install pycocotools"):
        coco_figures(make_scene(0).tables, "pycocotools")


def coco_sample(folder: Path, scene_type: type) -> Any:
    truth = json.loads((folder / "instances_val2014_100.json").read_text())
    results = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    labels = {category["id"]: k for k, category in enumerate(truth["categories"])}
    found, targets = [], []
    for image_id in sorted(image["id"] for image in truth["images"]):
        here = [row for row in truth["annotations"] if row["image_id"] == image_id]
        said = [row for row in results if row["image_id"] == image_id]
        boxes, ids = boxes_and_labels(here, labels)
        crowd = np.array([row["iscrowd"] for row in here], bool)
        targets.append(BoxesTarget(boxes, ids, crowd, areas=np.array([row["area"] for row in here], np.float64)))
        boxes, ids = boxes_and_labels(said, labels)
        found.append(FoundBoxes(boxes, np.array([row["score"] for row in said], np.float64), ids))
    return scene_type(found, targets, tuple(category["name"] for category in truth["categories"]))


def boxes_and_labels(rows: list[dict[str, Any]], labels: dict[int, int]) -> tuple[Floats, npt.NDArray[np.int64]]:
    boxes = np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4)
    return np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]), np.array(
        [labels[r["category_id"]] for r in rows], int
    )


@pytest.mark.shared
def test_the_published_figures_of_the_coco_sample_are_reached(shared_data: Path, make_scene: Any) -> None:
    folder = shared_data / "metrics_coco_val2014_100"
    expected = np.array(list(json.loads((folder / "expected_bbox.json").read_text()).values()))
    for way, figures in all_ways(coco_sample(folder, type(make_scene(0)))).items():
        assert figures == pytest.approx(expected, abs=1e-6), way
        assert figures[:3] == pytest.approx([0.5046, 0.6970, 0.5730], abs=5e-5), way
    assert len(COCO_FIGURES) == len(expected)

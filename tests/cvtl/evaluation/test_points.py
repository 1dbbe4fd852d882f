"""Landmark figures against plain loops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cvtl.data import Dataset, PointsTarget, Sample
from cvtl.errors import DataError, UsageError
from cvtl.evaluation.evaluation import Evaluation
from cvtl.evaluation.found import FoundPoints, Predictions
from cvtl.evaluation.points import evaluate_points, match_instances
from cvtl.evaluation.settings import EvalSettings
from cvtl.reporting.sections import Bars, Curves, Gallery, Shape, Table

Floats = npt.NDArray[np.float64]
NAMES = ("left_eye", "right_eye", "nose", "chin")
PLAIN = ("a", "b", "c", "d")


def target(points: Any, visible: Any = None, boxes: Any = None) -> PointsTarget:
    points = np.array(points, np.float64)
    return PointsTarget(points, np.ones(points.shape[:-1]) if visible is None else np.array(visible), boxes)


def found(points: Any, boxes: Any = None) -> FoundPoints:
    points = np.array(points, np.float64)
    points = points[None] if points.ndim == 2 else points
    return FoundPoints(points, np.ones(points.shape[:2]), None if boxes is None else np.array(boxes, np.float64))


def evaluated(
    pairs: Sequence[tuple[PointsTarget, FoundPoints | None]],
    names: tuple[str, ...] = NAMES,
    size_wh: tuple[int, int] | None = (100, 100),
    *,
    edges: tuple[tuple[int, int], ...] = (),
    eyes_of_data: tuple[int, int] | None = None,
    **settings: Any,
) -> Evaluation:
    samples = [
        Sample.of_file(f"{i}.jpg", f"nowhere/{i}.jpg", each, annotated_wh=size_wh) for i, (each, _) in enumerate(pairs)
    ]
    predictions = Predictions(name="model", task="landmarks", found=[each for _, each in pairs])
    data = Dataset(samples, names, "memory", "data", edges=edges, eyes=eyes_of_data)
    return evaluate_points(predictions, data, EvalSettings(**({"draws": 0} | settings)))


def figures(evaluation: Evaluation) -> list[float]:
    return [figure.value for figure in evaluation.figures]


def norm_of(evaluation: Evaluation) -> str:
    return evaluation.figures[0].name


def section(evaluation: Evaluation, title: str) -> Any:
    (found,) = [each for each in evaluation.sections if each.title == title]
    return found


def random_pairs(seed: int, count: int) -> list[tuple[PointsTarget, FoundPoints | None]]:
    """One instance a picture, some points missing, some pictures without an answer, one without any point."""
    random = np.random.default_rng(seed)
    pairs: list[tuple[PointsTarget, FoundPoints | None]] = []
    for number in range(count):
        points = random.uniform(0, 100, (1, 4, 2))
        visible = random.random((1, 4)) < 0.8
        visible[:, :2] |= number % 3 > 0
        if number == 0:
            visible[:] = False
        moved = points + random.normal(0, random.choice([0.5, 5, 20]), points.shape)
        pairs.append((PointsTarget(points, visible), None if random.random() < 0.1 else found(moved)))
    return pairs


def plain(pairs: Sequence[tuple[PointsTarget, FoundPoints | None]], length: float | None) -> list[float]:
    """The figures by loops over points; `length` is what errors are divided by, inter-ocular if None."""
    instances: list[float] = []
    right, judged, answered = {0.05: 0, 0.1: 0, 0.2: 0}, 0, []
    for truth, said in pairs:
        points, visible = truth.points[0], truth.visible[0]
        norm = length
        if norm is None:
            if not (visible[0] and visible[1]):
                continue
            norm = math.dist(points[0], points[1])
        errors = []
        for k in range(len(points)):
            if visible[k]:
                judged += 1
                error = math.inf if said is None else math.dist(said.points[0, k], points[k]) / norm
                errors.append(error)
                for threshold in right:
                    right[threshold] += error <= threshold
        if errors:
            instances.append(sum(errors) / len(errors))
            answered += [instances[-1]] if said is not None else []
    steps = np.linspace(0, 0.1, 100_001)
    curve = np.searchsorted(np.sort(instances), steps, side="right") / len(instances)
    area = float(np.trapezoid(curve, steps)) / 0.1
    failed = sum(error > 0.1 for error in instances) / len(instances)
    return [sum(answered) / len(answered), *(count / judged for count in right.values()), area, failed]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("norm", "length"), [("inter-ocular", None), ("picture", 100.0)])
def test_figures_equal_plain_loops(seed: int, norm: str, length: float | None) -> None:
    pairs = random_pairs(seed, 60)
    evaluation = evaluated(pairs, norm=norm)
    assert figures(evaluation) == pytest.approx(plain(pairs, length), abs=1e-5)
    assert [each.name for each in evaluation.figures] == [
        f"NME ({norm})",
        "PCK@0.05",
        "PCK@0.1",
        "PCK@0.2",
        "AUC@0.1",
        "failure rate@0.1",
    ]


def test_weighted_figures_equal_those_of_repeated_pictures() -> None:
    pairs = random_pairs(7, 40)
    scorer = evaluated(pairs, norm="picture").scorer
    for weights in np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40), 10).astype(float):
        repeated = [pairs[i] for i in np.repeat(np.arange(40), weights.astype(int))]
        assert scorer(weights[None])[0] == pytest.approx(plain(repeated, 100.0), abs=1e-5)


def test_headline_figures_have_intervals_and_a_direction() -> None:
    evaluation = evaluated(random_pairs(0, 60), norm="picture", draws=200)
    assert all(each.low is not None for each in evaluation.figures)
    assert evaluation.scorer.higher_is_better == (False, True, True, True, True, False)


FACE = target([[10, 10], [30, 10], [20, 20], [20, 40]])
BOXED = target([[10, 10], [30, 10], [20, 20], [20, 40]], boxes=[[0, 0, 20, 80]])
ONE_EYED = target([[10, 10], [30, 10], [20, 20], [20, 40]], [True, False, True, True], [[0, 0, 20, 80]])
SHIFTED = found([[14, 10], [34, 10], [24, 20], [24, 40]])


@pytest.mark.parametrize(
    ("truth", "names", "settings", "name", "nme"),
    [
        (FACE, NAMES, {}, "NME (inter-ocular)", 0.2),
        (FACE, ("lefteye_outer_corner", "Right Eye Outer Corner", "nose", "chin"), {}, "NME (inter-ocular)", 0.2),
        (FACE, PLAIN, {}, "NME (picture)", 0.04),
        (BOXED, PLAIN, {}, "NME (box)", 0.1),
        (BOXED, NAMES, {}, "NME (inter-ocular)", 0.2),
        (BOXED, NAMES, {"norm": "picture"}, "NME (picture)", 0.04),
        (BOXED, NAMES, {"norm": "box"}, "NME (box)", 0.1),
        (BOXED, PLAIN, {"eyes": (2, 3)}, "NME (inter-ocular)", 0.2),
        (BOXED, NAMES, {"eyes": (0, 3)}, "NME (inter-ocular)", 4 / math.hypot(10, 30)),
        (ONE_EYED, NAMES, {}, "NME (box)", 0.1),
    ],
)
def test_errors_are_divided_by_what_is_asked_for_or_the_data_allow(
    truth: PointsTarget, names: tuple[str, ...], settings: dict[str, Any], name: str, nme: float
) -> None:
    evaluation = evaluated([(truth, SHIFTED)], names, **settings)
    assert norm_of(evaluation) == name
    assert figures(evaluation)[0] == pytest.approx(nme)


def test_the_data_may_say_which_points_are_the_eyes() -> None:
    evaluation = evaluated([(BOXED, SHIFTED)], NAMES, eyes_of_data=(0, 3))
    assert figures(evaluation)[0] == pytest.approx(4 / math.hypot(10, 30))
    evaluation = evaluated([(BOXED, SHIFTED)], NAMES, eyes_of_data=(0, 3), eyes=(0, 1))
    assert figures(evaluation)[0] == pytest.approx(0.2)


def test_eyes_that_the_data_say_are_not_used_where_objects_lack_them() -> None:
    assert norm_of(evaluated([(ONE_EYED, SHIFTED)], PLAIN, eyes_of_data=(0, 1))) == "NME (box)"


def test_the_eyes_of_68_points_are_the_outer_corners() -> None:
    points = np.zeros((68, 2))
    points[45] = 3, 4
    evaluation = evaluated([(target(points), found(points + 1))], tuple(map(str, range(68))))
    assert norm_of(evaluation) == "NME (inter-ocular)"
    assert figures(evaluation)[0] == pytest.approx(math.sqrt(2) / 5)


@pytest.mark.parametrize(
    ("names", "settings", "message"),
    [
        (PLAIN, {"norm": "inter-ocular"}, "which points of 'data' are the eyes is not known. Say so with --eyes"),
        (NAMES, {"eyes": (0, 4)}, "--eyes 0 4: 'data' has the points 0 to 3"),
        (NAMES, {"norm": "box"}, "not all objects of 'data' have a box"),
    ],
)
def test_a_length_that_the_data_do_not_have_is_refused(
    names: tuple[str, ...], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        evaluated([(FACE, SHIFTED)], names, **settings)


def test_instances_without_a_length_are_left_out_with_a_note() -> None:
    evaluation = evaluated([(FACE, SHIFTED), (ONE_EYED, SHIFTED)], norm="inter-ocular")
    assert figures(evaluation)[0] == pytest.approx(0.2)
    assert evaluation.notes == ("1 instances are left out, because their length (inter-ocular) cannot be measured.",)


def test_the_size_of_a_picture_is_read_where_it_is_not_annotated() -> None:
    def read_nothing() -> Any:
        raise DataError("cannot read 'b.jpg'")

    samples = [
        Sample("a.jpg", lambda: np.zeros((20, 80, 3), np.uint8), FACE),
        Sample("b.jpg", read_nothing, FACE),
    ]
    predictions = Predictions(name="model", task="landmarks", found=[SHIFTED, None])
    evaluation = evaluate_points(predictions, Dataset(samples, PLAIN, "memory"), EvalSettings(draws=0))
    assert figures(evaluation)[0] == pytest.approx(0.1)
    assert evaluation.notes == ("1 instances are left out, because their length (picture) cannot be measured.",)


def test_missing_points_are_not_judged() -> None:
    truth = target([[10, 10], [30, 10], [20, 20], [math.nan, 5]], [True, True, True, False])
    said = found([[10, 10], [30, 10], [20, 20], [999, 999]])
    assert figures(evaluated([(truth, said)])) == pytest.approx([0, 1, 1, 1, 1, 0])


def test_a_picture_without_an_answer_has_failed() -> None:
    perfect = found(FACE.points)
    evaluation = evaluated([(FACE, perfect), (FACE, None)])
    assert figures(evaluation) == pytest.approx([0, 0.5, 0.5, 0.5, 0.5, 0.5])
    assert evaluation.notes == ("1 of 2 instances have no answer: they count as failed, and not in the NME.",)


def test_without_any_answer_there_is_no_mean_error() -> None:
    assert figures(evaluated([(FACE, None)])) == pytest.approx([math.nan, 0, 0, 0, 0, 1], nan_ok=True)


@pytest.mark.parametrize("answer", [SHIFTED, None])
def test_without_points_to_judge_there_is_nothing_to_measure(answer: FoundPoints | None) -> None:
    evaluation = evaluated([(target(FACE.points, np.zeros((1, 4))), answer)])
    assert all(math.isnan(value) for value in figures(evaluation))


# Several instances in a picture


FAR = FACE.points[0] + 500
TWO = np.stack([FACE.points[0], FAR])


@pytest.mark.parametrize(
    ("truth", "said", "expected"),
    [
        (target(TWO), found(TWO), [0, 1]),
        (target(TWO), found(TWO[::-1]), [1, 0]),
        (target(TWO), found(FAR + 3), [None, 0]),
        (target(TWO), found([FAR + 1, FAR, FAR + 2]), [0, 1]),
        (target(TWO), found(np.zeros((0, 4, 2))), [None, None]),
        (target(np.zeros((0, 4, 2))), found(TWO), []),
        (FACE, found(FAR), [0]),
        (FACE, found([FAR, FACE.points[0]]), [1]),
        (target(TWO, [[False] * 4, [True] * 4]), found(FACE.points[0]), [None, 0]),
        (target(TWO, boxes=[[0, 0, 9, 9], [20, 20, 29, 29]]), found(TWO, [[21, 21, 29, 29], [0, 0, 9, 9]]), [1, 0]),
        (target(TWO, boxes=[[0, 0, 9, 9], [20, 20, 29, 29]]), found(TWO, [[50, 50, 60, 60], [0, 0, 9, 9]]), [1, None]),
    ],
)
def test_instances_are_matched_by_boxes_or_points(
    truth: PointsTarget, said: FoundPoints, expected: list[int | None]
) -> None:
    assert match_instances(truth, said) == expected


def test_every_instance_counts_and_what_is_found_besides_does_not() -> None:
    said = found([TWO[0] + [2, 0], TWO[0] + 300])
    evaluation = evaluated([(target(TWO), said), (FACE, found([FACE.points[0], FAR]))])
    lengths = [0.1, math.hypot(200, 200) / 20, 0]
    assert figures(evaluation)[0] == pytest.approx(np.mean(lengths))
    assert figures(evaluation)[5] == pytest.approx(1 / 3)


# Sections


def test_each_point_has_its_error() -> None:
    said = found([[10, 10], [31, 10], [20, 24], [20, 40]])
    evaluation = evaluated([(FACE, said), (FACE, None)])
    table, bars = section(evaluation, "Per point"), section(evaluation, "Error of each point")
    assert isinstance(table, Table)
    assert isinstance(bars, Bars)
    assert [list(row) for row in table.rows] == [
        ["left_eye", 2, 0, 0, 0.5],
        ["right_eye", 2, pytest.approx(0.05), pytest.approx(1), 0.5],
        ["nose", 2, pytest.approx(0.2), pytest.approx(4), 0],
        ["chin", 2, 0, 0, 0.5],
    ]
    assert list(bars.values) == list(NAMES)


def test_errors_are_drawn_on_the_mean_of_the_true_shapes_in_units_of_the_norm() -> None:
    larger = target(FACE.points[0] * 3 + 50)
    said = found([[10, 10], [31, 10], [20, 24], [20, 40]])
    shape = section(
        evaluated([(FACE, said), (larger, found(larger.points))], edges=((0, 2),)), "Error on the mean shape"
    )
    assert isinstance(shape, Shape)
    assert (shape.names, shape.edges) == (NAMES, ((0, 2),))
    eye_distance = shape.points[1] - shape.points[0]
    np.testing.assert_allclose(eye_distance, [1, 0], atol=1e-9)
    np.testing.assert_allclose(shape.points, (FACE.points[0] - FACE.points[0].mean(axis=0)) / 20, atol=1e-9)
    np.testing.assert_allclose(shape.values, [0, 0.025, 0.1, 0], atol=1e-9)


def test_curves_tell_the_share_at_each_threshold() -> None:
    said = found([[10, 10], [31, 10], [20, 24], [20, 40]])
    evaluation = evaluated([(FACE, said), (FACE, None)])
    for title, expected in (("Correct points", {0: 2 / 8, 0.06: 3 / 8, 0.2: 4 / 8}), ("Cumulative error", {0.07: 0.5})):
        curves = section(evaluation, title)
        assert isinstance(curves, Curves)
        ((x, y),) = curves.lines.values()
        shares = dict(zip(x.round(4).tolist(), y.tolist(), strict=True))
        assert {threshold: shares[threshold] for threshold in expected} == pytest.approx(expected)


def test_the_gallery_shows_the_largest_errors_and_then_what_nothing_was_found_for() -> None:
    evaluation = evaluated([(FACE, None), (FACE, found(FACE.points + 1)), (FACE, SHIFTED)], examples=3)
    gallery = section(evaluation, "Largest errors")
    assert isinstance(gallery, Gallery)
    assert [(each.sample.name, each.caption) for each in gallery.thumbnails] == [
        ("2.jpg", "NME 0.200"),
        ("1.jpg", "NME 0.071"),
        ("0.jpg", "nothing found"),
    ]
    roles = [[mark.role for mark in each.marks] for each in gallery.thumbnails]
    assert roles == [["true", "found"], ["true", "found"], ["true"]]
    assert gallery.thumbnails[0].focus == (0, 0, 40, 50)


def test_without_examples_there_is_no_gallery() -> None:
    titles = [each.title for each in evaluated([(FACE, SHIFTED)], examples=0).sections]
    assert "Largest errors" not in titles

"""How near data lie to natural photographs, and the two-by-two table."""

from __future__ import annotations

import numpy as np
import pytest

from cvtl.backbones import Backbone
from cvtl.features import Features, FeatureSpace, extract
from cvtl_classify.advice.guide import Quadrant, quadrant
from cvtl_classify.advice.similarity import distance, distances, reference_samples
from cvtl_classify.options import ClassifyOptions


def slow_distance(a: np.ndarray, b: np.ndarray) -> float:
    terms = []
    for one, other in zip(a.T.astype(float), b.T.astype(float), strict=True):
        apart = (np.mean(one) - np.mean(other)) ** 2 + (np.std(one) - np.std(other)) ** 2
        terms.append(apart / ((np.var(one) + np.var(other)) / 2))
    return float(np.sqrt(np.mean(terms)))


def test_the_distance_is_that_of_a_plain_loop() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(2, 3, (50, 7)).astype(np.float32), random.normal(0, 1, (20, 7)).astype(np.float32)
    assert distance(a, b) == pytest.approx(slow_distance(a, b), rel=1e-6)
    assert distance(b, a) == pytest.approx(distance(a, b))


def test_channels_that_are_dead_in_both_do_not_count() -> None:
    dead = np.zeros((5, 3), np.float32)
    assert distance(dead, dead) == 0


def test_the_distance_does_not_depend_on_the_scale_of_channels() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(2, 3, (50, 4)), random.normal(0, 1, (50, 4))
    scale = np.array([1e-3, 1, 1e3, 10])
    assert distance((a * scale).astype(np.float32), (b * scale).astype(np.float32)) == pytest.approx(
        distance(a.astype(np.float32), b.astype(np.float32)), rel=1e-4
    )


def test_photographs_themselves_are_at_no_distance_and_one_of_them_is_nearer_than_the_other(lenet: Backbone) -> None:
    space = FeatureSpace("conv2")
    reference = extract(lenet, reference_samples(), [space], input=lenet.input)
    assert distances(reference, reference, [space]) == {space: 0}
    first = Features({space: np.split(reference.vectors[space], 2)[0]})
    assert 0 < distances(first, reference, [space])[space] < 1


def test_the_parts_of_photographs_are_always_the_same() -> None:
    once, again = ([each.read() for each in reference_samples()] for _ in range(2))
    assert len(once) == 64
    assert all(np.array_equal(a, b) for a, b in zip(once, again, strict=True))
    assert min(min(each.shape[:2]) for each in once) >= 96


@pytest.mark.parametrize(
    ("per_class", "far", "name"),
    [
        (20, 0.5, "small and similar"),
        (20, 1.5, "small and different"),
        (500, 1.0, "large and similar"),
        (5000, 2.0, "large and different"),
    ],
)
def test_data_stand_in_one_quadrant(per_class: int, far: float, name: str) -> None:
    assert quadrant(per_class, far).name == name


@pytest.mark.parametrize(
    ("large", "similar", "options", "agrees"),
    [
        (False, True, {"strategy": "features"}, True),
        (False, True, {"strategy": "features", "stages": "all"}, False),
        (False, True, {"strategy": "finetune"}, False),
        (False, False, {"strategy": "features", "cut": "fire4-5"}, True),
        (False, False, {"strategy": "features"}, False),
        (True, True, {"strategy": "finetune"}, True),
        (True, True, {"strategy": "features"}, False),
        (True, False, {"strategy": "full"}, True),
        (True, False, {"strategy": "finetune"}, False),
    ],
)
def test_what_was_chosen_agrees_with_the_table_or_not(
    large: bool, similar: bool, options: dict[str, str], agrees: bool
) -> None:
    assert Quadrant(large, similar).agrees(ClassifyOptions(**options)) is agrees  # type: ignore[arg-type]

"""Models behind the queue: many pictures in one pass, explanations, and what cannot be asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from canned import picture

from cvtl import weights
from cvtl.errors import UsageError
from cvtl.explanation import Explanation
from cvtl.results import Classification
from cvtl.serving.answering import Order, OrderJob, Trained
from cvtl.serving.jobs import Jobs

SaveWeights = Callable[..., Path]
PATIENCE = 20


@pytest.fixture
def answers(save_weights: SaveWeights) -> Trained:
    """A classifier that explains itself."""
    return Trained(weights.load(save_weights("w.safetensors", "abc")), "classify", "w.safetensors")


def test_many_pictures_get_the_answers_that_each_gets_alone(answers: Trained) -> None:
    images = [picture(grey, size_hw) for grey, size_hw in ((10, (8, 9)), (200, (30, 20)), (90, (5, 5)))]
    sizes = []

    def work(jobs: Sequence[OrderJob]) -> Sequence[object]:
        sizes.append(len(jobs))
        return answers.work(jobs)

    with Jobs(work, batch_size=8) as jobs:
        made = [jobs.submit(order, client="a", together=answers.together(order)) for order in map(Order, images)]
        found = [job.future.result(PATIENCE) for job in made]
    assert sum(sizes) == 3
    for image, result in zip(images, found, strict=True):
        (alone,) = answers.work([OrderJob(Order(image), "a")])
        assert isinstance(result, Classification)
        assert isinstance(alone, Classification)
        torch.testing.assert_close(result.scores, alone.scores)


def test_an_explanation_is_given_where_it_is_asked_for(answers: Trained) -> None:
    order = Order(np.repeat(np.arange(0, 240, 4, dtype=np.uint8)[None, :, None], 3, 2).repeat(20, 0), explain=True)
    assert answers.explains
    assert answers.together(order) is None
    (result,) = answers.work([OrderJob(order, "a")])
    assert isinstance(result, Explanation)
    assert len(result.evidence) == 1
    (plain,) = answers.work([OrderJob(Order(order.image), "a")])
    assert not isinstance(plain, Explanation)


def test_weights_that_cannot_explain_say_so(save_weights: SaveWeights) -> None:
    model = weights.load(save_weights("p.safetensors", "ab", plugin="plain"))
    assert not Trained(model, "classify", "p.safetensors").explains


@pytest.mark.parametrize(
    ("order", "said"),
    [(Order(picture(), style=picture()), "one style only"), (Order(picture(), chosen={"size": 3}), "no settings")],
)
def test_trained_weights_take_neither_styles_nor_settings(answers: Trained, order: Order, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        answers.check(order)

"""Somebody watches while a picture is painted, and may end it; and a server that makes painters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_style import noise, save_picture, save_vgg11, stripes

from cvtl.devices import Predictor
from cvtl.errors import CvtlWarning, UsageError, WeightsError
from cvtl.making import make
from cvtl.registry import plugins
from cvtl.results import Picture
from cvtl.serving.answering import Making, Order, OrderJob
from cvtl.workplace import Step, Workplace

pytestmark = pytest.mark.filterwarnings("ignore::cvtl.errors.CvtlWarning")


@pytest.fixture
def options(tmp_path: Path) -> dict[str, object]:
    """Of a small painter with two sizes."""
    return {
        "backbone": "vgg11",
        "weights": str(save_vgg11(tmp_path / "vgg11.pth", 1)),
        "style": [str(save_picture(tmp_path / "green_stripes.png", stripes(40, 40)))],
        "size": 128,
        "steps": 6,
        "levels": 2,
        "tolerance": 0.0,
    }


def test_each_step_is_told_with_a_picture_and_nothing_is_kept(options: dict[str, object], tmp_path: Path) -> None:
    predictor = Predictor(make("style", {**options, "save_every": 1}).model)
    steps: list[Step] = []
    place = Workplace(tmp_path / "run", "a.png", watch=steps.append)
    (watched,) = predictor.predict([noise(100, 128)], [place])
    (alone,) = predictor.predict([noise(100, 128)])
    assert isinstance(watched, Picture)
    assert isinstance(alone, Picture)
    assert torch.equal(watched.image, alone.image)
    assert [step.note for step in steps][::2] == [
        "64 x 50 pixels, step 1 of 2",
        "128 x 100 pixels, step 1 of 6",
        "128 x 100 pixels, step 3 of 6",
        "128 x 100 pixels, step 5 of 6",
    ]
    parts = [step.part for step in steps]
    assert parts == sorted(set(parts))
    assert parts[-1] == 1
    assert steps[0].picture().shape == (50, 64, 3)
    assert np.array_equal(steps[-1].picture(), watched.image.permute(1, 2, 0).numpy())
    assert not (tmp_path / "run").exists()


def test_whoever_watches_may_end_it(options: dict[str, object], tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    steps: list[Step] = []

    def watch(step: Step) -> None:
        steps.append(step)
        if len(steps) == 3:
            raise Enough

    predictor = Predictor(make("style", options).model)
    (outcome,) = predictor.predict([noise(100, 128)], [Workplace(tmp_path, "a.png", watch=watch)])
    assert isinstance(outcome, Enough)
    assert len(steps) == 3


def test_a_server_paints_in_the_styles_that_are_there_and_in_those_that_are_sent(options: dict[str, object]) -> None:
    answers = Making(plugins().get("style"), options, torch.device("cpu"))
    assert list(answers.styles) == ["green stripes"]
    picture = noise(40, 64).permute(1, 2, 0).contiguous().numpy()
    chosen = {"size": "128", "steps": "10"}
    named = Order(picture, style="green stripes", chosen=chosen)
    sent = Order(picture, style=stripes(40, 40).permute(1, 2, 0).contiguous().numpy(), chosen=chosen)
    results = []
    for order in (named, sent):
        answers.check(order)
        job = OrderJob(order, "me")
        (result,) = answers.work([job])
        assert isinstance(result, Picture)
        assert job.step is not None
        assert job.step.note.endswith("step 10 of 10")
        results.append(result.image)
    assert results[0].shape == (3, 80, 128)
    assert torch.equal(*results)


@pytest.mark.parametrize(
    ("style", "chosen", "said"),
    [
        (None, {}, "there is no style"),
        ("/etc/passwd", {}, "there is no style '/etc/passwd'"),
        ("green stripes", {"weights": "x"}, "there is no setting 'weights'"),
        ("green stripes", {"size": 100_000}, "must lie between 128 and 1024"),
    ],
)
def test_a_server_refuses_other_styles_and_settings(
    options: dict[str, object], style: str | None, chosen: dict[str, object], said: str
) -> None:
    answers = Making(plugins().get("style"), options, torch.device("cpu"))
    with pytest.raises(UsageError, match=said):
        answers.check(Order(np.zeros((40, 40, 3), np.uint8), style=style, chosen=chosen))


def test_what_does_not_fit_is_told_before_anybody_is_served(options: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "broken.pth").write_bytes(b"broken")
    with pytest.raises(WeightsError):
        Making(plugins().get("style"), {**options, "weights": str(tmp_path / "broken.pth")}, torch.device("cpu"))


def test_a_note_about_the_weights_is_given(options: dict[str, object]) -> None:
    with pytest.warns(CvtlWarning, match="the weights reach no further"):
        Making(plugins().get("style"), options, torch.device("cpu"))

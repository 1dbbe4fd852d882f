"""The weights that ship with the plugin keep what they promise."""

from __future__ import annotations

import pytest

from cvtl import weights
from cvtl.evaluation.detection.detector import evaluate_detector
from cvtl_datasets.scenes import CLASSES, digit_scenes
from cvtl_windows.builtin import digit_weights


def test_they_are_small_and_say_what_they_are() -> None:
    header = weights.read_header(digit_weights())
    assert digit_weights().stat().st_size < 1_000_000
    assert (header.plugin, header.task, header.classes) == ("windows", "detect", CLASSES)
    assert header.licence == "Apache-2.0"
    assert header.data_digest
    assert header.metrics["val_accuracy"] > 0.9


@pytest.mark.slow
def test_they_read_digits_on_a_hundred_unseen_scenes() -> None:
    # Average precision looks at all scores, not only at those worth showing.
    model = weights.load(digit_weights()).with_predict_options(threshold=0.05)
    assert evaluate_detector(model, digit_scenes(100, seed=2, digits="test")).ap50 >= 0.90

"""What `cvtl advise` shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import pytest
import yaml
from tiny_classify import make_data

from cvtl.backbones import Backbone
from cvtl.cli.main import main
from cvtl.features import FeatureSpace
from cvtl.reporting.sections import Table
from cvtl.training.settings import TrainSettings
from cvtl_classify.advice.choosing import decide
from cvtl_classify.advice.measuring import Limits, measure
from cvtl_classify.advice.report import Advice, as_json, command_line, conclusion, curves, sections, write_picture
from cvtl_classify.options import ClassifyOptions

HARD = ("red", "green", "blue", "red, too")
"""Two of these four classes look alike."""


@pytest.fixture
def advice(lenet: Backbone, show: Any) -> Advice:
    options, settings = ClassifyOptions(backbone="lenet5", cache=False), TrainSettings(epochs=2, near_duplicates=False)
    found = measure(make_data(60, classes=HARD), options, settings, lenet, limits=Limits(folds=2), show=show)
    return Advice(
        backbone=lenet,
        measurements=found,
        distances={FeatureSpace("conv1"): 0.5, FeatureSpace("conv2"): 0.75},
        decision=decide(found, options),
        command="cvtl train classify photos",
    )


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ({"strategy": "features", "head": "svm", "stages": "all"}, {}),
        ({"strategy": "finetune", "flip": False, "pooling": "grid", "weights": "a file's weights.pth"}, {"seed": 3}),
        ({"strategy": "features", "cut": "conv1", "size": 64}, {"group_by": r"([^/]+)_\d+", "near_duplicates": False}),
        ({"strategy": "scratch", "weights": "none", "backbone": "lenet5"}, {"device": "cpu"}),
    ],
)
def test_the_command_line_says_what_was_chosen(
    capsys: pytest.CaptureFixture[str], options: dict[str, Any], settings: dict[str, Any]
) -> None:
    import shlex

    words = shlex.split(command_line("my photos", ClassifyOptions(**options), TrainSettings(**settings)))
    assert words[:4] == ["cvtl", "train", "classify", "my photos"]
    assert main([*words[1:], "--print-config"]) == 0
    understood = yaml.safe_load(capsys.readouterr().out)
    for name, value in {**options, **settings}.items():
        assert understood[name] == value


def test_every_stage_has_a_row_with_its_figures(advice: Advice) -> None:
    table = sections(advice)[0]
    assert isinstance(table, Table)
    assert [row[:3] for row in table.rows] == [("conv1", 6, 1), ("conv2", 16, 2)]
    by_name = {(t.options.head, t.options.cut): t for t in advice.measurements.trials if t.options.stages == "last"}
    first = by_name["linear", "conv1"].accuracy
    assert str(table.rows[0][3]).startswith(f"{100 * first.value:.1f} (")
    assert [row[-1] for row in table.rows] == [0.5, 0.75]


def test_other_strategies_have_the_short_fine_tune_at_the_end(advice: Advice) -> None:
    table = sections(advice)[1]
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows][:-1] == [
        "linear, all stages",
        "svm, all stages",
        "linear, last stage, grid",
        "svm, last stage, grid",
        "mlp, up to conv1",
    ]
    assert str(table.rows[-1][0]).startswith("finetune: linear")
    assert "points" in table.note


def test_costs_grow_with_what_learns(advice: Advice) -> None:
    table = sections(advice)[2]
    assert isinstance(table, Table)
    seconds = {str(row[0]): row[1] for row in table.rows}
    assert list(seconds) == ["features, the first time", "features, from the cache", "finetune", "full"]
    assert all(isinstance(each, float) and each > 0 for each in seconds.values())
    assert seconds["features, from the cache"] < seconds["features, the first time"]  # type: ignore[operator]


def test_these_data_are_marked_in_the_table_of_four(advice: Advice) -> None:
    table = sections(advice)[3]
    assert isinstance(table, Table)
    marked = [(r, c) for r, row in enumerate(table.rows) for c, cell in enumerate(row) if "<-" in str(cell)]
    assert marked == [(0, 1)]
    assert "small and similar" in conclusion(advice)[1]


def test_curves_have_a_point_for_each_stage(advice: Advice) -> None:
    lines = curves(advice).lines
    assert list(lines) == ["linear", "svm"]
    assert all(x.tolist() == [1, 2] for x, _ in lines.values())


def test_the_picture_is_one(advice: Advice, tmp_path: Path) -> None:
    write_picture(advice, tmp_path / "advice.png")
    picture = cv2.imread(str(tmp_path / "advice.png"))
    assert picture is not None
    assert picture.shape == (540, 840, 3)


def test_programs_get_the_same(advice: Advice) -> None:
    found = as_json(advice)
    assert found["command"] == "cvtl train classify photos"
    assert found["options"]["strategy"] == advice.decision.options.strategy
    assert found["distances"] == {"conv1": 0.5, "conv2": 0.75}
    assert len(found["measured"]["heads"]) == 9
    assert found["quadrant"]["similar"] is True
    assert found["figures"]["distance from natural photographs"]["value"] == 0.625
    assert [each["kind"] for each in found["sections"]] == ["table", "table", "table", "table", "curves"]

"""How the results of the five tasks look in a terminal."""

from __future__ import annotations

from typing import Any

import pytest

from cvtl.cli.report import result_table
from cvtl.terminal import terminal


def lines_of(capsys: pytest.CaptureFixture[str], *results: dict[str, Any]) -> list[str]:
    rows = [{"source": f"{n}.png", "width": 32, "height": 24, "result": each} for n, each in enumerate(results)]
    terminal().print(result_table(rows))
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line.strip(" ─")]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (
            {"labels": ["daisy", "rose"], "scores": [0.93, 0.04]},
            ["picture label score", "0.png (32 x 24) daisy 0.930", "rose 0.040"],
        ),
        (
            {"present": 0.99, "label": "car", "score": 0.97, "box": [1.5, 2, 3, 4]},
            ["picture present label score box (x1 y1 x2 y2)", "0.png (32 x 24) 0.990 car 0.970 1.5 2.0 3.0 4.0"],
        ),
        (
            {"boxes": [[1, 2, 3, 4], [5, 6, 7, 8]], "scores": [0.9, 0.8], "labels": ["a", "b"]},
            [
                "picture label score box (x1 y1 x2 y2)",
                "0.png (32 x 24) a 0.900 1.0 2.0 3.0 4.0",
                "b 0.800 5.0 6.0 7.0 8.0",
            ],
        ),
        ({"boxes": [], "scores": [], "labels": []}, ["picture", "0.png (32 x 24) nothing found"]),
        (
            {"points": [[1, 2], [3, 4]], "scores": [0.9, 0.8]},
            ["picture score point (x y)", "0.png (32 x 24) 0.900 1.0 2.0", "0.800 3.0 4.0"],
        ),
        (
            {"instances": [{"points": [[1, 2], [3, 4]], "scores": [0.9, 0.8], "box": [0, 0, 5, 5]}]},
            ["picture box (x1 y1 x2 y2) points", "0.png (32 x 24) 0.0 0.0 5.0 5.0 2"],
        ),
        ({"instances": []}, ["picture", "0.png (32 x 24) nothing found"]),
        ({"picture": "pictures/0.png"}, ["picture painted", "0.png (32 x 24) pictures/0.png"]),
    ],
    ids=["classify", "localize", "detect", "none", "landmarks", "instances", "no instances", "style"],
)
def test_every_task_has_its_table(
    capsys: pytest.CaptureFixture[str], result: dict[str, Any], expected: list[str]
) -> None:
    assert lines_of(capsys, result) == expected


def test_pictures_share_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    found = lines_of(
        capsys,
        {"boxes": [[1, 2, 3, 4]], "scores": [0.9], "labels": ["a"]},
        {"boxes": [], "scores": [], "labels": []},
    )
    assert found[1:] == ["0.png (32 x 24) a 0.900 1.0 2.0 3.0 4.0", "1.png (32 x 24) nothing found"]


def test_of_many_results_the_best_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    many = {"labels": [f"class{n}" for n in range(50)], "scores": [1 - n / 50 for n in range(50)]}
    found = lines_of(capsys, many)
    assert found[-2:] == ["class19 0.620", "30 more"]

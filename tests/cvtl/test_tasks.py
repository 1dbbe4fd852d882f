"""The closed list of tasks."""

from __future__ import annotations

import pytest

from cvtl.errors import UsageError
from cvtl.tasks import TASKS, get_task


def test_there_are_five_tasks_in_a_fixed_order() -> None:
    assert list(TASKS) == ["classify", "localize", "detect", "landmarks", "style"]


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("classify", "Classification"),
        ("localize", "Localization"),
        ("detect", "Detections"),
        ("landmarks", "Landmarks"),
        ("style", "Picture"),
    ],
)
def test_a_task_fixes_its_result_type(name: str, result: str) -> None:
    assert get_task(name).name == name
    assert get_task(name).result_type().__name__ == result


def test_an_unknown_task_is_a_usage_error_that_lists_the_five() -> None:
    with pytest.raises(UsageError) as raised:
        get_task("segment")
    expected = "there is no task 'segment'. The tasks are classify, localize, detect, landmarks, style."
    assert str(raised.value) == expected

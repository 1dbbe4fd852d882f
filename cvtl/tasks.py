"""The five tasks: a closed list that fixes result type, row keys and metrics.

Torch-free: `cvtl plugins` and `--help` read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from cvtl._lazy import resolve
from cvtl.errors import UsageError

if TYPE_CHECKING:
    from cvtl.results import Result

TaskName = Literal["classify", "localize", "detect", "landmarks", "style"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What the core promises about one task.

    Attributes:
        name: the word of `cvtl run NAME`.
        summary: one line for `--help`.
        result: `module:Class` of the result that `Model.predict` returns for each picture.
        noun: what is counted in summaries, in the plural.
    """

    name: TaskName
    summary: str
    result: str
    noun: str

    def result_type(self) -> type[Result]:
        """The result class itself (imports torch)."""
        found: type[Result] = resolve(self.result)
        return found


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            name="classify",
            summary="say what a picture shows",
            result="cvtl.results:Classification",
            noun="pictures classified",
        ),
        Task(
            name="localize",
            summary="say what a picture shows, and where it is",
            result="cvtl.results:Localization",
            noun="objects",
        ),
        Task(
            name="detect",
            summary="find every object of the known classes, each with a box",
            result="cvtl.results:Detections",
            noun="detections",
        ),
        Task(
            name="landmarks",
            summary="find named points",
            result="cvtl.results:Landmarks",
            noun="sets of points",
        ),
        Task(
            name="style",
            summary="paint a picture in the style of another",
            result="cvtl.results:Picture",
            noun="pictures painted",
        ),
    )
}
assert tuple(TASKS) == get_args(TaskName)


def get_task(name: str) -> Task:
    """Look a task up by name.

    Raises:
        UsageError: no such task; the message lists the five.

    Example:
        >>> get_task("detect").noun
        'detections'
    """
    if name not in TASKS:
        raise UsageError(f"there is no task '{name}'", hint=f"The tasks are {', '.join(TASKS)}")
    return TASKS[name]

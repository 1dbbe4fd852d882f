"""What importing the torch-free parts brings with it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

HEAVY = (
    *("torch", "torchvision", "cv2", "lightning", "matplotlib", "timm", "sklearn", "supervision", "faster_coco_eval"),
    *("gradio", "fastapi", "uvicorn", "ray"),
)


@pytest.mark.parametrize(
    "module",
    [
        "cvtl",
        "cvtl.data",
        "cvtl.errors",
        "cvtl.files",
        "cvtl.merging",
        "cvtl.options",
        "cvtl.preprocessing",
        "cvtl.registry",
        "cvtl.cli.serve",
        "cvtl.tasks",
        "cvtl.verbs",
        "cvtl.weights",
    ],
)
def test_importing_a_torch_free_module_imports_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


def test_following_and_drawing_video_do_without_pyav() -> None:
    """PyAV's wheels hold libraries under the GPL; supervision asks for it, for what is not used here."""
    code = """
import sys
import numpy as np, supervision, torch
from cvtl.results import Detections
from cvtl.tracking import Followers, FollowSettings
import cvtl.tracking.trackers, trackers
import cvtl.pipeline, cvtl.streaming, cvtl.video_files
one = torch.zeros(1, dtype=torch.int64)
found = Detections(torch.tensor([[2.0, 2, 9, 9]]), torch.tensor([0.9]), one, ("car",), ids=one + 1)
found.draw(np.zeros((20, 30, 3), np.uint8))
print('av' in sys.modules)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "False"


def test_the_package_lists_what_it_loads_on_first_use() -> None:
    import cvtl
    from cvtl.data import load_data
    from cvtl.weights import load

    assert cvtl.load_data is load_data
    assert cvtl.load_model is load
    assert set(cvtl.__all__) <= set(dir(cvtl))


def test_an_unknown_name_is_an_attribute_error() -> None:
    import cvtl

    with pytest.raises(AttributeError, match="module 'cvtl' has no attribute 'detect'"):
        _ = cvtl.detect


@pytest.mark.parametrize(
    ("room", "may_not_name"),
    [("cvtl", ("cvtl_",)), ("datasets/cvtl_datasets", ("cvtl_windows", "cvtl_glow"))],
)
def test_imports_run_one_way(room: str, may_not_name: tuple[str, ...]) -> None:
    against = [
        f"{path.relative_to(CHECKOUT)}: {name}"
        for path in (CHECKOUT / room).rglob("*.py")
        for name in imported(path)
        if name.startswith(may_not_name)
    ]
    assert against == []


def test_plugins_do_not_import_one_another() -> None:
    packages = {path.name for path in (CHECKOUT / "plugins").iterdir() if path.name.startswith("cvtl_")}
    against = [
        f"{path.relative_to(CHECKOUT)}: {name}"
        for package in packages
        for path in (CHECKOUT / "plugins" / package).rglob("*.py")
        for name in imported(path)
        if name.split(".")[0] in packages - {package}
    ]
    assert packages
    assert against == []


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_nothing_but_the_command_line_imports_the_command_line() -> None:
    against = [
        f"{path.relative_to(CHECKOUT)}: {name}"
        for room in ("cvtl", "datasets", "plugins")
        for path in (CHECKOUT / room).rglob("*.py")
        if "cli" not in path.parts and path.name != "__main__.py"
        for name in imported(path)
        if name.startswith("cvtl.cli")
    ]
    assert against == []

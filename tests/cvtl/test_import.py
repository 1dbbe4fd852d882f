"""What importing the torch-free parts brings with it."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "cv2", "lightning", "matplotlib", "timm", "sklearn", "supervision", "faster_coco_eval")


@pytest.mark.parametrize(
    "module",
    [
        "cvtl",
        "cvtl.data",
        "cvtl.errors",
        "cvtl.files",
        "cvtl.options",
        "cvtl.preprocessing",
        "cvtl.registry",
        "cvtl.tasks",
        "cvtl.weights",
    ],
)
def test_importing_a_torch_free_module_imports_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


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

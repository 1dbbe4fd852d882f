"""What the tests of the onnx plugins share."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

# Not by importing it, for that would send telemetry.
if find_spec("onnx") is None or find_spec("onnxruntime") is None:
    pytest.skip("onnx and onnxruntime are not installed", allow_module_level=True)
# Tests import onnxruntime themselves, perhaps before the plugin does.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# Tests import `made_onnx` and `plain_detectors` from here.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def columns() -> int:
    """Width of the terminal."""
    return 200

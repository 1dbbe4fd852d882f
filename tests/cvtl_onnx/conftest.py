"""What the tests of the onnx plugins share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from cvtl.cli.main import main

# Not by importing it, for that would send telemetry.
if find_spec("onnx") is None or find_spec("onnxruntime") is None:
    pytest.skip("onnx and onnxruntime are not installed", allow_module_level=True)
# Tests import onnxruntime themselves, perhaps before the plugin does.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# Tests import `made_onnx` and `plain_detectors` from here.
sys.path.insert(0, str(Path(__file__).parent))


@dataclass(frozen=True)
class Said:
    """What a command returned and printed."""

    code: int
    out: str
    err: str


Command = Callable[..., Said]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Run `cvtl` in this process, in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str | Path) -> Said:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Said(code, *capsys.readouterr())

    return run

"""What docs/tracking.md says of files of zones is what they may say, and its Python runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import cv2
import numpy as np
import pytest

from cvtl import weights
from cvtl.registry import plugins
from cvtl.tracking.settings import FollowSettings
from cvtl.tracking.zone_file import Line, Zone, read_places

PAGE = Path(__file__).parents[2] / "docs" / "tracking.md"


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def block(page: str, start: str) -> str:
    """The indented block that begins so."""
    found = re.search(rf"^    {start}.*?(?=^\S|\Z)", page, re.DOTALL | re.MULTILINE)
    assert found is not None
    return dedent(found[0])


def test_the_example_of_a_file_is_one(page: str, tmp_path: Path) -> None:
    (tmp_path / "gate.yaml").write_text(block(page, "units:"))
    places = read_places(str(tmp_path / "gate.yaml"))
    assert set(places.all()) == {"gate", "yard"}
    places.require_classes(("car", "bus"), "gate.yaml")


def test_the_lines_of_python_run(
    page: str, glow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gate.yaml").write_text(block(page, "units:"))
    spec = plugins().get("glow")
    weights.save(spec.model_type().initialize(spec.options_type()(), ["car", "bus"]), tmp_path / "cars.safetensors")
    writer = cv2.VideoWriter("street.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for _ in range(3):
        writer.write(np.full((48, 64, 3), 250, np.uint8))
    writer.release()
    exec(compile(block(page, "import cvtl"), str(PAGE), "exec"), {})
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("{'sources': 1, 'objects': ")
    assert len(told) == 4


def test_every_key_and_every_option_is_there(page: str) -> None:
    for key in Line.model_fields.keys() | Zone.model_fields.keys():
        assert f"| `{key}` |" in page
    for option in FollowSettings.model_fields:
        assert f"--{option.replace('_', '-')}" in page


def test_the_picture_is_there(page: str) -> None:
    (path,) = re.findall(r"!\[.*\]\((.*)\)", page)
    assert (PAGE.parent / path).read_bytes().startswith(b"\x89PNG")

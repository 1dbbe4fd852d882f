"""What docs/tracking.md says of files of zones is what they may say."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import pytest

from cvtl.tracking.settings import FollowSettings
from cvtl.tracking.zone_file import Line, Zone, read_places

PAGE = Path(__file__).parents[3] / "docs" / "tracking.md"


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_the_example_of_a_file_is_one(page: str, tmp_path: Path) -> None:
    found = re.search(r"^    units:.*?(?=^\S)", page, re.DOTALL | re.MULTILINE)
    assert found is not None
    (tmp_path / "gate.yaml").write_text(dedent(found[0]))
    places = read_places(str(tmp_path / "gate.yaml"))
    assert set(places.all()) == {"gate", "yard"}
    places.require_classes(("car", "bus"), "gate.yaml")


def test_every_key_and_every_option_is_there(page: str) -> None:
    for key in Line.model_fields.keys() | Zone.model_fields.keys():
        assert f"| `{key}` |" in page
    for option in FollowSettings.model_fields:
        assert f"--{option.replace('_', '-')}" in page


def test_the_picture_is_there(page: str) -> None:
    (path,) = re.findall(r"!\[.*\]\((.*)\)", page)
    assert (PAGE.parent / path).read_bytes().startswith(b"\x89PNG")

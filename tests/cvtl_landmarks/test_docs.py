"""The page on landmarks shows what runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from kites import make_model, write_data

from cvtl import weights

PAGE = Path(__file__).parents[2] / "docs" / "landmarks.md"


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    write_data(tmp_path / "faces", 2)
    (tmp_path / "points").mkdir()
    weights.save(make_model(), tmp_path / "points/best.safetensors")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(PAGE), "exec"), {})
    shown = capsys.readouterr().out
    assert re.search(r"^tip: [\d.-]+, [\d.-]+ \([\d.]+\)$", shown, re.MULTILINE)
    assert "2 objects" in shown

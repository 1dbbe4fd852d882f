"""`cvtl info WEIGHTS`."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from commands import Command

from cvtl import weights


def test_the_digest_is_that_of_sha256sum(command: Command, glow: Path) -> None:
    said = json.loads(command("info", glow, "--json").out)
    assert said["sha256"] == hashlib.sha256(glow.read_bytes()).hexdigest()
    summed = subprocess.run(["sha256sum", str(glow)], capture_output=True, text=True, check=True)
    assert said["sha256"] == summed.stdout.split()[0]


def test_json_holds_the_whole_header(command: Command, glow: Path) -> None:
    said = json.loads(command("info", glow, "--json").out)
    header = weights.read_header(glow).model_dump(mode="json")
    assert {name: said[name] for name in header} == header
    assert said["bytes"] == glow.stat().st_size


def test_the_table_is_80_columns_wide_and_cuts_nothing_off(command: Command, glow: Path) -> None:
    said = command("info", glow)
    assert said.code == 0
    lines = [line.rstrip() for line in said.out.splitlines()]
    assert max(map(len, lines)) <= 80
    assert f"sha256          {weights.digest(glow)}" in lines
    assert "plugin_version  2.0" in lines
    assert "classes         lamp" in lines
    assert "options         gain: 1.0" in lines
    assert "                predict.seconds: 0.0" in lines
    assert "                std: 0.229, 0.224, 0.225" in lines
    assert "metrics         -" in lines


def test_a_hundred_classes_are_all_shown(command: Command, glow: Path, tmp_path: Path) -> None:
    model = weights.load(glow)
    model.classes = tuple(f"[class]{number}" for number in range(100))
    weights.save(model, tmp_path / "w.safetensors")
    said = " ".join(command("info", tmp_path / "w.safetensors").out.split())
    assert all(f"[class]{number}" in said for number in range(100))


def test_the_plugin_is_not_needed(command: Command, glow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cvtl.registry import plugins

    monkeypatch.setenv("CVTL_DISABLE_PLUGINS", "glow")
    plugins.cache_clear()
    assert command("info", glow).code == 0


def test_verify_has_the_plugin_measure_what_it_promises(
    command: Command, glow: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cvtl_glow.model  # type: ignore[import-not-found]

    def verify(self: Any, image: Any) -> dict[str, Any]:
        return {"picture": list(image.shape), "difference": 0.5}

    monkeypatch.setattr(cvtl_glow.model.GlowModel, "verify", verify)
    said = json.loads(command("info", glow, "--verify", good, "--json").out)
    assert said["verified"] == {"picture": [3, 24, 32], "difference": 0.5}
    shown = command("info", glow, "--verify", good).out
    assert "verified        picture: 3, 24, 32" in shown
    assert "                difference: 0.5" in shown

"""`cvtl cache`: what is said of the feature cache, and emptying it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Command

from cvtl.feature_cache import FeatureCache, VectorSpace

SPACE = VectorSpace("key", "resnet18", "0a1b2c3d", "layer4", "average", "224 x 224, crop")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the cache is."""
    monkeypatch.setenv("CVTL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def filled(folder: Path) -> Path:
    """The same, with 1,200 vectors in it."""
    with FeatureCache() as cache:
        cache.put({SPACE: {b"%d" % number: np.ones(512, np.float32) for number in range(1200)}})
    return folder


def test_info_shows_where_it_is_how_large_and_what_it_holds(command: Command, filled: Path) -> None:
    said = command("cache", "info")
    assert said.code == 0
    size = (filled / "features.sqlite").stat().st_size / 1e6
    assert f"{filled / 'features.sqlite'}: {size:.1f} MB of at most 10.0 GB" in said.out
    for word in ("resnet18", "0a1b2c3d", "layer4", "average", "1,200", "CVTL_CACHE=FOLDER", "CVTL_CACHE=off"):
        assert word in said.out


def test_info_for_programs(command: Command, filled: Path) -> None:
    said: dict[str, Any] = json.loads(command("cache", "info", "--json").out)
    (space,) = said.pop("spaces")
    assert said == {
        "path": str(filled / "features.sqlite"),
        "bytes": (filled / "features.sqlite").stat().st_size,
        "limit_bytes": 10**10,
    }
    assert space.pop("used").startswith("20")
    assert space == {
        "backbone": "resnet18",
        "weights": "0a1b2c3d",
        "stage": "layer4",
        "pooling": "average",
        "input": "224 x 224, crop",
        "vectors": 1200,
    }


def test_info_of_an_empty_cache_makes_no_file(command: Command, folder: Path) -> None:
    said = command("cache", "info")
    assert said.code == 0
    assert f"{folder / 'features.sqlite'}: 0 bytes of at most 10.0 GB" in said.out
    assert not folder.exists()


def test_clear_says_what_it_freed(command: Command, filled: Path) -> None:
    said = command("cache", "clear")
    assert said.code == 0
    assert f"{filled / 'features.sqlite'}: dropped 1,200 vectors, which frees 2." in said.out
    assert FeatureCache().info().spaces == ()


def test_clear_for_programs(command: Command, filled: Path) -> None:
    before = (filled / "features.sqlite").stat().st_size
    said = json.loads(command("cache", "clear", "--json").out)
    freed = before - (filled / "features.sqlite").stat().st_size
    assert said == {"path": str(filled / "features.sqlite"), "vectors": 1200, "freed_bytes": freed}


def test_a_damaged_cache_is_told_and_removed(command: Command, filled: Path) -> None:
    (filled / "features.sqlite").write_bytes(b"no database" * 100)
    said = command("cache", "info")
    assert said.code == 1
    assert said.err == (
        f"cvtl: cannot read the feature cache '{filled / 'features.sqlite'}': file is not a database. "
        "`cvtl cache clear` makes room for a new one.\n"
    )
    assert "dropped 0 vectors, which frees 1.1 kB" in command("cache", "clear").out
    assert list(filled.iterdir()) == []


@pytest.mark.parametrize("action", ["info", "clear"])
def test_a_cache_that_is_switched_off_says_so(command: Command, monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    monkeypatch.setenv("CVTL_CACHE", "off")
    said = command("cache", action)
    assert (said.code, said.out) == (0, "The feature cache is switched off: CVTL_CACHE=off.\n")


@pytest.mark.parametrize("words", [[], ["delete"]])
def test_without_knowing_what_to_do_it_does_nothing(command: Command, filled: Path, words: list[str]) -> None:
    said = command("cache", *words)
    assert said.code == 2
    assert "Say `cvtl cache info` or `cvtl cache clear`" in said.err
    assert len(FeatureCache().info().spaces) == 1


def test_a_limit_that_is_none_is_a_mistake_of_the_user(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CVTL_CACHE_GB", "lots")
    said = command("cache", "info")
    assert said.code == 2
    assert said.err.startswith("cvtl: CVTL_CACHE_GB=lots is no size in gigabytes.")


def test_the_verb_needs_no_torch(command: Command, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert command("cache", "info").code == 0

"""What the tests of features share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from cvtl import backbones, features
from cvtl.backbones import Backbone
from cvtl.data import Sample
from cvtl.feature_cache import FeatureCache

# Tests import `pictures` from here.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def batches_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    from pictures import BATCH

    monkeypatch.setattr(features, "_CPU_PIXELS", BATCH * 32 * 32)


@pytest.fixture
def lenet() -> Backbone:
    torch.manual_seed(0)
    return backbones.load("lenet5")


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "cache" / "features.sqlite")


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    from pictures import write_pictures

    return write_pictures(tmp_path / "pictures")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the pictures' files, each time that one is decoded."""
    names: list[str] = []
    decode_file = features.decode_file

    def spy(data: bytes, path: Path) -> np.ndarray:
        names.append(path.name)
        return decode_file(data, path)

    monkeypatch.setattr(features, "decode_file", spy)
    return names


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Set torch's threads; they are as they were after the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)

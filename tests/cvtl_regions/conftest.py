"""What the tests of the regions plugin share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

# Tests import `tiny_regions` from here, and `made_objects` from the core's tests.
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "cvtl" / "training")]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Torch does not split its tiny tensors among threads."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _coarse_proposals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pictures are searched coarsely where detectors do it; `propose` itself is tested as it is."""
    from cvtl_regions import patches

    monkeypatch.setattr(patches, "propose", partial(patches.propose, cells=24))

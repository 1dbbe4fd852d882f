"""What the tests of the ultralytics plugin share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

# Tests import `made_checkpoints` from here, and `made_objects` from the core's tests.
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "cvtl" / "training")]

# Looked for and not imported: that would change this process for all other tests.
if find_spec("ultralytics") is None:
    pytest.skip("ultralytics is not installed", allow_module_level=True)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Torch does not split its tiny tensors among threads."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def assets() -> Path:
    """Ultralytics' two photographs."""
    from cvtl_ultralytics.isolation import package_folder

    return package_folder() / "assets"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny detector with random weights, saved as Ultralytics saves them."""
    from made_checkpoints import TINY, make_network, save_checkpoint

    return save_checkpoint(make_network(TINY), tmp_path_factory.mktemp("weights") / "tiny.pt")

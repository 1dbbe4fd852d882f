"""The plugin `tiny`, installed for the tests of training."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Tests and child processes import `tiny_training` from here.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def tiny_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the plugin's entry point in it."""
    from tiny_training import install

    site = tmp_path_factory.mktemp("site")
    install(site)
    return site


@pytest.fixture(autouse=True)
def tiny(tiny_site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The plugin is installed, and torch does not split its tiny tensors among threads."""
    import torch

    from cvtl.registry import plugins

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.syspath_prepend(str(tiny_site))
    plugins.cache_clear()
    yield
    torch.set_num_threads(threads)
    plugins.cache_clear()

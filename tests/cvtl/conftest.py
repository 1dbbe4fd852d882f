"""What tests of the core share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Tests import `shades` from here.
sys.path.insert(0, str(Path(__file__).parent))

SaveWeights = Callable[..., Path]


@pytest.fixture(scope="session")
def shades_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the entry points of `shades` in it."""
    from shades import install

    site = tmp_path_factory.mktemp("site")
    install(site)
    return site


@pytest.fixture
def save_weights(shades_site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SaveWeights]:
    """Write weights of the plugins `shades` and `plain`, which are installed, into the test's folder."""
    from shades import save_weights

    from cvtl.registry import plugins

    monkeypatch.syspath_prepend(str(shades_site))
    plugins.cache_clear()

    def save(name: str, *classes: str, **about: object) -> Path:
        path: Path = save_weights(tmp_path / name, classes, **about)
        return path

    yield save
    plugins.cache_clear()

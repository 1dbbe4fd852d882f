"""What the tests of the ultralytics plugin share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from cvtl.cli.main import main

# Tests import `made_checkpoints` from here, and `made_objects` from the core's tests.
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "cvtl" / "training")]

# Looked for and not imported: that would change this process for all other tests.
if find_spec("ultralytics") is None:
    pytest.skip("ultralytics is not installed", allow_module_level=True)


@dataclass(frozen=True)
class Said:
    """What a command returned and printed."""

    code: int
    out: str
    err: str


Command = Callable[..., Said]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Run `cvtl` in this process, in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*words: str | Path) -> Said:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Said(code, *capsys.readouterr())

    return run


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

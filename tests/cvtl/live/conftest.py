"""What the tests of live sources share."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Tests import `cameras` from here.
sys.path.insert(0, str(Path(__file__).parent))

from cameras import RtspCamera, Wait, WebCamera, write_clip


@pytest.fixture
def web_camera() -> Iterator[WebCamera]:
    camera = WebCamera()
    yield camera
    camera.kill()


@pytest.fixture
def rtsp_camera() -> Iterator[RtspCamera]:
    camera = RtspCamera()
    yield camera
    camera.kill()


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 50 frames, 64 x 48, each brighter than the one before."""
    return write_clip(tmp_path_factory.mktemp("live") / "clip.avi", 50)


@pytest.fixture
def wait_until() -> Wait:
    """Wait until something is so; fail when it is not after half a minute."""

    def wait(condition: Callable[[], object]) -> None:
        end = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < end, "it has not come about"
            time.sleep(0.01)

    return wait

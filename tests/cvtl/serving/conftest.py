"""What tests of the server share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from cvtl.serving.answering import Answers

# Tests import `canned` from here.
sys.path.insert(0, str(Path(__file__).parent))

Served = Callable[..., "TestClient"]


@pytest.fixture
def served() -> Iterator[Served]:
    """Serve in this process: gives a client; its `service` is what it talks to."""
    with ExitStack() as stack:
        yield lambda answers=None, **settings: stack.enter_context(_client(answers, **settings))


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    """A server with the usual settings, for tests that leave it as it is."""
    with _client(None, max_pixels=2500) as made:
        yield made


def _client(answers: Answers | None, **settings: Any) -> TestClient:
    pytest.importorskip("gradio", reason="gradio is not installed")
    from canned import Canned
    from starlette.testclient import TestClient

    from cvtl.serving.app import make_app
    from cvtl.serving.service import Service
    from cvtl.serving.settings import ServeSettings

    service = Service(answers or Canned(), ServeSettings(**settings))
    made = TestClient(make_app(service), base_url="http://127.0.0.1:7860", raise_server_exceptions=False)
    made.service = service  # type: ignore[attr-defined]
    return made

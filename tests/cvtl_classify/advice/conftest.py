"""What the tests of the advice share: a LeNet-5 with weights in a file, and pictures in class folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import cv2
import pytest
import torch
from tiny_classify import CLASSES, picture

from cvtl import backbones
from cvtl.backbones import Backbone
from cvtl.backbones.classic import LeNet5
from cvtl.progress import Progress

Show = Callable[[int, str], AbstractContextManager[Progress]]


class Counting(Progress):
    """Keeps what it is told."""

    def __init__(self, total: int, noun: str) -> None:
        self.total, self.noun, self.done = total, noun, 0

    def advance(self, count: int) -> None:
        self.done += count


@pytest.fixture
def shown() -> list[Counting]:
    """What `show` has given."""
    return []


@pytest.fixture
def show(shown: list[Counting]) -> Show:
    """Shows nothing, but keeps account."""

    @contextmanager
    def show(total: int, noun: str) -> Iterator[Progress]:
        shown.append(Counting(total, noun))
        yield shown[-1]

    return show


@pytest.fixture(scope="session")
def lenet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a LeNet-5."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "lenet5.pth"
    torch.save(LeNet5().state_dict(), path)
    return path


@pytest.fixture
def lenet(lenet_file: Path) -> Backbone:
    """A backbone of two stages with these weights."""
    return backbones.load("lenet5", lenet_file, cut="conv2")


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Twelve pictures of each of three classes, in folders."""
    for index in range(36):
        path = tmp_path / "photos" / CLASSES[index % 3] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), picture(index, 3)[..., ::-1])
    return tmp_path / "photos"

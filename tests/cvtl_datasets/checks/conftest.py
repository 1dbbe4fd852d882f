"""What the tests of the checks share: pictures that look like nothing else, and data sets of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from cvtl.data import ClassTarget, Dataset, Sample, Split, Target, UInt8Image
from cvtl.images import encode
from cvtl_datasets.checks import Finding, check

Picture = Callable[..., UInt8Image]
Write = Callable[..., Path]
Found = Callable[..., list[Finding]]


@pytest.fixture(scope="session")
def picture() -> Picture:
    """A picture of coloured clouds; another one for each number."""

    def make(number: int, size_hw: tuple[int, int] = (48, 64)) -> UInt8Image:
        clouds = np.random.default_rng(number).integers(0, 256, (6, 8, 3)).astype(np.uint8)
        return np.asarray(cv2.resize(clouds, size_hw[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)

    return make


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a picture into a file of the temporary folder."""

    def save(name: str, image: UInt8Image, suffix: str | None = None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(image, suffix or path.suffix))
        return path

    return save


@pytest.fixture
def found(picture: Picture) -> Found:
    """Check samples together with twenty good ones, and give what is found of one kind."""

    def look(
        kind: str, samples: Sequence[Sample], *, classes: tuple[str, ...] = ("cat", "dog"), **options: object
    ) -> list[Finding]:
        dataset = Dataset([*samples, *good_samples(picture)], classes, "example", "data")
        return [each for each in check(dataset, **options) if each.kind == kind]  # type: ignore[arg-type]

    return look


def good_samples(picture: Picture) -> list[Sample]:
    """Ten pictures of each of two classes, nothing wrong with them."""
    return [sample(f"good/{number}.png", picture(1000 + number), ClassTarget(number % 2)) for number in range(20)]


def sample(name: str, image: UInt8Image, target: Target | None = None, split: Split | None = None) -> Sample:
    """A sample whose picture is in memory."""
    return Sample(name, lambda: image, target, split)

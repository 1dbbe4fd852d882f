"""What the tests of the command line share."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture
def columns() -> int:
    """Width of the terminal."""
    return 80


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with three pictures, one of them bad, and one in a subfolder."""
    folder = tmp_path / "pictures"
    (folder / "sub").mkdir(parents=True)
    for name, shade in (("a.png", 40), ("b.png", 200), ("sub/a.png", 120)):
        cv2.imwrite(str(folder / name), np.full((24, 32, 3), shade, np.uint8))
    (folder / "bad.png").write_bytes(b"no picture")
    return folder


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A good picture."""
    path = tmp_path / "good.png"
    cv2.imwrite(str(path), np.full((24, 32, 3), 150, np.uint8))
    return path


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """A data set of two class folders with ten pictures each."""
    random = np.random.default_rng(0)
    for name, shade in (("dark", 60), ("light", 190)):
        (tmp_path / "crops" / name).mkdir(parents=True)
        for number in range(10):
            image = np.clip(shade + random.normal(0, 10, (16, 16, 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(tmp_path / "crops" / name / f"{number}.png"), image)
    return tmp_path / "crops"


def files_below(folder: Path) -> set[str]:
    """Every file and folder, finished or not."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}

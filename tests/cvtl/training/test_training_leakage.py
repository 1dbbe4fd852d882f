"""What `train_plugin` holds out shares nothing with what is learnt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from tiny_training import SIDE

from cvtl.data import Split, load_data
from cvtl.errors import UsageError
from cvtl.progress import Progress
from cvtl.split_file import write_split_file
from cvtl.training import TrainSettings
from cvtl.training.start import train_plugin

TrainPhotos = Callable[..., dict[str, Any]]


class Counting(Progress):
    def __init__(self) -> None:
        self.calls: list[str | int] = []

    def start(self, done: int) -> None:
        self.calls.append("start")

    def advance(self, count: int) -> None:
        self.calls.append(count)

    def finish(self) -> None:
        self.calls.append("finish")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """40 pictures of 8 clips; of clip 0 every picture is nearly the same."""
    for number in range(40):
        clip = number // 5
        image = np.random.default_rng(number if clip else 0).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
        image[0, 0] = number
        path = tmp_path / "photos" / ("dark", "light")[number % 2] / f"clip{clip}_{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), image)
    return tmp_path / "photos"


@pytest.fixture
def train_photos(photos: Path, tmp_path: Path) -> TrainPhotos:
    """Train for an epoch and give the configuration written, which has the digests of both parts."""

    def train(out: str = "run", resume: bool = False, quiet: bool = True, **keywords: Any) -> dict[str, Any]:
        settings = TrainSettings(
            epochs=1,
            workers=0,
            device="cpu",
            **{name: keywords.pop(name) for name in ("group_by", "near_duplicates") if name in keywords},
        )
        train_plugin("tiny", photos, tmp_path / out, settings=settings, resume=resume, quiet=quiet, **keywords)
        config: dict[str, Any] = yaml.safe_load((tmp_path / out / "config.yaml").read_text())
        return config

    return train


def test_near_duplicates_stay_together_and_it_is_said(
    train_photos: TrainPhotos, capsys: pytest.CaptureFixture[str]
) -> None:
    train_photos(quiet=False)
    said = capsys.readouterr().err
    assert "Looking for near-duplicates among 40 pictures.\n" in said
    assert "of 40 training pictures are held out (seed 0); 5 near-duplicates are kept together.\n" in said


def test_groups_stay_together_and_it_is_said(train_photos: TrainPhotos, capsys: pytest.CaptureFixture[str]) -> None:
    config = train_photos(group_by=r"(clip\d)_", near_duplicates=False, quiet=False)
    said = capsys.readouterr().err
    assert "; 8 groups are kept together.\n" in said
    assert "near-duplicates" not in said
    assert config["data"]["val"]["samples"] % 5 == 0


def test_a_resumed_training_divides_in_the_same_way(train_photos: TrainPhotos) -> None:
    before = train_photos(group_by=r"(clip\d)_")
    after = train_photos(group_by=r"(clip\d)_", resume=True)
    assert before["data"] == after["data"]


def test_a_training_that_was_divided_otherwise_does_not_go_on(train_photos: TrainPhotos) -> None:
    train_photos()
    with pytest.raises(UsageError, match="group_by was None and is now clip"):
        train_photos(group_by=r"clip\d", resume=True)


def test_a_split_file_is_gone_by(
    train_photos: TrainPhotos, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = load_data(photos)
    ranges: dict[Split, range] = {"train": range(20), "val": range(20, 28), "test": range(28, 40)}
    write_split_file(tmp_path / "s.csv", {split: dataset.subset(indices) for split, indices in ranges.items()})
    config = train_photos(splits=tmp_path / "s.csv", quiet=False)
    said = capsys.readouterr().err
    assert (config["data"]["train"]["samples"], config["data"]["val"]["samples"]) == (20, 8)
    assert "Validating on the 8 pictures of the data set's own validation split." in said
    assert "Warning: 2 of them are near-duplicates of training pictures" in said


def test_progress_is_told_of_every_picture_that_is_looked_at(train_photos: TrainPhotos) -> None:
    looked, not_looked = Counting(), Counting()
    train_photos(progress=looked)
    train_photos("other", progress=not_looked, near_duplicates=False)
    assert looked.calls == ["start", *[1] * 40, "finish"]
    assert not_looked.calls == []


def test_what_the_plugin_has_against_the_data_is_said_before_any_picture_is_looked_at(
    train_photos: TrainPhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(options: object, classes: object) -> None:
        raise UsageError("these classes will not do")

    looked = Counting()
    monkeypatch.setattr("tiny_training.TinyModel.initialize", refuse)
    with pytest.raises(UsageError, match="these classes will not do"):
        train_photos(progress=looked)
    assert looked.calls == []

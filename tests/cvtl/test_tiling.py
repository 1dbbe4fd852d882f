"""Detectors that look at large pictures tile by tile."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cvtl import boxes
from cvtl.cli.main import main
from cvtl.data import BoxesTarget
from cvtl.errors import ExitCode, OptionsError, UsageError
from cvtl.model import ComposedModel
from cvtl.options import Options
from cvtl.preprocessing import InputSpec
from cvtl.results import Detections, Result
from cvtl.run_settings import TilingSettings
from cvtl.tiling import Tiled, tiles_of, with_tiling
from cvtl.workplace import Workplace
from cvtl_datasets.scenes import digit_scenes, sample_scene
from cvtl_windows.builtin import digit_weights

Command = Callable[..., int]


class Predict(Options):
    least: int = 0


class SpotOptions(Options):
    predict: Predict = Predict()


class Spots(ComposedModel):
    """Finds bright spots, but in pictures of at most `SIGHT` pixels only; keeps the sizes of what it was shown."""

    SIGHT = 64
    plugin = "spots"

    def __init__(self) -> None:
        super().__init__(SpotOptions(), ("spot",), InputSpec(size_hw=(64, 64)))
        self.shown: list[list[tuple[int, ...]]] = []
        self.fails = False

    def predict(self, images: Sequence[Tensor]) -> list[Result]:
        self.shown.append([tuple(image.shape[1:]) for image in images])
        if self.fails:
            raise ValueError("it cannot")
        return [self._find(image) for image in images]

    def _find(self, image: Tensor) -> Detections:
        found = torch.zeros(0, 4)
        if max(image.shape[1:]) <= self.SIGHT:
            count, _, stats, _ = cv2.connectedComponentsWithStats((image[0] > 128).to(torch.uint8).numpy())
            found = torch.tensor([[x, y, x + w, y + h] for x, y, w, h, _ in stats[1:count]]).reshape(-1, 4).float()
        least = self.options.predict.least  # type: ignore[attr-defined]
        found = found[(found[:, 2] - found[:, 0]) >= least]
        return Detections(found, torch.full((len(found),), 0.5), torch.zeros(len(found), dtype=torch.int64), ("spot",))


def spotted(height: int, width: int, *spots: tuple[int, int, int, int]) -> Tensor:
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    for left, top, right, bottom in spots:
        image[:, top:bottom, left:right] = 255
    return image


def found(model: ComposedModel, image: Tensor) -> list[list[float]]:
    (result,) = model.predict([image])
    assert isinstance(result, Detections)
    return sorted(result.boxes.tolist())


def tiled(detector: Spots | None = None, *, batch_size: int = 8, **settings: object) -> Tiled:
    made = TilingSettings.model_validate({"tile": 64, "tile_whole": False, **settings})
    return Tiled(detector or Spots(), made, batch_size=batch_size).eval()


SPOTS = ((10, 10, 20, 20), (55, 30, 70, 40), (100, 60, 190, 75))


def test_objects_of_a_large_picture_are_found_at_their_places() -> None:
    assert found(Spots(), spotted(100, 200, *SPOTS)) == []
    assert found(tiled(), spotted(100, 200, *SPOTS)) == [list(map(float, each)) for each in SPOTS]


def test_a_picture_that_fits_a_tile_is_predicted_as_ever() -> None:
    detector = Spots()
    assert found(tiled(detector), spotted(64, 50, (5, 5, 9, 9))) == [[5, 5, 9, 9]]
    assert detector.shown == [[(64, 50)]]


def test_the_whole_picture_is_looked_at_too_as_large_as_a_tile() -> None:
    detector = Spots()
    tiled(detector, tile_whole=True).predict([spotted(100, 200)])
    assert detector.shown[0][0] == (32, 64)


def test_an_object_larger_than_its_tiles_is_found_in_the_whole_picture_alone() -> None:
    class Shy(Spots):
        def _find(self, image: Tensor) -> Detections:
            """Nothing that reaches the edge."""
            found = super()._find(image)
            ends = torch.tensor(image.shape[:0:-1])
            inside = (found.boxes[:, :2] > 0).all(dim=1) & (found.boxes[:, 2:] < ends).all(dim=1)
            return Detections(found.boxes[inside], found.scores[inside], found.labels[inside], ("spot",))

    large = spotted(200, 200, (20, 20, 180, 180))
    assert found(tiled(Shy()), large) == []
    ((left, top, right, bottom),) = found(tiled(Shy(), tile_whole=True), large)
    assert max(abs(left - 20), abs(top - 20), abs(right - 180), abs(bottom - 180)) < 4


def test_tiles_go_through_the_network_in_batches() -> None:
    detector = Spots()
    found(tiled(detector, overlap=0, batch_size=3), spotted(128, 256))
    assert list(map(len, detector.shown)) == [3, 3, 2]


def test_tiles_are_no_copies_of_the_picture() -> None:
    class Sharing(Spots):
        def predict(self, images: Sequence[Tensor]) -> list[Result]:
            assert all(image.untyped_storage().data_ptr() == picture.untyped_storage().data_ptr() for image in images)
            return super().predict(images)

    picture = spotted(100, 200, *SPOTS)
    assert len(found(tiled(Sharing()), picture)) == len(SPOTS)


def test_pictures_of_different_sizes_have_a_result_each() -> None:
    pictures = [spotted(100, 200, *SPOTS), spotted(30, 30), spotted(300, 80, (3, 240, 30, 290))]
    counts = [len(result) for result in tiled().predict(pictures) if isinstance(result, Detections)]
    assert counts == [3, 0, 1]


def test_who_waits_for_a_large_picture_is_told_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvtl.tiling._SECONDS_BETWEEN_NOTES", -1)
    notes: list[str] = []
    image = spotted(64, 200, *SPOTS[:1])
    (found_,) = tiled(overlap=0).predict_in_steps([image], [Workplace(Path("o"), "a.png", notes.append)])
    assert notes == [f"a.png: {number} of 4 tiles" for number in (1, 2, 3, 4)]
    assert isinstance(found_, Detections)
    assert found_.boxes.tolist() == found(tiled(overlap=0), image)


def test_a_picture_on_which_the_detector_fails_fails_as_a_whole() -> None:
    detector = Spots()
    detector.fails = True
    with pytest.raises(ValueError, match="it cannot"):
        tiled(detector).predict([spotted(100, 200)])


def test_prediction_options_are_the_detectors() -> None:
    model = tiled().with_predict_options(least=12)
    assert found(model, spotted(100, 200, *SPOTS)) == [[55, 30, 70, 40], [100, 60, 190, 75]]
    with pytest.raises(OptionsError):
        model.with_predict_options(nonsense=1)


def test_without_a_tile_the_model_itself_is_used() -> None:
    detector = Spots()
    assert with_tiling(detector, TilingSettings()) is detector
    with pytest.raises(UsageError, match="--tile"):
        with_tiling(detector, TilingSettings(overlap=0.5))


@settings(deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(32, 900), st.floats(0, 0.8))
def test_tiles_cover_a_picture_with_the_overlap_that_was_asked_for(
    height: int, width: int, side: int, overlap: float
) -> None:
    tiles = tiles_of((height, width), side, overlap).numpy()
    for low, high, length in ((0, 2, width), (1, 3, height)):
        spans = np.unique(tiles[:, [low, high]], axis=0)
        assert (spans[:, 1] - spans[:, 0] == min(side, length)).all()
        assert spans[0, 0] == 0
        assert spans[-1, 1] == length
        shared = spans[:-1, 1] - spans[1:, 0]
        assert (shared >= int(side * overlap) - 1).all()


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run `cvtl` in this process, in an empty working folder; gives its exit code."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: main([str(word) for word in words])


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a picture of 2 x 3 scenes full of digits, and a bad one."""
    folder = tmp_path_factory.mktemp("large")
    scene = sample_scene()[..., ::-1]
    assert cv2.imwrite(str(folder / "a.png"), np.tile(scene, (2, 3, 1)))
    (folder / "bad.png").write_bytes(b"no picture")
    assert cv2.imwrite(str(folder / "small.png"), scene)
    return folder


def test_run_finds_with_tiles_what_each_scene_has(command: Command, large: Path, tmp_path: Path) -> None:
    """And each once, though many are in several tiles: all but a few that the windows of a tile happen to miss."""
    height, width = sample_scene().shape[:2]
    words = ("--tile", max(height, width), "--overlap", "0.3", "--out", "o", "--predict.min-object", "30")
    assert command("run", "detect", "--weights", "builtin", large, *words) == ExitCode.SOME_BAD_INPUTS
    lines = (tmp_path / "o" / "rows.jsonl").read_text().splitlines()
    many, bad, few = (json.loads(line)["result"] for line in lines)
    assert bad is None
    assert len(few["labels"]) >= 5
    counts = []
    found, scene = torch.tensor(many["boxes"]), torch.tensor(few["boxes"])
    for x, y in itertools.product((0, width, 2 * width), (0, height)):
        overlap = boxes.iou(found, scene + torch.tensor([x, y, x, y]))
        for number, label in enumerate(few["labels"]):
            same = torch.tensor([each == label for each in many["labels"]])
            counts.append(int((same & (overlap[:, number] > 0.4)).sum()))
    assert max(counts) == 1
    assert sum(counts) >= 0.85 * len(counts)


def test_a_run_over_tiles_goes_on_to_the_same_bytes(
    command: Command, large: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("run", "detect", "--weights", "builtin", large, "--predict.min-object", "60")
    assert command(*words, "--tile", "320", "--out", "whole") == ExitCode.SOME_BAD_INPUTS
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    rows = (tmp_path / "killed" / "rows.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "killed" / "rows.jsonl").write_bytes(b"".join(rows[:1]) + rows[1][:20])
    assert command(*words, "--tile", "320", "--out", "killed", "--resume") == ExitCode.SOME_BAD_INPUTS
    assert (tmp_path / "killed" / "rows.jsonl").read_bytes() == b"".join(rows)
    assert command(*words, "--tile", "400", "--out", "killed", "--resume") == ExitCode.USAGE
    assert "options" in capsys.readouterr().err


def test_eval_measures_with_tiles(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene = digit_scenes(1, seed=3, digits="test")[0]
    image, target = scene.read(), scene.target
    assert isinstance(target, BoxesTarget)
    (tmp_path / "data" / "images").mkdir(parents=True)
    (tmp_path / "data" / "labels").mkdir()
    assert cv2.imwrite(str(tmp_path / "data" / "images" / "a.png"), np.tile(image[..., ::-1], (2, 2, 1)))
    (tmp_path / "data" / "data.yaml").write_text(f"path: .\nval: images\nnames: {list('0123456789')}\n")
    height, width = image.shape[:2]
    lines = []
    for x, y in ((0, 0), (width, 0), (0, height), (width, height)):
        for (left, top, right, bottom), label in zip(target.boxes + np.array([x, y, x, y]), target.labels, strict=True):
            centre_and_size = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
            parts = np.array(centre_and_size) / [2 * width, 2 * height, 2 * width, 2 * height]
            lines.append(f"{label} {' '.join(map(str, parts.tolist()))}")
    (tmp_path / "data" / "labels" / "a.txt").write_text("\n".join(lines))
    assert command("eval", digit_weights(), "data", "--tile", "240", "--json", "--draws", "0") == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["figures"]["AP50"]["value"] > 0.9


def test_eval_refuses_tiles_where_no_detector_looks(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.jsonl").write_text("")
    assert command("eval", "--predictions", "rows.jsonl", ".", "--tile", "240") == ExitCode.USAGE
    assert "--tile is for weights that detect" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--overlap", "0.5"), "--tile"),
        (("--tile", "8"), "tile"),
        (("--tile", "320", "--save-heatmaps"), "--save-heatmaps"),
        (("--tile", "320", "--overlap", "1"), "overlap"),
    ],
)
def test_settings_that_do_not_fit_are_told_in_a_sentence(
    command: Command, large: Path, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("run", "detect", "--weights", "builtin", large, *words) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


MEMORY = """
import sys
import cvtl
from cvtl.run_settings import RunSettings, TilingSettings
report = cvtl.run(
    [sys.argv[1]], sys.argv[2], sys.argv[3], task="detect", settings=RunSettings(batch_size=2),
    tiling=TilingSettings(tile=1280), predict={"min_object": 100, "scales_per_octave": 1},
)
assert report.counts["ok"] == 1, report.counts
# Not of getrusage, which counts what the process that started this one has.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's peak there")
def test_a_picture_of_100_megapixels_stays_within_2_gb(tmp_path: Path) -> None:
    picture = np.zeros((10_000, 10_000, 3), np.uint8)
    picture[::7] = 90
    assert cv2.imwrite(str(tmp_path / "huge.jpg"), picture)
    del picture
    words = [sys.executable, "-c", MEMORY, tmp_path / "huge.jpg", digit_weights(), tmp_path / "o"]
    said = subprocess.run([str(each) for each in words], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert int(said.stdout.split()[-1]) * 1024 < 2e9

"""Units of work: what is sent to workers, and what workers make of it. Without any engine."""

from __future__ import annotations

import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path

import cv2
import numpy as np
import pytest

import cvtl
from cvtl.answering import Request
from cvtl.engines import ray_cluster
from cvtl.engines.ray_cluster import Capacity
from cvtl.engines.units import Unit, Walk, WalkEnd, portable
from cvtl.engines.worker import Job, Worker
from cvtl.errors import EngineError, PluginError, SourceError, UsageError
from cvtl.run_settings import RunSettings
from cvtl.sources import Item, open_sources

MakeFolder = Callable[[Path, int], Path]
SETTINGS = RunSettings(batch_size=4)


@pytest.fixture
def messy(tmp_path: Path, make_messy_folder: MakeFolder) -> Path:
    return make_messy_folder(tmp_path / "pictures", 43)


def walk_over(*inputs: Path, skip: int = 0, settings: RunSettings = SETTINGS) -> list[Unit | WalkEnd]:
    """What arrives in another process."""
    walk = pickle.loads(pickle.dumps(Walk(tuple(map(str, inputs)), ".", settings, 4, skip)))
    return [pickle.loads(pickle.dumps(each)) for each in walk]


def items_in(units: list[Unit | WalkEnd]) -> list[Item]:
    blocks = [block for unit in units if isinstance(unit, Unit) for block in unit.blocks]
    return [item for block in blocks for item in block]


def test_units_hold_every_input_in_order_and_in_the_blocks_of_the_run(messy: Path) -> None:
    *units, end = walk_over(messy)
    assert [item.source for item in items_in(units)] == [item.source for item in open_sources([messy])]
    sizes = [len(block) for unit in units if isinstance(unit, Unit) for block in unit.blocks]
    assert sizes == [4] * 10 + [3]
    assert end == WalkEnd({})


def test_a_walk_goes_on_behind_what_is_done(messy: Path) -> None:
    assert [item.source for item in items_in(walk_over(messy, skip=40))] == [
        item.source for item in open_sources([messy])
    ][40:]


def test_a_shard_s_walk_says_at_its_end_what_it_has_seen(messy: Path) -> None:
    *units, end = walk_over(messy, settings=RunSettings(batch_size=4, shard="2/3"))
    assert isinstance(end, WalkEnd)
    assert end.about["walked"]["inputs"] == 43
    assert len(items_in(units)) == 15


def test_what_ends_a_walk_arrives_as_it_was(tmp_path: Path) -> None:
    (end,) = walk_over(tmp_path / "nowhere")
    assert isinstance(end, WalkEnd)
    assert isinstance(end.error, SourceError)
    assert (end.error.what, end.error.hint) == (
        f"there is no file or folder '{tmp_path / 'nowhere'}'",
        "Check the path",
    )


def test_members_of_archives_are_sent_with_their_content(messy: Path, tmp_path: Path) -> None:
    pictures = sorted(messy.rglob("*.png"))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in pictures:
            archive.write(path, path.relative_to(messy))
    sent = items_in(walk_over(tmp_path / "a.zip"))
    assert [item.read() for item in sent if item.read] == [path.read_bytes() for path in pictures]


def test_what_cannot_be_read_is_sent_as_that() -> None:
    def read() -> bytes:
        raise OSError("it is encrypted")

    sent = pickle.loads(pickle.dumps(portable(Item("a.jpg", read=read))))
    assert sent.load().error == "it cannot be opened: it is encrypted"


def test_frames_of_videos_are_sent_with_their_pictures(tmp_path: Path) -> None:
    video = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5, (32, 24))
    for number in range(5):
        video.write(np.full((24, 32, 3), number * 20, np.uint8))
    video.release()
    here = list(open_sources([tmp_path / "clip.avi"]))
    for sent, item in zip(items_in(walk_over(tmp_path / "clip.avi")), here, strict=True):
        assert np.array_equal(sent.load().image, item.load().image)  # type: ignore[arg-type]
        assert (sent.frame, sent.time) == (item.frame, item.time)


@pytest.fixture
def job(glow: Path) -> Job:
    request = Request((str(glow),))
    return Job.of(request, request.load(SETTINGS))


def test_a_worker_answers_units_as_a_run_does(glow: Path, job: Job, messy: Path, tmp_path: Path) -> None:
    cvtl.run([messy], glow, tmp_path / "out", settings=SETTINGS)
    worker = Worker(pickle.loads(pickle.dumps(job)))
    answers = [worker.answer(unit) for unit in walk_over(messy) if isinstance(unit, Unit)]
    rows = [rendered.row.to_json() for answer in answers for block in answer for rendered in block]
    assert rows == (tmp_path / "out" / "rows.jsonl").read_text().splitlines()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"identity": {"weights": "another"}}, r"would give other rows \(identity\): .*weights is "),
        ({"versions": {"torch": "1.0"}}, r"would give other rows \(versions\): .*torch is .* and should be '1.0'"),
        ({"folder": "/no/such/folder"}, "the folder '/no/such/folder' is not on the machine"),
    ],
)
def test_a_worker_that_would_give_other_rows_does_not_begin(job: Job, changes: dict[str, object], message: str) -> None:
    changed = {
        key: dict(getattr(job, key)) | value if isinstance(value, dict) else value for key, value in changes.items()
    }
    with pytest.raises(EngineError, match=message):
        Worker(replace(job, **changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("inputs", "settings", "message"),
    [
        (["-"], {}, "no standard input, no arrays"),
        ([np.zeros((4, 4, 3), np.uint8)], {}, "no standard input, no arrays"),
        (["camera:0"], {}, "does not look at cameras and streams"),
        (["."], {"save_video": True}, "writes no videos"),
    ],
)
def test_what_an_engine_cannot_do_is_refused(
    glow: Path, tmp_path: Path, inputs: list[str], settings: dict[str, bool], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        cvtl.run(inputs, glow, tmp_path / "out", settings=RunSettings(engine="ray", **settings))
    assert not (tmp_path / "out").exists()


def test_an_engine_that_is_not_installed_is_named_with_the_cure(
    glow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_spec(name: str) -> ModuleSpec | None:
        return None

    monkeypatch.setattr(ray_cluster, "find_spec", find_spec)
    with pytest.raises(PluginError, match=r"needs Ray, which is not installed. pip install 'cvtl\[ray\]'"):
        cvtl.run([tmp_path], glow, tmp_path / "out", settings=RunSettings(engine="ray"))


def test_a_run_of_this_process_imports_no_engine(glow: Path, messy: Path, tmp_path: Path) -> None:
    code = "import sys; from cvtl.cli.main import main; main(sys.argv[1:]); sys.exit('ray' in sys.modules)"
    words = ["run", "detect", messy, "--weights", glow, "--out", tmp_path / "out"]
    assert subprocess.run([sys.executable, "-c", code, *map(str, words)]).returncode == 0
    assert (tmp_path / "out" / "rows.jsonl").stat().st_size


@pytest.mark.parametrize(
    ("cpus", "gpus", "threads", "on_gpus", "workers"),
    [((2, 2), 0, 2, False, 2), ((2, 2), 0, 1, False, 4), ((1,), 0, 4, False, 1), ((8, 8), 3, 8, True, 3)],
)
def test_there_is_a_worker_for_each_gpu_or_for_as_many_cores_as_it_has_threads(
    cpus: tuple[int, ...], gpus: int, threads: int, on_gpus: bool, workers: int
) -> None:
    assert Capacity(cpus, gpus).workers(threads=threads, on_gpus=on_gpus) == workers

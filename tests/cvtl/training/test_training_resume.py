"""A training that was killed, interrupted or finished, and goes on."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import CLASSES, TinyModel, make_data, make_model, train_in_child, train_tiny
from torch import Tensor

from cvtl.data import Dataset
from cvtl.errors import ExitCode, Interrupted, OutputError, UsageError
from cvtl.training import TrainSettings, train
from cvtl.training.interrupts import Interrupts, SignalReceived

EQUAL_FILES = ("best.safetensors", "metrics.csv", "curves.png")
SLOW = {"options": {"seconds_per_step": 0.02}, "epochs": 6}
"""Four steps an epoch: half a second in all."""

Start = Callable[..., ForkServerProcess]


@pytest.fixture(scope="module")
def context() -> ForkServerContext:
    """Processes that have imported everything and computed nothing when they start."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tiny_training", "cvtl.training.loop", "matplotlib.figure"])
    return context


@pytest.fixture
def start(context: ForkServerContext) -> Iterator[Start]:
    """Start a training in a process of its own."""
    processes = []

    def start(folder: Path, **keywords: Any) -> ForkServerProcess:
        processes.append(context.Process(target=train_in_child, args=(str(folder), keywords)))
        processes[-1].start()
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.join()


def lines(folder: Path) -> int:
    path = folder / "metrics.csv"
    return len(path.read_text().splitlines()) if path.exists() else 0


def wait_for_epoch(folder: Path, epoch: int) -> None:
    while lines(folder) < 1 + epoch:
        time.sleep(0.005)


def assert_equal_trainings(one: Path, two: Path) -> None:
    for name in EQUAL_FILES:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    states = [torch.load(folder / "last.ckpt", weights_only=True) for folder in (one, two)]
    for key in ("state_dict", "optimizer_states"):
        assert str(states[0][key]) == str(states[1][key])
    for name, tensor in states[0]["state_dict"].items():
        assert torch.equal(tensor, states[1]["state_dict"][name]), name


def test_a_training_killed_again_and_again_equals_an_uninterrupted_one(tmp_path: Path, start: Start) -> None:
    train_tiny(tmp_path / "whole", **SLOW)
    folder = tmp_path / "killed"
    moments = random.Random(0)
    for kill in range(3):
        process = start(folder, resume=kill > 0, workers=2 * (kill % 2), **SLOW)
        wait_for_epoch(folder, kill + 1)
        # An epoch takes a tenth of a second, so this ends somewhere between two epochs' ends.
        time.sleep(moments.uniform(0, 0.1))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not (folder / "report.md").exists()
    report = train_tiny(folder, resume=True, **SLOW)
    assert report.epochs == 6
    assert_equal_trainings(tmp_path / "whole", folder)
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGTERM, ExitCode.TERMINATED), (signal.SIGINT, ExitCode.INTERRUPTED)]
)
def test_a_signal_ends_a_child_with_its_exit_code_and_a_way_on(
    tmp_path: Path, start: Start, number: signal.Signals, exit_code: ExitCode
) -> None:
    folder = tmp_path / "run"
    process = start(folder, workers=2, **SLOW)
    wait_for_epoch(folder, 1)
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == exit_code
    message = Path(f"{folder}.error").read_text()
    assert message.startswith("the training was interrupted after ")
    assert f"--out {folder} --resume" in message
    assert not (folder / "report.md").exists()


def test_an_interrupted_training_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    train_tiny(tmp_path / "whole", **SLOW)
    folder = tmp_path / "run"

    def interrupt() -> None:
        wait_for_epoch(folder, 2)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(Interrupted) as caught:
        train_tiny(folder, **SLOW)
    thread.join()
    assert caught.value.exit_code == ExitCode.INTERRUPTED
    train_tiny(folder, resume=True, **SLOW)
    assert_equal_trainings(tmp_path / "whole", folder)


def test_a_signal_whose_exception_was_swallowed_is_found_later() -> None:
    with Interrupts() as interrupts:
        interrupts.check()
        with contextlib.suppress(SignalReceived):
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(SignalReceived):
            interrupts.check()


@pytest.mark.parametrize("schedule", ["plateau", "constant"])
def test_every_schedule_goes_on_where_it_was(tmp_path: Path, schedule: str) -> None:
    # So fast that the validation loss jumps about, and the plateau's rate falls.
    settings = {"schedule": schedule, "learning_rate": 0.3, "optimizer": "sgd"}
    train_tiny(tmp_path / "whole", epochs=9, **settings)
    train_tiny(tmp_path / "parts", epochs=4, **settings)
    train_tiny(tmp_path / "parts", epochs=7, resume=True, **settings)
    train_tiny(tmp_path / "parts", epochs=9, resume=True, **settings)
    assert_equal_trainings(tmp_path / "whole", tmp_path / "parts")


def test_a_folder_that_holds_a_training_is_refused(tmp_path: Path) -> None:
    train_tiny(tmp_path / "run", epochs=1)
    before = (tmp_path / "run/best.safetensors").read_bytes()
    with pytest.raises(OutputError, match=r"already holds a training.*--resume"):
        train_tiny(tmp_path / "run", epochs=1, seed=1)
    assert (tmp_path / "run/best.safetensors").read_bytes() == before


def test_resuming_where_nothing_is_starts_a_training(tmp_path: Path) -> None:
    assert train_tiny(tmp_path / "run", epochs=1, resume=True).epochs == 1


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"seed": 1}, "seed was 0 and is now 1"),
        ({"batch_size": 8, "learning_rate": 0.1}, "batch_size was 16 and is now 8; learning_rate was 0.001"),
        ({"epochs": 1}, "epochs was 2 and is now only 1"),
        ({"options": {"dropout": 0.5}}, "dropout was 0.2 and is now 0.5"),
    ],
)
def test_resuming_with_other_settings_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], difference: str
) -> None:
    train_tiny(tmp_path / "run", epochs=2)
    with pytest.raises(UsageError, match=difference):
        train_tiny(tmp_path / "run", resume=True, **({"epochs": 2} | changes))


def test_resuming_with_other_data_is_refused(tmp_path: Path) -> None:
    train_tiny(tmp_path / "run", epochs=1)
    settings = TrainSettings(epochs=1, batch_size=16, workers=0, device="cpu")
    with pytest.raises(UsageError, match="the val data differ"):
        train(make_model(), make_data(50), make_data(21, first=1000), settings, tmp_path / "run", resume=True)


def test_a_finished_training_is_reported_without_training(tmp_path: Path) -> None:
    first = train_tiny(tmp_path / "run")
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()}

    class Untouchable(TinyModel):
        def fit(self, *arguments: object) -> None:
            raise AssertionError("trained again")

    model = Untouchable.initialize(make_model().options, CLASSES)
    assert train_tiny(tmp_path / "run", resume=True, workers=1, model=model) == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()} == stamps


def test_raising_the_epochs_goes_on_with_a_finished_training(tmp_path: Path) -> None:
    train_tiny(tmp_path / "run", epochs=2)
    report = train_tiny(tmp_path / "run", epochs=4, resume=True)
    assert report.epochs == 4
    assert lines(tmp_path / "run") == 5
    assert train_tiny(tmp_path / "run", epochs=4, resume=True) == report


def test_a_training_killed_between_metrics_and_checkpoint_repeats_the_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_tiny(tmp_path / "whole", epochs=3)
    monkeypatch.setattr("lightning.pytorch.Trainer.save_checkpoint", lambda *_: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Interrupted):
        train_tiny(tmp_path / "killed", epochs=3)
    monkeypatch.undo()
    assert lines(tmp_path / "killed") == 2
    train_tiny(tmp_path / "killed", epochs=3, resume=True)
    assert_equal_trainings(tmp_path / "whole", tmp_path / "killed")


def test_samples_are_made_once_an_epoch_in_a_resumed_training_too(tmp_path: Path) -> None:
    made = []

    class Counting(TinyModel):
        def training_samples(self, data: Dataset, *, epoch: int, seed: int) -> Sequence[tuple[Tensor, Any]]:
            made.append(epoch)
            return super().training_samples(data, epoch=epoch, seed=seed)

    for epochs in (2, 4):
        model = Counting.initialize(make_model().options, CLASSES)
        train_tiny(tmp_path / "run", model=model, epochs=epochs, resume=True)
    assert made == [0, 1, 2, 3]


class Payload:
    """Unpickled without care, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    train_tiny(tmp_path / "run", epochs=1)
    torch.save({"cvtl_epochs_done": Payload(tmp_path / "trap")}, tmp_path / "run/last.ckpt")
    with pytest.raises(OutputError, match=r"cannot go on from '.*last.ckpt'"):
        train_tiny(tmp_path / "run", epochs=2, resume=True)
    assert not (tmp_path / "trap").exists()


@pytest.mark.parametrize("name", ["last.ckpt", "metrics.csv", "config.yaml"])
@pytest.mark.parametrize("content", [b"", b"\x00\x01nonsense", None])
def test_a_damaged_folder_is_refused(tmp_path: Path, name: str, content: bytes | None) -> None:
    train_tiny(tmp_path / "run", epochs=1)
    whole = (tmp_path / "run" / name).read_bytes()
    (tmp_path / "run" / name).write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(OutputError, match=name):
        train_tiny(tmp_path / "run", epochs=2, resume=True)


def test_data_may_have_moved(tmp_path: Path) -> None:
    train_tiny(tmp_path / "run", epochs=1)
    data, val_data = make_data(50), make_data(20, first=1000)
    moved = Dataset(data.samples, data.classes, data.format, "elsewhere")
    settings = TrainSettings(epochs=2, batch_size=16, workers=0, device="cpu")
    report = train(make_model(), moved, val_data, settings, tmp_path / "run", resume=True, quiet=True)
    assert report.epochs == 2

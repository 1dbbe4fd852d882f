"""A training of two processes, on one machine and as if on two."""

from __future__ import annotations

import csv
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import cv2
import pytest
import torch
from parallel import Threads, in_threads
from rich.console import Console
from tiny_training import CLASSES, TinyModel, make_data, make_model, train_tiny

from cvtl.errors import CvtlWarning, TrainingError, UsageError
from cvtl.training import TrainSettings
from cvtl.training.folder import TrainRun
from cvtl.training.launching import OUR_LAUNCH, Place
from cvtl.training.processes import Processes, joined
from cvtl.training.samples import Loading, training_batches, validation_batches
from cvtl.training.start import train_plugin

SETTINGS = {
    "epochs": 3,
    "batch_size": 16,
    "workers": 1,
    "device": "cpu",
    "optimizer": "sgd",
    "learning_rate": 0.05,
}
PICTURES = 63
"""51 to train on, so that the last of four batches has three, two for one process and one for the other."""


@dataclass(frozen=True)
class Bench:
    """Where commands run."""

    top: Path
    environment: dict[str, str]

    def words(self, out: Path | str, **options: object) -> list[str]:
        given = {**SETTINGS, "dies_by": self.top / "dies", "out": out, **options}
        named = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
        return ["train", "tiny", str(self.top / "data"), "--near-duplicates=false", *named]

    def start(self, *words: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", *words],
            env=self.environment,
            cwd=cwd,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        process = self.start("cvtl", *words)
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def left(self) -> list[str]:
        """The commands that still run, among them the processes that prepare samples."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(self.top / "data") in command:
                found.append(command)
        return found


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, tiny_site: Path) -> Bench:
    top = tmp_path_factory.mktemp("distributed")
    for index, sample in enumerate(make_data(PICTURES)):
        folder = top / "data" / CLASSES[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / sample.name), sample.read())
    paths = [str(Path(__file__).parent), str(tiny_site), *sys.path]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"}
    return Bench(top, environment)


@pytest.fixture(scope="module")
def killed(bench: Bench) -> subprocess.CompletedProcess[str]:
    """A training of which process 1 was killed in the middle of its second epoch."""
    (bench.top / "dies").write_text("1 6")
    return bench.run(*bench.words(bench.top / "run", devices=2))


@pytest.fixture(scope="module")
def resumed(bench: Bench, killed: subprocess.CompletedProcess[str]) -> Path:
    """The same training, to its end."""
    again = bench.run(*bench.words(bench.top / "run", devices=2), "--resume")
    assert again.returncode == 0, again.stderr
    return bench.top / "run"


@pytest.fixture(scope="module")
def on_two_machines(bench: Bench, killed: subprocess.CompletedProcess[str]) -> Path:
    """The same training without a break, started by torchrun on each of two machines, which share no folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    machines = []
    for number in (0, 1):
        folder = bench.top / f"machine-{number}"
        folder.mkdir()
        torchrun = ["torch.distributed.run", "--nnodes=2", f"--node-rank={number}", "--nproc-per-node=1"]
        place = ["--master-addr=127.0.0.1", f"--master-port={port}", "-m", "cvtl"]
        machines.append(bench.start(*torchrun, *place, *bench.words("run", num_nodes=2), cwd=folder))
    for machine in machines:
        _, err = machine.communicate(timeout=300)
        assert machine.returncode == 0, err
    assert not list((bench.top / "machine-1").iterdir())
    return bench.top / "machine-0" / "run"


def last_weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]


def metrics(folder: Path) -> list[dict[str, float]]:
    with open(folder / "metrics.csv") as stream:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(stream)]


def test_a_killed_process_ends_all_with_one_message(bench: Bench, killed: subprocess.CompletedProcess[str]) -> None:
    assert killed.returncode == 1
    errors = [line for line in killed.stderr.splitlines() if line.startswith("cvtl: ")]
    assert len(errors) == 1, killed.stderr
    assert "process 1 of the training was ended from outside by signal 9" in errors[0]
    assert "Traceback" not in killed.stderr
    # Those that prepare samples look for the one that they work for every five seconds.
    end = time.monotonic() + 30
    while bench.left() and time.monotonic() < end:
        time.sleep(0.1)
    assert not bench.left()


def test_two_processes_come_to_the_weights_of_one(bench: Bench, resumed: Path, tmp_path: Path) -> None:
    settings = TrainSettings(**SETTINGS, near_duplicates=False)
    options = {"dies_by": str(bench.top / "dies")}
    train_plugin("tiny", bench.top / "data", tmp_path / "one", options=options, settings=settings, quiet=True)
    one, two = last_weights(tmp_path / "one"), last_weights(resumed)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-5, msg=name)
    for alone, together in zip(metrics(tmp_path / "one"), metrics(resumed), strict=True):
        assert together == pytest.approx(alone, rel=1e-5)


def test_a_killed_and_resumed_training_is_an_uninterrupted_one_to_the_bit(resumed: Path, on_two_machines: Path) -> None:
    one, two = last_weights(resumed), last_weights(on_two_machines)
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    for name in ("best.safetensors", "metrics.csv"):
        assert (resumed / name).read_bytes() == (on_two_machines / name).read_bytes()


def test_an_error_in_one_process_ends_all_with_its_message(bench: Bench) -> None:
    failed = bench.run(*bench.words(bench.top / "bad", devices=2, bad_sample=3))
    assert failed.returncode == 1
    errors = [line for line in failed.stderr.splitlines() if line.startswith("cvtl: ")]
    assert len(errors) == 1, failed.stderr
    assert "cannot read" in errors[0]
    assert "Traceback" not in failed.stderr


class Numbers(list):  # type: ignore[type-arg]
    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:  # type: ignore[override]
        return torch.zeros(1), index


def test_processes_share_out_the_batches_of_one() -> None:
    samples = Numbers(range(11))

    def batches(process: int, processes: int) -> list[list[int]]:
        loading = Loading(4, 0, False, process, processes)
        return [targets for _, targets in training_batches(samples, loading, seed=1, epoch=2)]

    whole, parts = batches(0, 1), [batches(process, 3) for process in range(3)]
    assert [list(chain(*each)) for each in zip(*parts, strict=True)] == whole


def test_a_process_without_a_sample_of_a_batch_takes_one_that_does_not_count() -> None:
    parts = [training_batches(Numbers(range(2)), Loading(4, 0, False, each, 3), seed=0, epoch=0) for each in range(3)]
    assert [len(targets) for part in parts for _, targets in part] == [1, 1, 1]
    assert [part.parts[0].count for part in parts] == [1, 1, 0]


def test_processes_take_turns_at_whole_validation_batches() -> None:
    def batches(process: int) -> list[list[int]]:
        return [
            targets for _, targets in validation_batches(Numbers(range(9)), Loading(2, 0, False, process, 2), seed=0)
        ]

    assert batches(0) == [[0, 1], [4, 5], [8]]
    assert batches(1) == [[2, 3], [6, 7]]


def test_processes_with_other_data_are_refused(tmp_path: Path) -> None:
    console = Console(quiet=True)

    def open_run(processes: Threads) -> None:
        data = make_data(50 - processes.number), make_data(9)
        settings = TrainSettings(devices=2, workers=processes.number)
        TrainRun.open(tmp_path, make_model(), *data, settings, resume=False, console=console, processes=processes)

    with pytest.raises(TrainingError, match=r"process 1 of the training has .* than process 0: the train data differ"):
        in_threads(2, open_run)


def test_processes_that_make_other_samples_are_refused() -> None:
    with pytest.raises(TrainingError, match="differ in how many samples they train on in epoch 1: 4, 5"):
        in_threads(2, lambda each: each.agree_on(4 + each.number, "how many samples they train on in epoch 1"))


@pytest.fixture
def one_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is the first of two, of which the other was never started."""
    for name, value in {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 2, OUR_LAUNCH: 1}.items():
        monkeypatch.setenv(name, str(value))


def test_a_training_with_nothing_to_share_says_so_at_once(tmp_path: Path, one_of_two: None) -> None:
    class Solved(TinyModel):
        def why_alone(self) -> str:
            return "it is solved at once"

    model = Solved.initialize(make_model().options, CLASSES)
    with pytest.raises(UsageError, match=r"cannot share this training out: it is solved at once. Leave out --devices"):
        train_tiny(tmp_path / "run", model=model, devices=2)
    assert not (tmp_path / "run").exists()


def test_a_plugin_that_shares_nothing_out_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(TinyModel):
        def fit(self, *arguments: object) -> None:
            arguments[-1].record(self, {"val_loss": 1.0})  # type: ignore[attr-defined]

    monkeypatch.setattr(Processes, "count", property(lambda self: 2, lambda self, value: None), raising=False)
    for name, alone in {"lead": lambda self, decide: decide(), "gather": lambda self, value: [value]}.items():
        monkeypatch.setattr(Processes, name, alone)
    with pytest.warns(CvtlWarning, match="'tiny' did not share this training out"):
        train_tiny(tmp_path / "run", model=Own.initialize(make_model().options, CLASSES), epochs=1)


def test_a_batch_smaller_than_the_processes_is_refused(tmp_path: Path, one_of_two: None) -> None:
    with pytest.raises(UsageError, match="a batch of 1 cannot be shared out among 2 processes"):
        train_tiny(tmp_path / "run", devices=2, batch_size=1)


def test_more_devices_than_there_are_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError, match=r"--devices 2 are more CUDA devices than there are: 1"):
        joined(Place(1, 2, 1), TrainSettings(devices=2)).__enter__()

"""What a training computes, writes and says."""

from __future__ import annotations

import csv
import logging
import math
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
import yaml
from tiny_training import (
    CLASSES,
    TinyModel,
    TinySamples,
    make_data,
    make_model,
    train_tiny,
)
from torch import Tensor

from cvtl import weights
from cvtl.data import Dataset
from cvtl.errors import DataError, OutputError, TrainingError, UsageError
from cvtl.preprocessing import normalize
from cvtl.training import TrainSettings, train
from cvtl.training.folder import TrainRun
from cvtl.training.samples import RandomStream, seed_all

FILES = {"config.yaml", "metrics.csv", "best.safetensors", "last.ckpt", "curves.png", "report.md"}


class Scripted(TinyModel):
    """Fits itself, by reading its validation loss from a script."""

    script: tuple[float, ...] = ()

    def fit(self, train_data: Dataset, val_data: Dataset, settings: TrainSettings, run: TrainRun) -> None:
        for loss in self.script:
            if run.is_over:
                return
            torch.nn.init.constant_(self.head.bias, loss)
            run.record(self, {"val_loss": loss})


class Flat(TinyModel):
    """Never gets better."""

    monitor = ("val_accuracy", "max")

    def measure(self, images: Tensor, targets: Sequence[Any]) -> Mapping[str, Tensor]:
        return {"accuracy": torch.tensor(0.5)}


def scripted(*losses: float) -> Scripted:
    model = Scripted.initialize(make_model().options, CLASSES)
    model.script = losses
    return model


def read_metrics(folder: Path) -> list[dict[str, float]]:
    with open(folder / "metrics.csv") as stream:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(stream)]


def last_weights(folder: Path) -> dict[str, Tensor]:
    return torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]


def test_training_equals_a_plain_loop(tmp_path: Path) -> None:
    """The same steps without Lightning, workers, schedules as objects or means on the device."""
    epochs, batch_size, rate = 2, 16, 1e-3
    data, val_data = make_data(50), make_data(20, first=1000)
    # The memory format decides which pixel dropout's next random number is for.
    model = make_model(seed=3).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-4)
    expected = []
    for epoch in range(epochs):
        mined = int(model.head.weight.sum().mul(1e3).long()) % 16
        samples = TinySamples(data, mined, None)
        order = torch.randperm(50, generator=torch.Generator().manual_seed(3 + epoch)).tolist()
        batches = [order[start : start + batch_size] for start in range(0, 50, batch_size)]
        total = 0.0
        model.train()
        for step, batch in enumerate(batches):
            items = []
            for index in batch:
                seed_all(3, RandomStream.TRAIN_SAMPLE, epoch, index)
                items.append(samples[index])
            seed_all(3, RandomStream.STEP, epoch, step)
            images = normalize(model.augment(torch.stack([image for image, _ in items])), model.input)
            images = images.to(memory_format=torch.channels_last)
            loss = sum(model.loss(images, [target for _, target in items]).values())
            progress = (epoch + step / len(batches)) / epochs
            optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * progress))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        expected.append(total / 50)

    train_tiny(tmp_path / "run", epochs=epochs, seed=3)

    for name, value in model.state_dict().items():
        torch.testing.assert_close(last_weights(tmp_path / "run")[f"model.{name}"], value, rtol=1e-5, atol=1e-6)
    assert [row["train_loss"] for row in read_metrics(tmp_path / "run")] == pytest.approx(expected, rel=1e-5)

    model.eval()
    samples = TinySamples(val_data, 0, None)
    items = []
    for index in range(20):
        seed_all(3, RandomStream.VAL_SAMPLE, index)
        items.append(samples[index])
    images = normalize(torch.stack([image for image, _ in items]), model.input)
    accuracy = model.measure(images, [target for _, target in items])["accuracy"].item()
    # 16 samples and 4: a mean of the batches' means would be another figure.
    assert read_metrics(tmp_path / "run")[-1]["val_accuracy"] == pytest.approx(accuracy)


def test_a_training_learns(tmp_path: Path) -> None:
    report = train_tiny(tmp_path / "run", epochs=15, learning_rate=1e-2)
    assert report.metrics["val_accuracy"] >= 0.9


def test_the_same_seed_gives_the_same_weights_with_any_number_of_workers(tmp_path: Path) -> None:
    one = train_tiny(tmp_path / "one", workers=0).weights.read_bytes()
    two = train_tiny(tmp_path / "two", workers=2).weights.read_bytes()
    assert one == two
    assert (tmp_path / "one/metrics.csv").read_bytes() == (tmp_path / "two/metrics.csv").read_bytes()


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    train_tiny(tmp_path / "one", epochs=1)
    model = make_model(0)
    train_tiny(tmp_path / "two", epochs=1, seed=1, model=model)
    one, two = last_weights(tmp_path / "one"), last_weights(tmp_path / "two")
    assert not torch.equal(one["model.head.weight"], two["model.head.weight"])


def test_a_model_that_comes_in_evaluation_mode_is_trained_all_the_same(tmp_path: Path) -> None:
    one = train_tiny(tmp_path / "one", epochs=1).weights.read_bytes()
    assert train_tiny(tmp_path / "two", epochs=1, model=make_model().eval()).weights.read_bytes() == one


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop"])
@pytest.mark.parametrize("schedule", ["plateau", "constant"])
def test_every_optimizer_and_schedule_trains(tmp_path: Path, optimizer: str, schedule: str) -> None:
    train_tiny(tmp_path / "run", optimizer=optimizer, schedule=schedule, epochs=2, learning_rate=3e-3)
    rows = read_metrics(tmp_path / "run")
    assert rows[1]["train_loss"] < rows[0]["train_loss"]
    assert rows[1]["learning_rate"] == 3e-3


def test_the_best_epoch_is_kept(tmp_path: Path) -> None:
    report = train_tiny(tmp_path / "run", model=scripted(0.5, 0.2, 0.4), epochs=3)
    assert (report.best_epoch, report.epochs, report.stopped_early) == (2, 3, False)
    assert report.metrics == {"val_loss": 0.2}
    header = weights.read_header(report.weights)
    assert header.metrics == {"val_loss": 0.2}
    assert weights.load(report.weights).head.bias.tolist() == pytest.approx([0.2, 0.2])


def test_of_equally_good_epochs_the_first_is_kept(tmp_path: Path) -> None:
    assert train_tiny(tmp_path / "run", model=scripted(0.5, 0.2, 0.2), epochs=3).best_epoch == 2


@pytest.mark.parametrize(
    ("losses", "patience", "epochs"),
    [
        ((0.5, 0.6, 0.6, 0.1), 2, 3),
        ((0.5, 0.6, 0.4, 0.5, 0.5, 0.1), 2, 5),
        ((0.5, 0.5, 0.1), 1, 2),
        ((0.5, 0.6, 0.6, 0.6), None, 4),
    ],
)
def test_patience_ends_a_training(tmp_path: Path, losses: tuple[float, ...], patience: int | None, epochs: int) -> None:
    report = train_tiny(tmp_path / "run", model=scripted(*losses), epochs=len(losses), patience=patience)
    assert report.epochs == epochs
    assert report.stopped_early == (epochs < len(losses))


def test_patience_ends_the_loop_and_the_report_says_so(tmp_path: Path) -> None:
    model = Flat.initialize(make_model().options, CLASSES)
    report = train_tiny(tmp_path / "run", model=model, epochs=9, patience=2)
    assert (report.epochs, report.best_epoch, report.stopped_early) == (3, 1, True)
    assert "stopped early after 2 epochs" in (tmp_path / "run/report.md").read_text()


def test_the_folder_holds_what_it_should_and_nothing_else_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    train_tiny(tmp_path / "run", epochs=1)
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES
    assert list((tmp_path / "here").iterdir()) == []


def test_the_weights_say_where_they_come_from(tmp_path: Path) -> None:
    report = train_tiny(tmp_path / "run", seed=7)
    header = weights.read_header(report.weights)
    assert (header.plugin, header.task, header.classes) == ("tiny", "classify", CLASSES)
    assert (header.seed, header.licence, header.data_digest) == (7, "CC0-1.0", make_data(50).digest())
    assert header.metrics["val_accuracy"] == pytest.approx(report.metrics["val_accuracy"], abs=1e-6)
    assert "train_loss" not in header.metrics


def test_the_configuration_names_everything_the_result_depends_on(tmp_path: Path) -> None:
    train_tiny(tmp_path / "run", epochs=1, options={"dropout": 0.1})
    config = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert config["plugin"] == "tiny"
    assert config["options"]["dropout"] == 0.1
    assert config["settings"] == TrainSettings(epochs=1, batch_size=16, workers=0, device="cpu").model_dump()
    assert config["data"]["train"] == {
        "root": "nowhere", "format": "made", "samples": 50, "digest": make_data(50).digest()
    }  # fmt: skip
    assert config["data"]["val"]["samples"] == 20
    assert config["classes"] == list(CLASSES)


def test_metrics_have_a_line_per_epoch_with_rates_losses_and_measures(tmp_path: Path) -> None:
    train_tiny(tmp_path / "run", epochs=4)
    rows = read_metrics(tmp_path / "run")
    assert list(rows[0]) == ["epoch", "learning_rate", "train_loss", "val_loss", "val_accuracy"]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    expected = [1e-3 * (1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in range(4)]
    assert [row["learning_rate"] for row in rows] == pytest.approx(expected)


@pytest.mark.parametrize("epochs", [1, 5])
def test_curves_are_a_picture_with_a_plot_per_figure(tmp_path: Path, epochs: int) -> None:
    train_tiny(tmp_path / "run", epochs=epochs)
    picture = cv2.imread(str(tmp_path / "run/curves.png"))
    height, width = picture.shape[:2]
    assert width > 2 * height
    assert picture.std() > 5


def test_the_report_names_results_and_the_command_that_uses_them(tmp_path: Path) -> None:
    report = train_tiny(tmp_path / "run", epochs=2)
    text = (tmp_path / "run/report.md").read_text()
    assert f"cvtl run classify PICTURES --weights {report.weights}" in text
    assert f"| val_loss | {report.metrics['val_loss']:.6g} |" in text
    assert f"Epoch {report.best_epoch} was the best by val_loss" in text
    assert "50 samples of 'nowhere'" in text


def test_every_epoch_is_a_line_on_standard_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    train_tiny(tmp_path / "run", epochs=2, quiet=False)
    out, err = capfd.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert [line.split()[1] for line in lines] == ["1/2", "2/2"]
    assert all("val_accuracy" in line for line in lines)


def test_a_quiet_training_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    train_tiny(tmp_path / "run", epochs=1, workers=2)
    assert capfd.readouterr() == ("", "")


def test_a_training_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    def state() -> tuple[object, ...]:
        return (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_grad_enabled(),
            logging.getLogger("lightning.pytorch").level,
            signal.getsignal(signal.SIGINT),
            signal.getsignal(signal.SIGTERM),
        )

    train_tiny(tmp_path / "zero", epochs=1)  # Importing Lightning sets its loggers' levels.
    before = state()
    train_tiny(tmp_path / "one", epochs=1)
    with pytest.raises(TrainingError):
        train_tiny(tmp_path / "two", options={"nan_from_epoch": 0})
    assert state() == before


def test_a_loss_that_is_no_number_ends_the_training_and_the_best_weights_are_kept(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"train_loss became nan in epoch 3; .*epoch 2 .*smaller --learning-rate"):
        train_tiny(tmp_path / "run", epochs=5, options={"nan_from_epoch": 2})
    assert len(read_metrics(tmp_path / "run")) == 2
    assert weights.load(tmp_path / "run/best.safetensors").head.weight.isfinite().all()


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried", "memory ran out in epoch 1 with 16"),
        ("DataLoader worker (pid(s) 5, 6) exited unexpectedly", "a process that prepares samples was ended"),
    ],
)
def test_errors_of_torch_that_a_user_can_do_something_about_are_explained(
    tmp_path: Path, message: str, expected: str
) -> None:
    with pytest.raises(TrainingError, match=expected):
        train_tiny(tmp_path / "run", options={"error_in_step": message})


def test_other_errors_pass_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"^a mistake in a plugin$"):
        train_tiny(tmp_path / "run", options={"error_in_step": "a mistake in a plugin"})


@pytest.mark.parametrize("workers", [0, 2])
def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path, workers: int) -> None:
    with pytest.raises(DataError) as caught:
        train_tiny(tmp_path / "run", options={"bad_sample": 30}, workers=workers)
    assert str(caught.value) == "cannot read '30.png'. Remove it."


@pytest.mark.parametrize(("train_count", "val_count", "part"), [(0, 20, "training"), (50, 0, "validation")])
def test_empty_data_are_refused(tmp_path: Path, train_count: int, val_count: int, part: str) -> None:
    settings = TrainSettings(device="cpu", workers=0)
    with pytest.raises(DataError, match=f"the {part} data are empty"):
        train(make_model(), make_data(train_count), make_data(val_count), settings, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_data_without_samples_are_refused(tmp_path: Path) -> None:
    class Blind(TinyModel):
        def validation_samples(self, data: Dataset, *, seed: int) -> Sequence[tuple[Tensor, Any]]:
            return []

    with pytest.raises(DataError, match="no samples to validate on"):
        train_tiny(tmp_path / "run", model=Blind.initialize(make_model().options, CLASSES))


def test_a_monitored_figure_that_is_not_measured_is_named(tmp_path: Path) -> None:
    class Lost(TinyModel):
        monitor = ("val_beauty", "max")

    with pytest.raises(TrainingError, match=r"monitors 'val_beauty', which is none of learning_rate, .*val_accuracy"):
        train_tiny(tmp_path / "run", model=Lost.initialize(make_model().options, CLASSES))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": "cuda:99"}, "device 'cuda:99' cannot be used"),
        ({"device": "toaster"}, "device 'toaster' cannot be used"),
        ({"precision": "float16"}, "the CPU cannot train in float16"),
    ],
)
def test_a_device_that_cannot_do_it_is_refused_and_the_folder_stays_free(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        train_tiny(tmp_path / "run", **changes)
    assert train_tiny(tmp_path / "run", epochs=1).epochs == 1


def test_bfloat16_trains_on_the_cpu(tmp_path: Path) -> None:
    report = train_tiny(tmp_path / "run", epochs=2, precision="bfloat16")
    assert weights.load(report.weights).head.weight.dtype == torch.float32


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"config\.yaml"):
        train_tiny(tmp_path / "file/run")


def test_importing_training_imports_neither_torch_nor_lightning() -> None:
    code = "import sys, cvtl.training; print({'torch', 'lightning', 'matplotlib'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in TrainSettings.model_fields.values())


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["auto", "float32", "float16"])
def test_the_same_seed_gives_the_same_weights_on_a_gpu(tmp_path: Path, precision: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")

    class OnDevice(TinyModel):
        def loss(self, images: Tensor, targets: Sequence[Any]) -> dict[str, Tensor]:
            return {"entropy": torch.nn.functional.cross_entropy(self(images), torch.tensor(targets).to(images.device))}

        def measure(self, images: Tensor, targets: Sequence[Any]) -> Mapping[str, Tensor]:
            return {}

        def augment(self, images: Tensor) -> Tensor:
            return images ^ torch.randint(0, 8, images.shape, dtype=torch.uint8, device=images.device)

    files = []
    for name in ("one", "two"):
        seed_all(0)
        model = OnDevice.initialize(make_model().options, CLASSES)
        report = train_tiny(tmp_path / name, model=model, device="cuda", precision=precision, workers=2)
        files.append(report.weights.read_bytes())
    assert files[0] == files[1]

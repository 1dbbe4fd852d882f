"""The Lightning loop over any model. Importing it imports Lightning, which takes seconds."""

from __future__ import annotations

import io
import logging
import os
import pickle
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from cvtl.devices import choose_device, is_out_of_memory
from cvtl.errors import OutputError, TrainingError, UsageError
from cvtl.files import write_atomically
from cvtl.preprocessing import normalize
from cvtl.training.folder import CHECKPOINT_NAME
from cvtl.training.optimizers import make_optimizer
from cvtl.training.processes import Processes
from cvtl.training.samples import Batch, Batches, Loading, RandomStream, seed_all, training_batches, validation_batches
from cvtl.training.schedule import rate_factor
from cvtl.training.whole_batch import computing

if TYPE_CHECKING:
    from cvtl.data import Dataset
    from cvtl.model import Model
    from cvtl.training.folder import TrainRun
    from cvtl.training.settings import TrainSettings

_EPOCHS_DONE = "cvtl_epochs_done"
_STEPS_BETWEEN_CHECKS = 50


def fit(model: Model, train_data: Dataset, val_data: Dataset, settings: TrainSettings, run: TrainRun) -> None:
    """Minimise `model.loss` over the training data, epoch by epoch, and book each in the run.

    Goes on from the run's checkpoint if there is one. Puts the model into training mode: modules that are to stay in
    evaluation mode (frozen batch normalisation) see to it in their `train`, as `cvtl.backbones.Backbone` does.
    Arguments and errors are those of `cvtl.training.train`.
    """
    checkpoint = run.folder / CHECKPOINT_NAME
    processes, goes_on = run.processes, run.goes_on
    if goes_on:
        run.restore(processes.lead(lambda: _epochs_done(checkpoint)))
    if run.is_over:
        return
    run.shared_out = True
    processes.start_alike(model)
    device = choose_device(settings.device)
    with _quiet(), _deterministic(), _progress(run) as progress:
        trainer = Trainer(
            accelerator=device.type,
            devices=[device.index or 0] if device.type == "cuda" else 1,
            precision=_precision(settings.precision, device),
            # Said here, because otherwise Lightning takes a batch queue's variables for a request to work with them.
            plugins=[LightningEnvironment(), _AtomicCheckpointIO(processes)],
            max_epochs=settings.epochs,
            reload_dataloaders_every_n_epochs=1,
            num_sanity_val_steps=0,
            # Tensors that a model keeps from validation (anchors, say) must be usable in training.
            inference_mode=False,
            default_root_dir=run.folder,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        loop = _Loop(model, train_data, val_data, settings, run, progress, pin=device.type == "cuda")
        try:
            trainer.fit(loop, ckpt_path=checkpoint if goes_on else None, weights_only=True)
        except Exception as error:
            explained = _explain(error, settings, epoch=len(run.history) + 1)
            if explained is None:
                raise
            raise explained from error
        finally:
            loop.close()


class _Loop(LightningModule):
    """What Lightning is told about a training. All its state is the model, the optimizer and the run's history."""

    def __init__(
        self,
        model: Model,
        train_data: Dataset,
        val_data: Dataset,
        settings: TrainSettings,
        run: TrainRun,
        progress: Progress,
        *,
        pin: bool,
    ) -> None:
        super().__init__()
        self.model = model.train().to(memory_format=torch.channels_last)
        self.train_data = train_data
        self.val_data = val_data
        self.settings = settings
        self.run = run
        self.progress = progress
        self.bar = progress.add_task("preparing", total=None)
        self.processes = run.processes
        self.loading = Loading(settings.batch_size, settings.workers, pin, self.processes.number, self.processes.count)
        self.train_batches: tuple[int, Batches] | None = None
        self.val_batches: Batches | None = None
        self.train_means = _Means()
        self.val_means = _Means()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        # `factor` is ours: torch keeps it, in checkpoints too.
        parameters = [{"params": each, "factor": factor} for factor, each in self.model.parameter_groups()]
        return make_optimizer(parameters, self.settings)

    def train_dataloader(self) -> Batches:
        epoch, seed = len(self.run.history), self.settings.seed
        # After a resumption Lightning asks twice for the same epoch, and samples may be costly (hard negatives).
        if self.train_batches is None or self.train_batches[0] != epoch:
            seed_all(seed, RandomStream.TRAIN_SAMPLES, epoch)
            with _evaluating(self.model):
                samples = self.model.training_samples(self.train_data, epoch=epoch, seed=seed)
            # Who has more batches than others would wait for them without end.
            self.processes.agree_on(len(samples), f"how many samples they train on in epoch {epoch + 1}")
            self.train_batches = epoch, training_batches(samples, self.loading, seed=seed, epoch=epoch)
        return self.train_batches[1]

    def val_dataloader(self) -> Batches:
        if self.val_batches is None:
            seed = self.settings.seed
            seed_all(seed, RandomStream.VAL_SAMPLES)
            with _evaluating(self.model):
                samples = self.model.validation_samples(self.val_data, seed=seed)
            self.val_batches = validation_batches(samples, self.loading, seed=seed)
        return self.val_batches

    def close(self) -> None:
        """End the worker processes, if any are left."""
        for batches in (self.val_batches, self.train_batches and self.train_batches[1]):
            if batches is not None:
                batches.close()

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        images, targets = batch
        # Targets are whatever the plugin made them: it moves what it needs.
        return images.to(device, non_blocking=True), targets

    def on_train_epoch_start(self) -> None:
        # Both here: where others have all validation batches, nothing else is called of a validation.
        self.train_means, self.val_means = _Means(), _Means()
        title = f"epoch {len(self.run.history) + 1}/{self.run.epochs}"
        self.progress.reset(self.bar, total=self.trainer.num_training_batches, description=title)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self.run.interrupts.check()
        for group in self.optimizers(use_pl_optimizer=False).param_groups:  # type: ignore[union-attr]
            group["lr"] = group["factor"] * self._learning_rate(batch_idx / self.trainer.num_training_batches)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, targets = batch
        assert self.train_batches is not None
        part = self.train_batches[1].parts[batch_idx]
        seed_all(self.settings.seed, RandomStream.STEP, len(self.run.history), batch_idx)
        with computing(part, self.processes):
            figures = self._assess(self._normalized(self.model.augment(images)), targets, training=True)
        self.train_means.add({f"train_{name}": value for name, value in figures.items()}, part.count)
        # Looking at a figure makes the device wait, so not at every step.
        if part.count and batch_idx % _STEPS_BETWEEN_CHECKS == 0:
            self.run.check_finite("train_loss", self.train_means.result()["train_loss"])
        return figures["loss"] * part.share

    def on_after_backward(self) -> None:
        groups = self.optimizers(use_pl_optimizer=False).param_groups  # type: ignore[union-attr]
        self.processes.add_gradients([parameter for group in groups for parameter in group["params"]])

    def on_train_batch_end(self, outputs: object, batch: Batch, batch_idx: int) -> None:
        self.model.after_step()
        self.progress.advance(self.bar)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.run.interrupts.check()
        images, targets = batch
        seed_all(self.settings.seed, RandomStream.VAL_STEP, batch_idx * self.processes.count + self.processes.number)
        figures = self._assess(self._normalized(images), targets, training=False)
        self.val_means.add({f"val_{name}": value for name, value in figures.items()}, len(images))

    def on_train_epoch_end(self) -> None:
        figures = {
            "learning_rate": self._learning_rate(0.0),
            **self.train_means.result(self.processes),
            **self.val_means.result(self.processes),
        }
        self.run.record(self.model, figures)
        self.trainer.should_stop = self.run.is_over
        # After the best weights and the metrics: what the checkpoint counts as done must be on disk.
        if self.processes.leads:
            self.trainer.save_checkpoint(self.run.folder / CHECKPOINT_NAME)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[_EPOCHS_DONE] = len(self.run.history)

    def _learning_rate(self, fraction: float) -> float:
        run, settings = self.run, self.settings
        progress = len(run.history) + fraction
        return settings.learning_rate * rate_factor(
            settings.schedule, progress, settings.epochs, run.monitored, run.mode
        )

    def _normalized(self, images: Tensor) -> Tensor:
        return normalize(images, self.model.input).contiguous(memory_format=torch.channels_last)

    def _assess(self, images: Tensor, targets: list[Any], *, training: bool) -> dict[str, Tensor]:
        terms, figures = self.model.assess(images, targets, training=training)
        return {"loss": torch.stack(list(terms.values())).sum(), **figures}


class _Means:
    """Means over samples of what is known per batch or per sample; sums stay on the device until they are asked for."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor | int] = {}

    def add(self, values: Mapping[str, Tensor], count: int) -> None:
        if not count:
            return
        for name, value in values.items():
            value = value.detach().float()
            total, known = (value * count, count) if value.ndim == 0 else (value.nansum(), (~value.isnan()).sum())
            self._sums[name] = self._sums.get(name, 0.0) + total
            self._counts[name] = self._counts.get(name, 0) + known

    def result(self, processes: Processes | None = None) -> dict[str, float]:
        """The means over this process's samples, or over those of all."""
        own = {name: (float(total), int(self._counts[name])) for name, total in self._sums.items()}
        said = [own] if processes is None else processes.gather(own)
        # What a process has no samples of, it has no names for.
        names = max(said, key=len)
        sums = {name: [each.get(name, (0.0, 0)) for each in said] for name in names}
        totals = {name: [sum(column) for column in zip(*each, strict=True)] for name, each in sums.items()}
        return {name: total / count if count else nan for name, (total, count) in totals.items()}


class _AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and moves it there; Lightning's own passes through the system's /tmp.

    The leading process alone has the file, which may lie on a disk that others do not see: it tells them what is in it.
    """

    def __init__(self, processes: Processes) -> None:
        super().__init__()
        self._processes = processes

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        source: Any = path
        if self._processes.count > 1:
            source = io.BytesIO(self._processes.lead(Path(path).read_bytes))
        loaded: dict[str, Any] = torch.load(source, map_location="cpu", weights_only=True)
        return loaded

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_atomically(path, content.getvalue())


def _epochs_done(checkpoint: Path) -> int:
    try:
        # Mapped, so that nothing but this number is read; plain data only, so that nothing is executed.
        content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        return int(content[_EPOCHS_DONE])
    except (RuntimeError, OSError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise OutputError(
            f"cannot go on from '{checkpoint}': it is damaged, or not a checkpoint of cvtl's",
            hint="Start anew in another folder with --out",
        ) from error


def _precision(name: str, device: torch.device) -> Literal["32-true", "bf16-mixed", "16-mixed"]:
    if name == "auto":
        # Elsewhere it does not pay: CPUs without matrix units for it emulate bfloat16.
        good = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        name = "bfloat16" if good else "float16" if device.type == "cuda" else "float32"
    if name == "float16" and device.type == "cpu":
        raise UsageError("the CPU cannot train in float16", hint="Use --precision bfloat16 or float32")
    if name == "float32":
        return "32-true"
    return "bf16-mixed" if name == "bfloat16" else "16-mixed"


def _explain(error: Exception, settings: TrainSettings, *, epoch: int) -> TrainingError | None:
    """What an error of torch's means, where it is one that a user can do something about."""
    if is_out_of_memory(error):
        return TrainingError(
            f"memory ran out in epoch {epoch} with {settings.batch_size} samples a batch",
            hint="Train anew with a smaller --batch-size",
        )
    if isinstance(error, RuntimeError) and "DataLoader worker" in str(error) and "exited unexpectedly" in str(error):
        return TrainingError(
            f"a process that prepares samples was ended from outside in epoch {epoch}, as for want of memory",
            hint="Go on with --resume and fewer --workers, down to 0",
        )
    return None


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards each module is in the mode it was in, frozen ones too."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's tips and reports on the hardware."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _deterministic() -> Iterator[None]:
    """Deterministic algorithms wherever torch has them; where it has none, the usual one in silence."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation")
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def _progress(run: TrainRun) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=run.console,
        transient=True,
        disable=run.console.quiet or not run.console.is_terminal,
    )

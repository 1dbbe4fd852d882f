"""Heads of a classifier, and how each is fitted on features that are known already.

Whatever the head, at prediction it is a chain of plain layers from features to logits.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvtl.errors import DataError, TrainingError
from cvtl.training.optimizers import make_optimizer
from cvtl.training.samples import RandomStream, seed_all
from cvtl.training.schedule import rate_factor
from cvtl.training.settings import TrainSettings
from cvtl_classify.options import Head
from cvtl_classify.recipes import Recipe

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
OnEpoch = Callable[[nn.Sequential, dict[str, float]], bool]

MLP_UNITS = 256
# Deviations below this part of a feature's size are rounding: the feature is constant.
_CONSTANT = 1e-5
# Multiplications in a step from which on several threads pay; below, waiting for one another can take all the time.
_THREADED_WORK = 2**25
# Rows whose logits are computed together where there may be ten thousand classes.
_ROWS = 2048


class Standardization(nn.Module):
    """Brings every feature to mean 0 and deviation 1 on the training pictures; a new one changes nothing.

    Args:
        width: D, the number of features.

    Example:
        >>> standardization = Standardization(2)
        >>> standardization.adapt(torch.tensor([[1.0, 7.0], [3.0, 7.0]]))
        >>> standardization(torch.tensor([[4.0, 8.0]])).tolist()
        [[2.0, 1.0]]
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    def forward(self, features: Tensor) -> Tensor:
        """Standardise features (N, D)."""
        return (features - self.mean) / self.deviation

    def adapt(self, features: Tensor) -> None:
        """Take mean and deviation from features (N, D); a constant one is shifted only."""
        deviation, mean = torch.std_mean(features, dim=0, correction=0)
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > _CONSTANT * (mean.abs() + _CONSTANT), deviation, 1.0))


@dataclass(frozen=True)
class Known:
    """Features that are known already, and what they are of.

    Attributes:
        features: float32 (N, D).
        labels: (N,), indices of classes.
    """

    features: Floats
    labels: Labels


def make_head(kind: Head, width: int, classes: int, recipe: Recipe) -> nn.Sequential:
    """A new head: `standardization`, then layers the last of which is called `logits`.

    Args:
        kind: `mlp` has a dense layer of 256 units (the lectures' classifier), the others have none.
        width: D, the number of features.
        classes: C, the number of classes.
        recipe: says how new layers start, and what dropout stands before the last.

    Example:
        >>> from cvtl_classify.options import ClassifyOptions
        >>> recipe = ClassifyOptions(head="mlp").used_recipe()
        >>> [name for name, _ in make_head("mlp", 512, 10, recipe).named_children()]
        ['standardization', 'dense', 'relu', 'dropout', 'logits']
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(standardization=Standardization(width))
    if kind == "mlp":
        layers |= {"dense": nn.Linear(width, MLP_UNITS), "relu": nn.ReLU()}
    if recipe.dropout > 0 and kind != "svm":
        layers["dropout"] = nn.Dropout(recipe.dropout)
    layers["logits"] = logits = nn.Linear(MLP_UNITS if kind == "mlp" else width, classes)
    # Random weights would stay in the directions that few pictures say nothing of: two points of accuracy on 300.
    nn.init.zeros_(logits.weight)
    nn.init.zeros_(logits.bias)
    head = nn.Sequential(layers)
    if recipe.he_init:
        start_as_he(head)
    return head


def start_as_he(network: nn.Module) -> None:
    """Draw the weights of dense and convolutional layers as in arXiv 1502.01852, equation 10; biases are 0."""
    for layer in network.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def fit_head(
    kind: Head,
    features: Floats,
    labels: Labels,
    classes: int,
    *,
    settings: TrainSettings,
    recipe: Recipe,
    validation: Known | None = None,
    on_epoch: OnEpoch | None = None,
    device: str | torch.device = "cpu",
) -> nn.Sequential:
    """Train a head on features.

    `linear` and `mlp` learn by gradient descent on minibatches or, with the optimizer `lbfgs`, on all pictures at once:
    a linear head then goes straight to its one optimum, that of softmax regression with weight decay, which takes the
    place of label smoothing. `svm` is solved (`cvtl_classify.svm`), which counts as one epoch. The same arguments give
    the same head. The global random generators are seeded.

    Args:
        kind: of head.
        features: float32 (N, D).
        labels: (N,), indices of classes; a class may have none.
        classes: C, the number of classes.
        settings: what counts is epochs, batch size, optimizer, learning rate, schedule, weight decay and seed.
        recipe: label smoothing, dropout, and how new layers start; `ClassifyOptions.used_recipe` gives it.
        validation: what to measure every epoch on.
        on_epoch: is given the head and the figures of every epoch: `learning_rate` (of minibatches), `train_loss`,
            `train_accuracy`, and `val_loss` and `val_accuracy` if there is something to validate on. The training is
            over if it says True.
        device: where to compute.

    Returns:
        What `make_head` makes, trained, in evaluation mode, on the device: features (N, D) to logits (N, C).

    Raises:
        DataError: the features are all of one class.
        TrainingError: the loss became infinite or not a number.
        UsageError: an SVM of so many pictures and classes would take hours.

    Example:
        >>> from cvtl_classify.recipes import RECIPES
        >>> features, labels = np.array([[0], [1], [2], [3]], np.float32), np.array([0, 0, 1, 1])
        >>> settings = TrainSettings(learning_rate=0.1)
        >>> head = fit_head("linear", features, labels, 2, settings=settings, recipe=RECIPES["modern"])
        >>> head(torch.from_numpy(features)).argmax(dim=1).tolist()
        [0, 0, 1, 1]
    """
    if len(np.unique(labels)) < 2:
        raise DataError("the pictures to train on are all of one class", hint="Add pictures of another one")
    seed_all(settings.seed, RandomStream.TRAIN_SAMPLES)
    head = make_head(kind, features.shape[1], classes, recipe).to(device)
    train = _on_device(Known(features, labels), device)
    val = None if validation is None else _on_device(validation, device)
    with torch.no_grad():
        head.get_submodule("standardization").adapt(train[0])  # type: ignore[operator]
    if kind == "svm":
        epochs = _solve(head, train, val, settings)
    elif settings.optimizer == "lbfgs":
        epochs = _descend_on_all(head, train, val, settings)
    else:
        epochs = _descend(head, train, val, settings, recipe)
    rows = len(labels) if settings.optimizer == "lbfgs" else settings.batch_size
    work = rows * head[-1].in_features * classes  # type: ignore[operator]
    with _threads(1 if work < _THREADED_WORK else torch.get_num_threads()):
        for figures in epochs:
            if on_epoch is not None and on_epoch(head, figures):
                break
    return head.eval()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _on_device(known: Known, device: str | torch.device) -> tuple[Tensor, Tensor]:
    return (
        torch.as_tensor(known.features, dtype=torch.float32, device=device),
        torch.as_tensor(known.labels, dtype=torch.int64, device=device),
    )


def _descend(
    head: nn.Sequential,
    train: tuple[Tensor, Tensor],
    val: tuple[Tensor, Tensor] | None,
    settings: TrainSettings,
    recipe: Recipe,
) -> Iterator[dict[str, float]]:
    """Minibatch gradient descent; gives the figures of each epoch."""
    features, labels = train
    optimizer = make_optimizer(head.parameters(), settings)
    monitored: list[float] = []
    for epoch in range(settings.epochs):
        seed_all(settings.seed, RandomStream.STEP, epoch)
        head.train()
        batches = torch.split(torch.randperm(len(labels)).to(labels.device), settings.batch_size)
        loss_sum, hits = features.new_zeros(()), features.new_zeros(())
        for step, batch in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = _rate(settings, epoch + step / len(batches), monitored)
            logits = head(features[batch])
            loss = F.cross_entropy(logits, labels[batch], label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            loss_sum += loss.detach() * len(batch)
            hits += (logits.detach().argmax(dim=1) == labels[batch]).sum()
        figures = {
            "learning_rate": _rate(settings, epoch, monitored),
            "train_loss": float(loss_sum) / len(labels),
            "train_accuracy": float(hits) / len(labels),
            **({} if val is None else _measure("val", head, val, recipe.label_smoothing)),
        }
        monitored.append(figures.get("val_loss", figures["train_loss"]))
        _check_finite(monitored[-1], epoch)
        yield figures


def _descend_on_all(
    head: nn.Sequential, train: tuple[Tensor, Tensor], val: tuple[Tensor, Tensor] | None, settings: TrainSettings
) -> Iterator[dict[str, float]]:
    """L-BFGS (Liu and Nocedal 1989); an epoch is one iteration, of one or two passes over all pictures."""
    # Done once: with few classes it takes about as long as all the rest of a pass.
    standardization, layers = head[0], head[1:]
    with torch.no_grad():
        features, labels = train = standardization(train[0]), train[1]
        val = None if val is None else (standardization(val[0]), val[1])
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=1, max_eval=10, line_search_fn="strong_wolfe")
    weights = [parameter for parameter in head.parameters() if parameter.ndim > 1]

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = settings.weight_decay / 2 * torch.stack([weight.square().sum() for weight in weights]).sum()
        total.backward()  # type: ignore[no-untyped-call]
        for some, their_labels in zip(torch.split(features, _ROWS), torch.split(labels, _ROWS), strict=True):
            error = F.cross_entropy(layers(some), their_labels, reduction="sum") / len(labels)
            error.backward()  # type: ignore[no-untyped-call]
            total = total + error.detach()
        return total.detach()

    for epoch in range(settings.epochs):
        seed_all(settings.seed, RandomStream.STEP, epoch)
        head.train()
        optimizer.step(loss)  # type: ignore[no-untyped-call]
        figures = _measure("train", layers, train, 0.0) | ({} if val is None else _measure("val", layers, val, 0.0))
        _check_finite(figures["train_loss"], epoch)
        yield figures


def _solve(
    head: nn.Sequential, train: tuple[Tensor, Tensor], val: tuple[Tensor, Tensor] | None, settings: TrainSettings
) -> Iterator[dict[str, float]]:
    """A linear SVM; gives the figures of what counts as its one epoch."""
    from cvtl_classify.svm import fit_svm

    features, labels = train
    logits: nn.Linear = head.get_submodule("logits")  # type: ignore[assignment]
    with torch.no_grad():
        standardised = head.get_submodule("standardization")(features)
        weight, bias = fit_svm(
            standardised.cpu().numpy(), labels.cpu().numpy(), logits.out_features, seed=settings.seed
        )
        logits.weight.copy_(torch.from_numpy(weight))
        logits.bias.copy_(torch.from_numpy(bias))
    yield _measure("train", head, train, 0.0) | ({} if val is None else _measure("val", head, val, 0.0))


def _rate(settings: TrainSettings, progress: float, losses: list[float]) -> float:
    return settings.learning_rate * rate_factor(settings.schedule, progress, settings.epochs, losses, "min")


@torch.no_grad()
def _measure(part: str, head: nn.Sequential, known: tuple[Tensor, Tensor], smoothing: float) -> dict[str, float]:
    """Loss and accuracy of a head as it predicts."""
    head.eval()
    loss_sum, hits = 0.0, 0
    for features, labels in zip(*(torch.split(each, _ROWS) for each in known), strict=True):
        logits = head(features)
        loss_sum += float(F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="sum"))
        hits += int((logits.argmax(dim=1) == labels).sum())
    count = len(known[1])
    return {f"{part}_loss": loss_sum / count, f"{part}_accuracy": hits / count}


def _check_finite(loss: float, epoch: int) -> None:
    if not np.isfinite(loss):
        raise TrainingError(
            f"the loss of the head became {loss} in epoch {epoch + 1}",
            hint="Train anew with a smaller --learning-rate",
        )

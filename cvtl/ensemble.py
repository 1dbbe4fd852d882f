"""Several weights that classify as one: the mean of their probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from pydantic import BaseModel, SerializeAsAny
from torch import Tensor, nn

from cvtl import weights
from cvtl.model import ComposedModel, Model
from cvtl.options import Options
from cvtl.progress import Progress
from cvtl.results import Classification, Result

if TYPE_CHECKING:
    from cvtl.data import Sample


class EnsembleOptions(Options):
    """The members' options, in order."""

    members: tuple[SerializeAsAny[BaseModel], ...]


class Ensemble(ComposedModel):
    """Classifiers whose probabilities are averaged, class by class (Krizhevsky et al. 2012, section 6: five networks).

    Each member brings pictures to its own input. Plugin, order of the classes, and how many of them rows name are
    the first member's. It predicts and does not learn.

    Args:
        members: at least one; all know the same classes, in any order.
    """

    options: EnsembleOptions

    def __init__(self, members: Sequence[Model]) -> None:
        first = members[0]
        super().__init__(_options_of(members), first.classes, first.input)
        # No plugin of its own: whoever asks for the task finds it by the members'.
        self.plugin = first.plugin  # type: ignore[misc]
        self.members = nn.ModuleList(members)
        self._orders = [_order(member.classes, first.classes) for member in members]

    def predict(self, images: Sequence[Tensor]) -> list[Result]:
        """The mean of the members' probabilities for each picture."""
        answers = [member.predict(images) for member in self._models()]
        return [self._mean(each) for each in zip(*answers, strict=True)]

    def predict_samples(
        self, samples: Sequence[Sample], *, batch_size: int, progress: Progress
    ) -> Iterator[Result | Exception] | None:
        """The mean of what the members' better ways give; None unless all have one."""
        shared = _SharedProgress(progress, len(self.members))
        streams = []
        for member in self._models():
            stream = member.predict_samples(samples, batch_size=batch_size, progress=shared)
            if stream is None:
                return None
            streams.append(stream)
        return (self._mean_unless_failed(each) for each in zip(*streams, strict=True))

    def with_predict_options(self, **changes: Any) -> Self:
        """Set prediction options of the first member, and of the others as far as they have them.

        Raises:
            OptionsError: the first member's plugin has no such option, or the value does not fit.
        """
        first, *others = self._models()
        first.with_predict_options(**changes)
        for member in others:
            known = getattr(type(getattr(member.options, "predict", None)), "model_fields", {})
            member.with_predict_options(**{name: value for name, value in changes.items() if name in known})
        self.options = _options_of(list(self._models()))
        return self

    def _models(self) -> Iterator[Model]:
        for member in self.members:
            assert isinstance(member, Model)
            yield member

    def _mean_unless_failed(self, answers: Sequence[Result | Exception]) -> Result | Exception:
        results = []
        for answer in answers:
            if isinstance(answer, Exception):
                return answer
            results.append(answer)
        return self._mean(results)

    def _mean(self, results: Iterable[Result]) -> Classification:
        found = [result for result in results if isinstance(result, Classification)]
        scores = [result.scores[order] for result, order in zip(found, self._orders, strict=True)]
        return Classification(torch.stack(scores).mean(dim=0), self.classes, found[0].top_k)


class _SharedProgress(Progress):
    """Tells of a sample when every member is done with one more."""

    def __init__(self, progress: Progress, members: int) -> None:
        self._progress = progress
        self._members = members
        self._steps = 0

    def advance(self, count: int) -> None:
        before, self._steps = self._steps, self._steps + count
        self._progress.advance(self._steps // self._members - before // self._members)


def load(
    paths: Sequence[str | Path],
    *,
    task: str | None = None,
    device: str | torch.device = "cpu",
    reading: Mapping[str, Any] | None = None,
) -> Model:
    """Read weights files and give one model, ready to predict: the file's own, or an `Ensemble` of several.

    Args:
        paths: at least one.
        task: refuse weights made for another task.
        device: where to put the model.
        reading: what to know of other tools' files, as for `cvtl.weights.read_header`.

    Raises:
        UsageError: the weights are for another task, or cannot be averaged (see `cvtl.weights.read_headers`).
        WeightsError: one is missing, damaged, foreign, or does not fit the network that its header describes.
        PluginError: the plugin that one names is not installed or broken.
    """
    weights.read_headers(paths, task, reading)
    models = [weights.load(path, device=device, reading=reading) for path in paths]
    return models[0] if len(models) == 1 else Ensemble(models).eval()


def _options_of(members: Sequence[Model]) -> EnsembleOptions:
    return EnsembleOptions(members=tuple(member.options for member in members))


def _order(classes: Sequence[str], wanted: Sequence[str]) -> Tensor:
    """Where among `classes` each of the wanted ones is."""
    place = {name: index for index, name in enumerate(classes)}
    return torch.tensor([place[name] for name in wanted])

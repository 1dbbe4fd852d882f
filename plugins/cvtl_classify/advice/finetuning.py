"""A short fine-tune, to see whether it would pay: the last stages learn from what the frozen ones gave once.

What lies before the first stage that learns is computed once for a bounded number of pictures and kept in memory, so
that an epoch costs a pass through the last stages only. Two folds judge; the others are learnt from. The head that it
starts with was trained on the same pictures, and is judged on the same ones: what counts is the difference of the two,
in which what is hard about the pictures cancels. A training by strategy `finetune` goes on longer, from more and
augmented pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvtl.backbones import Backbone
from cvtl.data import Sample
from cvtl.features import FeatureSpace, pool
from cvtl.preprocessing import InputSpec, normalize, resize
from cvtl.progress import Progress
from cvtl.reporting.sections import Figure
from cvtl.training.optimizers import make_optimizer
from cvtl.training.samples import RandomStream, seed_all
from cvtl.training.schedule import rate_factor
from cvtl.training.settings import TrainSettings
from cvtl.training.start import with_defaults
from cvtl_classify.advice.material import Material
from cvtl_classify.advice.probing import Trial, make_trial, share, used_spaces
from cvtl_classify.heads import fit_head
from cvtl_classify.options import ClassifyOptions

MOST_LEARNT = 400
MOST_JUDGED = 400
MOST_MIRRORED = 100
EPOCHS = 6

_JUDGING_FOLDS = 2
_BATCH = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class ShortFineTune:
    """What a short fine-tune came to.

    Attributes:
        trial: on the pictures that judged it; its seconds are those of the whole.
        gain: the share of right answers less that of the head alone on the same pictures, with its 95 % interval.
        mirror_loss: the head's share of right answers less that on the same pictures mirrored.
        learnt: pictures that it learnt from.
        epochs: passes over them.
        pass_seconds: measured, of one picture once through the frozen part and, forth and back, through the rest.
    """

    trial: Trial
    gain: Figure
    mirror_loss: float
    learnt: int
    epochs: int
    pass_seconds: float


@dataclass(frozen=True)
class _Known:
    """What is computed once of some pictures.

    Attributes:
        inputs: of the part that learns: float16 maps (N, C, h, w) of the last stage before it.
        beside: float32 (N, D), features of frozen stages that the head sees, too.
        labels: (N,).
    """

    inputs: Tensor
    beside: Tensor
    labels: Tensor


def can_finetune(backbone: Backbone) -> bool:
    """Whether the backbone is a chain of several stages, which can be divided in a frozen part and the rest."""
    return backbone.body is not None and len(backbone.stages) > 1


def short_finetune(
    options: ClassifyOptions,
    backbone: Backbone,
    material: Material,
    input: InputSpec,
    settings: TrainSettings,
    *,
    progress: Progress,
    device: str | torch.device = "cpu",
) -> ShortFineTune:
    """Fine-tune for a few epochs, deterministically.

    Args:
        options: strategy `finetune`; `unfreeze` names the first stage that learns, the last one does if it is unset.
        backbone: which stays as it is.
        material: the pictures.
        input: the network's.
        settings: what the user has set of a training; epochs are `EPOCHS` at most.
        progress: is told of each picture that passes, in whole or in part.
        device: where to compute.
    """
    settings = _short(options, settings)
    learnt, judged = learnt_and_judged(material, settings.seed)
    whole = backbone.cut(options.cut) if options.cut else backbone
    network = _Network(whole, options, input, device)
    begun = perf_counter()
    train, test = (network.look(material, indices, progress) for indices in (learnt, judged))
    frozen_seconds = (perf_counter() - begun) / (len(learnt) + len(judged))
    network.start_with_head(train, len(material.data.classes), settings)
    before = network.answers(test, progress) == material.labels[judged]
    some = _every_few(judged)
    mirrored = network.answers(network.look(material, some, progress, mirror=True), progress) == material.labels[some]
    halfway = perf_counter()
    network.learn(train, settings, progress)
    learning_seconds = (perf_counter() - halfway) / (settings.epochs * len(learnt))
    after = network.answers(test, progress) == material.labels[judged]
    gain = share("gain", after.astype(np.float64) - before, material.groups[judged])
    return ShortFineTune(
        trial=make_trial(options, material, judged, after, perf_counter() - begun),
        gain=gain,
        mirror_loss=float(before[np.isin(judged, some)].mean() - mirrored.mean()),
        learnt=len(learnt),
        epochs=settings.epochs,
        pass_seconds=frozen_seconds + learning_seconds,
    )


def work(options: ClassifyOptions, material: Material, settings: TrainSettings) -> int:
    """How many pictures `short_finetune` tells its progress of."""
    learnt, judged = learnt_and_judged(material, settings.seed)
    epochs = _short(options, settings).epochs
    return (1 + epochs) * len(learnt) + 3 * len(judged) + 2 * len(_every_few(judged))


def _short(options: ClassifyOptions, settings: TrainSettings) -> TrainSettings:
    settings = with_defaults(settings, options)
    return settings.model_copy(update={"epochs": min(settings.epochs, EPOCHS)})


def learnt_and_judged(material: Material, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Indices of the pictures to learn from, and of those that judge: of two folds, or of one where there are two."""
    judging = min(_JUDGING_FOLDS, material.fold_count - 1)
    judges = (material.folds >= 0) & (material.folds < judging)
    order = np.random.default_rng(seed).permutation(len(judges))
    learnt, judged = order[~judges[order]][:MOST_LEARNT], order[judges[order]][:MOST_JUDGED]
    return np.sort(learnt), np.sort(judged)


def _every_few(indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Some of them, `MOST_MIRRORED` at most."""
    return indices[:: -(-len(indices) // MOST_MIRRORED)]


class _Network:
    """A backbone's frozen part, a copy of the rest, and a head."""

    def __init__(
        self, backbone: Backbone, options: ClassifyOptions, input: InputSpec, device: str | torch.device
    ) -> None:
        assert backbone.body is not None
        names = [stage.name for stage in backbone.stages]
        first = names.index(options.unfreeze) if options.unfreeze else len(names) - 1
        spaces = used_spaces(backbone, options)
        self._options, self._input, self._device = options, input, device
        self._frozen = backbone.cut(names[first - 1]).to(device).eval() if first else None
        self._frozen_spaces = [space for space in spaces if space.stage in names[:first]]
        self._names = names[first:]
        self._rest = deepcopy(backbone.body[first:]).to(device).to(memory_format=torch.channels_last)
        self._rest.requires_grad_(True)
        self._rest_spaces = [space for space in spaces if space.stage in self._names]
        self._head: nn.Module = nn.Identity()

    @torch.inference_mode()
    def look(
        self, material: Material, indices: npt.NDArray[np.int64], progress: Progress, *, mirror: bool = False
    ) -> _Known:
        """Pass pictures through the frozen part."""
        inputs, beside = [], []
        for start in range(0, len(indices), _BATCH):
            batch = indices[start : start + _BATCH]
            images = self._images([material.data[index] for index in batch])
            maps = {"": images.flip(-1) if mirror else images}
            if self._frozen is not None:
                maps = self._frozen.features(maps[""])
            inputs.append(list(maps.values())[-1].half().cpu())
            beside.append(_pooled(maps, self._frozen_spaces).cpu())
            progress.advance(len(batch))
        # Clones, for what was made in inference mode cannot take part in training.
        return _Known(torch.cat(inputs).clone(), torch.cat(beside).clone(), torch.from_numpy(material.labels[indices]))

    def _images(self, samples: Sequence[Sample]) -> Tensor:
        pictures = [resize(torch.from_numpy(sample.read()).permute(2, 0, 1), self._input) for sample in samples]
        images = normalize(torch.stack(pictures).to(self._device), self._input)
        return images.contiguous(memory_format=torch.channels_last)

    def start_with_head(self, known: _Known, classes: int, settings: TrainSettings) -> None:
        """Train the head on the features as they are, as strategies `features` and `finetune` do."""
        with torch.inference_mode():
            features = torch.cat([self._features(known, batch) for batch in _in_order(known)]).cpu().numpy()
        recipe = self._options.used_recipe()
        self._head = fit_head(
            self._options.head,
            features,
            known.labels.numpy(),
            classes,
            settings=TrainSettings(**recipe.settings("features", self._options.head), seed=settings.seed),
            recipe=recipe,
            device=self._device,
        )

    def learn(self, known: _Known, settings: TrainSettings, progress: Progress) -> None:
        """Train the rest and the head together."""
        optimizer = make_optimizer([*self._rest.parameters(), *self._head.parameters()], settings)
        smoothing = self._options.used_recipe().label_smoothing
        for epoch in range(settings.epochs):
            seed_all(settings.seed, RandomStream.STEP, epoch)
            self._rest.train()
            self._head.train()
            batches = torch.split(torch.randperm(len(known.labels)), settings.batch_size)
            for step, batch in enumerate(batches):
                rate = rate_factor("cosine", epoch + step / len(batches), settings.epochs, [], "min")
                for group in optimizer.param_groups:
                    group["lr"] = settings.learning_rate * rate
                labels = known.labels[batch].to(self._device)
                loss = F.cross_entropy(self._head(self._features(known, batch)), labels, label_smoothing=smoothing)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                progress.advance(len(batch))

    @torch.inference_mode()
    def answers(self, known: _Known, progress: Progress) -> npt.NDArray[np.int64]:
        """The class that each picture is taken for."""
        self._rest.eval()
        self._head.eval()
        found = []
        for batch in _in_order(known):
            found.append(self._head(self._features(known, batch)).argmax(dim=1).cpu())
            progress.advance(len(batch))
        answers: npt.NDArray[np.int64] = torch.cat(found).numpy()
        return answers

    def _features(self, known: _Known, batch: Tensor) -> Tensor:
        x = known.inputs[batch].to(self._device).float().contiguous(memory_format=torch.channels_last)
        maps = {}
        for name, stage in zip(self._names, self._rest, strict=True):
            x = maps[name] = stage(x)
        return torch.cat([known.beside[batch].to(self._device), _pooled(maps, self._rest_spaces)], dim=1)


def _in_order(known: _Known) -> tuple[Tensor, ...]:
    return torch.split(torch.arange(len(known.labels)), _BATCH)


def _pooled(maps: Mapping[str, Tensor], spaces: Sequence[FeatureSpace]) -> Tensor:
    """The features of some spaces side by side; (N, 0) where there are no spaces."""
    some = next(iter(maps.values()))
    return torch.cat([some.new_empty(len(some), 0), *(pool(maps[s.stage], s.pooling) for s in spaces)], dim=1)

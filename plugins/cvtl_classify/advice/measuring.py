"""Everything that is measured before a strategy is chosen: heads at every stage, and a short fine-tune beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch

from cvtl.backbones import Backbone
from cvtl.data import Dataset
from cvtl.errors import UsageError
from cvtl.feature_cache import FeatureCache
from cvtl.features import Features, extract
from cvtl.progress import Progress
from cvtl.splits import Groups, find_groups
from cvtl.training.settings import TrainSettings
from cvtl_classify.advice.finetuning import ShortFineTune, can_finetune, learnt_and_judged, short_finetune, work
from cvtl_classify.advice.material import MOST_FOLDS, MOST_PICTURES, Material, choose_pictures, make_material
from cvtl_classify.advice.probing import Trial, describe, probe, used_spaces
from cvtl_classify.model import input_spec
from cvtl_classify.options import NO_WEIGHTS, ClassifyOptions, Head

FEWEST = 50
"""With fewer pictures no fine-tune is measured: a gain could not be told from chance."""

NO_ROOM = 0.99
"""Where a head alone is right so often, no other strategy can be better by more than a point: it is not measured."""

Show = Callable[[int, str], AbstractContextManager[Progress]]
"""Gives something to tell the progress to, of so many of what is counted."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much is measured.

    Attributes:
        pictures: at most, or five of each class if that is more.
        folds: of the cross-validation, at most.
        finetune: whether a short fine-tune is measured where it could pay.
        leave_out: whether pictures that cannot be read are left out; otherwise they end it.
    """

    pictures: int = MOST_PICTURES
    folds: int = MOST_FOLDS
    finetune: bool = True
    leave_out: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class Measurements:
    """What was measured.

    Attributes:
        material: the pictures.
        features: theirs, of all spaces that were tried.
        trials: of heads on features, in the order in which they were tried.
        finetune: the short fine-tune, if there was one.
        start: the head alone that it started with, cross-validated like the others.
        why_no_finetune: a clause, if there was none.
        look_seconds: of one picture once through the backbone, decoding included; None if the cache had some.
        notes: what a reader has to know, a sentence each.
    """

    material: Material
    features: Features
    trials: Sequence[Trial]
    finetune: ShortFineTune | None
    start: Trial | None
    why_no_finetune: str
    look_seconds: float | None
    notes: Sequence[str]

    @property
    def best(self) -> Trial:
        """The best of the heads."""
        return best_of(self.trials)


def measure(
    data: Dataset,
    options: ClassifyOptions,
    settings: TrainSettings,
    backbone: Backbone,
    *,
    limits: Limits | None = None,
    show: Show,
    device: str | torch.device = "cpu",
) -> Measurements:
    """Measure how strategies do on data: what the user has set of options and settings is not varied.

    Args:
        data: whose targets are classes.
        options: those that are set (`model_fields_set`) hold for all strategies.
        settings: of a training, likewise.
        backbone: with its weights, cut where the options say so.
        limits: how much to measure.
        show: shows how it gets on.
        device: where to compute.

    Raises:
        DataError: the data are not of classes, or too few, or a picture cannot be read that is not to be left out.
        UsageError: the pattern for groups is wrong.
    """
    limits = limits or Limits()
    input = input_spec(backbone, options)
    candidates = {each: used_spaces(backbone, each) for each in head_candidates(backbone, options)}
    chosen = choose_pictures(data, settings, limits.pictures)
    groups = _find_groups(chosen, settings, show)
    wanted = list(dict.fromkeys(space for spaces in candidates.values() for space in spaces))
    cache = FeatureCache() if options.cache else None
    begun = perf_counter()
    with show(len(chosen), "pictures") as progress:
        features = extract(backbone, chosen, wanted, input=input, cache=cache, device=device, progress=progress)
    if features.errors and not limits.leave_out:
        raise features.errors[min(features.errors)]
    look_seconds = (perf_counter() - begun) / len(chosen) if not features.reused else None
    usable = sum(sample.split != "test" for sample in data)
    material, features = make_material(chosen, features, groups, settings, most_folds=limits.folds, total=usable)
    trials, notes = [], list(material.notes)
    with show(len(candidates) * material.fold_count, "trainings") as progress:
        for candidate, spaces in candidates.items():
            try:
                trials.append(probe(candidate, features, spaces, material, settings, progress=progress, device=device))
            except UsageError as error:
                if "head" in options.model_fields_set:
                    raise
                notes.append(f"{describe(candidate)} was not tried: {error.what}")
    dense = _with_dense_layer(trials, options)
    if dense is not None:
        spaces = candidates[best_of(trials).options]
        with show(material.fold_count, "trainings") as progress:
            trials.append(probe(dense, features, spaces, material, settings, progress=progress, device=device))
    why_not = _why_no_finetune(trials, backbone, options, settings, material, limits)
    finetune, start = None, None
    if not why_not:
        start = best_of(trial for trial in trials if trial.options.head != "svm")
        tuned = start.options.model_copy(update={"strategy": "finetune"})
        with show(work(tuned, material, settings), "passes") as progress:
            finetune = short_finetune(tuned, backbone, material, input, settings, progress=progress, device=device)
    return Measurements(
        material=material,
        features=features,
        trials=trials,
        finetune=finetune,
        start=start,
        why_no_finetune=why_not,
        look_seconds=look_seconds,
        notes=notes,
    )


def _find_groups(data: Dataset, settings: TrainSettings, show: Show) -> Groups:
    looking = show(len(data), "fingerprints") if settings.near_duplicates else nullcontext(Progress())
    with looking as progress:
        return find_groups(
            data,
            group_by=settings.group_by,
            near_duplicates=settings.near_duplicates,
            advance=progress.advance,
        )


def head_candidates(backbone: Backbone, options: ClassifyOptions) -> Iterator[ClassifyOptions]:
    """What strategy `features` may be: heads on the last stage, on its quarters, on all stages, and on each stage.

    What the user has set is not varied.

    Example:
        >>> from cvtl import backbones
        >>> lenet = backbones.load("lenet5", cut="conv2")
        >>> [describe(each) for each in head_candidates(lenet, ClassifyOptions(head="linear"))]
        ['linear, last stage', 'linear, all stages', 'linear, last stage, grid', 'linear, up to conv1']
        >>> [describe(each) for each in head_candidates(lenet, ClassifyOptions(pooling="max", stages="all"))]
        ['linear, all stages, max', 'svm, all stages, max']
    """
    said = options.model_fields_set
    ways: list[dict[str, str]] = [{}]
    if "stages" not in said and len(backbone.stages) > 1:
        ways.append({"stages": "all"})
    if "pooling" not in said:
        ways.append({"pooling": "grid"})
    if not {"stages", "cut"} & said:
        ways += [{"cut": stage.name} for stage in reversed(backbone.stages[:-1])]
    heads: tuple[Head, ...] = (options.head,) if "head" in said else ("linear", "svm")
    for way in ways:
        for head in heads:
            yield options.model_copy(update={"strategy": "features", "head": head, **way})


def _with_dense_layer(trials: Sequence[Trial], options: ClassifyOptions) -> ClassifyOptions | None:
    """Head `mlp` on whatever the best of the others sees: it takes too long to be tried everywhere.

    None where the user has named a head, or nothing is left to gain.
    """
    best = best_of(trials)
    if "head" in options.model_fields_set or best.accuracy.value >= NO_ROOM:
        return None
    return best.options.model_copy(update={"head": "mlp"})


def best_of(trials: Iterable[Trial]) -> Trial:
    """The one with the highest accuracy, the first of equal ones."""
    return max(trials, key=lambda trial: trial.accuracy.value)


def _why_no_finetune(
    trials: Sequence[Trial],
    backbone: Backbone,
    options: ClassifyOptions,
    settings: TrainSettings,
    material: Material,
    limits: Limits,
) -> str:
    """Why no fine-tune is measured, empty if one is."""
    if not limits.finetune:
        return "a fine-tune was not to be measured"
    if options.weights == NO_WEIGHTS:
        return "random weights know nothing that could be tuned"
    if "head" in options.model_fields_set and options.head == "svm":
        return "an SVM learns from features that stay as they are"
    if "optimizer" in settings.model_fields_set and settings.optimizer == "lbfgs":
        return "L-BFGS needs all samples at once, which do not pass through a whole network"
    if not can_finetune(backbone):
        return f"the stages of '{backbone.name}' cannot be run one by one, which a short fine-tune takes"
    best = best_of(trials)
    if best.accuracy.value >= NO_ROOM:
        return (
            f"a fine-tune was not measured: with {100 * best.accuracy.value:.1f} % right, it could gain a point at most"
        )
    if len(material.labels) < FEWEST:
        return f"a fine-tune was not measured: {len(material.labels)} pictures cannot tell a gain from chance"
    learnt, _ = learnt_and_judged(material, settings.seed)
    if len(np.unique(material.labels[learnt])) < 2:
        return "a fine-tune was not measured: with some pictures held out, all others are of one class"
    return ""

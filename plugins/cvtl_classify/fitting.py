"""The strategies: how much of a network learns, and in what order.

    features    the backbone runs once a picture, the head learns from what it gave
    augmented   likewise; then the head goes on with augmented pictures, the backbone staying as it is
    finetune    likewise; then the last stages learn with the head, at a small rate
    full        everything learns, from the given weights
    scratch     everything learns, from random weights
    auto        measures first, and goes on as one of the others

What an interrupted training has to go on from is on disk: choice.json (auto), the features, and from the second epoch
on the loop's checkpoint. What is not there is done again, with the same result.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from cvtl import backbones
from cvtl.backbones.backbone import Backbone
from cvtl.background import map_ahead
from cvtl.data import ClassTarget, Dataset, Sample, UInt8Image
from cvtl.devices import choose_device
from cvtl.errors import CvtlError, DataError, OutputError
from cvtl.feature_cache import FeatureCache
from cvtl.features import extract
from cvtl.files import write_atomically
from cvtl.options import make_options
from cvtl.progress import Progress
from cvtl.training.folder import TrainRun
from cvtl.training.optimizers import make_optimizer
from cvtl.training.samples import seed_all
from cvtl.training.settings import TrainSettings
from cvtl_classify.heads import Known, OnEpoch, Standardization, fit_head
from cvtl_classify.options import NO_WEIGHTS, ClassifyOptions
from cvtl_classify.samples import in_memory

if TYPE_CHECKING:
    from cvtl_classify.model import ClassifyModel

CHOICE_NAME = "choice.json"

_READERS = 4


def fit(model: ClassifyModel, train_data: Dataset, val_data: Dataset, settings: TrainSettings, run: TrainRun) -> None:
    """Train a model by the strategy that its options name; arguments and errors are those of `cvtl.training.train`."""
    if model.options.strategy == "auto":
        settings = _choose(model, train_data, val_data, settings, run)
    strategy, goes_on = model.options.strategy, run.goes_on
    if model.options.weights == NO_WEIGHTS and strategy != "scratch":
        run.console.print(f"The backbone's weights are random: strategy {strategy} keeps what nobody has learnt.")
    if strategy != "features":
        # It may refuse, which should not wait until a head is trained.
        make_optimizer(model.classifier.head.parameters(), settings)
    if strategy == "features":
        _fit_head(model, train_data, val_data, settings, run)
        return
    if strategy in ("augmented", "finetune") and not goes_on:
        _start_with_head(model, train_data, val_data, settings, run)
    elif strategy == "full" and not goes_on:
        _standardize(model, train_data, settings, run)
    _fit_jointly(model, train_data, val_data, settings, run)


def _fit_head(
    model: ClassifyModel, train_data: Dataset, val_data: Dataset, settings: TrainSettings, run: TrainRun
) -> None:
    """Train the head on the features of a backbone that stays as it is; every epoch is booked."""

    def book(head: nn.Module, figures: dict[str, float]) -> bool:
        run.interrupts.check()
        model.classifier.head = head
        run.record(model, figures)
        return run.is_over

    _train_head(model, train_data, val_data, settings, run, book)


def _start_with_head(
    model: ClassifyModel, train_data: Dataset, val_data: Dataset, settings: TrainSettings, run: TrainRun
) -> None:
    """Train the head as strategy `features` does; all of that is booked as the first epoch."""
    figures: dict[str, float] = {}

    def keep(head: nn.Module, of_epoch: dict[str, float]) -> bool:
        run.interrupts.check()
        figures.update(of_epoch)
        return False

    options = model.options
    alone = options.used_recipe().settings("features", options.head)
    # What the user sets is about the epochs that follow.
    for_head = TrainSettings(**alone, seed=settings.seed, device=settings.device)
    _train_head(model, train_data, val_data, for_head, run, keep)
    run.record(model, {"learning_rate": for_head.learning_rate, **figures})


def _train_head(
    model: ClassifyModel,
    train_data: Dataset,
    val_data: Dataset,
    settings: TrainSettings,
    run: TrainRun,
    on_epoch: OnEpoch,
) -> None:
    device = choose_device(settings.device)
    model.to(device).eval()
    train, val = _known(model, (train_data, val_data), run)
    model.classifier.head = fit_head(
        model.options.head,
        train.features,
        train.labels,
        len(model.classes),
        settings=settings,
        recipe=model.options.used_recipe(),
        validation=val,
        on_epoch=on_epoch,
        device=device,
    )


def _standardize(model: ClassifyModel, train_data: Dataset, settings: TrainSettings, run: TrainRun) -> None:
    """Give the head features of one size to start with."""
    model.to(choose_device(settings.device)).eval()
    (train,) = _known(model, (train_data,), run)
    standardization = model.classifier.head.get_submodule("standardization")
    assert isinstance(standardization, Standardization)
    standardization.adapt(torch.from_numpy(train.features).to(standardization.mean.device))


def _fit_jointly(
    model: ClassifyModel, train_data: Dataset, val_data: Dataset, settings: TrainSettings, run: TrainRun
) -> None:
    """The core's loop, over pictures that are decoded once where the memory allows it."""
    if run.is_over:
        return
    from cvtl.training.loop import fit

    progress = _progress(len(train_data) + len(val_data), run)
    train_data = in_memory(train_data, model.input, model.options, progress=progress)
    val_data = in_memory(val_data, model.input, progress=progress)
    fit(model, train_data, val_data, settings, run)


def _known(model: ClassifyModel, parts: tuple[Dataset, ...], run: TrainRun) -> list[Known]:
    """The features and labels of data sets.

    Raises:
        DataError: a picture cannot be read, or has no class.
    """
    network, cache = model.classifier, FeatureCache() if model.options.cache else None
    progress = _progress(sum(map(len, parts)), run)
    known = []
    progress.start(0)
    try:
        for part in parts:
            labels = labels_of(part)
            found = extract(
                network.backbone,
                part,
                network.spaces,
                input=model.input,
                cache=cache,
                device=next(network.parameters()).device,
                progress=progress,
            )
            for index in sorted(found.errors):
                raise found.errors[index]
            known.append(Known(found.matrix(network.spaces), labels))
    finally:
        progress.finish()
    return known


def labels_of(data: Dataset) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The class of each picture, int64 (N,).

    Raises:
        DataError: a sample is not of one class.
    """
    targets = [sample.target for sample in data]
    for sample, target in zip(data, targets, strict=True):
        if not isinstance(target, ClassTarget):
            raise DataError(
                f"the classify plugin learns from pictures of one class each, which '{sample.name}' is not",
                hint="Put the pictures of each class into a folder",
            )
    return np.array([target.label for target in targets if isinstance(target, ClassTarget)], np.int64)


def _choose(
    model: ClassifyModel, train_data: Dataset, val_data: Dataset, settings: TrainSettings, run: TrainRun
) -> TrainSettings:
    """Settle what is `auto`: by measuring, or as a training that goes on has done; gives the settings to train with."""
    path = run.folder / CHOICE_NAME
    if not path.exists():
        # What cannot be read should be told before minutes of measuring, which looks at the others only.
        for _ in map_ahead(_decoded, val_data, _READERS):
            pass
        write_atomically(path, json.dumps(_measure(model, train_data, settings, run), indent=1))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        options = make_options(ClassifyOptions, content["options"])
        chosen = make_options(TrainSettings, content["settings"])
    except (ValueError, TypeError, KeyError, CvtlError) as error:
        raise OutputError(
            f"cannot go on with the training in '{run.folder}': cannot read '{CHOICE_NAME}': {error}",
            hint="Start anew in another folder with --out",
        ) from error
    # A training that goes on may be given more epochs.
    chosen = chosen.model_copy(update={name: getattr(settings, name) for name in settings.model_fields_set})
    run.epochs, run.patience = chosen.epochs, chosen.patience
    model.become(options, _settled_backbone(model, options, settings.seed))
    run.console.print(f"Chosen: {_in_words(options)}. What was measured for it is in {CHOICE_NAME}.")
    return chosen


def _decoded(sample: Sample) -> UInt8Image:
    return sample.read()


def _measure(model: ClassifyModel, train_data: Dataset, settings: TrainSettings, run: TrainRun) -> dict[str, Any]:
    from cvtl_classify.advice.choosing import choose

    backbone = model.classifier.backbone.to(choose_device(settings.device)).eval()
    choice = choose(train_data, model.options, settings, backbone, progress=_progress(len(train_data), run))
    return {
        "options": choice.options.model_dump(mode="json"),
        "settings": choice.settings.model_dump(mode="json"),
        "measured": choice.measured,
    }


def _settled_backbone(model: ClassifyModel, options: ClassifyOptions, seed: int) -> Backbone:
    if options.strategy == "scratch":
        seed_all(seed)
        return backbones.load(options.backbone, cut=options.cut)
    whole = model.classifier.backbone
    return whole if options.cut is None else whole.cut(options.cut)


def _in_words(options: ClassifyOptions) -> str:
    cut = f", cut after {options.cut}" if options.cut else ""
    return (
        f"strategy {options.strategy}, head {options.head}, {options.pooling} pooling of "
        f"{'all stages' if options.stages == 'all' else 'the last stage'}{cut}"
    )


def _progress(total: int, run: TrainRun) -> Progress:
    from cvtl.terminal_progress import choose_progress

    return choose_progress(total, quiet=run.console.quiet)

"""From a plugin's name and a path to a training: what `cvtl train` calls. Torch-free to import."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from rich.console import Console

from cvtl.data import Dataset, load_data
from cvtl.options import Options, make_options
from cvtl.progress import Progress
from cvtl.registry import plugins
from cvtl.splits import train_and_val
from cvtl.training.run import TrainReport, train
from cvtl.training.settings import TrainSettings


def train_plugin(
    plugin: str,
    data: str | Path | Dataset,
    out: str | Path,
    *,
    options: Mapping[str, Any] | None = None,
    settings: TrainSettings | None = None,
    format: str | None = None,
    splits: str | Path | bool = True,
    resume: bool = False,
    quiet: bool = False,
    licence: str = "",
    progress: Progress | None = None,
) -> TrainReport:
    """Train a plugin on a data set; without a validation part, one is held out that shares nothing with the rest.

    Args:
        plugin: name of an installed plugin.
        data: a folder or file of any registered format, or a data set.
        out: the run folder.
        options: the plugin's options.
        settings: how to train; what was not set in it is as the plugin's options have it (`Options.train_defaults`).
        format: the data set's format, if it should not be guessed.
        splits: a split file, or whether to go by the data set's own; as for `load_data`.
        resume: go on with the training in `out`.
        quiet: show nothing.
        licence: under which the weights may be used.
        progress: is told how the search for near-duplicates gets on.

    Raises:
        CvtlError: anything a user can cause.
    """
    from cvtl.training.launching import leads
    from cvtl.training.samples import seed_all

    quiet = quiet or not leads()
    spec = plugins().get(plugin)
    checked = make_options(spec.options_type(), options or {})
    settings = with_defaults(settings or TrainSettings(), checked)
    console = Console(stderr=True, quiet=quiet, highlight=False, markup=False, soft_wrap=True)
    if isinstance(data, Dataset):
        dataset = data
    else:
        dataset = load_data(data, spec.task, format=format, splits=splits)
    if dataset.problems:
        console.print(dataset.describe_problems())
    # What the plugin has against the classes is said before all pictures are looked at.
    seed_all(settings.seed)
    model = spec.model_type().initialize(checked, dataset.classes)
    # Generated pictures are made when they are read: their maker keeps apart what belongs apart.
    in_files = sum(sample.file is not None and sample.split != "test" for sample in dataset)
    if settings.near_duplicates and in_files:
        console.print(f"Looking for near-duplicates among {in_files} pictures.")
    else:
        progress = None
    train_data, val_data, how = _divide(dataset, settings, progress or Progress())
    console.print(how)
    return train(model, train_data, val_data, settings, out, resume=resume, quiet=quiet, licence=licence)


def with_defaults(settings: TrainSettings, options: BaseModel) -> TrainSettings:
    """Settings in which what nobody set is as a plugin's options have it.

    Example:
        >>> from cvtl.options import Options
        >>> class Patient(Options):
        ...     def train_defaults(self):
        ...         return {"epochs": 100, "batch_size": 8}
        >>> settings = with_defaults(TrainSettings(batch_size=32), Patient())
        >>> settings.epochs, settings.batch_size
        (100, 32)
    """
    defaults = options.train_defaults() if isinstance(options, Options) else {}
    return settings.model_copy(update={k: v for k, v in defaults.items() if k not in settings.model_fields_set})


def _divide(dataset: Dataset, settings: TrainSettings, progress: Progress) -> tuple[Dataset, Dataset, str]:
    progress.start(0)
    try:
        return train_and_val(
            dataset,
            settings.val_fraction,
            settings.seed,
            group_by=settings.group_by,
            near_duplicates=settings.near_duplicates,
            advance=progress.advance,
        )
    finally:
        progress.finish()

"""From a plugin's name and a path to a training: what `cvtl train` calls. Torch-free to import."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from cvtl.data import Dataset, load_data
from cvtl.options import make_options
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
    resume: bool = False,
    quiet: bool = False,
    licence: str = "",
) -> TrainReport:
    """Train a plugin on a data set; without a validation part, one is held out.

    Args:
        plugin: name of an installed plugin.
        data: a folder or file of any registered format, or a data set.
        out: the run folder.
        options: the plugin's options.
        settings: how to train.
        format: the data set's format, if it should not be guessed.
        resume: go on with the training in `out`.
        quiet: show nothing.
        licence: under which the weights may be used.

    Raises:
        CvtlError: anything a user can cause.
    """
    from cvtl.training.samples import seed_all

    settings = settings or TrainSettings()
    spec = plugins().get(plugin)
    checked = make_options(spec.options_type(), options or {})
    dataset = data if isinstance(data, Dataset) else load_data(data, format=format)
    train_data, val_data, how = train_and_val(dataset, settings.val_fraction, settings.seed)
    Console(stderr=True, quiet=quiet).print(how, highlight=False)
    seed_all(settings.seed)
    model = spec.model_type().initialize(checked, dataset.classes)
    return train(model, train_data, val_data, settings, out, resume=resume, quiet=quiet, licence=licence)

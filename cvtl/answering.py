"""What answers in a run: weights, or a model made of options; and what of it the rows depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvtl import ensemble
from cvtl import weights as weights_file
from cvtl.cascade import with_detector
from cvtl.devices import Predictor, choose_device
from cvtl.errors import OptionsError, UsageError
from cvtl.explanation import Explainer
from cvtl.foreign import is_foreign
from cvtl.making import make
from cvtl.options import Options
from cvtl.run_settings import DetectorSettings, ExplainSettings, RunSettings, TilingSettings
from cvtl.tiling import with_tiling

if TYPE_CHECKING:
    import torch

    from cvtl.model import Model
    from cvtl.weights import Header


@dataclass(frozen=True)
class Answering:
    """What answers in a run, ready to.

    Attributes:
        predictor: with the model on its device.
        task: what it is for.
        settings: the run's, with what the model's options propose.
        block: inputs that are looked at together.
        identity: what rows depend on, but for the inputs.
        about: what else run.json says of it.
    """

    predictor: Predictor
    task: str
    settings: RunSettings
    block: int
    identity: Mapping[str, Any]
    about: Mapping[str, Any]


@dataclass(frozen=True)
class Request:
    """What should answer: the arguments of `cvtl.run` that say so. It can be sent to another process.

    Attributes:
        weights: weights files; None for a model that the task's plugin makes.
        task: refuse weights made for another task.
        predict: changes to the plugin's prediction options.
        explain: show where the evidence lies, too.
        detector: what finds the objects that the others look at.
        tiling: how to look at large pictures tile by tile.
        reading: what to know of other tools' weights.
        making: options of the plugin that makes a model.
    """

    weights: tuple[str, ...] | None
    task: str | None = None
    predict: Mapping[str, Any] = field(default_factory=dict)
    explain: ExplainSettings | None = None
    detector: DetectorSettings = field(default_factory=DetectorSettings)
    tiling: TilingSettings = field(default_factory=TilingSettings)
    reading: Mapping[str, Any] | None = None
    making: Mapping[str, Any] = field(default_factory=dict)

    def load(self, settings: RunSettings) -> Answering:
        """Load or make the model, and put around it what was asked for.

        Raises:
            CvtlError: weights that cannot be used, options that do not fit them, a device that is not there.
        """
        device = choose_device(settings.device)
        if self.weights is None:
            found = _made(self.task or "", self.making, device)
            settings = _with_defaults(settings, found.model)
        else:
            found = _loaded(self.weights, self.task, device, self.reading)
        model, predict = found.model, dict(self.predict)
        if settings.save_heatmaps:
            predict["heatmaps"] = True
            _require_heatmaps(model, self.tiling)
        model = with_detector(model, self.detector, device=device)
        model = with_tiling(model, self.tiling, batch_size=settings.batch_size)
        model.with_predict_options(**predict)
        identity = {
            "task": found.task,
            **found.identity,
            "options": model.options.model_dump(mode="json"),
            "device": device.type,
            **settings.identity(),
            **({} if self.explain is None else {"explain": self.explain.model_dump(mode="json")}),
            **_detector_identity(self.detector),
        }
        precision = settings.precision
        predictor = Predictor(model, precision) if self.explain is None else Explainer(model, precision, self.explain)
        return Answering(predictor, found.task, settings, settings.block(self.tiling), identity, found.about)


@dataclass(frozen=True)
class _Found:
    model: Model
    task: str
    identity: Mapping[str, Any]
    about: Mapping[str, Any]


def _loaded(
    paths: Sequence[str | Path], task: str | None, device: torch.device, reading: Mapping[str, Any] | None
) -> _Found:
    headers = weights_file.read_headers(paths, task, reading)
    digests = _one_or_all([weights_file.digest(path) for path in paths])
    about = {
        "weights_file": _one_or_all([str(path) for path in paths]),
        "versions": weights_file.installed_versions() | _readers_versions(paths, headers),
    }
    model = ensemble.load(paths, task=task, device=device, reading=reading)
    return _Found(model, headers[0].task, {"weights": digests, **_read_as(paths, headers)}, about)


def _made(task: str, options: Mapping[str, Any], device: torch.device) -> _Found:
    made = make(task, options)
    about = {"versions": weights_file.installed_versions()}
    return _Found(made.model.to(device).eval(), task, {"made_of": dict(made.identity)}, about)


def _with_defaults(settings: RunSettings, model: Model) -> RunSettings:
    defaults = model.options.run_defaults() if isinstance(model.options, Options) else {}
    return settings.model_copy(update={k: v for k, v in defaults.items() if k not in settings.model_fields_set})


def _one_or_all(values: list[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else values


def _require_heatmaps(model: Model, tiling: TilingSettings) -> None:
    if tiling.tile is not None:
        raise UsageError("--save-heatmaps shows pictures as a whole: it cannot be had with --tile")
    predict = getattr(model.options, "predict", None)
    if not hasattr(predict, "heatmaps"):
        raise OptionsError(f"--save-heatmaps: weights of the plugin '{model.plugin}' give no heat maps")


def _detector_identity(settings: DetectorSettings | None) -> dict[str, Any]:
    """What of a detector rows depend on: its weights by what is in them, not by where they lie."""
    if settings is None or settings.detector is None:
        return {}
    chosen = settings.model_dump(mode="json", exclude={"detector"})
    return {"detector": {"weights": weights_file.digest(settings.detector), **chosen}}


def _read_as(paths: Sequence[str | Path], headers: Sequence[Header]) -> dict[str, Any]:
    """What of other tools' files rows depend on and their bytes do not say: class names, preprocessing."""
    foreign = [each for path, each in zip(paths, headers, strict=True) if is_foreign(path)]
    said = [each.model_dump_json(include={"classes", "input"}) for each in foreign]
    return {"read_as": hashlib.sha256("\n".join(said).encode()).hexdigest()} if said else {}


def _readers_versions(paths: Sequence[str | Path], headers: Sequence[Header]) -> dict[str, str]:
    """Versions of the libraries that run other tools' files."""
    foreign = [each for path, each in zip(paths, headers, strict=True) if is_foreign(path)]
    return {name: version for each in foreign for name, version in each.versions.items()}

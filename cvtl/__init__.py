"""cvtl: computer-vision plugins for people with few labels and messy pictures.

Importing this package imports neither torch nor OpenCV; what is named here is loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cvtl._lazy import resolve

if TYPE_CHECKING:
    from cvtl.data import load_data
    from cvtl.evaluation.evaluate import evaluate
    from cvtl.evaluation.predictions import predict, read_predictions
    from cvtl.merging import merge
    from cvtl.pipeline import run
    from cvtl.streaming import stream
    from cvtl.training.start import train_plugin as train
    from cvtl.weights import load as load_model

__version__ = "0.1.0"
__all__ = [
    "__version__",
    "evaluate",
    "load_data",
    "load_model",
    "merge",
    "predict",
    "read_predictions",
    "run",
    "stream",
    "train",
]

_LAZY = {
    "evaluate": "cvtl.evaluation.evaluate:evaluate",
    "load_data": "cvtl.data:load_data",
    "load_model": "cvtl.weights:load",
    "merge": "cvtl.merging:merge",
    "predict": "cvtl.evaluation.predictions:predict",
    "read_predictions": "cvtl.evaluation.predictions:read_predictions",
    "run": "cvtl.pipeline:run",
    "stream": "cvtl.streaming:stream",
    "train": "cvtl.training.start:train_plugin",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return resolve(_LAZY[name])
    raise AttributeError(f"module 'cvtl' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)

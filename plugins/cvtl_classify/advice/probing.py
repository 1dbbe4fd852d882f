"""Cross-validated accuracy of heads on features that are computed once.

A head on a frozen network's features is what strategy `features` trains, and it is trained here with the same function
and settings. Alain and Bengio (arXiv 1610.01644) call such heads probes, and look with them at what each layer knows;
how accuracy changes from stage to stage shows how general or specific they are (Yosinski et al., arXiv 1411.1792).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import numpy.typing as npt
import torch

from cvtl.backbones import Backbone
from cvtl.evaluation.bootstrap import RatioScorer, with_intervals
from cvtl.features import Features, FeatureSpace
from cvtl.progress import Progress
from cvtl.reporting.sections import Figure
from cvtl.training.settings import TrainSettings
from cvtl.training.start import with_defaults
from cvtl_classify.advice.material import Material
from cvtl_classify.heads import fit_head
from cvtl_classify.network import feature_spaces
from cvtl_classify.options import ClassifyOptions

Flags = npt.NDArray[np.bool_]

_DRAWS = 1000


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """A strategy and how it did.

    Attributes:
        options: those of a training by it.
        judged: (J,), indices of the pictures that it was judged on.
        right: (J,), whether it was right.
        seconds: measured, of one training on the pictures that it learnt from.
        accuracy: the share of right answers, with its 95 % interval.
    """

    options: ClassifyOptions
    judged: npt.NDArray[np.int64]
    right: Flags
    seconds: float
    accuracy: Figure


def describe(options: ClassifyOptions) -> str:
    """What a strategy is, in a few words.

    Example:
        >>> describe(ClassifyOptions(strategy="features", head="svm", pooling="grid"))
        'svm, last stage, grid'
        >>> describe(ClassifyOptions(strategy="features", cut="fire4-5"))
        'linear, up to fire4-5'
        >>> describe(ClassifyOptions(strategy="finetune", stages="all"))
        'finetune: linear, all stages'
    """
    seen = "all stages" if options.stages == "all" else "last stage"
    if options.cut:
        seen = f"{seen} up to {options.cut}" if options.stages == "all" else f"up to {options.cut}"
    pooling = "" if options.pooling == "average" else f", {options.pooling}"
    strategy = "" if options.strategy == "features" else f"{options.strategy}: "
    return f"{strategy}{options.head}, {seen}{pooling}"


def used_spaces(backbone: Backbone, options: ClassifyOptions) -> tuple[FeatureSpace, ...]:
    """What the head of a strategy sees."""
    return feature_spaces(backbone.cut(options.cut) if options.cut else backbone, options.stages, options.pooling)


def probe(
    options: ClassifyOptions,
    features: Features,
    spaces: Sequence[FeatureSpace],
    material: Material,
    settings: TrainSettings,
    *,
    progress: Progress,
    device: str | torch.device = "cpu",
) -> Trial:
    """Cross-validate a head: each fold is judged by one that was trained on the others, as `cvtl train` does it.

    Args:
        options: strategy `features` with a head.
        features: of the material's pictures.
        spaces: those that the head sees.
        material: the pictures.
        settings: what the user has set of a training.
        progress: is told of each training.
        device: where to compute.

    Raises:
        UsageError: an SVM of so many pictures and classes would take hours.
    """
    vectors = features.matrix(spaces)
    right = np.zeros(len(material.labels), bool)
    begun = perf_counter()
    for fold in range(material.fold_count):
        learnt, judged = material.folds != fold, material.folds == fold
        answers = train_and_predict(options, vectors, material, learnt, judged, settings, device)
        right[judged] = answers == material.labels[judged]
        progress.advance(1)
    seconds = (perf_counter() - begun) / material.fold_count
    return make_trial(options, material, np.flatnonzero(material.folds >= 0), right[material.folds >= 0], seconds)


def train_and_predict(
    options: ClassifyOptions,
    vectors: npt.NDArray[np.float32],
    material: Material,
    learnt: Flags,
    judged: Flags,
    settings: TrainSettings,
    device: str | torch.device = "cpu",
) -> npt.NDArray[np.int64]:
    """Train the head on some of the N pictures' features (N, D) and give its answers for others."""
    head = fit_head(
        options.head,
        vectors[learnt],
        material.labels[learnt],
        len(material.data.classes),
        settings=with_defaults(settings, options),
        recipe=options.used_recipe(),
        device=device,
    )
    with torch.inference_mode():
        answers: npt.NDArray[np.int64] = head(torch.from_numpy(vectors[judged]).to(device)).argmax(dim=1).cpu().numpy()
    return answers


def make_trial(
    options: ClassifyOptions, material: Material, judged: npt.NDArray[np.int64], right: Flags, seconds: float
) -> Trial:
    """Put a trial together, with the interval of its accuracy."""
    accuracy = share("accuracy", right.astype(np.float64), material.groups[judged])
    return Trial(options=options, judged=judged, right=right, seconds=seconds, accuracy=accuracy)


def share(name: str, values: npt.NDArray[np.float64], groups: npt.NDArray[np.int64]) -> Figure:
    """The mean of a value over pictures, with its 95 % interval over other choices of groups of pictures.

    Pictures of one group (near-duplicates, frames of one video) say little more than one of them: groups are drawn,
    by `cvtl.evaluation.bootstrap`, not pictures. That trainings of one cross-validation share most of their pictures is
    not accounted for: it makes intervals somewhat too narrow (Bengio and Grandvalet 2004, JMLR 5).

    Args:
        name: of the figure.
        values: (J,).
        groups: (J,), the group of each.

    Example:
        >>> figure = share("accuracy", (np.arange(200) % 4 > 0).astype(float), np.arange(200))
        >>> f"{figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f})"
        '0.75 (0.69 to 0.81)'
    """
    of = np.unique(groups, return_inverse=True)[1]
    sums, counts = (np.bincount(of, weights).astype(np.float64)[:, None] for weights in (values, np.ones(len(of))))
    (figure,) = with_intervals(RatioScorer((name,), (True,), sums, counts), len(counts), _DRAWS, seed=0)
    return figure

"""Classes, points and splits with too few examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from cvtl.data import BoxesTarget, ClassTarget, Dataset, PointsTarget, Sample
from cvtl_datasets.checks.findings import Finding, finding, listed

_FEW = 10
_RATIO = 10
_RARELY = 0.1


def balance_findings(dataset: Dataset) -> Iterator[Finding]:
    """What a data set has too little of: examples of a class (in a split), visible points, pictures with objects.

    Example:
        >>> samples = [Sample(f"{i}.jpg", read=list, target=ClassTarget(i // 30)) for i in range(31)]
        >>> [found.kind for found in balance_findings(Dataset(samples, ("car", "bus"), "example"))]
        ['rare class', 'class imbalance']
    """
    yield from _unlabelled(dataset)
    if any(isinstance(sample.target, PointsTarget) for sample in dataset):
        yield from _points(dataset)
    elif dataset.classes:
        yield from _classes(dataset)


def _classes(dataset: Dataset) -> Iterator[Finding]:
    counts = _count(dataset, dataset.classes)
    boxed = any(isinstance(sample.target, BoxesTarget) for sample in dataset)
    unit = "boxes" if boxed else "pictures"
    present = [(name, count) for name, count in zip(dataset.classes, counts, strict=True) if count]
    missing = [name for name, count in zip(dataset.classes, counts, strict=True) if not count]
    if missing and present:
        yield finding("class without examples", dataset.root, f"there are no {unit} of {listed(missing)}")
    splits = list(dict.fromkeys(sample.split for sample in dataset if sample.split))
    for split in splits:
        here = _count([sample for sample in dataset if sample.split == split], dataset.classes)
        if absent := [
            name for name, all_, some in zip(dataset.classes, counts, here, strict=True) if all_ and not some
        ]:
            yield finding("class missing from a split", dataset.root, f"{split} has no {unit} of {listed(absent)}")
    if rare := sorted((count, name) for name, count in present if count < _FEW):
        what = f"fewer than {_FEW} {unit}: {listed([f'{name} ({count})' for count, name in rare])}"
        yield finding("rare class", dataset.root, what)
    if len(present) > 1:
        most, least = max(present, key=lambda each: each[1]), min(present, key=lambda each: each[1])
        if most[1] >= _RATIO * least[1]:
            what = (
                f"{most[1]} {unit} of {most[0]}, {least[1]} of {least[0]}: {most[1] / least[1]:.1f} times as many; "
                f"whoever always says {most[0]} is right for {most[1] / sum(counts):.0%}"
            )
            yield finding("class imbalance", dataset.root, what)


def _count(samples: Sequence[Sample], classes: Sequence[str]) -> npt.NDArray[np.int64]:
    """How many pictures or boxes there are of each class."""
    counts = np.zeros(len(classes), np.int64)
    for sample in samples:
        if isinstance(sample.target, ClassTarget):
            counts[sample.target.label] += 1
        elif isinstance(sample.target, BoxesTarget):
            counts += np.bincount(sample.target.labels, minlength=len(classes))
    return counts


def _points(dataset: Dataset) -> Iterator[Finding]:
    targets = [sample.target for sample in dataset if isinstance(sample.target, PointsTarget)]
    annotated = [target.visible[target.visible.any(axis=1)] for target in targets]
    total = sum(map(len, annotated))
    if not total:
        return
    share = sum(visible.sum(axis=0) for visible in annotated) / total
    if rare := [f"{name} ({part:.0%})" for name, part in zip(dataset.classes, share, strict=True) if part < _RARELY]:
        what = f"visible in fewer than {_RARELY:.0%} of {total} objects: {listed(rare)}"
        yield finding("rarely visible point", dataset.root, what)


def _unlabelled(dataset: Dataset) -> Iterator[Finding]:
    explained = {problem.sample for problem in dataset.problems}
    for sample in dataset:
        if sample.name in explained:
            continue
        if sample.target is None:
            yield finding("picture without label", sample.name, "nothing is known about it", (sample.name,))
        elif isinstance(sample.target, BoxesTarget | PointsTarget) and not len(_objects(sample.target)):
            yield finding("picture without objects", sample.name, "its annotation names no object", (sample.name,))


def _objects(target: BoxesTarget | PointsTarget) -> npt.NDArray[np.float64]:
    return target.boxes if isinstance(target, BoxesTarget) else target.points

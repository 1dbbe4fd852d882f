"""Pictures that are there more than once, and groups that are in more than one split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import get_args

import numpy as np

from cvtl.data import BoxesTarget, ClassTarget, Dataset, PointsTarget, Split, Target
from cvtl.fingerprints import Fingerprint, exact_duplicates, near_duplicates
from cvtl_datasets.checks.findings import Finding, finding, listed
from cvtl_datasets.checks.targets import same_boxes

# Whoever annotates a picture twice draws no box and no point twice in the very same place.
_SAME_OBJECT_IOU = 0.5
_SAME_POINT = 0.05
_MOST_NAMED = 4
_SPLITS: tuple[Split, ...] = get_args(Split)


def duplicate_findings(dataset: Dataset, fingerprints: Sequence[Fingerprint | None]) -> Iterator[Finding]:
    """Exact and near duplicates, and those among them that are in two splits or labelled differently.

    Args:
        dataset: N samples.
        fingerprints: N, one for each; None where there is no picture.
    """
    exact, near = exact_duplicates(fingerprints), near_duplicates(fingerprints)
    digests = [each.exact if each else b"" for each in fingerprints]
    for group in exact:
        yield _of_group("exact duplicates", dataset, group, f"{len(group)} equal pictures")
    for group in near:
        if len({digests[i] for i in group}) > 1:
            yield _of_group("near duplicates", dataset, group, f"{len(group)} pictures that look the same")
    inside = {i for group in near for i in group}
    for group in [*near, *(group for group in exact if group[0] not in inside)]:
        if len(splits := [split for split in _SPLITS if any(dataset[i].split == split for i in group)]) > 1:
            what = f"{len(group)} pictures that look the same are in {' and '.join(splits)}"
            yield _of_group("duplicates across splits", dataset, group, what)
        yield from _class_conflicts(dataset, group)
    for group in exact:
        yield from _target_conflicts(dataset, group)


def grouping_findings(dataset: Dataset, groups: Sequence[str | None]) -> Iterator[Finding]:
    """Groups (persons, clips, places) that are in more than one split.

    Args:
        dataset: N samples.
        groups: N, the group of each; None where it is in none.

    Example:
        >>> from cvtl.data import Sample
        >>> samples = [Sample(f"ann_{i}.jpg", read=list, split=split) for i, split in enumerate(("train", "val"))]
        >>> [each.what for each in grouping_findings(Dataset(samples, (), "example"), ["ann", "ann"])]
        ["the group 'ann' has 1 in train, 1 in val"]
    """
    members: dict[str, list[int]] = defaultdict(list)
    for i, (sample, group) in enumerate(zip(dataset, groups, strict=True)):
        if sample.split and group is not None:
            members[group].append(i)
    for group, indices in members.items():
        counts = {split: sum(dataset[i].split == split for i in indices) for split in _SPLITS}
        parts = [f"{count} in {split}" for split, count in counts.items() if count]
        if len(parts) > 1:
            yield _of_group("group in two splits", dataset, indices, f"the group '{group}' has {', '.join(parts)}")


def _of_group(kind: str, dataset: Dataset, group: Sequence[int], what: str) -> Finding:
    names = tuple(dataset[i].name for i in group)
    return finding(kind, listed(names, _MOST_NAMED), what, names)


def _class_conflicts(dataset: Dataset, group: Sequence[int]) -> Iterator[Finding]:
    targets = [dataset[i].target for i in group]
    labels = sorted({target.label for target in targets if isinstance(target, ClassTarget)})
    if len(labels) > 1:
        named = listed([dataset.classes[label] for label in labels])
        what = f"{len(group)} pictures that look the same are labelled {named}"
        yield _of_group("duplicates under different labels", dataset, group, what)


def _target_conflicts(dataset: Dataset, group: Sequence[int]) -> Iterator[Finding]:
    first = dataset[group[0]].target
    others = [i for i in group[1:] if _differ(first, dataset[i].target)]
    if others:
        what = f"equal pictures have different {'boxes' if isinstance(first, BoxesTarget) else 'points'}"
        yield _of_group("duplicates under different labels", dataset, [group[0], *others], what)


def _differ(one: Target | None, other: Target | None) -> bool:
    """Whether two annotations of one picture mean different objects or points."""
    if isinstance(one, BoxesTarget) and isinstance(other, BoxesTarget):
        found, again = np.zeros(len(one.boxes), bool), np.zeros(len(other.boxes), bool)
        for i, j in same_boxes(one.boxes, other.boxes, more_than=_SAME_OBJECT_IOU):
            alike = one.labels[i] == other.labels[j]
            found[i[alike]] = again[j[alike]] = True
        return not (found.all() and again.all())
    if isinstance(one, PointsTarget) and isinstance(other, PointsTarget):
        if one.visible.shape != other.visible.shape or (one.visible != other.visible).any():
            return True
        seen, again = one.points[one.visible], other.points[other.visible]
        return len(seen) > 0 and bool(np.abs(seen - again).max() > _SAME_POINT * np.ptp(seen, axis=0).max())
    return False

"""Finds frames of one sequence, and of one person or place in two splits, from numbers in file names and from looks.

Whether two pictures look alike is measured by the mean difference of 8 x 8 grey values, and held against pairs drawn at
random from the same folder: the threshold is what 5 % of those fall below. Where numbers say nothing about looks, 5 %
of the neighbours do, too. A folder is reported if the lower end of the 95 % interval of their share is above 12.5 %:

| pictures | folders | share of alike neighbours | lower end |
|---|---|---|---|
| video frames of cars and roads (GTI) | 6 | 20 to 43 % | 16 to 33 % |
| video frames of faces | 2 | 44, 67 % | 30, 65 % |
| hand signs | 10 | 8 to 21 % | 3 to 11 % |
| blood smears | 1 | 11 % | 8 % |
| cars (KITTI), raccoons, handwritten digits | 12 | 4 to 12 % | 2 to 7 % |
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, islice, pairwise
from math import sqrt
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from cvtl.data import ClassTarget, Dataset
from cvtl_datasets.checks.findings import Finding, finding

GREY_SIDE = 8

_CHANCE = 0.05
_SUSPICIOUS = 0.125
_FEWEST_PAIRS = 20
_MOST_PAIRS = 5000
_MOST_OF_ONE = 20
_MOST_SHOWN = 12
_TENS = r"--group-by '(.*)\d\.'"
_ONE_NAME = r"--group-by '(.*?)\d+\.'"
_ONE_FILE_NAME = r"--group-by '([^/]*?)\d+\.'"
_NUMBERED = re.compile(r"(?P<prefix>.*?)(?P<number>\d+)\D*")

Greys = npt.NDArray[np.float32]
Pairs = Sequence[tuple[int, int]]


def sequence_findings(dataset: Dataset, greys: Greys, groups: Sequence[str | None]) -> Iterator[Finding]:
    """Folders in which pictures with neighbouring numbers look alike.

    Args:
        dataset: N samples.
        greys: float32 (N, 64), grey values of the pictures made small; NaN where there is no picture.
        groups: N, what `--group-by` makes of each name: whatever is in a group has been thought of.
    """
    for folder, members in _by_folder(dataset, greys).items():
        numbered = sorted((_parts(dataset[i].name), i) for i in members)
        neighbours = [
            (i, j)
            for ((prefix, _), i), ((other, _), j) in pairwise(numbered)
            if prefix == other and None in (groups[i], groups[j])
        ]
        alike, share = _more_alike_than_chance(greys, neighbours, _random_pairs(members))
        if not alike:
            continue
        several = len({_parts(dataset[i].name)[0] for i, _ in neighbours}) > 1
        way = f"of one name: {_ONE_NAME}" if several else f"of ten: {_TENS}"
        what = (
            f"{share:.0%} of the {len(neighbours)} pairs with neighbouring numbers look more alike than "
            f"{1 - _CHANCE:.0%} of random pairs do. Groups {way}"
        )
        yield finding("sequence", dataset.root if folder == "." else f"{folder}/", what, _names(dataset, alike))


def group_findings(dataset: Dataset, greys: Greys, groups: Sequence[str | None]) -> Iterator[Finding]:
    """File names that begin alike in two splits, where such pictures look alike as well.

    Args:
        dataset: N samples.
        greys: as for `sequence_findings`.
        groups: likewise; what is in one group is another finding.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for i, sample in enumerate(dataset):
        prefix = _parts(sample.name)[0]
        if sample.split and re.search(r"[^\W\d_]", prefix) and not np.isnan(greys[i, 0]):
            members[prefix].append(i)
    if not members or _names_are_classes(dataset, members):
        return
    across = {
        prefix: list(islice(_pairs_across_splits(dataset, groups, indices), _MOST_OF_ONE))
        for prefix, indices in members.items()
        # What every other name begins with ("image") says nothing.
        if len(indices) <= len(dataset) / 10
    }
    pairs = [pair for each in across.values() for pair in each]
    everywhere = [i for indices in members.values() for i in indices]
    others = [(i, j) for i, j in _random_pairs(everywhere) if dataset[i].split != dataset[j].split]
    alike, share = _more_alike_than_chance(greys, pairs, others)
    if alike:
        shared = [prefix for prefix, each in across.items() if each]
        what = (
            f"{len(shared)} beginnings of file names are in two splits ({', '.join(shared[:3])}, ...), and "
            f"{share:.0%} of their {len(pairs)} pairs look more alike than {1 - _CHANCE:.0%} of random pairs do: "
            f"{_ONE_FILE_NAME}"
        )
        yield finding("possible group in two splits", dataset.root, what, _names(dataset, alike))


def _pairs_across_splits(
    dataset: Dataset, groups: Sequence[str | None], members: Sequence[int]
) -> Iterator[tuple[int, int]]:
    if len({dataset[i].split for i in members}) > 1:
        for i, j in combinations(members, 2):
            if dataset[i].split != dataset[j].split and (groups[i] is None or groups[i] != groups[j]):
                yield i, j


def _names(dataset: Dataset, pairs: Pairs) -> tuple[str, ...]:
    """The names of the first pairs."""
    return tuple(dict.fromkeys(dataset[i].name for pair in pairs for i in pair))[:_MOST_SHOWN]


def _by_folder(dataset: Dataset, greys: Greys) -> Mapping[str, list[int]]:
    folders: dict[str, list[int]] = defaultdict(list)
    for i, sample in enumerate(dataset):
        if not np.isnan(greys[i, 0]):
            folders[str(PurePosixPath(sample.name).parent)].append(i)
    return folders


def _parts(name: str) -> tuple[str, int]:
    """What a file name begins with, and its last number; a name without a number stands for itself.

    Example:
        >>> _parts("train/Ben_Kingsley_11.jpg")
        ('Ben_Kingsley_', 11)
    """
    stem = PurePosixPath(name).stem
    numbered = _NUMBERED.fullmatch(stem)
    return (numbered["prefix"], int(numbered["number"])) if numbered else (stem, 0)


def _names_are_classes(dataset: Dataset, members: Mapping[str, Sequence[int]]) -> bool:
    """Whether files are named after their class: then equal beginnings mean no more than equal classes."""
    labels = [
        {target.label for i in indices if isinstance(target := dataset[i].target, ClassTarget)}
        for indices in members.values()
    ]
    return all(len(each) == 1 for each in labels) and len(labels) <= len(dataset.classes)


def _random_pairs(members: Sequence[int]) -> Pairs:
    """Pairs of different members; the same ones every time."""
    random = np.random.default_rng(0)
    first, second = random.choice(np.asarray(members), (2, _MOST_PAIRS))
    return [(int(i), int(j)) for i, j in zip(first, second, strict=True) if i != j]


def _more_alike_than_chance(greys: Greys, pairs: Pairs, random_pairs: Pairs) -> tuple[Pairs, float]:
    """The pairs that are more alike than 95 % of random ones, and their share; none where that may be chance."""
    if len(pairs) < _FEWEST_PAIRS or len(random_pairs) < _FEWEST_PAIRS:
        return [], 0.0
    threshold = np.quantile(_differences(greys, random_pairs), _CHANCE)
    differences = _differences(greys, pairs)
    alike = differences < threshold
    if _lower_bound(int(alike.sum()), len(pairs)) <= _SUSPICIOUS:
        return [], 0.0
    return [pairs[i] for i in np.argsort(differences, kind="stable")[: alike.sum()]], float(alike.mean())


def _differences(greys: Greys, pairs: Pairs) -> npt.NDArray[np.float32]:
    first, second = np.asarray(pairs).T
    result: npt.NDArray[np.float32] = np.abs(greys[first] - greys[second]).mean(axis=1)
    return result


def _lower_bound(count: int, total: int) -> float:
    """Lower end of Wilson's 95 % interval of a share."""
    z, share = 1.96, count / total
    centre, half = share + z * z / (2 * total), z * sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return (centre - half) / (1 + z * z / total)

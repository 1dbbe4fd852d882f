"""Setting samples aside: what a model is judged by must not be what it learnt from.

Which samples are held out depends on their names and the seed alone: not on their order, the platform or a library's
random numbers, and adding pictures moves few of those that were there. Torch-free.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict

from cvtl.data import ClassTarget, Dataset, Sample
from cvtl.errors import DataError, UsageError


def train_and_val(dataset: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset, str]:
    """The samples to train on and those to validate on: the published split, or else a held-out part.

    Args:
        dataset: samples published for testing are left out of both parts.
        fraction: share of the samples to hold out where no validation split is published, in (0, 1).
        seed: of the hold-out.

    Returns:
        Training samples, validation samples (neither is empty), and a sentence for the user on how they were chosen.

    Raises:
        DataError: there is nothing to train on, or too little to hold anything out.
        UsageError: the fraction is out of range.
    """
    train = dataset.subset(i for i, sample in enumerate(dataset) if sample.split in (None, "train"))
    if not len(train):
        raise DataError(f"'{dataset.root}' has no training pictures", hint="Put them into a folder or split 'train'")
    val = dataset.split("val")
    if len(val):
        return train, val, f"Validating on the {len(val)} pictures of the data set's own validation split."
    kept, held_out = hold_out(train, fraction, seed)
    if not len(held_out):
        raise DataError(
            f"'{dataset.root}' has too few pictures to hold any out for validation",
            hint="Add pictures, two of a class at least",
        )
    how = f"No validation split: {len(held_out)} of {len(train)} training pictures are held out (seed {seed})."
    return kept, held_out, how


def hold_out(dataset: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """Divide samples in two, at random but always in the same way.

    Samples with a `ClassTarget` are divided class by class, all others together. Of every class (or of all) the
    nearest whole number to `fraction` is held out, but at least one sample where there are two, and never all.

    Args:
        dataset: samples of any kind; published splits are not looked at.
        fraction: share to hold out, in (0, 1).
        seed: any integer.

    Returns:
        The samples to train on and those held out, both in the data set's order.

    Raises:
        UsageError: the fraction is out of range.

    Example:
        >>> samples = [Sample(f"{i}.jpg", read=lambda: None, target=ClassTarget(i % 2)) for i in range(10)]
        >>> train, held_out = hold_out(Dataset(samples, ("even", "odd"), "example"), 0.2, seed=0)
        >>> len(train), sorted(sample.target.label for sample in held_out)
        (8, [0, 1])
    """
    if not 0 < fraction < 1:
        raise UsageError(f"the fraction to hold out must lie between 0 and 1, not {fraction}")
    strata: dict[int | None, list[tuple[bytes, int]]] = defaultdict(list)
    for index, sample in enumerate(dataset):
        strata[_stratum(sample)].append((_rank(sample, seed), index))
    held_out = {index for members in strata.values() for _, index in sorted(members)[: _share(len(members), fraction)]}
    return (
        dataset.subset(i for i in range(len(dataset)) if i not in held_out),
        dataset.subset(i for i in range(len(dataset)) if i in held_out),
    )


def _stratum(sample: Sample) -> int | None:
    """What each part should have its share of."""
    return sample.target.label if isinstance(sample.target, ClassTarget) else None


def _rank(sample: Sample, seed: int) -> bytes:
    """A random place in the order of being held out."""
    return hashlib.sha256(f"{seed}\0{sample.name}".encode(errors="surrogateescape")).digest()


def _share(count: int, fraction: float) -> int:
    return min(max(round(fraction * count), 1), count - 1)

"""Setting samples aside: what a model is judged by must not be what it learnt from.

Which samples are set aside depends on their names and the seed alone: not on their order, the platform or a library's
random numbers, and adding pictures moves few of those that were there. Torch-free.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cvtl.data import BoxesTarget, ClassTarget, Dataset, Sample, Split
from cvtl.errors import DataError, UsageError

SPLITS: tuple[Split, ...] = ("train", "val", "test")

# Beside the numbers of classes: what is counted of samples that do not just belong to one.
_PICTURES = -1


@dataclass(frozen=True)
class Groups:
    """Which samples belong together, so that no two of them may be in different parts.

    Attributes:
        of: N, the number of each sample's group.
        duplicates: how many samples are an exact or near duplicate of another one.
        named: how many groups the samples' names make.
        unmatched: how many names the pattern for groups does not match; 0 without a pattern.
    """

    of: Sequence[int]
    duplicates: int = 0
    named: int = 0
    unmatched: int = 0

    def describe(self) -> str:
        """A clause on what is kept together, empty if nothing is.

        Example:
            >>> Groups([0, 0, 1, 1, 3], duplicates=2, named=1, unmatched=3).describe()
            '1 group and 2 near-duplicates are kept together; pictures that --group-by does not match: 3'
        """
        kept = [f"{self.named} group{'s' * (self.named != 1)}"] * bool(self.named)
        kept += [f"{self.duplicates} near-duplicates"] * bool(self.duplicates)
        said = [f"{' and '.join(kept)} are kept together"] * bool(kept)
        said += [f"pictures that --group-by does not match: {self.unmatched}"] * bool(self.unmatched)
        return "; ".join(said)


def train_and_val(
    dataset: Dataset,
    fraction: float,
    seed: int,
    *,
    group_by: str | None = None,
    near_duplicates: bool = True,
    advance: Callable[[int], None] = lambda count: None,
) -> tuple[Dataset, Dataset, str]:
    """The samples to train on and those to validate on: the published split, or else a held-out part.

    Args:
        dataset: samples published for testing are left out of both parts.
        fraction: share of the samples to hold out where no validation split is published, in (0, 1).
        seed: of the hold-out.
        group_by: regular expression for `group_of`: groups are not divided.
        near_duplicates: whether near-duplicates are kept together, for which all pictures are looked at.
        advance: called with 1 after each picture that was looked at.

    Returns:
        Training samples, validation samples (neither is empty), and a sentence or two for the user: how they were
        chosen, and what of a published split has leaked.

    Raises:
        DataError: there is nothing to train on, or too little to hold anything out.
        UsageError: the fraction is out of range, or no regular expression fits.
    """
    dataset = dataset.subset(i for i, sample in enumerate(dataset) if sample.split != "test")
    train = dataset.subset(i for i, sample in enumerate(dataset) if sample.split != "val")
    if not len(train):
        raise DataError(f"'{dataset.root}' has no training pictures", hint="Put them into a folder or split 'train'")
    groups = find_groups(dataset, group_by=group_by, near_duplicates=near_duplicates, advance=advance)
    val = dataset.split("val")
    if len(val):
        how = f"Validating on the {len(val)} pictures of the data set's own validation split."
        return train, val, " ".join(filter(None, (how, _leak(dataset, groups))))
    kept, held_out = hold_out(train, fraction, seed, groups.of)
    if not len(held_out):
        raise too_few(dataset, groups, "val")
    how = f"No validation split: {len(held_out)} of {len(train)} training pictures are held out (seed {seed})"
    return kept, held_out, "; ".join(filter(None, (how, groups.describe()))) + "."


def too_few(dataset: Dataset, groups: Groups, split: Split) -> DataError:
    """What to raise where nothing could be set aside for a split."""
    if len(set(groups.of)) == 1 < len(dataset):
        ways = ["Choose another --group-by"] * bool(groups.named)
        ways += ["Divide near-duplicates, too: --near-duplicates=false"] * bool(groups.duplicates)
        return DataError(
            f"the {len(dataset)} pictures of '{dataset.root}' all belong to one group, which cannot be divided",
            hint=f"{' or '.join(ways)}, or add pictures of something else",
        )
    return DataError(
        f"'{dataset.root}' has too few pictures or groups to set any aside for {split}",
        hint="One of a class is needed for every part",
    )


def hold_out(
    dataset: Dataset, fraction: float, seed: int, groups: Sequence[Hashable] | None = None
) -> tuple[Dataset, Dataset]:
    """Divide samples in two, as `divide` does.

    Args:
        dataset: samples of any kind; published splits are not looked at.
        fraction: share to hold out, in (0, 1).
        seed: any integer.
        groups: the samples' groups.

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
    parts = divide(dataset, {"val": fraction}, seed, groups)
    return parts["train"], parts["val"]


def divide(
    dataset: Dataset, fractions: Mapping[Split, float], seed: int, groups: Sequence[Hashable] | None = None
) -> dict[Split, Dataset]:
    """Divide samples into parts, at random but always in the same way, groups undivided.

    Of every class that samples have as their target, each part gets its share to the nearest whole number, but at
    least one where there are enough, and the training part is left one. Where targets are boxes, each part gets about
    its share of the pictures and of every class's boxes, the rarest class served first: after K. Sechidis,
    G. Tsoumakas and I. Vlahavas, "On the Stratification of Multi-Label Data" (2011). All other samples are divided by
    their number. Groups are taken as they come, as far as they bring a part nearer to its shares.

    Args:
        dataset: N samples of any kind; published splits are not looked at.
        fractions: the share of "val", of "test", or of both; "train" gets the rest. The validation part is the same
            with and without a test part.
        seed: any integer.
        groups: N, the samples' groups; every sample is its own if None.

    Returns:
        All three parts, any of which may be empty, in the data set's order.

    Raises:
        UsageError: a fraction is negative, or nothing would be left to train on.
    """
    shares = [fractions.get(split, 0.0) for split in SPLITS[1:]]
    if not (min(shares) >= 0 and sum(shares) < 1):
        said = " and ".join(map(str, shares))
        raise UsageError(f"the parts for val and test must be 0 or more and together less than 1, not {said}")
    units = _units(dataset, seed, range(len(dataset)) if groups is None else groups)
    totals: Counter[int] = Counter()
    for unit in units:
        totals.update(unit.counts)
    parts: dict[Split, Dataset] = {}
    for split, share in zip(SPLITS[1:], shares, strict=True):
        taken = _take(units, totals, share) if share else set()
        units = [unit for unit in units if unit not in taken]
        parts[split] = _subset(dataset, taken)
    return {"train": _subset(dataset, units), **parts}


def find_groups(
    dataset: Dataset, *, group_by: str | None, near_duplicates: bool, advance: Callable[[int], None]
) -> Groups:
    """Find what belongs together in a data set: pictures of one group, and pictures that are nearly the same.

    Args:
        dataset: N samples.
        group_by: regular expression for `group_of`.
        near_duplicates: whether to look at the pictures.
        advance: called with 1 after each picture that was looked at.

    Raises:
        UsageError: the pattern is no regular expression, or matches no name.
    """
    named: dict[str, list[int]] = defaultdict(list)
    for index, group in enumerate(named_groups(dataset, None if group_by is None else compile_pattern(group_by))):
        if group is not None:
            named[group].append(index)
    alike: list[list[int]] = []
    if near_duplicates:
        from cvtl import fingerprints  # which imports OpenCV

        alike = fingerprints.near_duplicates(fingerprints.fingerprints(dataset, advance))
    return Groups(
        of=_join(len(dataset), [*named.values(), *alike]),
        duplicates=sum(map(len, alike)),
        named=len(named),
        unmatched=len(dataset) - sum(map(len, named.values())) if group_by is not None else 0,
    )


def compile_pattern(group_by: str) -> re.Pattern[str]:
    """Compile a user's regular expression for `group_of`.

    Raises:
        UsageError: it is none.
    """
    try:
        return re.compile(group_by)
    except re.error as error:
        raise UsageError(f"--group-by '{group_by}' is no regular expression: {error}") from error


def named_groups(dataset: Dataset, pattern: re.Pattern[str] | None) -> list[str | None]:
    """The group of each of N samples as `group_of` has it; none has one without a pattern.

    Raises:
        UsageError: the pattern matches no name.
    """
    groups = [None if pattern is None else group_of(sample.name, pattern) for sample in dataset]
    if pattern is not None and not any(groups):
        example = f", such as '{dataset[0].name}'" if len(dataset) else ""
        raise UsageError(
            f"--group-by '{pattern.pattern}' matches no name{example}", hint="Names are paths in the data set"
        )
    return groups


def group_of(name: str, pattern: re.Pattern[str]) -> str | None:
    r"""The group that a sample's name puts it into: the person, the video, the place.

    Args:
        name: of the sample.
        pattern: is searched for in it; what its first capturing group matches is the group, or else all it matches.

    Returns:
        None where it does not match, or matches the empty string only.

    Example:
        >>> group_of("images/ann_lee_07.jpg", re.compile(r"([^/]+)_\d+"))
        'ann_lee'
        >>> group_of("images/ann_lee_07.jpg", re.compile("ann|bob"))
        'ann'
    """
    found = pattern.search(name)
    return (found[min(pattern.groups, 1)] or None) if found else None


@dataclass(frozen=True, eq=False)
class _Unit:
    """A group, or a sample that is in none.

    Attributes:
        members: indices of its samples.
        counts: objects of each class, and pictures; in sorted order.
    """

    members: Sequence[int]
    counts: Counter[int]


def _units(dataset: Dataset, seed: int, groups: Sequence[Hashable]) -> list[_Unit]:
    """The groups in the random order in which they are asked to leave the training part."""
    members: dict[Hashable, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    ranked = sorted((_rank(min(dataset[i].name for i in each), seed), each) for each in members.values())
    return [_Unit(each, _counts(dataset[i] for i in each)) for _, each in ranked]


def _rank(name: str, seed: int) -> bytes:
    """A random place in that order."""
    return hashlib.sha256(f"{seed}\0{name}".encode(errors="surrogateescape")).digest()


def _counts(samples: Iterable[Sample]) -> Counter[int]:
    counts: Counter[int] = Counter()
    for sample in samples:
        if isinstance(sample.target, ClassTarget):
            counts[sample.target.label] += 1
        else:
            counts[_PICTURES] += 1
        if isinstance(sample.target, BoxesTarget):
            counts.update(sample.target.labels.tolist())
    # So that sums of what is gained do not depend on the order of the samples.
    return Counter(dict(sorted(counts.items())))


def _take(units: Sequence[_Unit], totals: Mapping[int, int], share: float) -> set[_Unit]:
    """Choose units that make about a share of every total, and leave something of everything."""
    owners: dict[int, list[_Unit]] = defaultdict(list)
    for unit in units:
        for key in unit.counts:
            owners[key].append(unit)
    wanted = {key: max(round(share * totals[key]), 1) if len(owners[key]) > 1 else 0 for key in owners}
    wanted = {key: min(count, sum(unit.counts[key] for unit in owners[key]) - 1) for key, count in wanted.items()}
    left = {key: len(owners[key]) for key in owners}
    held: Counter[int] = Counter()
    taken: set[_Unit] = set()

    def is_free(unit: _Unit) -> bool:
        return unit not in taken and all(left[key] > 1 for key in unit.counts)

    def gain(unit: _Unit) -> float:
        lacking = {key: wanted[key] - held[key] for key in unit.counts}
        return sum((abs(lacking[key]) - abs(lacking[key] - count)) / totals[key] for key, count in unit.counts.items())

    def take(unit: _Unit) -> None:
        taken.add(unit)
        held.update(unit.counts)
        for key in unit.counts:
            left[key] -= 1

    for key in sorted(owners, key=lambda key: (totals[key], key)):
        for unit in owners[key]:
            if held[key] >= wanted[key]:
                break
            if is_free(unit) and gain(unit) > 0:
                take(unit)
        free = [unit for unit in owners[key] if is_free(unit)]
        if wanted[key] and not held[key] and free:
            take(min(free, key=lambda unit: unit.counts[key]))
    return taken


def _subset(dataset: Dataset, units: Iterable[_Unit]) -> Dataset:
    return dataset.subset(sorted(index for unit in units for index in unit.members))


def _join(count: int, groups: Iterable[Sequence[int]]) -> list[int]:
    """Number the connected components of what shares a group."""
    parent = list(range(count))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = index = parent[parent[index]]
        return index

    for group in groups:
        for index in group:
            parent[root(index)] = root(group[0])
    return [root(index) for index in range(count)]


def _leak(dataset: Dataset, groups: Groups) -> str:
    """A warning of validation samples that belong together with training samples, empty if there are none."""
    learnt = {group for sample, group in zip(dataset, groups.of, strict=True) if sample.split != "val"}
    leaked = sum(group in learnt for sample, group in zip(dataset, groups.of, strict=True) if sample.split == "val")
    if not leaked:
        return ""
    return (
        f"Warning: {leaked} of them are near-duplicates of training pictures, or of the same groups, so that figures "
        f"will be too good; `cvtl data check {dataset.root}` lists them, `cvtl data split` divides anew."
    )

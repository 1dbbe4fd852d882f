"""What checks have found, as the parts of a report."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from cvtl.data import BoxesTarget, ClassTarget, Dataset, PointsTarget, Sample
from cvtl.reporting.sections import Gallery, Marks, Section, Table, Thumbnail
from cvtl_datasets.checks.findings import Finding

_MOST_PICTURES = 12
_MOST_GROUPS = 6
_MOST_ROWS = 100
# Mistakes that cannot be seen in the whole picture.
_SMALL = {"tiny box", "duplicate boxes", "box of two classes"}


def by_kind(findings: Sequence[Finding]) -> Mapping[str, Sequence[Finding]]:
    """The findings of each kind, in the order they come in."""
    kinds: dict[str, list[Finding]] = defaultdict(list)
    for each in findings:
        kinds[each.kind].append(each)
    return kinds


def summary(findings: Sequence[Finding]) -> Table:
    """How often each kind was found, and what to do about it."""
    rows = tuple((same[0].severity, kind, len(same), same[0].advice) for kind, same in by_kind(findings).items())
    return Table(title="What was found", columns=("severity", "kind", "found", "what to do"), rows=rows)


def sections(dataset: Dataset, findings: Sequence[Finding]) -> list[Section]:
    """A summary, and for each kind its first findings: with pictures, or as a table where they have none."""
    samples = {sample.name: sample for sample in dataset}
    made: list[Section] = [summary(findings)]
    for same in by_kind(findings).values():
        pictured: list[Finding] = []
        plain: list[Finding] = []
        for each in same:
            (pictured if any(name in samples for name in each.samples) else plain).append(each)
        if any(len(each.samples) > 1 for each in pictured):
            made += _groups(pictured, samples, dataset)
        elif pictured:
            made.append(_singles(pictured, samples))
        if plain:
            made.append(_table(plain))
    return made


def _table(same: Sequence[Finding]) -> Table:
    rows = tuple((each.where, each.what) for each in same[:_MOST_ROWS])
    return Table(title=_title(same), columns=("where", "what"), rows=rows, note=_note(same, len(rows)))


def _singles(same: Sequence[Finding], samples: Mapping[str, Sample]) -> Gallery:
    """One gallery for findings of one picture each."""
    thumbnails = tuple(
        Thumbnail(
            sample=samples[each.samples[0]],
            caption=f"{each.where}: {each.what}",
            marks=_marks(samples[each.samples[0]], each),
            focus=each.boxes[0] if each.kind in _SMALL and each.boxes else None,
        )
        for each in same[:_MOST_PICTURES]
    )
    return Gallery(title=_title(same), thumbnails=thumbnails, note=_note(same, len(thumbnails)))


def _groups(same: Sequence[Finding], samples: Mapping[str, Sample], dataset: Dataset) -> Iterator[Gallery]:
    """A gallery for each finding, so that the pictures it is about are side by side."""
    for number, each in enumerate(same[:_MOST_GROUPS], 1):
        thumbnails = tuple(
            Thumbnail(
                sample=samples[name],
                caption=f"{name}: {_label(samples[name], dataset)}",
                marks=_marks(samples[name], each),
            )
            for name in each.samples[:_MOST_PICTURES]
            if name in samples
        )
        more = len(each.samples) - len(thumbnails)
        pictures = f", and {more} more pictures" if more else ""
        title = f"{each.severity}: {each.kind}, {number} of {len(same)}"
        yield Gallery(title=title, thumbnails=thumbnails, note=f"{each.what}{pictures}. {each.advice}.")


def _marks(sample: Sample, found: Finding) -> tuple[Marks, ...]:
    """The sample's own boxes and points, and over them those that the finding is about."""
    target = sample.target
    marks = []
    if isinstance(target, BoxesTarget) and len(target.boxes):
        marks.append(Marks(role="true", boxes=target.boxes))
    if isinstance(target, PointsTarget) and target.visible.any():
        marks.append(Marks(role="true", boxes=target.boxes, points=target.points[target.visible]))
    if found.boxes or found.points:
        marks.append(
            Marks(
                role="wrong", boxes=np.array(found.boxes).reshape(-1, 4), points=np.array(found.points).reshape(-1, 2)
            )
        )
    return tuple(marks)


def _label(sample: Sample, dataset: Dataset) -> str:
    """What is known about a picture, in a few words."""
    parts: list[str] = [sample.split] if sample.split else []
    target = sample.target
    if isinstance(target, ClassTarget):
        parts.append(dataset.classes[target.label])
    elif isinstance(target, BoxesTarget):
        parts += [f"{len(target.boxes)} box{'es' * (len(target.boxes) != 1)}"]
    elif isinstance(target, PointsTarget):
        parts += [f"{int(target.visible.sum())} points"]
    return ", ".join(parts) or "nothing known"


def _title(same: Sequence[Finding]) -> str:
    return f"{same[0].severity}: {same[0].kind} ({len(same)})"


def _note(same: Sequence[Finding], shown: int) -> str:
    more = len(same) - shown
    return f"{same[0].advice}." + (f" And {more} more: --json lists all." if more else "")
